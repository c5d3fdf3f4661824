"""The vector unit: `lanes` lanes in lock step through one static pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl import isa
from rtl.arithmetic import limit, node, number, pipe, register, round_saturate, saturate, shift_doubled
from rtl.config import VECTOR_STEPS, Config, log2
from rtl.isa import MATRIX, VECTOR, Addend, Factor1, Factor2, Function, Mask, Source, Store
from rtl.memories import vector_address_bits
from rtl.ports import (
    bank_enables_layout,
    each_choice,
    each_sequence,
    field_bits,
    of_sequence,
    pass_layout,
    row_layout,
    scalar_layout,
)
from rtl.reduce import Reduce
from rtl.timing import ADDRESS, address_stages
from rtl.vector_tables import exp2, silu_directly, silu_of_parts, silu_parts

SHIFT_MOST = 47
"""Larger sums of shifts count as this."""


class Vector(wiring.Component):
    """Requantise, scale, add, look up, mask, reduce and store: docs/numerics.md, a pass a cycle.

    Parameters
    ----------
    cfg: uses nearly all of it; `vector_cuts` says where the pipeline has registers.

    Members
    -------
    issue: the pass of this cycle, see rtl.ports.pass_layout.
    position, key_offset: of each sequence, its position and (position // lanes) * key_step; steady during a token.
    oldest: (sequences, with `Config.windows`) the first position that the token sees.
    memory_read_row, memory_read_enable, memory_read_data: read port of VectorMemory; with `spread` that has a register,
        and is asked a cycle before it reads.
    param_row, param_enable, param_data: read port of ParamMemory; with `spread` it is read a cycle before, too, and
        what it answers has a register here.
    scalar_index: (groups) scalar registers; scalars: (groups) their contents, in the same cycle; exponents: (lanes) the
        exponent of each lane's group.
    noise_row: (lanes, with `Config.noise_rate`) the row for the pass that is in `select`, if it adds one.
    out_index: scalar register of the output shift; out_exponent: its exponent, in the same cycle.
    acc_slot: accumulator to read; acc: (lanes) its contents, in the same cycle (`acc_register`: a register follows).
    memory_write_row, memory_write_enable, memory_write_data: write port of VectorMemory; with `spread` row and enable
        come a cycle before the data.
    act_vector, act_enable, act_data: write port of ActMemory.
    bank_row, bank_enable, bank_chunk, bank_shared: write port of Banks, whose write_bytes are act_data.
    reduce_index: reduce register to read; reduce_value: its 32 bits a cycle later, as they then are.
    token: ARGMAX's winner so far, of each sequence. chosen: (sequences * choices) index registers, with `choices`.
    With `serial_vector`: `scalars` follow a cycle after their index, which is that of the factor in the issue cycle and
        that of the output shift in the next. reduce_found: reduce_value is what was asked for a cycle ago; of two
        cycles, one at least is free for that.

    Latency: each access in its cycle of rtl.timing. Throughput: a pass a cycle.
    Reset: nothing is on its way; reduce registers stay.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        shapes = field_bits(cfg, VECTOR, "src", "param", "slot", "scalar", "target")
        row = field_bits(cfg, MATRIX, "row")["row"]
        super().__init__({
            "issue": In(pass_layout(cfg)),
            "position": In(each_sequence(cfg.position_bits, cfg)), "key_offset": In(each_sequence(row, cfg)),
            **({"oldest": In(each_sequence(cfg.position_bits, cfg))} if cfg.windows else {}),
            "memory_read_row": Out(shapes["src"]), "memory_read_enable": Out(1),
            "memory_read_data": In(row_layout(16, cfg.lanes)),
            "param_row": Out(shapes["param"]), "param_enable": Out(1), "param_data": In(data.ArrayLayout(8, cfg.lanes)),
            "scalar_index": Out(data.ArrayLayout(shapes["scalar"], cfg.groups)),
            "scalars": In(data.ArrayLayout(scalar_layout(), cfg.groups)),
            **({"reduce_found": Out(1)} if cfg.serial_vector else {
                "exponents": In(data.ArrayLayout(scalar_layout()["exponent"].shape, cfg.lanes)),
                "out_index": Out(shapes["scalar"]), "out_exponent": In(scalar_layout()["exponent"].shape)}),
            **({"noise_row": In(row_layout(16, cfg.lanes))} if cfg.noise_rate else {}),
            "acc_slot": Out(shapes["slot"]), "acc": In(row_layout(cfg.acc_bits, cfg.lanes)),
            "memory_write_row": Out(shapes["src"]), "memory_write_enable": Out(1),
            "memory_write_data": Out(row_layout(16, cfg.lanes)),
            "act_vector": Out(vector_address_bits(cfg)), "act_enable": Out(1),
            "act_data": Out(row_layout(8, cfg.lanes)),
            "bank_row": Out(row), "bank_enable": Out(bank_enables_layout(cfg)),
            "bank_chunk": Out(row_layout(8, cfg.taps)), "bank_shared": Out(1),
            "reduce_index": In(shapes["target"]), "reduce_value": Out(32),
            "token": Out(each_sequence(cfg.token_bits, cfg)),
            **({"chosen": Out(each_choice(log2(cfg.experts), cfg))} if cfg.choices else {})})

    def elaborate(self, platform):
        if self.cfg.serial_vector:
            from rtl.serial_vector import serial  # which is made of this unit's steps
            return serial(self, platform)
        cfg, m = self.cfg, Module()
        told = self.issue
        for stage in range(address_stages(cfg) - ADDRESS):
            told = register(m, told, f"told_{stage}")
        asked = register(m, told, "asked")
        # Vector memory then has a register of its own, beside its lanes; parameters have one on their way to them.
        reads = told if cfg.spread else asked
        m.d.comb += [self.memory_read_row.eq(reads.src), self.memory_read_enable.eq(reads.valid)]
        m.d.sync += [
            self.scalar_index[group].eq(told.scalar + Mux(told.grouped, group, 0)) for group in range(cfg.groups)]
        state = self.address(m, reads, asked)
        for step in VECTOR_STEPS:
            state = getattr(self, step)(m, state)
        return m

    def address(self, m: Module, reads, asked):
        """Ask parameter memory; add the scalars' exponents to the first shift; decide which lanes are masked."""
        cfg = self.cfg
        m.d.comb += [
            self.param_row.eq(reads.param), self.param_enable.eq(reads.valid),
            self.out_index.eq(asked.out_scalar)]
        from_scalar = asked.factor2 == Factor2.SCALAR.value
        early = [limit(m, asked.s0 + Mux(asked.early, exponent, 0), SHIFT_MOST) for exponent in self.exponents]
        late = [Mux(from_scalar & ~asked.early, scalar.exponent, 0) for scalar in self.scalars]

        acc = [self.acc[lane] for lane in range(cfg.lanes)]
        if cfg.acc_register:
            m.d.comb += self.acc_slot.eq(asked.slot)
            acc = register(m, acc, "acc")

        # Of a rotate pair the first pass only makes the held value.
        second = asked.rotate & asked.odd
        effective = node(m, asked.valid & (~asked.rotate | asked.odd), "effective")
        state = pipe(
            m, True, "memory", valid=asked.valid, source=asked.source, slot=asked.slot,
            first_turn=asked.rotate & ~asked.odd, second=second,
            factor1=asked.factor1, factor2=asked.factor2, addend=asked.addend, function=asked.function,
            shift0=early, shift1=asked.s1, shift2=asked.s2, shift3=asked.s3, late=late,
            out=Mux(asked.out_scaled, self.out_exponent, 0), mantissas=[scalar.mantissa for scalar in self.scalars],
            **self.compare(m, asked),
            dst=asked.dst, chunk=asked.chunk, first=asked.first, target=asked.target, sequence=asked.sequence,
            **({"choice": asked.choice} if cfg.choices else {}), **({"below": asked.below} if cfg.top_k else {}),
            write=effective & asked.write,
            store=Mux(effective, asked.store, Store.NONE.value),
            reduce=Mux(effective, asked.reduce, isa.Reduce.NONE.value))
        state.acc = acc
        params = [self.param_data[lane] for lane in range(cfg.lanes)]
        state.params = register(m, params, "params") if cfg.spread else params
        return state

    def compare(self, m: Module, asked):
        """What `mask` needs: the first lane that is masked, and whether lanes count at all; the first that is not."""
        by_position, by_tail = asked.mask == Mask.POSITION.value, asked.mask == Mask.TAIL.value
        position = of_sequence(self.position, asked.sequence)
        past, last = position >> log2(self.cfg.lanes), position[:log2(self.cfg.lanes)]
        masks = {
            "all_masked": node(m, by_position & (asked.index > past), "beyond"),
            "some_masked": node(m, by_tail | (by_position & (asked.index == past)), "within"),
            "first_masked": node(m, Mux(by_tail, asked.tail, last + 1), "first_masked")}
        if self.cfg.windows:
            oldest = of_sequence(self.oldest, asked.sequence)
            row = oldest >> log2(self.cfg.lanes)
            masks["all_masked"] |= by_position & (asked.index < row)
            masks["first_seen"] = node(
                m, Mux(by_position & (asked.index == row), oldest[:log2(self.cfg.lanes)], 0), "first_seen")
        if self.cfg.choices:
            firsts = [self.chosen[at] for at in range(0, len(self.chosen), self.cfg.choices)]
            first = of_sequence(firsts, asked.sequence)
            here = (asked.mask == Mask.CHOSEN.value) & (asked.index == first[log2(self.cfg.lanes):])
            masks |= {"one_masked": node(m, here, "chosen_here"), "masked_lane": first[:log2(self.cfg.lanes)]}
        return masks

    def mask(self, m: Module, state):
        """A bit a lane: it yields zero and takes no part in reductions."""
        lanes = range(self.cfg.lanes)
        masked = [state.all_masked | (state.some_masked & (lane >= state.first_masked)) for lane in lanes]
        if self.cfg.windows:
            masked = [masked[lane] | (lane < state.first_seen) for lane in lanes]
        if self.cfg.choices:
            masked = [masked[lane] | (state.one_masked & (state.masked_lane == lane)) for lane in lanes]
        return Cat(masked)

    def shift(self, m: Module, state):
        """The accumulator shifted, and what the memories answer; the lanes that are masked; the later shifts."""
        if not self.cfg.acc_register:
            m.d.comb += self.acc_slot.eq(state.slot)
        lanes = range(self.cfg.lanes)
        shifted = [shift_doubled(m, state.acc[lane], state.shift0[lane]) for lane in lanes]
        state.shift2 = [limit(m, state.shift2 + late, SHIFT_MOST) for late in state.late]
        state.shift3 = limit(m, state.shift3 + state.out, SHIFT_MOST)
        return self.cut(
            m, "shift", state, shifted=shifted, plain=[self.memory_read_data[lane] for lane in lanes],
            masked=self.mask(m, state),
            drop=("slot", "shift0", "late", "out", "acc", "all_masked", "some_masked", "first_masked", "one_masked",
                  "masked_lane", "first_seen"))

    def select(self, m: Module, state):
        """a: a requantised accumulator, or memory. The factors and the addend are chosen here too."""
        cfg = self.cfg
        a, f1, f2, addend = [], [], [], []
        for lane in range(cfg.lanes):
            group = lane // cfg.group_lanes
            plain, swapped = state.plain[lane], state.plain[lane ^ 1]
            requantised = round_saturate(m, state.shifted[lane], 16)
            from_memory = Mux(state.second, swapped, plain)
            a.append(Mux(state.source == Source.MEM.value, from_memory, requantised).as_signed())

            # Of a rotate pair's parameters, the first pass takes the cosine of lane 2i, the second the sine of 2i + 1.
            param, mantissa = state.params[lane], state.mantissas[group]
            param = Mux(state.first_turn if lane % 2 else state.second, state.params[lane ^ 1], param)
            sign = param[7] & (state.factor1 == Factor1.SIGNED.value)
            factor = node(m, Mux(state.factor1 == Factor1.ONE.value, 1, Cat(param, sign))[:9].as_signed(), f"f1_{lane}")
            f1.append(factor if lane % 2 else Mux(state.second, -factor, factor)[:9].as_signed())
            f2.append(choose(state.factor2, {Factor2.SCALAR: mantissa, Factor2.MEM: plain}, number(1, 16)))
            cases = {Addend.MEM: plain, Addend.SCALAR: mantissa}
            cases |= {Addend.NOISE: self.noise_row[lane]} if cfg.noise_rate else {}
            addend.append(choose(state.addend, cases, number(0, 16)))
        if cfg.top_k:
            low = Cat(plain < state.mantissas[lane // cfg.group_lanes] for lane, plain in enumerate(state.plain))
            state.masked |= low & state.below.replicate(cfg.lanes)
        return self.cut(
            m, "select", state, a=a, f1=f1, f2=f2, addend=addend, square=state.factor2 == Factor2.SQUARE.value,
            drop=("below", "source", "shifted", "plain", "params", "mantissas", "factor1", "factor2", "first_turn"))

    def scale(self, m: Module, state):
        """a * f1."""
        scaled = [a * f1 for a, f1 in zip(state.a, state.f1, strict=True)]
        return self.cut(m, "scale", state, scaled=scaled, drop=("a", "f1"))

    def align(self, m: Module, state):
        """a * f1, shifted."""
        aligned = [shift_doubled(m, scaled, state.shift1) for scaled in state.scaled]
        return self.cut(m, "align", state, aligned=aligned, drop=("scaled", "shift1"))

    def round(self, m: Module, state):
        """b, rounded to 16 bits; it may be the second factor too."""
        b = [round_saturate(m, aligned, 16) for aligned in state.aligned]
        f2 = [Mux(state.square, own, other).as_signed() for own, other in zip(b, state.f2, strict=True)]
        return self.cut(m, "round", state, b=b, f2=f2, drop=("aligned", "square"))

    def multiply(self, m: Module, state):
        """b * f2."""
        product = [b * f2 for b, f2 in zip(state.b, state.f2, strict=True)]
        return self.cut(m, "multiply", state, product=product, drop=("b", "f2"))

    def settle(self, m: Module, state):
        """b * f2, shifted."""
        shifts = [state.shift2[lane // self.cfg.group_lanes] for lane in range(self.cfg.lanes)]
        settled = [shift_doubled(m, product, shift) for product, shift in zip(state.product, shifts, strict=True)]
        return self.cut(m, "settle", state, settled=settled, drop=("product", "shift2"))

    def add(self, m: Module, state):
        """d: the product rounded, and the addend; the held value is kept until the next pass.

        It is d clamped, since the first of a rotate pair has no addend. After a `settle` register it is made beside d,
        for d would be late; else that way is the longer one, and d is clamped while the next product is shifted.
        """
        made, beside = [], "settle" in self.cfg.vector_cuts
        for lane, settled in enumerate(state.settled):
            d = Signal(signed(32), name=f"d_{lane}")
            held = Signal(signed(16), name=f"held_{lane}") if beside else saturate(m, d, 16)
            addend = Mux(state.second, held, state.addend[lane]).as_signed()
            with m.If(state.valid):
                # One carry chain: the rounding bit is its carry in.
                m.d.sync += d.eq((settled + Cat(settled[0], addend).as_signed())[1:33])
                if beside:
                    m.d.sync += held.eq(round_saturate(m, settled, 16))
            made.append(d)
        state = self.cut(m, "add", state, drop=("settled", "addend", "second", "valid"))
        state.d = made
        return state

    def clamp(self, m: Module, state):
        """d clamped to what memory, SILU and EXP2 take. EXP2 of -256 and less is 0."""
        short, small = ([saturate(m, d, bits) for d in state.d] for bits in (16, 8))
        power = [node(m, Mux(d[-1], d[:8], 0), f"power_{lane}") for lane, d in enumerate(state.d)]
        # Which of them each lane's result comes from; of a masked lane, none.
        from_d, from_silu, from_exp2 = (
            [node(m, (state.function == function.value) & ~state.masked[lane], f"from_{function.name}_{lane}")
             for lane in range(self.cfg.lanes)] for function in (Function.IDENTITY, Function.SILU, Function.EXP2))
        from_exp2 = [
            chosen & ~(d[-1] & (~d[8:].all() | ~d[:8].any())) for chosen, d in zip(from_exp2, state.d, strict=True)]
        return self.cut(
            m, "clamp", state, short=short, small=small, power=power, from_d=from_d, from_silu=from_silu,
            from_exp2=from_exp2, drop=("function",))

    def look_up(self, m: Module, state):
        """The functions of d; of SILU, where it is no table, the two numbers whose difference it is."""
        direct = self.cfg.direct_tables
        if direct:
            made = {"silus": [silu_directly(m, lane, x) for lane, x in enumerate(state.small)]}
        else:
            parts = [silu_parts(m, lane, x) for lane, x in enumerate(state.small)]
            made = {"lines": [line for line, _ in parts], "gaps": [gap for _, gap in parts]}
        powers = [exp2(m, lane, x, direct=direct) for lane, x in enumerate(state.power)]
        return self.cut(m, "look_up", state, **made, powers=powers, drop=("small", "power"))

    def function(self, m: Module, state):
        """f: d clamped, or a function of it, or zero where masked."""
        results, terms = [], []
        silus = state.silus if self.cfg.direct_tables else [
            silu_of_parts(line, gap) for line, gap in zip(state.lines, state.gaps, strict=True)]
        for lane, d in enumerate(state.d):
            f = (Mux(state.from_d[lane], state.short[lane], 0) | Mux(state.from_silu[lane], silus[lane], 0)
                 | Mux(state.from_exp2[lane], state.powers[lane], 0))
            f = node(m, f[:16].as_signed(), f"f_{lane}")
            results.append(f)
            terms.append(Mux(state.from_d[lane], d, f)[:32].as_signed())
        state = self.cut(m, "function", state, results=results, terms=terms, drop=(
            "d", "short", "silus", "lines", "gaps", "powers", "from_d", "from_silu", "from_exp2"))

        # f goes to vector memory and to the reductions.
        m.submodules.reduce = reduce = Reduce(self.cfg)
        writes = self.ahead if self.cfg.spread else state
        m.d.comb += [
            self.memory_write_row.eq(writes.dst), self.memory_write_enable.eq(writes.write),
            Cat(self.memory_write_data).eq(Cat(state.results)),
            reduce.kind.eq(state.reduce), reduce.first.eq(state.first), reduce.target.eq(state.target),
            reduce.sequence.eq(state.sequence),
            Cat(reduce.results).eq(Cat(state.results)), Cat(reduce.terms).eq(Cat(state.terms)),
            reduce.masked.eq(state.masked), reduce.read_index.eq(self.reduce_index),
            self.reduce_value.eq(reduce.read_value), self.token.eq(reduce.token)]
        if self.cfg.choices:
            m.d.comb += [reduce.choice.eq(state.choice), self.chosen.eq(reduce.chosen)]
        return state

    def narrow(self, m: Module, state):
        """f, shifted."""
        narrowed = [shift_doubled(m, f, state.shift3) for f in state.results]
        return self.cut(m, "narrow", state, narrowed=narrowed, drop=(
            "results", "terms", "masked", "shift3", "write", "reduce", "first", "target", "choice"))

    def output(self, m: Module, state):
        """o: 8 bits, to activation memory or into the banks as a K row or a V column."""
        cfg = self.cfg
        outputs = [round_saturate(m, narrowed, 8) for narrowed in state.narrowed]
        keys = state.store == Store.KEYS.value
        position, key_offset = (of_sequence(values, state.sequence) for values in (self.position, self.key_offset))
        offset = node(m, Mux(keys, key_offset, position >> log2(cfg.taps)), "offset")
        state = self.cut(
            m, "output", state, o=outputs, row=(state.dst + offset)[:len(self.bank_row)],
            drop=("narrowed",))
        store_in_banks(m, self, state)
        return state

    def cut(self, m: Module, step: str, state, *, drop: tuple[str, ...], **made):
        """What leaves a step: the bundle with what the step made, without what only this step needed. As it enters the
        last register it stays in `ahead`."""
        kept = {name: value for name, value in vars(state).items() if name not in drop} | made
        if step in self.cfg.vector_cuts:
            self.ahead = SimpleNamespace(**kept)
        return pipe(m, step in self.cfg.vector_cuts, f"after_{step}", **kept)


def choose(selector: Value, cases: Mapping[Any, Value], otherwise: Value) -> Value:
    """The 16-bit case whose member the selector names."""
    for member, value in cases.items():
        otherwise = Mux(selector == member.value, value, otherwise)
    return otherwise[:16].as_signed()


def store_in_banks(m: Module, unit: Vector, state) -> None:
    """The 8-bit outputs of a pass to activation memory or the banks. K: part of the vector to the bytes of one lane.
    V: a byte to each lane."""
    cfg = unit.cfg
    m.d.comb += [
        unit.act_vector.eq(state.dst), unit.act_enable.eq(state.store == Store.ACT.value),
        Cat(unit.act_data).eq(Cat(state.o))]
    keys, values = node(m, state.store == Store.KEYS.value, "keys"), state.store == Store.VALUES.value
    position = of_sequence(unit.position, state.sequence)
    value_bytes = node(m, Mux(values, (1 << position[:log2(cfg.taps)])[:cfg.taps], 0), "value_bytes")
    key_lane, key_bytes = position[:log2(cfg.lanes)], Const(-1, cfg.taps)
    if cfg.lanes > cfg.taps:
        m.d.comb += unit.bank_chunk.eq(Cat(state.o).word_select(state.chunk, 8 * cfg.taps))
    else:
        m.d.comb += unit.bank_chunk.eq(Cat(state.o).replicate(cfg.taps // cfg.lanes))
        if cfg.lanes < cfg.taps:
            key_bytes = Cat((state.chunk == tap // cfg.lanes) for tap in range(cfg.taps))
    m.d.comb += [unit.bank_row.eq(state.row), unit.bank_shared.eq(keys)]
    for lane in range(cfg.lanes):
        m.d.comb += unit.bank_enable[lane].eq(Mux(keys & (key_lane == lane), key_bytes, 0) | value_bytes)
