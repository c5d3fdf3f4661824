"""`lpu gates`: what synthesis made of a small machine runs a program, against the golden model."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from compiler.errors import InputError
from fpga.gates import TOKENS, Outcome, check_family, technology_of
from sim.commands.common import Json, err, out, print_json


def gates_command(
    name: Annotated[str, typer.Argument(help="A board, or a family: ice40, ecp5 or gowin.")],
    tokens: Annotated[int, typer.Option(help="Of each sequence.")] = TOKENS,
    as_json: Json = False,
) -> None:
    """Simulate the netlist of a family's small machine, gate by gate, against the golden model."""
    technology = technology_of(name)
    if tokens < 1:
        raise InputError("--tokens must be at least 1")
    if err.is_terminal:
        with err.status("starting") as status:
            found = check_family(technology, steps=tokens, watch=status.update)
    else:
        found = check_family(technology, steps=tokens)
    if as_json:
        print_json(_report(found))
    else:
        _print(found)
    if not found.good:
        raise typer.Exit(1)


def _report(found: Outcome) -> dict[str, Any]:
    netlist, compared = found.netlist, found.compared
    return {
        "family": netlist.technology.value, "preset": netlist.cfg.name, "sequences": found.image.sequences,
        "tokens": found.steps, "good": found.good, "cells": dict(sorted(netlist.cells.items())), "clocks": found.clocks,
        "other_tokens": compared.tokens, "other_cycles": compared.cycles, "other_tensors": compared.tensors,
        "tensors_compared": sorted(compared.compared), "other_memory_elements": found.memories,
        "seconds": {"synthesis": netlist.seconds, "build": round(found.build_seconds, 1),
                    "run": round(found.seconds, 1)}}


def _print(found: Outcome) -> None:
    netlist, gates = found.netlist, found.compared

    def verdict(wrong: list[int], good: str) -> str:
        return f"differ in steps {', '.join(map(str, wrong[:8]))}" if wrong else good

    table = Table(show_header=False, box=None, pad_edge=False)
    several = f", {found.image.sequences} sequences" if found.image.sequences > 1 else ""
    table.add_row("machine", f"{netlist.cfg.name} as {netlist.technology.value} cells{several}")
    table.add_row("tokens", verdict(gates.tokens, f"{found.steps} steps as golden"))
    table.add_row("cycles", verdict(gates.cycles, "as predicted"))
    wrong = sorted(gates.tensors)
    table.add_row("tensors", f"differ: {', '.join(wrong[:8])}" if wrong else f"{len(gates.compared)} as golden")
    others = ", ".join(f"{count} elements of {name}" for name, count in found.memories.items())
    table.add_row("memories", f"differ: {others}" if others else "as the cycle simulator's")
    for kind, count in netlist.cells.most_common():
        table.add_row(kind, str(count))
    table.add_row("synthesis", f"{netlist.seconds:.1f} s")
    if not found.good:
        table.add_row("", "whether the RTL is to blame: lpu check")
    table.add_row("simulation", f"built in {found.build_seconds:.1f} s, {found.clocks} clocks in {found.seconds:.1f} s")
    out.print(table)
