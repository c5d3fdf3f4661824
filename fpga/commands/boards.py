"""`lpu boards`: the boards that there are, and a table of what builds for them came to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table as Grid

from compiler.errors import InputError, one_line
from compiler.image_file import check_writable, write_atomically
from compiler.typed import obj, of_type
from fpga.board import board, board_names
from sim.bench_tables import Table, between_markers, markdown
from sim.commands.common import Json, out, print_json
from sim.committed import FILE, load_rows

MARKERS = ("<!-- boards: begin -->", "<!-- boards: end -->")
READ: dict[str, Any] = {
    "board": str, "preset": str, "model": str | None, "core_mhz": float, "fmax_mhz": float | None, "seed": int,
    **dict.fromkeys(("lut", "ff", "dsp", "bram", "spram"), int), "capacity": dict[str, int], "tools": dict[str, str]}
"""What is read of a report, and its type."""
CLASSIFIED = "classified"
"""The committed run of one text, every token with its classifier."""


def boards_command(
    reports: Annotated[list[Path] | None, typer.Argument(
        help="Files that `lpu build BOARD --json` printed; none to list the boards.")] = None,
    cycles: Annotated[Path, typer.Option(help="Committed cycles of a token, for tokens a second.")] = Path(FILE),
    write: Annotated[Path | None, typer.Option(help="Markdown file in which to replace the table.")] = None,
    as_json: Json = False,
) -> None:
    """List the boards, or put build reports into a table."""
    if not reports and write:
        raise InputError("--write needs the reports of builds: lpu build BOARD --json > REPORT")
    means = {(row.model, row.preset): row.cycles["mean"] for row in load_rows(cycles)
             if row.run == CLASSIFIED and row.cycles.get("mean", 0) > 0} if reports else {}
    rows = [result(load_build(path), means) for path in reports] if reports else [facts(name) for name in board_names()]
    # A column a board: there are more facts than boards.
    table: Table = [["", *(one_line(row["board"]) for row in rows)], *(
        [fact, *(one_line(str("" if row[fact] is None else row[fact])) for row in rows)]
        for fact in rows[0] if fact != "board")]
    if as_json:
        print_json({"boards": rows})
    else:
        grid = Grid(*table[0], box=None, pad_edge=False)
        for cells in table[1:]:
            grid.add_row(*cells)
        out.print(grid)
    if write:
        check_writable(write)
        write_atomically(write, between_markers(document(write), markdown(table), str(write), MARKERS).encode())


def document(path: Path) -> str:
    """The text of a file. Raises InputError where it is none."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None


def facts(name: str) -> dict[str, Any]:
    """What a board is."""
    one = board(name)
    device = " ".join(filter(None, (one.device, one.package, one.speed)))
    return {"board": name, "title": one.title, "FPGA": device, "machine": one.preset, "model": one.model,
            "crystal MHz": one.clock_mhz, "clock MHz": one.core_mhz, "serial baud": one.baud}


def load_build(path: Path) -> dict[str, Any]:
    """A report. Raises InputError where it is none of a bitstream."""
    try:
        report = obj(json.loads(path.read_text()), "a report")
        if report["seed"] is None:
            raise InputError(f"{path} is a report of `lpu synth`: nothing is placed; take one of `lpu build`")
        return {**report, **{name: of_type(report[name], kind, name) for name, kind in READ.items()}}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, KeyError, RecursionError) as error:
        why = f"has no {error.args[0]}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} is no report of a build ({why}); `lpu build BOARD --json` prints one") from None


def result(report: dict[str, Any], means: dict[tuple[str, str], float]) -> dict[str, Any]:
    """A row: what a build takes, how fast it is, and with what it was made.

    means: cycles of a token by model and preset, mean over the first 128 positions.
    """
    one = board(report["board"])
    model = report["model"] or one.model
    mean, fmax, clock = means.get((model, report["preset"])), report["fmax_mhz"], report["core_mhz"]

    def of(name: str) -> str:
        there = report["capacity"].get(name)
        return f"{report[name]} of {there}" if there else ""

    def speed(mhz: float | None) -> str | None:
        return None if mean is None or mhz is None else f"{mhz * 1e6 / mean:.0f}"

    return {
        "board": one.title, "machine": report["preset"], "model": model, "LUTs": of("lut"), "flip-flops": of("ff"),
        "DSPs": of("dsp"), "block RAMs": of("bram"), "SPRAMs": of("spram"), "clock MHz": f"{clock:g}",
        "Fmax MHz": f"{fmax:.1f}" if fmax is not None else "not modelled", "seed": report["seed"],
        "cycles a token": None if mean is None else f"{mean:.1f}", "tokens/s at the clock": speed(clock),
        "tokens/s at Fmax": speed(fmax),
        "tools": ", ".join(f"{name.removeprefix('yowasp-')} {version}" for name, version in report["tools"].items())}
