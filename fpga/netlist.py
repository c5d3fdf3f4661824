"""What became of the gateware's memories and multipliers: a check on the netlist that yosys made.

Peers lost half of their clock when a memory's template was missed and it became flip-flops. So each memory that the
Verilog declares is looked up among the netlist's cells, by name, and each multiplication that is in no DSP is named.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fpga.family import TOP, Family
from rtl.config import Config
from rtl.isa import QUEUES
from rtl.technology import Technology

MODULE = re.compile(r"^module (\S+) *[(;]", re.MULTILINE)
MEMORY = re.compile(r"^  reg (?:signed )?(?:\[(\d+):0\] )?(\S+) +\[(\d+):0\];", re.MULTILINE)
INSTANCE = re.compile(r"^  (\S+) +(?:#\(\n.*?\n  \) +)?(\S+) +\(\n", re.MULTILINE | re.DOTALL)
CELL = re.compile(r'^  attribute \\src "[^":]*:(\d+)\..*\n  cell \$(mul|macc_v2) .*\n((?:    .*\n)*)', re.MULTILINE)
PLACE = re.compile(r"(?:\.\d+)+$")
"""What memory_libmap appends to a memory's name for each cell that it makes of it."""

FLIP_FLOP_BITS = {Technology.ICE40: 512, Technology.ECP5: 64, Technology.GOWIN: 64}
"""A memory up to this size may be flip-flops: on an iCE40, which has no LUT RAM, one that is read in the same cycle."""
LOGIC_BITS = 4096
"""A table that nobody writes may be logic up to this size: less than a block RAM is worth."""
LUT_RAM_BITS = 4096
"""A memory may be LUT RAM up to this size, or where `Config.lut_memories` says so."""
LUT_MEMORIES = {"memory": "core.memory.ram"} | {
    f"{queue.name}_program": f"{queue.name}_sequencer.words" for queue in QUEUES}
"""Names in `Config.lut_memories`, and the end of the path that each stands for."""
SOFT_BITS = 5
"""A product in LUTs is worth a word from this width of the narrower factor on."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A memory that the Verilog declares, and what it became.

    Members
    -------
    name : path from the top. width, rows : its size. written : something writes it; otherwise it is a table.
    cells : RAM cells by type.
    """

    name: str
    width: int
    rows: int
    written: bool
    cells: dict[str, int]

    @property
    def bits(self) -> int:
        return self.width * self.rows


@dataclass(frozen=True, kw_only=True)
class Netlist:
    """Counts of a netlist.

    Members
    -------
    cells : by type. ram : RAM cells by memory and type. dsp : DSP cells by module path and type.
    soft : products that are in no DSP, as (module path, width of one factor, of the other).
    """

    cells: Counter[str]
    ram: dict[str, dict[str, int]]
    dsp: dict[str, dict[str, int]]
    soft: tuple[tuple[str, int, int], ...]

    def dump(self) -> str:
        return json.dumps({"cells": dict(sorted(self.cells.items())), "ram": self.ram, "dsp": self.dsp,
                           "soft": self.soft}, sort_keys=True, indent=1)

    @classmethod
    def load(cls, text: str) -> Netlist:
        content: dict[str, Any] = json.loads(text)
        return cls(cells=Counter(content["cells"]), ram=content["ram"], dsp=content["dsp"],
                   soft=tuple((name, a, b) for name, a, b in content["soft"]))


# -------------------------------------------------------------------------------------------------- what is declared


def _plain(name: str) -> str:
    """A Verilog identifier as netlists have it."""
    return name.removeprefix("\\")


def declared(verilog: str) -> list[Memory]:
    """The memories of every instance below the top, without what became of them."""
    starts = list(MODULE.finditer(verilog))
    bodies = {_plain(start[1]): verilog[start.end():end] for start, end in zip(
        starts, [*(start.start() for start in starts[1:]), len(verilog)], strict=True)}

    def below(module: str, path: str) -> list[Memory]:
        body = bodies[module]
        found: list[Memory] = []
        for width, name, last in MEMORY.findall(body):
            written = re.search(rf"^ +{re.escape(name)} ?\[.*\](?:\[[^=]*\])? <= ", body, re.MULTILINE) is not None
            found.append(Memory(name=path + _plain(name), width=int(width or 0) + 1, rows=int(last) + 1,
                                written=written, cells={}))
        for kind, name in INSTANCE.findall(body):
            if _plain(kind) in bodies:
                found += below(_plain(kind), f"{path}{_plain(name)}.")
        return found

    return below(TOP, "")


# ----------------------------------------------------------------------------------------------------- what became of


def read_netlist(folder: Path, family: Family) -> Netlist:
    """Count the cells of design.json, yosys' netlist; soft.il: its dump of the products that were left for LUTs."""
    modules = json.loads((folder / "design.json").read_text())["modules"]
    cells: Counter[str] = Counter()
    ram: dict[str, Counter[str]] = {}
    dsp: dict[str, Counter[str]] = {}
    for name, cell in modules[TOP]["cells"].items():
        kind = cell["type"]
        if kind.startswith("$"):
            continue  # $scopeinfo: no hardware
        cells[kind] += 1
        if kind in family.ram_cells:
            ram.setdefault(PLACE.sub("", name), Counter())[kind] += 1
        elif kind in family.dsp_cells:
            dsp.setdefault(name.rpartition(".")[0], Counter())[kind] += 1
    plain = {key: {one: dict(sorted(count.items())) for one, count in sorted(found.items())}
             for key, found in (("ram", ram), ("dsp", dsp))}
    soft = _soft((folder / "soft.il").read_text(), (folder / "design.v").read_text())
    return Netlist(cells=cells, ram=plain["ram"], dsp=plain["dsp"], soft=soft)


