"""Columns: the dynamic values of a program, and waits that are said with them.

A dynamic value is a number that depends on the position's bucket alone: a column over the buckets. The machine has few
(`Config.values`), so `Columns` hands them out: a wait is an immediate plus a sum of columns, and where no sum is exact
and no column is free, the wait is rounded up to one that can be said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from compiler.ir import CompileError, Ints


class NoValueLeft(CompileError):
    """A wait must be exact, and the machine has no dynamic value left for it."""


@dataclass(frozen=True)
class Wait:
    """Idle cycles before a word: `cycles` plus dynamic value number `value` (0: none).

    more: further dynamic values. Each stands in a NOP of its own before the word; the NOP's own cycles (one, or as
    `Config.fetch` has it) are counted in `cycles`.
    """

    cycles: int
    value: int = 0
    more: tuple[int, ...] = ()


MOST_VALUES = 3
"""Dynamic values that one wait may add up."""

MOST_EXACT = 8
"""The same where a wait must be exact: of a matmul and its partner, and of what closes the loop over layers."""

MOST_SUMS = 10_000
"""Sums that are looked through for one; with many columns `MOST_EXACT` is out of reach, and rarely needed."""


class Columns:
    """The dynamic values: columns over the buckets; column 0 is zero.

    limit: how many there may be, or None for as many as are asked for (to learn what a schedule would like).
    """

    def __init__(self, buckets: int, limit: int | None, value_bits: int, columns: list[Ints]) -> None:
        self.columns: list[Ints] = [np.zeros(buckets, np.int64)]
        self.limit, self.largest = limit, (1 << value_bits) - 1
        self._sums_of: dict[int, tuple[int, list[tuple[int, ...]], Ints]] = {}  # see `_sums`; first: columns then known
        for column in columns:
            self.add(column)

    @property
    def room(self) -> int:
        """How many columns can still be made."""
        return 1 << 30 if self.limit is None else self.limit - len(self.columns)

    @property
    def most_exact(self) -> int:
        """Dynamic values that a wait may add up which must be exact."""
        known = len(self.columns) - 1
        return max((many for many in range(MOST_VALUES + 1, MOST_EXACT + 1)
                    if math.comb(known + many - 1, many) <= MOST_SUMS), default=MOST_VALUES)

    def find(self, column: Ints) -> int | None:
        """The number of a column with exactly these values."""
        return next((number for number, known in enumerate(self.columns) if np.array_equal(known, column)), None)

    def add(self, column: Ints) -> int:
        """The number of a column with exactly these values, made where there is none. NoValueLeft without room."""
        number = self.find(column)
        if number is not None:
            return number
        if self.room < 1 or column.min() < 0 or column.max() > self.largest:
            raise NoValueLeft("the dynamic values have no room for a column that is needed")
        self.columns.append(column.astype(np.int64))
        return len(self.columns) - 1

    def cover(self, gap: Ints, slack: Ints, reserve: int, nop: int = 1,
              most: int = MOST_VALUES) -> tuple[Wait, Ints]:
        """A wait nowhere shorter than `gap`, and its length in each bucket. nop: cycles of a NOP in that queue.
        most: dynamic values that it may add up.

        Where it can be said with the columns there are, one that nowhere exceeds gap + slack; else a new column while
        more than `reserve` are left; else the wait that is late least.
        """
        best: tuple[int, Wait, Ints] | None = None  # (cycles beyond gap + slack over all buckets, wait, length)
        for many in range(1, most + 1):
            choices, sums = self._sums(many)
            immediates = np.maximum((many - 1) * nop, (gap - sums).max(axis=1))  # the NOPs' cycles at least
            lengths = sums + immediates[:, None]
            late = np.maximum(0, lengths - gap - slack).sum(axis=1)
            one = int(np.lexsort((lengths.sum(axis=1), late))[0])
            if best is None or late[one] < best[0]:
                value, *more = choices[one]
                best = (int(late[one]), Wait(int(immediates[one]), value, tuple(more)), lengths[one])
            if best[0] == 0:
                return best[1], best[2]
        assert best is not None
        shape = gap - gap.min()
        if self.room > reserve and shape.max() <= self.largest:
            return Wait(int(gap.min()), self.add(shape)), gap
        return best[1], best[2]

    def cover_both(self, gap: Ints, apart: Ints, nop: int = 1, most: int = MOST_VALUES) -> Ints:
        """A length nowhere shorter than `gap` that can be said, and with `apart` added can be said too. nop: cycles of
        a NOP in the first's queue; in the other's it takes one. most: dynamic values that each may add up.

        Where no known columns do, a new one is made. Raises NoValueLeft where there is no room for it.
        """
        ends: dict[bytes, int] = {}  # shape of a sum -> the least immediate that its wait must have
        for many in range(1, most + 1):
            for shape in self._sums(many)[1]:
                ends.setdefault((shape - shape[0]).tobytes(), many - 1 + int(shape[0]))
        best: Ints | None = None
        for many in range(1, most + 1):
            for shape in self._sums(many)[1]:
                other = shape + apart
                least = ends.get((other - other[0]).tobytes())
                if least is None:
                    continue
                immediate = max((many - 1) * nop, int((gap - shape).max()), least - int(other[0]))
                length = shape + immediate
                if best is None or length.sum() < best.sum():
                    best = length
        if best is not None:
            return best
        _, length = self.cover(gap, np.zeros_like(gap), 0, nop)
        other = length + apart
        self.add(other - other.min())
        return length + max(0, -int(other.min()))

    def _sums(self, many: int) -> tuple[list[tuple[int, ...]], Ints]:
        """All sums of so many columns: which columns, and (sums, buckets) their values."""
        if many not in self._sums_of or self._sums_of[many][0] != len(self.columns):
            first = 0 if many == 1 else 1
            choices = list(combinations_with_replacement(range(first, len(self.columns)), many)) or [(0,) * many]
            stack = np.array(self.columns)
            self._sums_of[many] = (len(self.columns), choices, stack[np.array(choices)].sum(axis=1))
        return self._sums_of[many][1], self._sums_of[many][2]
