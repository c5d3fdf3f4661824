"""Wide words: what a whole word of a sequencer needs has a twin for every few of its bits.

A word is more than a hundred bits wide, and where its program is LUT RAM there are a dozen rows of that behind every
four bits. One register for the address, or one LUT that says when all bits take the next word, would have wires all
over it. With a twin for each part of the word, a part is small and near its own.

As in `fpga.copies`, a twin has the function of its original by construction.
"""

from __future__ import annotations

import re
from collections import defaultdict

from fpga.copies import sweep
from fpga.graph import Graph, Pin

WHOLE = re.compile(r"_sequencer\.(?:coming|\w+_first_word)$")
"""Registers of a whole word, all with the bits in the same order."""
FIELD = re.compile(r"(_sequencer)\.(?:coming|word)\.(\w+)$")
"""Registers of one field; those of the current word go by no other name."""
PART_BITS = 36
LEAST_LOADS = 100
"""Of one signal, among those that belong to a part of a word."""
LEAST_PART_LOADS = 16
THROUGH = ("LUT4", "PFUMX", "L6MUX21", "CCU2C", "TRELLIS_DPR16X4")


class Parts:
    """Which part of a word a cell belongs to: that of the first bit that it is, or that it leads to."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._place: dict[str, int | None] = {}
        self._fields: dict[tuple[str, int], int] = {}  # place of a field's bit
        for names in graph.names.values():
            places = [place for name, place in names if WHOLE.search(name)]
            self._fields |= {bit: place for bit in map(self._field, names) if bit for place in places}

    def of(self, cell: str) -> int | None:
        place = self._find(cell)
        return None if place is None else place // PART_BITS

    def _field(self, name: tuple[str, int]) -> tuple[str, int] | None:
        """A field's bit by the queue's and the field's names; None for other names."""
        found = FIELD.search(name[0])
        return (name[0][:found.end(1)] + found[2], name[1]) if found else None

    def _find(self, cell: str) -> int | None:
        if cell not in self._place:
            self._place[cell] = None  # a loop through a memory
            graph, kind = self.graph, self.graph.type(cell)
            if kind == "TRELLIS_FF":
                names = [name for bit in graph.outputs(cell) for name in graph.names[bit]]
                found = [place for name, place in names if WHOLE.search(name)]
                found += [self._fields[bit] for bit in map(self._field, names) if bit in self._fields]
            elif kind in THROUGH:
                ends = (self._find(load.cell) for bit in graph.outputs(cell) for load in graph.loads[bit]
                        if graph.type(load.cell) != "TRELLIS_FF" or load.port in ("DI", "M"))
                found = [place for place in ends if place is not None]
            else:
                found = []
            self._place[cell] = min(found, default=None)
        return self._place[cell]


def copy_for_parts(graph: Graph) -> int:
    """Twins for the parts of words; how many were made. Cells that drive nothing any more are removed."""
    parts, made, originals = Parts(graph), 0, []
    for name in list(graph.cells):
        nets = graph.outputs(name)
        if graph.type(name) not in ("TRELLIS_FF", "LUT4") or len(nets) != 1 or len(graph.loads[nets[0]]) < LEAST_LOADS:
            continue
        loads: dict[int, list[Pin]] = defaultdict(list)
        for load in graph.loads[nets[0]]:
            if (part := parts.of(load.cell)) is not None:
                loads[part].append(load)
        if len(loads) < 2 or sum(map(len, loads.values())) < LEAST_LOADS:
            continue
        originals.append(name)
        for part, pins in sorted(loads.items()):
            if len(pins) >= LEAST_PART_LOADS:
                graph.move(pins, nets[0], graph.twin(name, f"{name}$of_part_{part}"))
                made += 1
    sweep(graph, originals)
    return made
