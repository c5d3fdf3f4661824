"""Dependences: how many cycles must lie between the issues of two operations, from what they touch.

For each cell, in program order: read after write, write after read and write after write (the rules of rtl.timing). The
result is a list of edges (earlier, later, separation): issue(later) >= issue(earlier) + separation.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from compiler.ir import Ints, Operation, Space
from rtl.timing import ADDRESS

Edges = dict[tuple[int, int], int]

_ORDERED_READERS = (Space.ACT, Space.BANK)
"""Only the matrix queue reads these, in program order, so a cell's last reader stands for all before it."""


class _Cells:
    """Last writer and readers of each cell of one space."""

    def __init__(self) -> None:
        self.writer: dict[int, tuple[int, int]] = {}
        self.readers: dict[int, list[tuple[int, int]]] = defaultdict(list)


class _Table:
    """The same as arrays, for the spaces that long matrix operations read."""

    def __init__(self, size: int) -> None:
        self.writer = np.full(size, -1)
        self.visible = np.zeros(size, np.int64)
        self.reader = np.full(size, -1)
        self.read = np.zeros(size, np.int64)


def _raise_to(edges: Edges, earlier: int, later: int, separation: int) -> None:
    key = (earlier, later)
    if edges.get(key, -1 << 60) < separation:
        edges[key] = separation


def _after_read(read: int, visible: int) -> int:
    """Separation of a write from a read before it.

    The machine asks only that the read comes before the write can be seen. But a reader that is issued while an earlier
    write is on its way looks like one that reads too soon, and no check of a program could tell: so the write is not
    issued before the reader is. Accumulators are the exception, see sim.cycle.check.
    """
    return max(read - visible + 1, read - ADDRESS)


def _table_reads(table: _Table, edges: Edges, number: int, cells: Ints, cycles: Ints) -> None:
    writers = table.writer[cells]
    gaps = table.visible[cells] - cycles
    by_writer: dict[int, int] = {}
    for writer, gap in zip(writers.tolist(), gaps.tolist(), strict=True):
        if writer >= 0 and by_writer.get(writer, gap) <= gap:
            by_writer[writer] = gap
    for writer, gap in by_writer.items():
        _raise_to(edges, writer, number, gap)
    table.reader[cells] = number
    table.read[cells] = cycles  # ascending, so the last read of a cell stays


def dependences(operations: list[Operation], bucket: int) -> Edges:
    """Edges between the operations of a list in program order, by their numbers in it."""
    edges: Edges = {}
    plain: dict[Space, _Cells] = {space: _Cells() for space in Space if space not in _ORDERED_READERS}
    top = dict.fromkeys(_ORDERED_READERS, 1)
    for operation in operations:
        touched = operation.accesses(bucket)
        for touch in touched.reads + touched.writes:
            if touch.space in top:
                top[touch.space] = max(top[touch.space], int(touch.cells.max()) + 1)
    tables = {space: _Table(size) for space, size in top.items()}
    for number, operation in enumerate(operations):
        accesses = operation.accesses(bucket)
        for space, cells, cycles in accesses.reads:
            if space in tables:
                _table_reads(tables[space], edges, number, cells, cycles)
                continue
            state = plain[space]
            for cell, cycle in zip(cells.tolist(), cycles.tolist(), strict=True):
                if cell in state.writer:
                    writer, visible = state.writer[cell]
                    paced = operation.partner is not None and space is Space.ACC  # with its writer, see Operation
                    if not paced:
                        _raise_to(edges, writer, number, visible - cycle)
                state.readers[cell].append((number, cycle))
        for space, cells, cycles in accesses.writes:
            first: dict[int, int] = {}
            last: dict[int, int] = {}
            for cell, cycle in zip(cells.tolist(), cycles.tolist(), strict=True):
                first[cell] = min(cycle, first.get(cell, cycle))
                last[cell] = max(cycle, last.get(cell, cycle))
            for cell, early in first.items():
                if space in tables:
                    table = tables[space]
                    if table.reader[cell] >= 0 and table.reader[cell] != number:
                        _raise_to(edges, int(table.reader[cell]), number, _after_read(int(table.read[cell]), early))
                    if table.writer[cell] >= 0:
                        _raise_to(edges, int(table.writer[cell]), number, int(table.visible[cell]) - early + 1)
                    table.writer[cell], table.visible[cell], table.reader[cell] = number, last[cell], -1
                    continue
                state = plain[space]
                for reader, cycle in state.readers[cell]:
                    if reader != number:
                        gap = cycle - early + 1 if space is Space.ACC else _after_read(cycle, early)
                        _raise_to(edges, reader, number, gap)
                if cell in state.writer:
                    writer, visible = state.writer[cell]
                    _raise_to(edges, writer, number, visible - early + 1)
                state.writer[cell] = (number, last[cell])
                state.readers[cell] = []
    return {key: value for key, value in edges.items() if key[0] != key[1]}
