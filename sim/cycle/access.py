"""Every read and write of a timeline, as arrays: what `check` looks at and what `execute` plans with."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rtl.config import Config
from rtl.isa import Factor1, Mask, Reduce, ScalarFunction, Store
from rtl.timing import timing
from sim.cycle.program import IllegalProgram, Word
from sim.cycle.timeline import Ints, Operation, Pass, Timeline

Flags = npt.NDArray[np.bool_]


class Space(enum.Enum):
    """Storage with hazards; what one cell is."""

    BANK = "bank row"
    ACT = "activation cell"  # min(lanes, taps) bytes
    MEMORY = "vector memory row"
    ACC = "accumulator"
    SCALAR = "scalar register"
    REDUCE = "reduce register"
    TOKEN = "ARGMAX register"
    INDEX = "index register"


@dataclass(frozen=True)
class Touches:
    """Accesses to one space, in the order of their issue.

    Members:
        cell, issue: (n,). time: (n,) cycle of a read, first cycle that sees a write. who: (n,) index into `words`.
        partial: (n,) a write that builds on what the cell holds (an accumulation).
        access: (n,) number of the access; an access of several cells has one number.
    """

    space: Space
    words: list[Word]
    cell: Ints
    time: Ints
    issue: Ints
    who: Ints
    partial: Flags
    access: Ints

    def word(self, index: int) -> Word:
        return self.words[int(self.who[index])]


class _Collector:
    """Accesses as they come; rows of (cell, time, issue, who, partial, access)."""

    def __init__(self) -> None:
        self.words: list[Word] = []
        self._numbers: dict[int, int] = {}
        self._rows: dict[Space, list[tuple[int, int, int, int, bool, int]]] = {space: [] for space in Space}
        self._blocks: dict[Space, list[Ints]] = {space: [] for space in Space}
        self._count = 0

    def who(self, word: Word) -> int:
        if id(word) not in self._numbers:
            self._numbers[id(word)] = len(self.words)
            self.words.append(word)
        return self._numbers[id(word)]

    def add(self, space: Space, cells: Iterable[int], issue: int, after: int, word: Word, *,
            partial: bool = False) -> None:
        self._count += 1
        rows, who = self._rows[space], self.who(word)
        for cell in cells:
            rows.append((cell, issue + after, issue, who, partial, self._count))

    def add_steps(self, space: Space, cells: Ints, cycle: int, after: int, word: Word,
                  partial: Sequence[bool] | None = None) -> None:
        """Cells (steps, n) of consecutive cycles."""
        steps, each = cells.shape
        block = np.empty((steps, each, 6), np.int64)  # as `_rows`
        step = np.arange(steps, dtype=np.int64)[:, None]
        block[..., 0] = cells
        block[..., 1] = step + (cycle + after)
        block[..., 2] = step + cycle
        block[..., 3] = self.who(word)
        block[..., 4] = 0 if partial is None else np.array(partial, np.int64)[:, None]
        block[..., 5] = step + (self._count + 1)
        self._count += steps
        self._blocks[space].append(block.reshape(-1, 6))

    def touches(self, space: Space) -> Touches:
        rows = np.array(self._rows[space], np.int64).reshape(-1, 6)
        table = np.concatenate([rows, *self._blocks[space]])
        # A stable sort: the collector adds what one queue does in the order of its issue.
        cell, time, issue, who, partial, access = table[np.argsort(table[:, 2], kind="stable")].T
        return Touches(space, self.words, cell, time, issue, who, partial.astype(bool), access)


@dataclass(frozen=True)
class Accesses:
    """Reads and writes of each space. Bank writes depend on the position, see `bank_row`."""

    reads: dict[Space, Touches]
    writes: dict[Space, Touches]
    stores: list[Pass]  # K and V stores


def act_pieces(cfg: Config, address: int, size: int) -> range:
    """Activation cells of an access of `size` bytes, lanes or taps."""
    each = size // min(cfg.lanes, cfg.taps)
    return range(address * each, (address + 1) * each)


def store_row(cfg: Config, one: Pass, position: Ints, key_step: int) -> Ints:
    """(n,) bank row of a K or V store at each of n positions; whether there is such a row is not looked at."""
    return one.bank + (position // cfg.lanes * key_step if one.mode.store is Store.KEYS else position // cfg.taps)


def store_writes(cfg: Config, stores: Sequence[Pass], positions: Sequence[int], key_step: int) -> Touches:
    """The bank writes of the K and V stores. positions: of each sequence.

    Raises IllegalProgram where a row does not exist.
    """
    cells = np.zeros(len(stores), np.int64)
    for number, one in enumerate(stores):
        position = positions[one.word.fields["sequence"]]
        cells[number] = row = int(store_row(cfg, one, np.array(position), key_step))
        if row >= cfg.bank_rows:
            raise IllegalProgram(
                one.cycle, f"{{}} addresses bank row {row} at position {position}; there are {cfg.bank_rows}", one.word)
    issue = np.array([one.cycle for one in stores], np.int64)
    numbers = np.arange(len(stores), dtype=np.int64)
    return Touches(Space.BANK, [one.word for one in stores], cells, issue + timing(cfg).bank_visible, issue, numbers,
                   np.zeros(len(stores), bool), numbers)


def collect(cfg: Config, timeline: Timeline) -> Accesses:
    """All accesses but those whose address is the token's or the position's."""
    reads, writes = _Collector(), _Collector()
    times = timing(cfg)
    for output in timeline.outputs:
        cycle, word, steps = output.cycle, output.word, len(output.rows)
        if output.choice and cycle == output.begun:
            reads.add(Space.INDEX, [index_cell(cfg, word)], cycle, times.choice_read, word)
        if not output.gather and not output.choice:  # what those read depends on the token: execute looks at it
            reads.add_steps(Space.BANK, output.rows[:, None], cycle, times.matrix_read, word)
        if not output.gather:
            each = cfg.taps // min(cfg.lanes, cfg.taps)
            for acts in output.acts.T if (output.acts[:, :1] != output.acts).any() else output.acts[:, :1].T:
                cells = acts[:, None] * each + np.arange(each)
                reads.add_steps(Space.ACT, cells, cycle, times.matrix_read, word)
        writes.add_steps(Space.ACC, np.full((steps, 1), output.slot), cycle, times.acc_visible, word,
                         [not output.clear] + [True] * (steps - 1))
    for one in timeline.passes:
        _collect_pass(cfg, one, reads, writes)
    for operation in timeline.operations:
        _collect_operation(cfg, operation, reads, writes)
    return Accesses({space: reads.touches(space) for space in Space}, {space: writes.touches(space) for space in Space},
                    [one for one in timeline.passes if one.mode.store in (Store.KEYS, Store.VALUES) and not one.held])


def _register(one: Pass | Operation, what: str, number: int, count: int) -> int:
    if number >= count:
        raise IllegalProgram(one.cycle, f"{{}} names {what} {number}; there are {count}", one.word)
    return number


def _collect_pass(cfg: Config, one: Pass, reads: _Collector, writes: _Collector) -> None:
    mode, f, cycle, word, times = one.mode, one.word.fields, one.cycle, one.word, timing(cfg)
    if mode.source.name == "ACC":
        reads.add(Space.ACC, [one.slot], cycle, times.acc_read, word)
    if mode.reads_memory:
        reads.add(Space.MEMORY, [one.src], cycle, times.vector_read, word)
    scalars = list(one.scalars) if mode.reads_scalar else []
    if f["out_scaled"]:
        scalars.append(f["out_scalar"])
    for scalar in scalars:
        scalar = _register(one, "scalar register", scalar, cfg.scalars)
        reads.add(Space.SCALAR, [scalar], cycle, times.vector_read, word)
    if f["mask"] == Mask.CHOSEN.value:
        reads.add(Space.INDEX, [f["sequence"] * cfg.choices], cycle, times.vector_read, word)
    if one.held:
        return
    if f["write"]:
        writes.add(Space.MEMORY, [one.dst], cycle, times.memory_visible, word)
    if mode.store is Store.ACT:
        writes.add(Space.ACT, act_pieces(cfg, one.dst, cfg.lanes), cycle, times.act_visible, word)
    # `first` is a matter of the word's first pass, so a pair's second pass never starts a reduction.
    if mode.reduce is Reduce.ARGMAX and f["choice"]:
        writes.add(Space.INDEX, [index_cell(cfg, word)], cycle, times.token_visible, word, partial=not one.first)
    elif mode.reduce is Reduce.ARGMAX:
        writes.add(Space.TOKEN, [f["sequence"]], cycle, times.token_visible, word, partial=not one.first)
    elif mode.reduce is not Reduce.NONE:
        target = _register(one, "reduce register", one.target, cfg.reduces)
        writes.add(Space.REDUCE, [target], cycle, times.reduce_visible, word, partial=not one.first)


def _collect_operation(cfg: Config, one: Operation, reads: _Collector, writes: _Collector) -> None:
    times, f = timing(cfg), one.word.fields
    if one.function is ScalarFunction.COMBINE:
        for scalar in (f["a"], f["b"]):
            scalar = _register(one, "scalar register", scalar, cfg.scalars)
            reads.add(Space.SCALAR, [scalar], one.cycle, times.scalar_read, one.word)
    elif one.function is ScalarFunction.CONST:
        _register(one, "constant", one.constant, cfg.constants)
    else:
        source = _register(one, "reduce register", one.reduce, cfg.reduces)
        reads.add(Space.REDUCE, [source], one.cycle, times.scalar_read, one.word)
    if one.function in (ScalarFunction.VALUE, ScalarFunction.SEARCH):
        scalar = _register(one, "scalar register", f["a"], cfg.scalars)
        reads.add(Space.SCALAR, [scalar], one.cycle, times.scalar_read, one.word)
    target = _register(one, "scalar register", one.dst, cfg.scalars)
    writes.add(Space.SCALAR, [target], one.cycle, times.scalar_visible, one.word)


def index_cell(cfg: Config, word: Word) -> int:
    """The index register that a word names."""
    return word.fields["sequence"] * cfg.choices + word.fields["choice"] - 1


def uses_params(one: Pass) -> bool:
    """Whether a pass reads parameter memory."""
    return one.mode.factor1 is not Factor1.ONE
