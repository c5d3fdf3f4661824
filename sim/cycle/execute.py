"""Values: the machine's state, and what each event of a plan does to it. The arithmetic is the golden model's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from compiler.image import Image
from compiler.sampling import mantissa_and_shift
from rtl.isa import Addend, Factor1, Factor2, Function, Mask, Plane, Reduce, ScalarFunction, Source, Store
from sim.cycle.access import index_cell
from sim.cycle.plan import Choice, Chunk, Event, Job, Plan
from sim.cycle.program import IllegalProgram, Word
from sim.cycle.timeline import Ints, Operation, Pass
from sim.golden import primitives as golden
from sim.golden.noise import Noise
from sim.golden.primitives import Scalar, Table

WORD = 1 << 32
_TABLES = {Function.IDENTITY.value: Table.NONE, Function.SILU.value: Table.SILU, Function.EXP2.value: Table.EXP2}
_IDENTITY = {Reduce.MAX: -32768, Reduce.MAXABS: 0, Reduce.SUM: 0, Reduce.ARGMAX: -32768}


def _signed(word: int) -> int:
    """32 bits as a signed number."""
    return (word + (WORD >> 1)) % WORD - (WORD >> 1)


def _numbers(index: slice | Ints) -> Ints:
    """The numbers that an index stands for."""
    return np.arange(index.start, index.stop, dtype=np.int64) if isinstance(index, slice) else index


def _weights(rows: npt.NDArray[np.int8], plane: int) -> npt.NDArray[np.int8]:
    """What steps take of the bytes that they read."""
    if plane == Plane.BYTES.value:
        return rows
    return rows << np.int8(4) if plane == Plane.LOW.value else rows & np.int8(-16)


def noises(image: Image) -> list[Noise]:
    """A generator a sequence, as the image's registers seed them; none where the machine has none."""
    cfg, registers = image.config, image.registers
    if not cfg.noise_rate:
        return []
    seeds = [*registers.seeds, *[0] * cfg.sequences][:cfg.sequences]
    mantissa, shift = mantissa_and_shift(registers.temperature)
    return [Noise(seed, mantissa=mantissa, shift=shift) for seed in seeds]


class State:
    """Everything that a machine remembers, as the image leaves it.

    Members:
        banks: (lanes, bank_rows, taps) int8. act: (bytes,) int8. memory: (vector_rows, lanes).
        accumulators: (slots, lanes). scalars; reduces: 32 bits unsigned. winners, blocks: of each sequence, ARGMAX's
            (value, number) so far and how many passes that took; found: the token; indices: index registers.
            noise: of each sequence, where the machine has it.
    """

    def __init__(self, image: Image) -> None:
        cfg = self.cfg = image.config
        self.image = image
        self.banks = np.zeros((cfg.lanes, cfg.bank_rows, cfg.taps), np.int8)
        self.banks[:, : len(image.banks)] = image.banks.transpose(1, 0, 2)
        self.act = np.zeros(cfg.act_rows * cfg.act_width, np.int8)
        self.act[: image.act.size] = image.act.ravel()
        self.words, self.vectors = self.act.reshape(-1, cfg.taps), self.act.reshape(-1, cfg.lanes)
        self.params = image.params.astype(np.int64)
        self.signed_params = image.params.view(np.int8).astype(np.int64)
        self.memory = np.zeros((cfg.vector_rows, cfg.lanes), np.int64)
        self.accumulators = np.zeros((cfg.slots, cfg.lanes), np.int64)
        self.scalars = [Scalar(0, 0)] * cfg.scalars
        self.reduces = [0] * cfg.reduces
        self.winners: list[tuple[int, int] | None] = [None] * cfg.sequences
        self.found = [0] * cfg.sequences
        self.indices = [0] * (cfg.sequences * cfg.choices)
        self.blocks = [0] * cfg.sequences
        self.noise = noises(image)

    def poison(self, rows: npt.NDArray[np.bool_], seed: int) -> None:
        """Fill everything that no program may depend on with noise: cache rows, vector memory, registers."""
        rng = np.random.default_rng(seed)
        noise = rng.integers(-128, 128, self.banks[:, rows].shape, dtype=np.int8)
        self.banks[:, rows] = noise
        self.memory[:] = rng.integers(-32768, 32768, self.memory.shape)
        self.accumulators[:] = rng.integers(-(1 << 17), 1 << 17, self.accumulators.shape)
        self.reduces = [int(value) for value in rng.integers(0, WORD, self.cfg.reduces)]
        self.scalars = [Scalar(int(m), int(e)) for m, e in rng.integers(0, 64, (self.cfg.scalars, 2))]
        self.indices = [int(index) for index in rng.integers(0, max(1, self.cfg.experts), len(self.indices))]


