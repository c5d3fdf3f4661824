"""The vector unit's pass, out of the golden model's primitives: what leaves the pipeline, and what it remembers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rtl.config import Config
from rtl.isa import Addend, Factor1, Factor2, Function, Mask, Reduce, Source
from rtl.timing import timing
from sim.golden import primitives as golden
from sim.golden.primitives import Int, Scalar, Table

WORD = 1 << 32
TABLES = {Function.IDENTITY: Table.NONE, Function.SILU: Table.SILU, Function.EXP2: Table.EXP2}
IDENTITY = {Reduce.MAX: -32768, Reduce.MAXABS: 0, Reduce.SUM: 0}


@dataclass(frozen=True, kw_only=True)
class Pass:
    """A pass with its operands.

    Members:
        fields: of rtl.ports.pass_layout, as numbers. acc, memory, params, noise: (lanes,); params are bytes.
        scalars: one a lane group. out_exponent: of the output shift's scalar.
    """

    fields: dict[str, int]
    acc: Int
    memory: Int
    params: Int
    scalars: list[Scalar]
    out_exponent: int
    noise: Int

    @property
    def swapped(self) -> bool:
        """Second of a rotate pair."""
        return bool(self.fields["rotate"] and self.fields["odd"])

    @property
    def held(self) -> bool:
        """First of a rotate pair: it writes nothing."""
        return bool(self.fields["rotate"] and not self.fields["odd"])


def signed(word: int) -> int:
    """32 bits as a signed number."""
    return (word + (WORD >> 1)) % WORD - (WORD >> 1)


@dataclass
class VectorModel:
    """What passes compute and leave behind.

    Members:
        positions, oldest: of each sequence, its own and the first that it sees.
        registers: reduce registers, 32 bits unsigned. tokens: ARGMAX's winner of each
        sequence that has had one. indices: by (sequence, number from 1), what index registers become, and when.
    """

    cfg: Config
    positions: list[int]
    oldest: list[int]
    registers: dict[int, int] = field(default_factory=dict[int, int])
    tokens: dict[int, int] = field(default_factory=dict[int, int])
    indices: dict[tuple[int, int], list[tuple[int, int]]] = field(
        default_factory=dict[tuple[int, int], list[tuple[int, int]]])
    _held: Int | None = None
    _best: dict[int, int] = field(default_factory=dict[int, int])
    _block: dict[int, int] = field(default_factory=dict[int, int])

    def index(self, sequence: int, number: int, cycle: int) -> int | None:
        """What an index register holds in a cycle; None where that is not known."""
        seen = [value for visible, value in self.indices.get((sequence, number), []) if visible <= cycle]
        return seen[-1] if seen else None

    @property
    def started(self) -> set[int]:
        """Sequences of which an ARGMAX has begun."""
        return set(self._best)

    def run(self, one: Pass, cycle: int = 0) -> tuple[Int, Int]:
        """(lanes,) f, 16 bits, and (lanes,) o, 8 bits. cycle: of the pass's issue."""
        cfg, fields = self.cfg, one.fields
        parts = [slice(group * cfg.group_lanes, (group + 1) * cfg.group_lanes) for group in range(cfg.groups)]
        d = np.concatenate([
            self._group(one, part, scalar) for part, scalar in zip(parts, one.scalars, strict=True)])
        if one.swapped:
            assert self._held is not None
            d = d + self._held
        self._held = golden.sat16(d)
        table = TABLES[Function(fields["function"])]
        keep = self._kept(fields, cycle)
        if fields["below"]:
            least = np.repeat([scalar.mantissa for scalar in one.scalars], cfg.group_lanes)
            keep &= one.memory >= least
        wide = np.where(keep, golden.finish(d, table), 0)
        narrow = golden.output8(wide, s3=fields["s3"], out=one.out_exponent if fields["out_scaled"] else 0)
        if not one.held:
            self._reduce(fields, d if table is Table.NONE else wide, wide, keep, cycle)
        return wide, narrow

    def _group(self, one: Pass, part: slice, scalar: Scalar) -> Int:
        """Steps a to d of the lanes that share a scalar; the held value is added later."""
        fields, memory = one.fields, one.memory
        if Source(fields["source"]) is Source.ACC:
            a = golden.source(one.acc[part], s0=fields["s0"] + (scalar.exponent if fields["early"] else 0))
        else:
            a = (memory.reshape(-1, 2)[:, ::-1].reshape(-1) if one.swapped else memory)[part]
        params = one.params[part]
        if one.held or one.swapped:  # a pair's cosine, then its sine
            params = np.repeat(params[int(one.swapped)::2], 2)
        f1 = {Factor1.ONE: np.ones_like(params), Factor1.UNSIGNED: params,
              Factor1.SIGNED: params.astype(np.int8).astype(np.int64)}[Factor1(fields["factor1"])]
        if one.swapped:
            f1 = f1 * np.tile([-1, 1], len(f1) // 2)
        b = golden.factor(a, f1, s1=fields["s1"])
        f2: Int | int = {Factor2.ONE: 1, Factor2.SCALAR: scalar.mantissa, Factor2.MEM: memory[part],
                         Factor2.SQUARE: b}[Factor2(fields["factor2"])]
        late = Factor2(fields["factor2"]) is Factor2.SCALAR and not fields["early"]
        c = golden.scale(b, f2, s2=fields["s2"] + (scalar.exponent if late else 0))
        if one.swapped:
            return c
        return c + {Addend.ZERO: np.int64(0), Addend.MEM: memory[part],
                    Addend.SCALAR: np.int64(scalar.mantissa), Addend.NOISE: one.noise[part]}[Addend(fields["addend"])]

    def _kept(self, fields: dict[str, int], cycle: int) -> npt.NDArray[np.bool_]:
        lanes = np.arange(self.cfg.lanes)
        match Mask(fields["mask"]):
            case Mask.POSITION:
                element, sequence = fields["index"] * self.cfg.lanes + lanes, fields["sequence"]
                return (element >= self.oldest[sequence]) & (element <= self.positions[sequence])
            case Mask.TAIL:
                return lanes < fields["tail"]
            case Mask.CHOSEN:
                index = self.index(fields["sequence"], 1, cycle + timing(self.cfg).vector_read)
                return fields["index"] * self.cfg.lanes + lanes != index
            case Mask.NONE:
                return np.ones_like(lanes, bool)

    def _reduce(self, fields: dict[str, int], terms: Int, results: Int, keep: npt.NDArray[np.bool_],
                cycle: int) -> None:
        reduce, target = Reduce(fields["reduce"]), fields["target"]
        if reduce is Reduce.NONE:
            return
        if reduce is Reduce.ARGMAX:
            self._argmax(fields, results, keep, cycle + timing(self.cfg).token_visible)
            return
        before = IDENTITY[reduce] if fields["first"] else signed(self.registers[target])
        made = IDENTITY[reduce]
        if keep.any():
            made = {Reduce.SUM: golden.reduce_sum, Reduce.MAX: golden.reduce_max,
                    Reduce.MAXABS: golden.reduce_maxabs}[reduce]((terms if reduce is Reduce.SUM else results)[keep])
        self.registers[target] = (before + made if reduce is Reduce.SUM else max(before, made)) % WORD

    def _argmax(self, fields: dict[str, int], results: Int, keep: npt.NDArray[np.bool_], visible: int) -> None:
        sequence, first, choice = fields["sequence"], bool(fields["first"]), fields["choice"]
        self._block[sequence] = 0 if first else self._block[sequence] + 1
        shown = np.where(keep, results, IDENTITY[Reduce.MAX])
        best = int(shown.argmax())  # the first of several
        if first or shown[best] > self._best[sequence]:
            self._best[sequence] = int(shown[best])
            found = self._block[sequence] * self.cfg.lanes + best
            if choice:
                self.indices.setdefault((sequence, choice), []).append((visible, found % self.cfg.experts))
            else:
                self.tokens[sequence] = found % (1 << self.cfg.token_bits)
