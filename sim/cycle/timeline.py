"""What each unit does in which cycle of a token: the words' runs taken apart into steps, passes and operations.

It depends on the position's bucket and on whether the token has a classifier, on nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rtl.config import Config
from rtl.isa import MATRIX, QUEUES, VECTOR, Addend, Factor1, Factor2, Mask, Reduce, ScalarFunction, Source, Store
from rtl.ports import index_bits
from rtl.timing import timing
from sim.cycle.program import IllegalProgram, Run, Walk, Word, walk

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """Steps of the matrix unit that make one output: one a cycle from `cycle` on.

    Members:
        begun: cycle of its word's first output. choice: which index register of the sequence is added, 0 for none.
        rows: (steps,) bank rows. acts: (steps, groups) activation words. Both without what gather and choice add.
    """

    word: Word
    cycle: int
    begun: int
    choice: int
    slot: int
    clear: bool
    gather: bool
    rows: Ints
    acts: Ints


@dataclass(frozen=True, slots=True)
class Mode:
    """What a vector word does in each of its passes; members as in rtl.isa."""

    source: Source
    factor1: Factor1
    factor2: Factor2
    addend: Addend
    function: int
    store: Store
    reduce: Reduce
    reads_memory: bool
    reads_scalar: bool


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """One pass of the vector unit.

    Members:
        index: of the pass (of the pair) in its word. held: first of a pair, which writes nothing. swapped: the second.
        param: without the rope offset. bank: row of a K or V store, without the position's part.
        scalars: register of each lane group. first: the reduction starts afresh.
    """

    word: Word
    mode: Mode
    cycle: int
    index: int
    held: bool
    swapped: bool
    first: bool
    slot: int
    src: int
    param: int
    dst: int
    bank: int
    scalars: tuple[int, ...]
    target: int


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation of the scalar unit."""

    word: Word
    function: ScalarFunction
    cycle: int
    reduce: int
    dst: int
    constant: int


@dataclass(frozen=True, eq=False)
class Timeline:
    """A token's work. walks: of each queue, from which the rest was made; cycles: what the token takes."""

    outputs: list[Output]
    passes: list[Pass]
    operations: list[Operation]
    walks: dict[str, Walk]
    cycles: int

    @property
    def ends(self) -> dict[str, int]:
        """Cycle in which each queue ends."""
        return {queue: walk.end for queue, walk in self.walks.items()}

    @property
    def runs(self) -> dict[str, list[Run]]:
        """RUN words of each queue in the order of their issue."""
        return {queue: walk.runs for queue, walk in self.walks.items()}


def expand(cfg: Config, programs: Mapping[str, Sequence[Word]], values: Sequence[int], *, classify: bool) -> Timeline:
    """The timeline of a token. Raises IllegalProgram where a queue's control goes wrong."""
    times = timing(cfg)
    walks = {queue.name: walk(cfg, programs[queue.name], values, classify=classify, values_ready=times.values_ready)
             for queue in QUEUES}
    matrix, vector = ({name: (1 << queue.by_name[name].bits(cfg)) - 1 for name in names}
                      for queue, names in ((MATRIX, ("row", "act")), (VECTOR, ("src", "param", "dst"))))
    return Timeline(
        outputs=[output for run in walks["matrix"].runs for output in _outputs(cfg, run, matrix)],
        passes=[one for run in walks["vector"].runs for one in _passes(cfg, run, vector)],
        operations=[_operation(run) for run in walks["scalar"].runs],
        walks=walks, cycles=max(one.end for one in walks.values()) + times.token_overhead)


def _limit(run: Run, what: str, highest: int, depth: int, cycle: int) -> None:
    if highest >= depth:
        raise IllegalProgram(cycle, f"{{}} addresses {what} {highest}; there are {depth}", run.word)


