"""The serial vector unit: the pipeline of rtl/vector.py with the logic of one lane, which takes lane after lane.

A pass occupies it for `Config.beats` cycles, so passes are at least that far apart, and what a word says stands still
for as long. Operands are read once, for all lanes; results of the first lanes wait for the last one's, so that rows are
written whole.
"""

from __future__ import annotations

from types import SimpleNamespace

from amaranth.hdl import Cat, Module, Mux, Signal, signed

from rtl import isa
from rtl.arithmetic import node, register, rshift_bounded, saturate
from rtl.config import log2
from rtl.isa import Addend, Factor1, Factor2, Function, Source, Store
from rtl.ports import of_sequence
from rtl.serial_reduce import SerialReduce
from rtl.vector import Vector, choose, number, store_in_banks
from rtl.vector_tables import exp2, silu


def serial(unit: Vector) -> Module:
    """The module of a Vector whose Config says `serial_vector`."""
    m = Module()
    state = fetch(m, unit)
    state = select(m, unit, state)
    state = unit.scale(m, state)
    state = unit.align(m, state)
    state = unit.round(m, state)
    state = unit.multiply(m, state)
    state = settle(m, unit, state)
    state = add(m, unit, state)
    state = function(m, unit, state)
    output(m, unit, state)
    return m


def fetch(m: Module, unit: Vector):
    """Ask the memories, take the accumulators; add the exponents to the shifts. Held for all beats of the pass."""
    cfg, word = unit.cfg, unit.issue  # in the cycle after the issue only what moves from pass to pass has changed
    now = SimpleNamespace(**{
        name: register(m, word[name], f"asked_{name}")
        for name in ("valid", "src", "param", "dst", "slot", "index", "odd", "first")})
    scalar = unit.scalars[0]
    m.d.comb += [
        unit.memory_read_row.eq(now.src), unit.memory_read_enable.eq(now.valid),
        unit.param_row.eq(now.param), unit.param_enable.eq(now.valid), unit.acc_slot.eq(now.slot),
        unit.scalar_index[0].eq(word.scalar), unit.out_index.eq(word.out_scalar)]
    from_scalar = word.factor2 == Factor2.SCALAR.value
    effective = node(m, ~word.rotate | now.odd, "effective")
    limits = SimpleNamespace(**unit.compare(m, SimpleNamespace(
        sequence=word.sequence, index=now.index, mask=word.mask, tail=word.tail)))
    values = {
        "acc": Cat(unit.acc), "source": word.source, "first_turn": word.rotate & ~now.odd,
        "second": word.rotate & now.odd, "factor1": word.factor1, "factor2": word.factor2, "addend": word.addend,
        "function": word.function, "shift0": (word.s0 + Mux(word.early, scalar.exponent, 0))[:7], "shift1": word.s1,
        "shift2": (word.s2 + Mux(from_scalar & ~word.early, scalar.exponent, 0))[:7],
        "shift3": (word.s3 + Mux(word.out_scaled, unit.out_exponent, 0))[:7],
        "mantissa": scalar.mantissa, "masked": unit.mask(m, limits), "dst": now.dst,
        "chunk": word.chunk, "first": now.first, "target": word.target, "sequence": word.sequence,
        "write": effective & word.write, "store": Mux(effective, word.store, Store.NONE.value),
        "reduce": Mux(effective, word.reduce, isa.Reduce.NONE.value)}
    held = {name: Signal(value.shape(), name=f"pass_{name}") for name, value in values.items()}
    busy, lane = Signal(), Signal(log2(cfg.lanes))
    m.d.sync += [busy.eq(now.valid | (busy & ~lane.all())), lane.eq(lane + 1)]
    with m.If(now.valid):
        m.d.sync += [lane.eq(0), *(held[name].eq(value) for name, value in values.items())]
    return SimpleNamespace(valid=busy, lane=lane, **held)