class Execution:
    """One token of each sequence on a state. positions, tokens: of each sequence."""

    def __init__(self, state: State, *, positions: Sequence[int], tokens: Sequence[int]) -> None:
        self.state, self.cfg, self.positions = state, state.cfg, positions
        registers = state.image.registers
        self.columns = [divmod(token << registers.embed_shift, self.cfg.taps) for token in tokens]
        self.ropes = [position * registers.rope_step for position in positions]
        self.oldest = [max(0, position + 1 - registers.window) if registers.window else 0 for position in positions]
        self.key_rows = [position // self.cfg.lanes * registers.key_step for position in positions]
        self.lanes = np.arange(self.cfg.lanes)
        self.held: Ints = np.zeros(self.cfg.lanes, np.int64)

    def run(self, plan: Plan) -> None:
        """Go through all events."""
        actions: list[Any] = [getattr(self, f"_{event.name.lower()}") for event in Event]
        for event, item in plan:
            actions[event](item)

    # The matrix unit ------------------------------------------------------------------------------------------------

    def _multiply(self, chunk: Chunk) -> None:
        state, cfg = self.state, self.cfg
        rows, acts = chunk.rows, chunk.acts
        if chunk.output.gather:
            rows, acts = self._gathered(chunk)
        elif chunk.choice is not None:
            rows = self._chosen(chunk)
        weights = _weights(state.banks[:, rows], chunk.output.word.fields["plane"])  # (lanes, steps, taps)
        operands = [state.words[index] for index in acts]  # (steps, taps) each
        each = cfg.lanes // len(operands)
        if chunk.checked:
            parts = [np.einsum("lst,st->sl", weights[g * each:(g + 1) * each], operand, dtype=np.int64)
                     for g, operand in enumerate(operands)]
            chunk.delta = np.concatenate(parts, axis=1)  # (steps, lanes)
            return
        # Products of int8 are exact in float64, and float64 products are fast.
        flat = weights.reshape(cfg.lanes, -1).astype(np.float64)
        if len(operands) == 1:
            chunk.delta = flat @ operands[0].reshape(-1).astype(np.float64)
        else:
            parts = [flat[g * each:(g + 1) * each] @ operand.reshape(-1).astype(np.float64)
                     for g, operand in enumerate(operands)]
            chunk.delta = np.concatenate(parts)

    def _choose(self, choice: Choice) -> None:
        choice.index = self.state.indices[index_cell(self.cfg, choice.output.word)]

    def _chosen(self, chunk: Chunk) -> Any:
        """Rows of the expert that the index register named when the word began."""
        assert chunk.choice is not None
        moved = _numbers(chunk.rows) + chunk.choice.index * self.state.image.registers.expert_rows
        if moved.max() >= len(self.state.image.banks):
            raise IllegalProgram(chunk.output.cycle, f"{{}} reads bank row {moved.max()} of expert "
                                 f"{chunk.choice.index}, which nobody has loaded", chunk.output.word)
        return moved

    def _gathered(self, chunk: Chunk) -> tuple[Any, list[Any]]:
        """Addresses of a gather: the token's column of the embedding, from loaded memory."""
        output = chunk.output
        row, tap = self.columns[output.word.fields["sequence"]]
        rows = _numbers(chunk.rows) + row
        acts = [_numbers(acts) + tap for acts in chunk.acts]
        if rows.max() >= len(self.state.image.banks) or max(a.max() for a in acts) >= len(self.state.words):
            raise IllegalProgram(output.cycle, f"{{}} gathers bank row {rows.max()}, activation word "
                                 f"{max(a.max() for a in acts)}, which nobody has loaded", output.word)
        return rows, acts

    def _add(self, chunk: Chunk) -> None:
        accumulators, output = self.state.accumulators, chunk.output
        before = 0 if chunk.clear else accumulators[output.slot]
        if not chunk.checked:
            accumulators[output.slot] = before + chunk.delta
            return
        sums = before + np.cumsum(chunk.delta, axis=0)  # (steps, lanes)
        limit = 1 << self.cfg.acc_bits - 1
        if sums.max() >= limit or sums.min() < -limit:
            bad = (sums >= limit) | (sums < -limit)
            step = int(np.argmax(bad.any(axis=1)))
            raise IllegalProgram(
                chunk.cycle + step, f"{{}} overflows {self.cfg.acc_bits} bits of accumulator {output.slot} in lane "
                f"{int(np.argmax(bad[step]))}", output.word)
        accumulators[output.slot] = sums[-1]

    # The vector unit ------------------------------------------------------------------------------------------------

    def _fetch(self, job: Job) -> None:
        job.fetched = self._operands(job.one)  # type: ignore[arg-type]

    def _operands(self, one: Pass) -> tuple[Ints, list[Scalar], int]:
        """Memory row, scalar of each lane group, exponent of the output shift."""
        state, f = self.state, one.word.fields
        # What is not read may lie anywhere.
        row = state.memory[one.src].copy() if one.mode.reads_memory else np.zeros(self.cfg.lanes, np.int64)
        return (row, [state.scalars[index] for index in one.scalars],
                state.scalars[f["out_scalar"]].exponent if f["out_scaled"] else 0)

    def _pass(self, job: Job) -> None:
        one: Pass = job.one  # type: ignore[assignment]
        mode, f = one.mode, one.word.fields
        memory, scalars, out = job.fetched or self._operands(one)
        job.fetched = None
        if one.swapped:
            memory = memory.reshape(-1, 2)[:, ::-1].reshape(-1)
        first = self.state.accumulators[one.slot] if mode.source is Source.ACC else memory
        params = self._params(one)
        if len(scalars) == 1 or not mode.reads_scalar:
            d = self._sum(one, first, params, memory, scalars[0])
        else:
            each = self.cfg.lanes // len(scalars)
            parts = [slice(group * each, (group + 1) * each) for group in range(len(scalars))]
            d = np.concatenate([
                self._sum(one, first[part], params if isinstance(params, int) else params[part], memory[part], scalar)
                for part, scalar in zip(parts, scalars, strict=True)])
        if mode.addend is Addend.NOISE:
            d = d + self.state.noise[f["sequence"]].draw(self.cfg.lanes)
        if one.swapped:
            d = d + self.held
        if one.held:
            self.held = golden.sat16(d)
            return
        wide = golden.finish(d, _TABLES[mode.function])
        narrow = golden.output8(wide, s3=f["s3"], out=out) if mode.store is not Store.NONE else wide
        keep = self._kept(one, memory, scalars)
        if keep is not None:
            wide, narrow = np.where(keep, wide, 0), np.where(keep, narrow, 0)
        job.wide, job.narrow = wide, narrow
        if mode.reduce is not Reduce.NONE:
            summed = mode.reduce is Reduce.SUM and not mode.function  # SUM takes d, which is wider
            job.reduced = self._reduced(mode.reduce, d if summed else wide, keep)

    def _params(self, one: Pass) -> Ints | int:
        factor = one.mode.factor1
        if factor is Factor1.ONE:
            return 1
        row = one.param + (self.ropes[one.word.fields["sequence"]] if one.word.fields["rope"] else 0)
        params = (self.state.params if factor is Factor1.UNSIGNED else self.state.signed_params)[row]
        if one.held:  # both lanes of a pair take its cosine
            return np.repeat(params[::2], 2)
        if one.swapped:  # and then its sine, negative in the even lane
            return (params[1::2, None] * np.array([-1, 1])).ravel()
        return params

    def _sum(self, one: Pass, first: Ints, params: Any, memory: Ints, scalar: Scalar) -> Ints:
        """Steps a to d for the lanes that share a scalar."""
        mode, f = one.mode, one.word.fields
        early = scalar.exponent if f["early"] else 0
        a = golden.source(first, s0=f["s0"] + early) if mode.source is Source.ACC else first
        # Times 1, unshifted, 16 bits stay what they are.
        b = a if mode.factor1 is Factor1.ONE and f["s1"] == 0 else golden.factor(a, params, s1=f["s1"])
        late = 0
        match mode.factor2:
            case Factor2.ONE:
                f2: Any = 1
            case Factor2.SCALAR:
                f2, late = scalar.mantissa, 0 if f["early"] else scalar.exponent
            case Factor2.MEM:
                f2 = memory
            case Factor2.SQUARE:
                f2 = b
        c = golden.scale(b, f2, s2=f["s2"] + late)
        if mode.addend is Addend.MEM:
            return c + memory
        return c + scalar.mantissa if mode.addend is Addend.SCALAR else c

    def _kept(self, one: Pass, memory: Ints, scalars: list[Scalar]) -> npt.NDArray[np.bool_] | None:
        """Lanes that are not masked; None where all are kept."""
        f, keep = one.word.fields, self._unmasked(one)
        if not f["below"]:
            return keep
        least = np.repeat([scalar.mantissa for scalar in scalars], self.cfg.lanes // len(scalars))
        return memory >= least if keep is None else keep & (memory >= least)

    def _unmasked(self, one: Pass) -> npt.NDArray[np.bool_] | None:
        """Lanes that `mask` leaves; None where that is all."""
        f = one.word.fields
        number = 2 * one.index + 1 if one.swapped else one.index  # passes count one by one, also those of a pair
        if f["mask"] == Mask.POSITION.value:
            first, last = (at[f["sequence"]] - number * self.cfg.lanes for at in (self.oldest, self.positions))
            whole = first <= 0 and last >= self.cfg.lanes - 1
            return None if whole else (self.lanes >= first) & (self.lanes <= last)
        if f["mask"] == Mask.CHOSEN.value:
            return number * self.cfg.lanes + self.lanes != self.state.indices[f["sequence"] * self.cfg.choices]
        return self.lanes < f["tail"] if f["mask"] == Mask.TAIL.value else None

    def _reduced(self, reduce: Reduce, values: Ints, keep: npt.NDArray[np.bool_] | None) -> Any:
        """The reduction of one pass; for ARGMAX (value, lane)."""
        if keep is not None:
            values = np.where(keep, values, _IDENTITY[reduce])
        if reduce is Reduce.SUM:
            return golden.reduce_sum(values)
        if reduce is Reduce.ARGMAX:
            best = int(np.argmax(values))
            return int(values[best]), best
        return golden.reduce_max(values) if reduce is Reduce.MAX else golden.reduce_maxabs(values)

    def _memory(self, job: Job) -> None:
        self.state.memory[job.one.dst] = job.wide

    def _act(self, job: Job) -> None:
        self.state.vectors[job.one.dst] = job.narrow

    def _bank(self, job: Job) -> None:
        one: Pass = job.one  # type: ignore[assignment]
        banks, lanes, taps, sequence = self.state.banks, self.cfg.lanes, self.cfg.taps, one.word.fields["sequence"]
        position = self.positions[sequence]
        if one.mode.store is Store.VALUES:
            banks[:, one.bank + position // taps, position % taps] = job.narrow
            return
        row, chunk = banks[position % lanes, one.bank + self.key_rows[sequence]], one.word.fields["chunk"]
        if lanes > taps:
            row[:] = job.narrow[chunk * taps:(chunk + 1) * taps]
        else:
            row[chunk * lanes:(chunk + 1) * lanes] = job.narrow

    def _reduce(self, job: Job) -> None:
        one: Pass = job.one  # type: ignore[assignment]
        state, reduce = self.state, one.mode.reduce
        if reduce is Reduce.ARGMAX:
            self._argmax(one.word, one.first, job.reduced)
            return
        before = _IDENTITY[reduce] if one.first else state.reduces[one.target]
        if reduce is Reduce.SUM:
            after = before + job.reduced
        else:
            after = max(_signed(before), job.reduced)
        state.reduces[one.target] = after % WORD

    def _argmax(self, word: Word, first: bool, found: tuple[int, int]) -> None:
        winners, blocks, sequence = self.state.winners, self.state.blocks, word.fields["sequence"]
        if first:
            winners[sequence], blocks[sequence] = None, 0
        best = winners[sequence]
        if best is None or found[0] > best[0]:
            winner = blocks[sequence] * self.cfg.lanes + found[1]
            winners[sequence] = found[0], winner
            if word.fields["choice"]:
                self.state.indices[index_cell(self.cfg, word)] = winner % self.cfg.experts
            else:
                self.state.found[sequence] = winner
        blocks[sequence] += 1

    # The scalar unit ------------------------------------------------------------------------------------------------

    def _operation(self, job: Job) -> None:
        one: Operation = job.one  # type: ignore[assignment]
        state, f, reduce = self.state, one.word.fields, self.state.reduces[one.reduce]
        adjust = f["adjust"]
        match one.function:
            case ScalarFunction.RSQRT:
                made = golden.rsqrt(reduce, bias=f["bias"], adjust=adjust)
            case ScalarFunction.RECIP:
                made = golden.recip(reduce, bias=f["bias"], adjust=adjust)
            case ScalarFunction.NEGATE:
                made = golden.negate(_signed(reduce))
            case ScalarFunction.BLOCK:
                made = golden.block(reduce, adjust=adjust)
            case ScalarFunction.COMBINE:
                made = golden.combine(state.scalars[f["a"]], state.scalars[f["b"]], adjust=adjust)
            case ScalarFunction.VALUE:
                made = golden.value(_signed(reduce), state.scalars[f["a"]], adjust=adjust)
            case ScalarFunction.SEARCH:
                made = golden.search(reduce, state.scalars[f["a"]], bias=f["bias"], adjust=adjust)
            case ScalarFunction.CONST:
                if one.constant >= len(state.image.constants):
                    raise IllegalProgram(one.cycle, f"{{}} reads constant {one.constant}, which nobody has loaded",
                                         one.word)
                made = Scalar(golden.MANTISSA_ONE, min(int(state.image.constants[one.constant]), golden.EXPONENT_MAX))
        job.wide = made

    def _scalar(self, job: Job) -> None:
        self.state.scalars[job.one.dst] = job.wide
