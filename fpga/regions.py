"""Regions: which part of the machine a cell of the netlist belongs to, a lane or a unit that serves them all.

Registers and multipliers say it by the gateware's names. The others are found from these: what reaches cells of one
region only belongs there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from fpga.family import ArrangementFailed
from fpga.graph import Graph, Pin
from rtl.config import Config

CLOCKED = ("TRELLIS_FF", "DP16KD", "TRELLIS_DPR16X4", "MULT18X18D", "EHXPLLL")
"""Cells at which a path between two clock edges begins and ends."""

BANK = re.compile(r"\.banks\.bank_(\d+)\.ram(?:_above)?\.[\d.]+$")
BANK_NAMES = r"\.(?:matrix\.(?:bank_data|weights)|banks\.read_data)"
"""Of registers behind the banks; which of the names is left, synthesis decides."""
NUMBERED = (
    re.compile(r"\.mesh\.(?:product|weight|partial|sum)_(\d+)_"), re.compile(r"\.mesh\.(?:weights|sums)\[(\d+)\]"),
    re.compile(BANK_NAMES + r"\[(\d+)\]"), re.compile(r"\.banks\.bank_(\d+)\.found_late"),
    re.compile(r"\.vector\.(?:acc|d|held)_(\d+)$"), re.compile(r"\.(?:memory\.|vector\.memory_)read_data\[(\d+)\]$"),
    re.compile(r"\.vector\.after_\w+?_(?:shifted|plain|params|a|f1|f2|addend|scaled|aligned|b|product|settled|d|short"
               r"|small|power|from_\w+|silus|lines|gaps|powers|results|terms|narrowed|o)_(\d+)$"))
"""Names of registers with the lane's number."""
ROWS = (
    (re.compile(r"\.vector\.after_\w+_masked$"), 1),
    (re.compile(r"\.(?:memory\.read_data|memory\._\d+_|vector\.memory_read_data)$"), 16))
"""Names of registers of all lanes, and bits a lane."""
BANK_DATA = re.compile(BANK_NAMES + "$")
"""Likewise; as many bits a lane as a bank's row has."""
TREE = re.compile(r"\.reduce\.tree(\d+)_values_(\d+)$")
"""Registers of a tree over the lanes: its level, and the place in it."""
PICKED = re.compile(r"\.(?:banks|memory)\.picked_(\d+)_(\d+)$")
"""Likewise, but level 0 has a register for two lanes; each is at home in the middle of its own."""
UNIT = re.compile(r"(?:.*\.)?(?:core|board)\.(\w+)\.")
PARTS = {"DP16KD": "block RAMs", "MULT18X18D": "multipliers", "TRELLIS_DPR16X4": "LUT RAMs", "TRELLIS_FF": "registers"}
"""Of a lane."""

Region = str


def lane_region(lane: int) -> Region:
    return f"lane {lane}"


class Regions:
    """Regions of the clocked cells, and which of them a path through other cells ends in.

    Parameters
    ----------
    graph : the netlist; `of` can be added to while it changes.

    Members
    -------
    of : region of each clocked cell.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        lanes = len({bank[1] for name in graph.cells if (bank := BANK.search(name))})
        places = [place for names in graph.names.values() for name, place in names if BANK_DATA.search(name)]
        self._rows = [*ROWS]
        if lanes and places:
            self._rows.append((BANK_DATA, (max(places) + 1) // lanes))
        self.of: dict[str, Region] = {}
        self._reached: dict[str, frozenset[Region]] = {}
        clocked = [name for name in graph.cells if graph.type(name) in CLOCKED]
        for name in clocked:
            if (lane := self._lane(name)) is not None:
                self.of[name] = lane_region(lane)
        # Backwards from these, one clock cycle a round.
        found = True
        while found:
            self._reached.clear()
            found = False
            for name in clocked:
                if name not in self.of and len(ends := self._ends(name)) == 1 and "" not in ends:
                    self.of[name], found = next(iter(ends)), True
        for name in clocked:
            if name not in self.of:
                unit = UNIT.match(name)
                self.of[name] = unit[1] if unit else "top"
        self._reached.clear()

    def reached(self, pin: Pin) -> frozenset[Region]:
        """Regions of the clocked cells that a pin's cell is, or leads to."""
        if self._clocks(pin):
            return frozenset([self.of.get(pin.cell, "")])
        return self._ends(pin.cell)

    def belongs(self, cell: str, region: Region) -> None:
        """A new cell's region: its own, if it is clocked, or that of all it leads to."""
        if self.graph.type(cell) in CLOCKED:
            self.of[cell] = region
        else:
            self._reached[cell] = frozenset([region])

    def _clocks(self, pin: Pin) -> bool:
        """LUT RAM answers a read address in the same cycle."""
        kind = self.graph.type(pin.cell)
        return kind in CLOCKED and not (kind == "TRELLIS_DPR16X4" and pin.port == "RAD")

    def _ends(self, cell: str) -> frozenset[Region]:
        waiting = [cell]
        while waiting:
            name = waiting[-1]
            loads = [load for bit in self.graph.outputs(name) for load in self.graph.loads[bit]]
            missing = [load.cell for load in loads if not self._clocks(load) and load.cell not in self._reached]
            if name not in self._reached and missing:
                waiting += missing
                continue
            if name not in self._reached:
                self._reached[name] = self._union(loads)
            waiting.pop()
        return self._reached[cell]

    def _union(self, loads: Iterable[Pin]) -> frozenset[Region]:
        found: set[Region] = set()
        for load in loads:
            if not self._clocks(load):
                found |= self._reached[load.cell]
            # A lane's accumulators lead to themselves.
            elif load.cell in self.of or self.graph.type(load.cell) != "TRELLIS_DPR16X4":
                found.add(self.of.get(load.cell, ""))
        return frozenset(found)

    def _lane(self, cell: str) -> int | None:
        """The lane that a name says."""
        graph, kind = self.graph, self.graph.type(cell)
        if kind == "DP16KD":
            bank = BANK.search(cell)
            return int(bank[1]) if bank else None
        if kind == "TRELLIS_FF":
            return self._named(graph.outputs(cell)[0])
        if kind == "MULT18X18D":
            for bit in graph.outputs(cell):
                for load in graph.loads[bit]:
                    if graph.type(load.cell) == "TRELLIS_FF":
                        return self._named(graph.outputs(load.cell)[0])
        return None

    def _named(self, bit: int) -> int | None:
        for name, place in self.graph.names[bit]:
            for pattern in NUMBERED:
                if found := pattern.search(name):
                    return int(found[1])
            for pattern, width in self._rows:
                if pattern.search(name):
                    return place // width
            if found := TREE.search(name):
                return int(found[2]) << int(found[1])
            if found := PICKED.search(name):
                return 2 * int(found[2]) + 1 << int(found[1])
        return None


def check_lanes(graph: Graph, regions: Regions, cfg: Config) -> None:
    """Raises ArrangementFailed where a lane's cells were not found, and would be left to the placer without a word.

    All lanes are made of the same; but registers that are the same in some lanes may have been merged, and the last
    lanes may have a product more in logic.
    """
    found = Counter((graph.type(name), region) for name, region in regions.of.items())
    for kind, what in PARTS.items():
        counts = [found[kind, lane_region(lane)] for lane in range(cfg.lanes)]
        if not min(counts) or (kind in ("DP16KD", "TRELLIS_DPR16X4") and min(counts) != max(counts)):
            raise ArrangementFailed(f"of lanes 0 to {cfg.lanes - 1} these {what} were found: "
                                    f"{', '.join(map(str, counts))}; their names may have changed")
