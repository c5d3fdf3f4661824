"""The compiler's intermediate form: operations of one unit each, in an order that is correct one after another.

An operation is one instruction word without its wait. Counts that depend on the position are `Count(scale)`: rounds =
scale x blocks, where blocks = bucket + 1 is how many attention blocks (`Config.bucket_positions` positions) are in use.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rtl.encoding import Insn
from rtl.isa import VECTOR, Store

Ints = npt.NDArray[np.int64]


class CompileError(AssertionError):
    """A pass broke its own promise: a defect of the compiler, never of the input."""


class Section(enum.Enum):
    """Where an operation stands in the program: before, in, or after the loop over layers."""

    PROLOGUE = 0
    BODY = 1
    EPILOGUE = 2


class Space(enum.Enum):
    """Storage whose hazards the scheduler watches; cells are numbered as in the comments."""

    BANK = 0  # rows of the K and V caches (weights are never written)
    ACT = 1  # pieces of min(lanes, taps) bytes
    VECTOR = 2  # rows
    ACC = 3  # slots
    SCALAR = 4  # registers
    REDUCE = 5  # registers; one more a sequence for ARGMAX
    NOISE = 6  # rows of noise, NOISE_ROWS a sequence: a pass that takes one has it made anew
    INDEX = 7  # index registers, those of a sequence after those of the one before


class Touch(NamedTuple):
    """Cells read or written and the cycle of each, from the operation's issue. For writes: the visible cycle."""

    space: Space
    cells: Ints
    cycles: Ints


class Accesses(NamedTuple):
    """All that an operation reads and writes, the cycles it occupies its queue, and those of the bank write port."""

    reads: tuple[Touch, ...]
    writes: tuple[Touch, ...]
    duration: int
    bank_reads: int  # the bank's read port is busy for this many cycles from the first read
    bank_writes: Ints  # cycles from issue in which the bank's write port is used


@dataclass(frozen=True, kw_only=True)
class Count:
    """Rounds of an operation: `scale` times the attention blocks in use."""

    scale: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation:
    """One instruction of one queue, unscheduled.

    insn: the word (its repeat/outer fields hold the static part); counts: field name ("repeat" or "outer") -> Count
    for dynamic ones; reach(insn, bucket): what such a word touches there. partner: this operation issues exactly `lag`
    cycles after that one (a score block leaves its accumulator as fast as it is made). sequence: whose it is.
    """

    name: str
    section: Section
    insn: Insn
    reach: Callable[[Insn, int], Accesses]
    counts: dict[str, Count] = field(default_factory=dict[str, Count])
    partner: Operation | None = None
    lag: int = 0
    sequence: int = 0
    _known: dict[int, Accesses] = field(default_factory=dict[int, Accesses], init=False, repr=False)

    @cached_property
    def _moving(self) -> bool:
        """Whether what the operation touches depends on the bucket."""
        return bool(self.counts) or (self.insn.queue is VECTOR and self.insn["store"] in (Store.KEYS, Store.VALUES))

    def accesses(self, bucket: int) -> Accesses:
        """What the operation touches in a bucket; most touch the same cells in every one."""
        key = bucket if self._moving else 0
        if key not in self._known:
            self._known[key] = self.reach(self.insn, key)
        return self._known[key]

    @property
    def queue(self) -> str:
        return self.insn.queue.name
