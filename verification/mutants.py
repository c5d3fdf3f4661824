"""Mutants: a design with a thousand seeded faults, each of which a number at an extra input switches on.

Yosys' `mutate` makes them: an input of a cell that is stuck, inverted, or inverted while another bit is 0 or 1. All are
in one netlist, so that it is built once. The netlist is flat; a cell's name tells the unit that it was in.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fpga.synthesis import SYNTHESISER
from fpga.tools import find_program
from fpga.tools import run as run_program
from rtl.verilog import TOP
from sim.toolchain import cache_root, cached, digest
from sim.verilate import build

SELECT = "mutant"
"""The input. 0 is the design as it was; mutant n of a list, counted from 0, is n + 1."""
SELECT_BITS = 16
POOL = 20_000
"""Candidates, evenly sampled by yosys, of which each unit's are drawn."""
ELABORATE = """\
read_verilog design.v
hierarchy -check -top {top}
proc -norom
opt -full
memory_share
opt_mem_widen
memory_collect
wreduce
opt -full
opt_clean
flatten
opt_expr
opt_clean
"""
"""As it is said, a write port of four bytes is four of a word each, with 24 bits that never count, and most faults of
those are none. So yosys first takes out what it can show to be without effect."""
LEFT_OUT = ("$meminit", "$scopeinfo", "$print", "$check")
"""Cells that are no hardware."""
EDGE = re.compile(r"-mode (inv|cnot).* -port \w*CLK ")
"""Of a register that takes its value half a cycle earlier: with one clock nothing can see that."""
OPTIMISE = ("-O1",)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A fault.

    Members
    -------
    unit : the module it is in, numbers as *. command : of yosys, without the input that switches it on. code : lines of
    Verilog that the cell and the wire come from.
    """

    unit: str
    command: str
    code: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """In short: mode, cell, port and bit, and which bit of the port decides whether it is inverted."""
        found = dict(re.findall(r"-(mode|cell|port|portbit|ctrlbit|wire) (\S+)", self.command))
        control = f" by [{found['ctrlbit']}]" if "ctrlbit" in found else ""
        wire = f", from {found['wire']}" if "wire" in found else ""
        return f"{found['mode']} {found['cell']} {found['port']}[{found['portbit']}]{control}{wire}"


def candidates(verilog: str, seed: int) -> dict[str, list[Mutant]]:
    """By unit, in a random order of the seed.

    Raises
    ------
    ToolMissing, BuildFailed : yosys is not there, or rejects the design.
    """
    script = ELABORATE.format(top=TOP) + f"mutate -list {POOL} -seed {seed} -o list.txt\nwrite_json design.json\n"
    folder = _yosys(verilog, script)
    cells = json.loads((folder / "design.json").read_text())["modules"][TOP]["cells"]
    found, design = defaultdict[str, list[Mutant]](list), verilog.splitlines()
    for line in dict.fromkeys((folder / "list.txt").read_text().splitlines()):
        command = line.partition(" -src ")[0]
        cell = re.search(r"-cell (\S+)", command)
        if (cell is None or any(f"{kind}$" in cell[1] for kind in LEFT_OUT) or EDGE.search(command)
                or _is_so_already(command, cells[cell[1]]) or _is_decided(command, cells[cell[1]])):
            continue
        numbers = dict.fromkeys(int(number) for number in re.findall(r"design\.v:(\d+)\.", line.partition(" -src ")[2]))
        found[unit_of(cell[1])].append(Mutant(unit=unit_of(cell[1]), command=command,
                                              code=tuple(design[number - 1].strip() for number in numbers)))
    for mutants in found.values():
        random.Random(seed).shuffle(mutants)
    return dict(sorted(found.items()))


def _is_so_already(command: str, cell: Mapping[str, Any]) -> bool:
    """Whether a bit that is to be stuck is a constant of that value."""
    stuck = re.search(r"-mode const([01]) .*-port (\S+) -portbit (\d+)", command)
    return stuck is not None and cell["connections"][stuck[2].removeprefix("\\")][int(stuck[3])] == stuck[1]


def _is_decided(command: str, cell: Mapping[str, Any]) -> bool:
    """Whether a bit is inverted just where another bit has decided what the cell says: that any bit is 1, that all are,
    or that two numbers differ, one of which is a constant."""
    found = re.search(r"-mode cnot([01]) .*-port (A|B) -portbit \d+ -ctrlbit (\d+)", command.replace("\\", ""))
    if found is None:
        return False
    value, place = found[1], int(found[3])
    if cell["type"] in ("$eq", "$ne"):
        other = cell["connections"]["B" if found[2] == "A" else "A"]
        signed = all(int(cell["parameters"][name], 2) for name in ("A_SIGNED", "B_SIGNED"))
        against = other[place] if place < len(other) else other[-1] if signed else "0"
        return against in ("0", "1") and against != value
    return cell["type"] in {"1": ("$logic_not", "$reduce_or", "$reduce_bool"), "0": ("$reduce_and",)}[value]


def unit_of(cell: str) -> str:
    """The module that a cell was in before all was flat."""
    path = re.sub(r"^\$flatten", "", cell).replace("\\", "")
    parts = path.split(".$")[0].split(".") if ".$" in path else path.split(".")[:-1]
    return re.sub(r"\d+", "*", ".".join(parts)) or TOP


def choose(pool: Mapping[str, Sequence[Mutant]], each: int) -> list[Mutant]:
    """So many of each unit, or all that there are."""
    return [mutant for mutants in pool.values() for mutant in mutants[:each]]


def netlist(verilog: str, mutants: Sequence[Mutant]) -> str:
    """Verilog of the design with all of the mutants, and the input."""
    assert len(mutants) < 1 << SELECT_BITS
    lines = [f"{mutant.command.replace('mutate', f'mutate -ctrl {SELECT} {SELECT_BITS} {number}', 1)}\n"
             for number, mutant in enumerate(mutants, 1)]
    script = ELABORATE.format(top=TOP) + "".join(lines) + "opt_clean\nwrite_verilog -noattr mutated.v\n"
    return (_yosys(verilog, script) / "mutated.v").read_text()


def library(verilog: str, mutants: Sequence[Mutant]) -> Path:
    """The compiled design with all of the mutants."""
    return build(netlist(verilog, mutants), inputs=[SELECT], optimise=OPTIMISE)


def _yosys(verilog: str, script: str) -> Path:
    """The folder in which yosys has run, once for each design and script."""
    yosys = find_program(SYNTHESISER)

    def fill(folder: Path) -> None:
        (folder / "design.v").write_text(verilog)
        (folder / "mutate.ys").write_text(script)
        run_program(yosys, ("-q", "-s", "mutate.ys"), what="mutation", folder=folder, log=folder / "log",
                    failed_log=cache_root() / "logs" / "mutate.log")

    return cached("mutants", digest(verilog, script, yosys.version), fill)