def _soft(dump: str, verilog: str) -> tuple[tuple[str, int, int], ...]:
    """The products in a dump of yosys' cells. Their names say nothing: the line that they come from says the module."""
    starts = [(verilog.count("\n", 0, found.start()) + 1, _plain(found[1])) for found in MODULE.finditer(verilog)]
    found: list[tuple[str, int, int]] = []
    for line, kind, body in CELL.findall(dump):
        module = next((name for start, name in reversed(starts) if start <= int(line)), "?")
        values = dict(re.findall(r"^    parameter (?:signed )?\\(\w+) (?:\d+')?(\d+)$", body, re.MULTILINE))
        if kind == "mul":
            factors = [(int(values["A_WIDTH"]), int(values["B_WIDTH"]))]
        else:
            factors = list(zip(*(_widths(values.get(f"{side}_WIDTHS", ""), int(values["NPRODUCTS"])) for side in "AB"),
                               strict=True))
        found += [(module.removeprefix(f"{TOP}."), a, b) for a, b in factors]
    return tuple(sorted(found))


def _widths(bits: str, count: int) -> list[int]:
    """Widths that yosys packs into 16 bits each, the first in the lowest."""
    return [int(bits[len(bits) - 16 * (one + 1):len(bits) - 16 * one], 2) for one in range(count)]


def mapped(memories: Sequence[Memory], netlist: Netlist) -> list[Memory]:
    """The memories with their cells."""
    return [Memory(name=one.name, width=one.width, rows=one.rows, written=one.written,
                   cells=netlist.ram.get(one.name, {})) for one in memories]


# -------------------------------------------------------------------------------------------------------- what is right


def problems(memories: Sequence[Memory], netlist: Netlist, family: Family, cfg: Config) -> list[str]:
    """What is not as it must be, a line each.

    memories : as `mapped` gives them.
    """
    return [*memory_problems(memories, family, cfg.lut_memories), *bank_problems(netlist, family, cfg),
            *product_problems(netlist, cfg)]


def memory_problems(memories: Sequence[Memory], family: Family, lut_memories: Sequence[str] = ()) -> list[str]:
    """Memories that fell apart. lut_memories : those that may be LUT RAM however large, as `Config` names them."""
    found: list[str] = []
    meant = tuple(LUT_MEMORIES[name] for name in lut_memories)
    for one in memories:
        kinds = {family.ram_cells[kind] for kind in one.cells}
        size = f"{one.name} ({one.rows} x {one.width})"
        if not kinds and one.written and one.bits > FLIP_FLOP_BITS[family.technology]:
            found.append(f"memory {size} fell apart into flip-flops")
        elif not kinds and not one.written and one.bits > LOGIC_BITS:
            found.append(f"table {size} became logic")
        elif "lut" in kinds and one.bits > LUT_RAM_BITS and not one.name.endswith(meant):
            found.append(f"memory {size} became LUT RAM")
    return found


def bank_problems(netlist: Netlist, family: Family, cfg: Config) -> list[str]:
    """Banks that are not the block RAMs of their size; single-port ones on an iCE40 are to be SPRAMs."""
    found: list[str] = []
    if family.technology is Technology.ICE40 and cfg.single_port:
        kind, expected = "large", -(-cfg.bank_rows // 16384) * -(-8 * cfg.taps // 16)
    else:
        kind, expected = "block", block_rams(8 * cfg.taps, cfg.bank_rows, family.technology)
    for lane in range(cfg.lanes):
        cells: Counter[str] = Counter()
        for name, count in netlist.ram.items():
            if f".banks.bank_{lane}." in f".{name}.":
                cells.update(count)
        right = all(family.ram_cells[one] == kind for one in cells)
        if not right or sum(cells.values()) != expected:
            became = ", ".join(f"{n} {one}" for one, n in sorted(cells.items())) or "no RAM cells"
            found.append(f"bank {lane} ({cfg.bank_rows} x {8 * cfg.taps}) became {became}, not {expected} {kind} RAMs")
    return found


def product_problems(netlist: Netlist, cfg: Config) -> list[str]:
    """The mesh's products that are in no DSP. Paired ones fill their DSPs, so those made of adders count."""
    found = [f"product of {a} x {b} bits in {name} is made of LUTs" for name, a, b in netlist.soft
             if min(a, b) >= SOFT_BITS and ".mesh" in name]
    dsps = sum(sum(count.values()) for path, count in netlist.dsp.items() if ".mesh" in path)
    if 2 * dsps < cfg.peak_macs - (cfg.logic_products if cfg.paired_products else 0):
        found.append(f"the mesh has {dsps} DSPs for {cfg.peak_macs} products; a DSP holds two at most")
    return found


def block_rams(width: int, rows: int, technology: Technology) -> int:
    """The fewest block RAMs that hold a memory whose bytes are written one by one."""
    shapes = ((16, 256), (8, 512)) if technology is Technology.ICE40 else ((36, 512), (18, 1024), (9, 2048))
    return min(-(-width // wide) * -(-rows // deep) for wide, deep in shapes)
