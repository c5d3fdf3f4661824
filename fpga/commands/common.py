"""What the board commands share: arguments, progress, and the report for people."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.table import Table

from fpga.board import board
from fpga.build import WORDS, Watch, quiet
from fpga.netlist import Memory
from fpga.report import Report
from sim.commands.common import err, out

BoardName = Annotated[str, typer.Argument(help="The board: icebreaker, tangnano20k, ulx3s or ulx3s-fast.")]
Model = Annotated[str | None, typer.Option(help="Bake this model's weights into the bitstream; a host loads them.")]
Freq = Annotated[float | None, typer.Option(help="Clock of the core in MHz; the board's own.")]


@contextmanager
def progress() -> Generator[Watch]:
    """On a terminal: the step in progress and what it is at, and a line for each one that is done."""
    if not err.is_terminal:
        yield quiet
        return
    started = time.monotonic()
    with err.status("starting") as status:
        def watch(step: str, phase: str) -> None:
            nonlocal started
            if not phase:
                started = time.monotonic()
            seconds = f"{time.monotonic() - started:.0f} s"
            if phase in ("done", "cached"):
                err.print(f"{step}: {seconds if phase == 'done' else 'as before'}")
            else:
                status.update(f"{step}{': ' if phase else ''}{phase.lower()}")

        yield watch


def print_report(report: Report) -> None:
    """For people."""
    facts = board(report.board)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("board", f"{facts.title} ({report.device}), machine {report.preset}"
                  + (f", with {report.model} inside" if report.model else ""))
    table.add_row("clock", f"{report.core_mhz:g} MHz from a crystal of {facts.clock_mhz:g} MHz")
    if report.arrangement and report.arrangement.sites:
        table.add_row("floorplan", f"{report.arrangement.sites} cells have a site; {report.arrangement.copies} copies "
                      "of registers and LUTs")
    if report.arrangement and report.arrangement.absorbed:
        table.add_row("multipliers", f"have {report.arrangement.absorbed} flip-flops inside")
    if report.seed is not None:
        table.add_row("place and route", f"aimed at {report.target_mhz:g} MHz, seed {report.seed}")
        table.add_row("Fmax", report.fmax_note if report.fmax_mhz is None else f"{report.fmax_mhz:.2f} MHz")
    for name, word in WORDS.items():
        used, there = getattr(report, name), getattr(report.capacity, name)
        if there:
            table.add_row(word, f"{used} of {there} ({100 * used / there:.0f} %){'  TOO MANY' * (used > there)}")
    if report.lut_ram:
        table.add_row("LUT RAM", f"{report.lut_ram} cells, counted among the LUTs")
    if path := report.critical_path:
        table.add_row("slowest path", f"{path.ns:.2f} ns: {path.logic_ns:.2f} logic, {path.routing_ns:.2f} routing, "
                      f"{len(path.hops)} hops")
        table.add_row("", f"from {path.start}")
        table.add_row("", f"to   {path.end}")
    for name, seconds in report.seconds.items():
        table.add_row(name, f"{seconds:.1f} s{' (as before)' * (name in report.cached)}")
    table.add_row("tools", ", ".join(f"{name} {version}" for name, version in report.tools.items()))
    if report.bitstream:
        table.add_row("bitstream", f"{report.bitstream}, {report.bytes} bytes, SHA-256 {(report.sha256 or '')[:16]}")
    out.print(table)
    out.print()
    out.print(_memories(report.memories))
    for problem in report.problems:
        err.print(f"PROBLEM: {problem}")


def _memories(memories: Sequence[Memory]) -> Table:
    """Each memory, those alike in one row."""
    table = Table("memory", "rows x bits", "became", box=None, pad_edge=False)
    rows: dict[tuple[str, str, str], int] = {}
    for one in memories:
        became = ", ".join(f"{count} {kind}" for kind, count in one.cells.items()) or (
            "flip-flops" if one.written else "logic")
        name = "".join("*" if letter.isdigit() else letter for letter in one.name)
        key = (name, f"{one.rows} x {one.width}", became)
        rows[key] = rows.get(key, 0) + 1
    for (name, size, became), count in rows.items():
        table.add_row(name, size, f"{count} times {became}" if count > 1 else became)
    return table