def _outputs(cfg: Config, run: Run, masks: Mapping[str, int]) -> list[Output]:
    """masks: of the addresses' widths; they come from the caller, for whom they cost once what a run costs."""
    f, steps = run.word.fields, run.rounds
    number = np.arange(run.outputs, dtype=np.int64)[:, None]
    step = np.arange(steps, dtype=np.int64)
    rows = (run.address["row"] + number * f["row_step"] + step) & masks["row"]  # (outputs, steps)
    starts = run.address["act"] + number * f["act_step"] + step
    acts = (starts[..., None] + np.arange(cfg.groups) * f["group_step"]) & masks["act"]  # (outputs, steps, groups)
    for what, cells, depth in (("bank row", rows, cfg.bank_rows), ("activation word", acts, cfg.act_words)):
        if cells.max() >= depth:
            at = int(np.argmax((cells >= depth).reshape(run.outputs * steps, -1).any(axis=1)))
            _limit(run, what, int(cells.max()), depth, run.cycle + at)
    return [
        Output(run.word, run.cycle + k * steps, run.cycle, f["choice"], (run.address["slot"] + k) % cfg.slots,
               bool(f["clear"]), bool(f["gather"]), rows[k], acts[k])
        for k in range(run.outputs)]


def mode_of(word: Word) -> Mode:
    """The enumerated fields of a vector word, as members."""
    f = word.fields
    source, factor2, addend = Source(f["source"]), Factor2(f["factor2"]), Addend(f["addend"])
    return Mode(
        source=source, factor1=Factor1(f["factor1"]), factor2=factor2, addend=addend, function=f["function"],
        store=Store(f["store"]), reduce=Reduce(f["reduce"]),
        reads_memory=source is Source.MEM or factor2 is Factor2.MEM or addend is Addend.MEM or bool(f["below"]),
        reads_scalar=factor2 is Factor2.SCALAR or addend is Addend.SCALAR or bool(f["early"] or f["below"]))


def _passes(cfg: Config, run: Run, masks: Mapping[str, int]) -> list[Pass]:
    f, base, mode = run.word.fields, run.address, mode_of(run.word)
    rotate = bool(f["rotate"])
    registers = range(cfg.groups if f["grouped"] else 1)
    scalars = tuple((base["scalar"] + group) % cfg.scalars for group in registers)
    bank_store = mode.store in (Store.KEYS, Store.VALUES)
    passes: list[Pass] = []
    if f["mask"] in (Mask.POSITION.value, Mask.CHOSEN.value) and run.rounds > 1 << index_bits(cfg):
        raise IllegalProgram(run.cycle, f"{{}} masks {run.rounds} passes by their number; {cfg.name} counts "
                             f"{1 << index_bits(cfg)}", run.word)
    for number in range(run.rounds):
        cycle = run.cycle + number * (f["pace"] + 1)
        index = number // 2 if rotate else number
        one = Pass(
            run.word, mode, cycle, index, held=rotate and number % 2 == 0, swapped=rotate and number % 2 == 1,
            first=bool(f["first"]) and number == 0, slot=(base["slot"] + index * f["inc_slot"]) % cfg.slots,
            src=(base["src"] + index * f["inc_src"]) & masks["src"],
            param=(base["param"] + index * f["inc_param"]) & masks["param"],
            dst=(base["bank" if bank_store else "dst"] + index * f["inc_dst"]) & masks["dst"],  # it has one address
            bank=(base["bank"] + index * f["inc_dst"]) & masks["dst"], scalars=scalars, target=base["target"])
        if mode.reads_memory:
            _limit(run, "vector memory row", one.src, cfg.vector_rows, cycle)
        if mode.factor1 is not Factor1.ONE and not f["rope"]:
            _limit(run, "parameter row", one.param, cfg.param_rows, cycle)
        if f["write"]:
            _limit(run, "vector memory row", one.dst, cfg.vector_rows, cycle)
        if mode.store is Store.ACT:
            _limit(run, "activation vector", one.dst, cfg.act_vectors, cycle)
        if bank_store:
            _limit(run, "bank row", one.bank, cfg.bank_rows, cycle)
        passes.append(one)
    return passes


def _operation(run: Run) -> Operation:
    base, function = run.address, ScalarFunction(run.word.fields["function"])
    return Operation(run.word, function, run.cycle, base["reduce"], base["dst"], base["constant"])
