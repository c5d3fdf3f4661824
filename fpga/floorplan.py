"""Floorplan: where the banks and multipliers of a large ECP5 design go.

A machine that takes all block RAMs and DSPs of its FPGA is beyond a placer that moves cells one by one: it scatters a
lane's over the whole die. But they are a regular array, and so are the sites. So each lane gets a strip of the die,
from the left to the right in the lanes' order, with the control in a spine in the middle: every bank beside its
multipliers, their sum on its way along the strip to the vector lane at the end. Each side has a copy of activation
memory: its lanes read it, and all lanes write both copies. So it lies between the middle of its side and the spine.
Logic follows by itself.

The sites were read from what nextpnr-ecp5 places a design on that uses all of them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from fpga.family import ArrangementFailed
from fpga.graph import Graph
from fpga.regions import BANK
from rtl.config import Config

PRODUCT = re.compile(r"\.mesh\.product_(\d+)_(\d+)$")
ACT_COPY = re.compile(r"\.act\.copy_(\d+)\.[\d.]+$")
LANE_PRODUCT = re.compile(r"\.vector\.after_(?:scale_scaled|multiply_product)_(\d+)$")


@dataclass(frozen=True, kw_only=True)
class Die:
    """Sites of a die, which has the same blocks side by side, each with four of both kinds in every row of its kind.

    Members
    -------
    blocks : column of each block's first tile. spine : index of the block in the middle, for control.
    dsp_rows, ram_rows : row of each row of them, from the far end of a lane's strip to the end with the vector lane.
    act_rows : of each side's activation memory, among `ram_rows` and different.
    """

    blocks: tuple[int, ...]
    spine: int
    dsp_rows: tuple[int, ...]
    ram_rows: tuple[int, ...]
    act_rows: tuple[int, int]

    @property
    def spine_block(self) -> int:
        return self.blocks[self.spine]

    def sides(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The blocks to the left of the spine, and those to its right."""
        return self.blocks[:self.spine], self.blocks[self.spine + 1:]


LFE5_85 = Die(blocks=(4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114), spine=6, dsp_rows=(58, 34, 10),
              ram_rows=(82, 70, 46, 22), act_rows=(46, 70))


def ram_sites(block: int, row: int) -> list[str]:
    return [f"X{block + 2 * index}/Y{row}/EBR{index}" for index in range(4)]


def dsp_sites(block: int, row: int) -> list[str]:
    return [f"X{block + index}/Y{row}/MULT18_{index}" for index in (0, 1, 4, 5)]


def floorplan(graph: Graph, cfg: Config, die: Die = LFE5_85) -> dict[str, str]:
    """Sites by cell name.

    Raises ArrangementFailed where the lanes' strips would not hold what belongs into them.
    """
    banks, multipliers, copies = _banks(graph, cfg), _multipliers(graph, cfg), _act_copies(graph)
    half = cfg.lanes // 2
    sites: dict[str, str] = {}
    for side, lanes in enumerate((range(half), range(half, cfg.lanes))):
        blocks = die.sides()[side]
        rams = [[site for block in blocks for site in ram_sites(block, row)] for row in die.ram_rows]
        if len(copies) == 2:
            # What activation memory takes from the lanes, they have from the spine, each a block further.
            row, inner = die.act_rows[side], blocks[1] if side else blocks[-2]
            taken, further = ram_sites(inner, row), ram_sites(die.spine_block, row)
            left = [site for site in rams[die.ram_rows.index(row)] if site not in taken]
            rams[die.ram_rows.index(row)] = further + left if side else left + further
            if len(copies[side]) > len(taken):
                raise ArrangementFailed(
                    f"a copy of activation memory has {len(copies[side])} block RAMs; its place has {len(taken)}")
            sites |= dict(zip(copies[side], taken, strict=False))
        for what, rows, found in (("block RAMs", rams, banks), ("multipliers", _dsps(die, side), multipliers)):
            cells = [found[lane] for lane in lanes]
            needed, there = sum(map(len, cells)), sum(map(len, rows))
            if needed > there:
                raise ArrangementFailed(f"lanes {lanes[0]} to {lanes[-1]} have {needed} {what}; their side of the die "
                                        f"has {there}")
            for lane, strip in zip(cells, _strips(rows, cells, side), strict=True):
                sites |= dict(zip(lane, strip, strict=True))
    return sites


