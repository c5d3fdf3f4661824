"""Committed cycle counts: a file of what was promised, so that no change makes a token slower unseen.

The file is JSON: `rows`, one for each model, preset and run (how tokens are run, see `sim.measure.runs`), with its
context and its cycles by position. Rows that this version cannot measure are kept as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

from compiler.errors import InputError
from compiler.image import Image
from compiler.typed import made, obj
from sim.measure import MEAN_POSITIONS, POSITIONS, cycles_by_position, runs

FILE: Final = "docs/cycles.json"
COMMAND: Final = f"lpu bench MODEL --devices '' --write-cycles {FILE}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """Cycles of one run of a model on a preset; cycles: of a token at a position (in decimal), and "mean"."""

    model: str
    preset: str
    run: str
    context: int
    cycles: Mapping[str, float]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.model, self.preset, self.run

    def __str__(self) -> str:
        return f"{self.model} on {self.preset}, {self.run} tokens"


def rows_of(image: Image, model: str) -> list[Row]:
    """What an image promises."""
    return [Row(model=model, preset=image.config.name, run=run, context=image.context,
                cycles=cycles_by_position(image, number)) for run, number in runs(image).items()]


def load_rows(path: Path) -> list[Row]:
    """Read a file of committed counts. Raises InputError where it is none."""
    try:
        content: Any = json.loads(path.read_text())
        rows: Any = obj(content, "the file").get("rows")
        if not isinstance(rows, list):
            raise ValueError("it has no rows")
        return [made(Row, row, "a row") for row in cast("list[Any]", rows)]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no file of committed cycle counts ({error}); delete it to start anew") from None


def dump_rows(rows: Iterable[Row]) -> str:
    """The file's text: a row a line, sorted, so that a change reads well."""
    ordered = sorted(rows, key=lambda row: row.key)
    lines = ",\n".join(f"  {json.dumps(asdict(row))}" for row in ordered)
    head = {"command": COMMAND, "positions": POSITIONS, "mean": f"over positions 0 to {MEAN_POSITIONS - 1}"}
    described = "".join(f" {json.dumps(name)}: {json.dumps(value)},\n" for name, value in head.items())
    return f'{{\n{described} "rows": [\n{lines}\n ]\n}}\n'


def merged(committed: Iterable[Row], measured: Iterable[Row], tried: Iterable[tuple[str, str]]) -> list[Row]:
    """Committed rows with those of the models and presets that were tried replaced, or dropped where nothing fits."""
    gone = set(tried)
    return [*(row for row in committed if (row.model, row.preset) not in gone), *measured]


def differences(committed: Iterable[Row], measured: Iterable[Row]) -> list[str]:
    """What is not as committed, in words; better is a difference too, so that the file stays true."""
    before, after = ({row.key: row for row in rows} for rows in (committed, measured))
    found = [f"{row}: committed, but it no longer compiles" for key, row in before.items() if key not in after]
    for key, row in after.items():
        if key not in before:
            found.append(f"{row}: not committed yet")
            continue
        old = before[key]
        if row.context != old.context:
            how = "worse" if row.context < old.context else "better"
            found.append(f"{row}: {how}: context {row.context}, committed {old.context}")
        for position in {**old.cycles, **row.cycles}:
            was, now = old.cycles.get(position), row.cycles.get(position)
            if was != now and was is not None and now is not None:
                place = "on average" if position == "mean" else f"at position {position}"
                found.append(f"{row}: {'worse' if now > was else 'better'}: {now:g} cycles {place}, committed {was:g}")
    return found
