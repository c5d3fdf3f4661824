"""Files that say of what a report would else call a gap why it is none: TOML, a table an explanation."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compiler.errors import InputError

LISTS = ("presets", "kinds")
"""Keys whose values are lists of texts; all others are texts."""


def load(path: Path, name: str, keys: Sequence[str], patterns: Sequence[str]) -> list[dict[str, Any]]:
    """The tables [[name]] of a file.

    keys : what each table must have, and nothing else. patterns : those of them that are regular expressions.

    Raises
    ------
    InputError : the file cannot be read, or a table is not as said here.
    """
    try:
        entries: Any = tomllib.loads(path.read_text(encoding="utf-8")).get(name, [])
        for entry in entries:
            if entry.keys() != set(keys):
                raise ValueError(f"each [[{name}]] must have {', '.join(sorted(keys))}")
            for key, value in entry.items():
                texts = value if key in LISTS else [value]
                if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                    raise ValueError(f"{key} of a [[{name}]] must be {'a list of texts' if key in LISTS else 'a text'}")
            for pattern in patterns:
                re.compile(entry[pattern])
    except (OSError, ValueError, TypeError, AttributeError, re.error) as error:
        raise InputError(f"{path}: {error}") from None
    return entries