def _dsps(die: Die, side: int) -> list[list[str]]:
    """The DSPs of a side, row by row. Those of the spine are for lanes too: each side has half of them."""
    rows: list[list[str]] = []
    for row in die.dsp_rows:
        own, spine = [site for block in die.sides()[side] for site in dsp_sites(block, row)], dsp_sites(
            die.spine_block, row)
        half = len(spine) // 2
        rows.append(spine[half:] + own if side else own + spine[:half])
    return rows


def _strips(rows: list[list[str]], cells: list[list[str]], side: int) -> list[list[str]]:
    """Sites for each lane's cells, row by row: a strip as wide as they need. What is left over is at the spine."""
    order = [(column, row) for column in range(len(rows[0])) for row in range(len(rows))]
    start = len(order) - sum(map(len, cells)) if side else 0
    strips: list[list[str]] = []
    for lane in cells:
        strip = sorted(order[start:start + len(lane)], key=lambda place: (place[1], place[0]))
        strips.append([rows[row][column] for column, row in strip])
        start += len(lane)
    return strips


def _act_copies(graph: Graph) -> list[list[str]]:
    """The block RAMs of activation memory, one list a copy."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in graph.cells:
        if graph.type(name) == "DP16KD" and (hit := ACT_COPY.search(name)):
            found[hit[1]].append(name)
    return [found[copy] for copy in sorted(found)]


def _banks(graph: Graph, cfg: Config) -> list[list[str]]:
    """Of each lane the block RAMs of its bank, those of the lowest taps first, whichever rows they hold. Which bytes
    one holds, its number in its memory's first row of RAMs says."""
    found: list[dict[tuple[Any, ...], list[str]]] = [defaultdict(list) for _ in range(cfg.lanes)]
    of_memory: Counter[str] = Counter()
    for name in graph.cells:
        if graph.type(name) == "DP16KD" and (hit := BANK.search(name)):
            written = sorted((pin, bit) for pin, bit in graph.pins(name, "input") if re.match(r"DI[AB]\d", pin.port))
            memory = name.rpartition(".")[0]
            found[int(hit[1])][memory, *(bit for _, bit in written)].append(name)
            of_memory[memory] += 1

    def place(name: str) -> float:
        memory, _, number = name.rpartition(".")
        return int(number) / of_memory[memory]

    return [[name for group in sorted(groups.values(), key=lambda names: min(map(place, names)))
             for name in sorted(group, key=place)] for groups in found]


def _multipliers(graph: Graph, cfg: Config) -> list[list[str]]:
    """Of each lane the DSPs: those of the mesh by taps, then the vector lane's. Of those that two lanes share each has
    one half in its strip."""
    found: list[dict[int, str]] = [{} for _ in range(cfg.lanes)]
    for name in graph.cells:
        if graph.type(name) == "MULT18X18D":
            for register in graph.registers(name):
                if hit := PRODUCT.search(register):
                    found[int(hit[1])][int(hit[2])] = name
                elif hit := LANE_PRODUCT.search(register):
                    found[int(hit[1])][cfg.taps + ("product" in register)] = name
    for one, other in zip(found[::2], found[1::2], strict=True) if cfg.paired_products else ():
        shared = sorted(tap for tap in one if tap < cfg.taps)
        other |= {tap: one.pop(tap) for tap in shared[(len(shared) + 1) // 2:]}
    return [[cells[key] for key in sorted(cells)] for cells in found]