def select(m: Module, unit: Vector, state):
    """The lane's operands. From here on the bundle is one lane's; what is done once a pass is done with the last."""
    cfg, lane = unit.cfg, state.lane
    swapped = node(m, Cat(lane[0] ^ state.second, lane[1:]), "swapped")
    plain = node(m, unit.memory_read_data[lane], "plain")
    acc = node(m, state.acc.word_select(lane, cfg.acc_bits).as_signed(), "lane_acc")
    requantised = saturate(m, rshift_bounded(m, acc, state.shift0), 16)
    a = Mux(state.source == Source.MEM.value, unit.memory_read_data[swapped], requantised).as_signed()

    # Of a rotate pair's parameters, the first pass takes the cosine of lane 2i, the second the sine of 2i + 1.
    param = node(m, unit.param_data[Cat(Mux(state.first_turn, 0, lane[0] | state.second), lane[1:])], "param")
    sign = param[7] & (state.factor1 == Factor1.SIGNED.value)
    factor = node(m, Mux(state.factor1 == Factor1.ONE.value, 1, Cat(param, sign))[:9].as_signed(), "factor")
    factor = Mux(state.second & ~lane[0], -factor, factor)[:9].as_signed()
    other = choose(state.factor2, {Factor2.SCALAR: state.mantissa, Factor2.MEM: plain}, number(1, 16))
    addend = choose(state.addend, {Addend.MEM: plain, Addend.SCALAR: state.mantissa}, number(0, 16))

    last = node(m, state.valid & lane.all(), "last_lane")
    return unit.cut(
        m, "select", state, a=[a], f1=[factor], f2=[other], addend=addend,
        square=state.factor2 == Factor2.SQUARE.value, masked=state.masked.bit_select(lane, 1),
        first=state.first & (lane == 0), write=last & state.write, store=Mux(last, state.store, Store.NONE.value),
        reduce=Mux(state.valid, state.reduce, isa.Reduce.NONE.value),
        drop=("acc", "source", "shift0", "mantissa", "factor1", "factor2", "first_turn", "lane"))


def settle(m: Module, unit: Vector, state):
    """b * f2, shifted."""
    settled = rshift_bounded(m, state.product[0], state.shift2, doubled=True)
    return unit.cut(m, "settle", state, settled=settled, drop=("product", "shift2"))


def add(m: Module, unit: Vector, state):
    """d: the product rounded, and the addend. What the lane's last pass made is the held value."""
    kept = Signal(signed(32), name="kept")
    line = [kept]  # of the lanes since
    for lane in range(1, unit.cfg.lanes):
        before = saturate(m, kept, 16) if lane == 1 else line[-1]
        line.append(Signal(signed(16), name=f"kept_{lane}"))
        with m.If(state.valid):
            m.d.sync += line[-1].eq(before)
    addend = Mux(state.second, line[-1], state.addend).as_signed()
    with m.If(state.valid):
        m.d.sync += kept.eq((state.settled + Cat(state.settled[0], addend).as_signed())[1:33])
    state = unit.cut(m, "add", state, drop=("settled", "addend", "second", "valid"))
    state.d = kept
    return state


def function(m: Module, unit: Vector, state):
    """f: saturated or looked up, zero where masked. A row is written as its last lane's f is made."""
    cfg, d = unit.cfg, state.d
    short = saturate(m, d, 16)
    power = exp2(m, 0, node(m, Mux(d[-1], d[:8], 0), "power"), direct=cfg.direct_tables)
    tiny = node(m, d[-1] & (~d[8:].all() | ~d[:8].any()), "tiny")  # EXP2 of -256 and less is 0
    looked_up = {Function.SILU: silu(m, 0, saturate(m, d, 8), direct=cfg.direct_tables),
                 Function.EXP2: Mux(tiny, 0, power)}
    f = node(m, Mux(state.masked, 0, choose(state.function, looked_up, short))[:16].as_signed(), "f")
    m.submodules.reduce = reduce = SerialReduce(cfg)
    m.d.comb += [
        reduce.kind.eq(state.reduce), reduce.first.eq(state.first), reduce.target.eq(state.target),
        reduce.sequence.eq(state.sequence), reduce.result.eq(f), reduce.masked.eq(state.masked),
        reduce.term.eq(d), reduce.short.eq((state.function != Function.IDENTITY.value) | state.masked),
        reduce.read_index.eq(unit.reduce_index), unit.reduce_value.eq(reduce.read_value), unit.token.eq(reduce.token)]
    after = unit.cut(m, "function", state, result=f, drop=(
        "d", "function", "masked", "reduce", "first", "target", "write"))
    line = [f, after.result]
    for lane in range(2, cfg.lanes):
        line.append(register(m, line[-1], f"f_late{lane}"))
    m.d.comb += [
        unit.memory_write_row.eq(state.dst), unit.memory_write_enable.eq(state.write),
        Cat(unit.memory_write_data).eq(Cat(*reversed(line)))]
    return after


def output(m: Module, unit: Vector, state) -> None:
    """o: 8 bits; a row goes to activation memory or into the banks as its last lane's is made."""
    cfg = unit.cfg
    o = saturate(m, rshift_bounded(m, state.result, state.shift3), 8)
    line = [o]
    for lane in range(1, cfg.lanes):
        line.append(register(m, line[-1], f"o_late{lane}"))
    keys = node(m, state.store == Store.KEYS.value, "in_keys")
    position, key_offset = (of_sequence(values, state.sequence) for values in (unit.position, unit.key_offset))
    offset = node(m, Mux(keys, key_offset, position >> log2(cfg.taps)), "offset")
    state.o, state.row = list(reversed(line)), (state.dst + offset)[:len(unit.bank_row)]
    store_in_banks(m, unit, state)
