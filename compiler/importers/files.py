"""Files of a model: read whole, and every way in which that can fail said in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from compiler.errors import InputError
from compiler.typed import shown

Item = TypeVar("Item")

REQUIRED: Final = object()
"""Default of a setting that has none."""


def read_file(path: Path, what: str) -> bytes:
    """The bytes of a file, or an `InputError` that says why not."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected {what}")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist, expected {what}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}), expected {what}") from None


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object in a file."""
    return parse_json(read_file(path, what), str(path))


def parse_json(data: bytes, where: str) -> dict[str, Any]:
    """A JSON object in bytes; `where` names them in errors."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{where} holds a JSON {type(content).__name__}, expected an object")
    return cast("dict[str, Any]", content)


class Settings:
    """Named values of a model's description, each checked as it is read.

    Parameters
    ----------
    values: name -> value; None counts as missing.
    where: names the file in errors.

    Members
    -------
    values: those that are not None. said: names of all.
    """

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.values = {name: value for name, value in values.items() if value is not None}
        self.said = frozenset(values)
        self.where = where

    def _take(self, name: str, default: Any, wanted: str, *types: type) -> Any:
        value = self.values.get(name, default)
        if value is REQUIRED:
            raise InputError(f"{self.where} has no {name}, expected {wanted}")
        if value is not default and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
            raise InputError(f"{self.where}: {name} is {shown(value)}, expected {wanted}")
        return value

    def integer(self, name: str, default: Any = REQUIRED) -> int:
        return self._take(name, default, "a whole number", int)

    def number(self, name: str, default: Any = REQUIRED, *, least: float = 0.0) -> float:
        """A number above `least`."""
        try:
            value = float(self._take(name, default, "a number", int, float))
        except OverflowError:
            value = float("inf")
        if not least < value < float("inf"):
            raise InputError(f"{self.where}: {name} is {value:g}, expected a number above {least:g}")
        return value

    def flag(self, name: str, default: Any = REQUIRED) -> bool:
        return self._take(name, default, "true or false", bool)

    def text(self, name: str, default: Any = REQUIRED) -> str:
        return self._take(name, default, "a text", str)

    def integers(self, name: str) -> list[int]:
        """A whole number or a list of them; none where it is missing."""
        value = self.values.get(name, [])
        many = cast("list[Any]", value) if isinstance(value, list) else [value]
        for one in many:
            if not isinstance(one, int) or isinstance(one, bool):
                raise InputError(f"{self.where}: {name} is {shown(value)}, expected whole numbers")
        return many

    def items(self, name: str, kind: type[Item]) -> list[Item] | None:
        """A list whose members are all of one type; None where it is missing or something else."""
        value = self.values.get(name)
        if not isinstance(value, list):
            return None
        many = cast("list[Any]", value)
        return many if all(isinstance(one, kind) for one in many) else None

    def section(self, name: str) -> Settings | None:
        """Settings within a setting."""
        value = self._take(name, None, "an object", dict)
        return None if value is None else Settings(value, f"{self.where}: {name}")
