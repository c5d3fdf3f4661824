"""Emit: the vocabulary that the lowering is written in. One method a queue, and the pieces that several steps share."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from compiler.accesses import matrix_accesses, scalar_accesses, vector_accesses
from compiler.ir import Accesses, Count, Operation, Section
from compiler.layout import FIXED_SCALARS, Layout, Matrix
from compiler.quantise import NORM_ADJUST
from compiler.quantised import QuantisedModel
from compiler.style import Style
from rtl.encoding import Insn
from rtl.isa import (
    MATRIX,
    SCALAR,
    VECTOR,
    Addend,
    Factor1,
    Factor2,
    Mask,
    Op,
    Queue,
    Reduce,
    ScalarFunction,
    Source,
    Store,
)

Value = int | enum.Enum

def _insn(queue: Queue, fields: dict[str, Value]) -> Insn:
    """A RUN word without the fields that are zero."""
    kept = {name: value for name, value in fields.items() if (value.value if isinstance(value, enum.Enum) else value)}
    return Insn(queue, {"op": Op.RUN, **kept})


class Emitter:
    """State of one sequence's lowering: the operations so far, the section, and the next accumulator.

    Accumulators are numbered without end here; `compiler.interleave` gives them their slots.
    Registers: reduce 0 sums squares, then one for each chunk of the hidden vector, then one for each head of a wave.
    Scalars: the fixed ones, a BLOCK and a COMBINE result for each chunk, then one for each head of a wave. Those of a
    sequence follow those of the one before.
    """

    def __init__(self, model: QuantisedModel, layout: Layout, style: Style) -> None:
        self.style = style
        self.model, self.layout, self.g, self.cfg = model, layout, layout.geometry, layout.geometry.config
        self.operations: list[Operation] = []
        self.section = Section.PROLOGUE
        self.slot = 0
        self.noise_rows = 0  # that the token has taken
        chunks = len(layout.hidden_chunks)
        self.rms_attention, self.rms_ffn, self.shift_ffn, self.shift_next, self.shift_stream = range(
            layout.scalars, layout.scalars + FIXED_SCALARS)
        self.choice = 0  # which of the experts chosen the matmuls are of; 0: of none
        self.route_scalar = layout.scalars + FIXED_SCALARS
        self.chunk_scalar = self.route_scalar + layout.route[0]
        self.head_scalar = self.chunk_scalar + 2 * chunks
        self.square_target = layout.reduces
        self.route_target = layout.reduces + 1
        self.chunk_target = self.route_target + layout.route[1]
        self.head_target = self.chunk_target + chunks

    # One method a queue.
    def matrix(self, name: str, counts: dict[str, Count] | None = None, cache: bool = False, /,
               **fields: Value) -> Operation:
        """A matmul into the next accumulator, or on in the `slot` that is given.

        counts: dynamic `repeat` or `outer`; cache: it reads the K or V cache.
        """
        if "slot" not in fields:
            fields |= {"slot": self.slot, "clear": 1}
            self.slot += 1
        if fields.get("gather") or fields.get("choice"):
            fields["sequence"] = self.layout.sequence
        counts = counts or {}
        return self._add(name, _insn(MATRIX, fields), counts, partial(matrix_accesses, self.cfg, counts, cache))

    def vector(self, name: str, count: Count | None = None, partner: Operation | None = None, lag: int = 0, /,
               **fields: Value) -> Operation:
        """Passes of the vector unit. count: dynamic `repeat`; partner and lag: see `Operation`."""
        counts = {} if count is None else {"repeat": count}
        if (count or fields.get("repeat")) and self.cfg.beats > 1:
            fields.setdefault("pace", self.cfg.beats - 1)
        if (fields.get("rope") or fields.get("mask") in (Mask.POSITION, Mask.CHOSEN)
                or fields.get("reduce") is Reduce.ARGMAX or fields.get("addend") is Addend.NOISE
                or fields.get("store") in (Store.KEYS, Store.VALUES)):
            fields["sequence"] = self.layout.sequence
        reach = partial(vector_accesses, self.cfg, counts, self.g.head_steps, self.layout.sequences > 1,
                        self.noise_rows)
        if fields.get("addend") is Addend.NOISE:
            repeat = fields.get("repeat", 0)
            assert count is None and isinstance(repeat, int), "which rows it takes must not depend on the position"
            self.noise_rows += repeat + 1
        return self._add(name, _insn(VECTOR, fields), counts, reach, partner, lag)

    def scalar(self, name: str, function: ScalarFunction, **fields: Value) -> Operation:
        """One operation of the scalar unit."""
        return self._add(name, _insn(SCALAR, {"function": function, **fields}), {}, partial(scalar_accesses, self.cfg))

    def _add(self, name: str, insn: Insn, counts: dict[str, Count], reach: Callable[[Insn, int], Accesses],
             partner: Operation | None = None, lag: int = 0) -> Operation:
        operation = Operation(name=name, section=self.section, insn=insn, counts=counts, partner=partner, lag=lag,
                              reach=reach, sequence=self.layout.sequence)
        self.operations.append(operation)
        return operation

    # Pieces used by several steps.
    def words(self, vectors: int) -> int:
        """Matrix address of an activation vector."""
        return vectors * self.cfg.lanes // self.cfg.taps

    def matmuls(self, jobs: Sequence[tuple[Matrix, int]], act: int, *,
                fresh: bool = True) -> Iterator[tuple[Matrix, int, int]]:
        """Output blocks of weight matrices, all of one input vector: yields matrix, block and slot as each is done.

        act: activation word of the input. fresh: it is only now being made, so the first matmuls are cut in two (see
        `Style`) and run through what is there of it while the rest is on its way.
        """
        lead = self.style.lead if fresh else 1
        late = min(self.style.late, jobs[0][0].steps - 1)
        begun: list[int] = []
        if lead > 1 and late > 0:
            for matrix, block in jobs[:lead]:
                begun.append(self.slot)
                self.matmul(matrix, block, act, 0, matrix.steps - late)
        for number, (matrix, block) in enumerate(jobs):
            if number < len(begun):
                slot = begun[number]
                self.matmul(matrix, block, act, matrix.steps - late, matrix.steps, slot=slot)
            else:
                slot = self.slot
                self.matmul(matrix, block, act, 0, matrix.steps)
            yield matrix, block, slot

    def matmul(self, matrix: Matrix, block: int, act: int, first: int, end: int, slot: int | None = None) -> None:
        """Steps first..end-1 of an output block of a weight matrix, on in the `slot` that is given."""
        part = "" if end == matrix.steps else "..."
        row = matrix.row + block * matrix.row_pitch + first
        fields: dict[str, Value] = {"row": row, "act": act + first, "repeat": end - first - 1, "choice": self.choice,
                                    "plane": matrix.plane}
        self.matrix(f"{matrix.name}[{block}]{part}", None, **(fields if slot is None else {**fields, "slot": slot}))

    def requantise(self, matrix: Matrix, block: int, slot: int, shifts: tuple[int, int, int], name: str,
                   **fields: Value) -> None:
        """An output block leaves its accumulator, times its channels' multipliers."""
        s0, s1, s2 = shifts
        self.vector(f"{name}[{block}]", source=Source.ACC, slot=slot, factor1=Factor1.UNSIGNED,
                    param=matrix.param + block, s0=s0, s1=s1, s2=s2, **fields)

    def square(self, block: int) -> None:
        """Adds a block of x to the sum of squares; the first block starts it."""
        self.vector(f"square[{block}]", source=Source.MEM, src=self.layout.x + block, factor2=Factor2.SQUARE,
                    s2=self.model.shifts.square, reduce=Reduce.SUM, target=self.square_target, first=int(block == 0))

    def inverse_rms(self, register: int) -> None:
        """1/rms of x from the sum of squares."""
        self.scalar("rsqrt", ScalarFunction.RSQRT, reduce=self.square_target, dst=register, bias=self.model.norm_bias,
                    adjust=NORM_ADJUST)

    @property
    def x8(self) -> int:
        """Activation word of x8."""
        return self.words(self.layout.x)

    def residual(self, matrix: Matrix, act: int, shifts: tuple[int, int, int], *, scalar: int | None, out: int | None,
                 name: str, fresh: bool) -> None:
        """x += matrix @ activations. scalar: register of a factor; out: of the x shift, for x8 and the squares."""
        jobs = [(matrix, block) for block in range(matrix.blocks)]
        for _, block, slot in self.matmuls(jobs, act, fresh=fresh):
            row = self.layout.x + block
            fields: dict[str, Value] = {"addend": Addend.MEM, "src": row, "dst": row, "write": 1}
            if scalar is not None:
                fields |= {"factor2": Factor2.SCALAR, "scalar": scalar}
            if out is not None:
                fields |= {"store": Store.ACT, "out_scaled": 1, "out_scalar": out}
            self.requantise(matrix, block, slot, shifts, name, **fields)
            if out is not None:
                self.square(block)
