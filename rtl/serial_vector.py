"""The serial vector unit: the pipeline of rtl/vector.py with the logic of one lane, which takes lane after lane.

```
issue  address  | select: lane 0  lane 1            operands: memories, accumulators, scalars; read once a pass
                |         scale : lane 0  lane 1
                |                 ...               each step is a cycle later, its lanes one after another
                |                        function   a row is written with its last lane
```
A pass occupies it for `Config.beats` cycles, so passes are at least that far apart, and what a word says stands still
for as long. So does what the pipeline keeps of it: a register serves that many cycles, see `Fields`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed

from rtl import isa
from rtl.arithmetic import node, pipe, register, round_saturate, rshift_bounded, saturate, shift_doubled
from rtl.config import Config, log2
from rtl.ice40 import product, shifted_by
from rtl.isa import Addend, Factor1, Factor2, Function, Source, Store
from rtl.ports import of_sequence
from rtl.serial_reduce import SerialReduce
from rtl.technology import Technology, technology
from rtl.timing import vector_cycle
from rtl.vector import Vector, choose, number, store_in_banks
from rtl.vector_tables import exp2, parts_of_size, silu_of_parts


class Fields:
    """What the pipeline knows of the passes in it, by the cycle since the issue.

    Passes are `beats` cycles apart at least, so a value that was caught in one register stays for as long, and a
    chain of registers needs one for every `beats` cycles of delay.

    Parameters
    ----------
    m, cfg : where the registers go. valid : a pass is issued in this cycle.
    """

    def __init__(self, m: Module, cfg: Config, valid: Value) -> None:
        self.m, self.beats = m, cfg.beats
        self.begins = [valid]
        self.chains: dict[str, dict[int, Value]] = {}

    def begin(self, cycle: int) -> Value:
        """Whether a pass was issued so many cycles ago."""
        while len(self.begins) <= cycle:
            self.begins.append(register(self.m, self.begins[-1], f"begin_{len(self.begins)}"))
        return self.begins[cycle]

    def lane(self, cycle: int) -> Value:
        """The lane that a step works on whose lane 0 comes `cycle` cycles after the issue."""
        places = range(self.beats)
        return Cat(Cat(self.begin(cycle + lane) for lane in places if lane >> bit & 1).any()
                   for bit in range(log2(self.beats)))

    def at_last(self, cycle: int, name: str) -> Any:
        """A value, for the last lane of that step alone."""
        known = max(at for at in self.chains[name] if at < cycle + self.beats)
        return self.at(cycle + (known - cycle) % self.beats, name)

    def last(self, cycle: int) -> Value:
        """Whether that is the last one."""
        return self.begin(cycle + self.beats - 1)

    def valid(self, cycle: int) -> Value:
        """Whether there is a lane."""
        return node(self.m, Cat(self.begin(cycle + lane) for lane in range(self.beats)).any(), f"valid_{cycle}")

    def catch(self, cycle: int, **values: Any) -> None:
        """Keep values that hold in a cycle after the issue."""
        for name, value in values.items():
            self.chains[name] = {cycle + 1: self._caught(cycle, value, name)}

    def at(self, cycle: int, name: str) -> Any:
        """A value, for the step whose lane 0 comes `cycle` cycles after the issue."""
        chain = self.chains[name]
        if cycle not in chain:
            earlier = max(at for at in chain if at <= cycle)
            while cycle - earlier > self.beats:  # as far as the register before reaches
                chain[earlier + self.beats] = self._caught(earlier + self.beats - 1, chain[earlier], name)
                earlier += self.beats
            if cycle > earlier:
                chain[cycle] = self._caught(cycle - 1, chain[earlier], name)
        return chain[cycle]

    def _caught(self, cycle: int, value: Any, name: str) -> Signal:
        held = Signal(value.shape(), name=f"{name}_{cycle + 1}")
        with self.m.If(self.begin(cycle)):
            self.m.d.sync += held.eq(value)
        return held


def serial(unit: Vector, platform: Any) -> Module:
    """The module of a Vector whose Config says `serial_vector`."""
    m = Module()
    cfg, fields = unit.cfg, Fields(m, unit.cfg, unit.issue.valid)
    after = {step: vector_cycle(cfg, step) for step in (
        "select", "align", "settle", "clamp", "function", "narrow", "output")}
    in_dsp = technology(platform) is Technology.ICE40
    fetch(m, unit, fields)
    state = select(m, unit, fields, after["select"])

    # a * f1, shifted and rounded to b, and b * f2.
    cut = {step: step in cfg.vector_cuts for step in ("select", "scale", "round", "multiply")}
    scaled = product(m, "scale", state.a, state.f1, before=cut["select"], after=cut["scale"], in_dsp=in_dsp)
    late = {name: value for name, value in vars(state).items() if name in ("f2", "addend")}
    for step in ("select", "scale"):
        late = {name: register(m, value, f"{name}_{step}") if cut[step] else value for name, value in late.items()}
    align = after["align"]
    aligned = shift_doubled(m, scaled, fields.at(align, "shift1"))
    b = round_saturate(m, aligned, 16)
    f2 = round_saturate(m, aligned, 16, unless=~fields.at(align, "square"), instead=late["f2"])
    multiplied = product(m, "multiply", b, f2, before=cut["round"], after=cut["multiply"], in_dsp=in_dsp)
    addend = late["addend"]
    for step in ("round", "multiply"):
        addend = register(m, addend, f"addend_{step}") if cut[step] else addend

    kept, d = add(m, unit, fields, after["settle"], multiplied, addend)
    f = function(m, unit, fields, after["function"], d, clamp(m, unit, fields, after["clamp"], kept))
    shifted = narrow(m, fields, after["narrow"], f, in_dsp=in_dsp)
    output(m, unit, fields, after["output"], shifted)
    return m


def fetch(m: Module, unit: Vector, fields: Fields) -> None:
    """Ask the memories, take the accumulators; add the exponents to the shifts."""
    word = unit.issue  # in the cycle after the issue only what moves from pass to pass has changed
    m.d.comb += unit.scalar_index[0].eq(Mux(word.valid, word.scalar, word.out_scalar))
    with m.If(word.valid):
        m.d.sync += [
            unit.memory_read_row.eq(word.src), unit.param_row.eq(word.param), unit.acc_slot.eq(word.slot)]
    m.d.comb += [unit.memory_read_enable.eq(fields.begin(1)), unit.param_enable.eq(fields.begin(1))]
    limits = SimpleNamespace(**unit.compare(m, word))
    fields.catch(
        0, dst=word.dst, first=word.first, masked=unit.mask(m, limits), first_turn=word.rotate & ~word.odd,
        second=word.rotate & word.odd, effective=node(m, ~word.rotate | word.odd, "effective"))

    scalar, from_scalar = unit.scalars[0], word.factor2 == Factor2.SCALAR.value
    fields.catch(
        1, source=word.source, factor1=word.factor1, factor2=word.factor2, addend=word.addend,
        function=word.function, shift0=(word.s0 + Mux(word.early, scalar.exponent, 0))[:7], shift1=word.s1,
        shift2=(word.s2 + Mux(from_scalar & ~word.early, scalar.exponent, 0))[:7],
        s3=word.s3, out_scaled=word.out_scaled, mantissa=scalar.mantissa, square=word.factor2 == Factor2.SQUARE.value,
        write=word.write, store=word.store, reduce=word.reduce, chunk=word.chunk, target=word.target,
        sequence=word.sequence)
    fields.catch(2, shift3=(fields.at(2, "s3") + Mux(fields.at(2, "out_scaled"), scalar.exponent, 0))[:7])


def select(m: Module, unit: Vector, fields: Fields, cycle: int) -> SimpleNamespace:
    """A lane's operands."""
    def now(name: str) -> Any:
        return fields.at(cycle, name)

    cfg, lane = unit.cfg, node(m, fields.lane(cycle), "lane")
    second, first_turn = now("second"), now("first_turn")
    swapped = node(m, Cat(lane[0] ^ second, lane[1:]), "swapped")
    plain = node(m, unit.memory_read_data[lane], "plain")
    waits = [Signal(signed(cfg.acc_bits), name=f"acc_{place}") for place in range(cfg.lanes)]  # the first one's turn
    for place, held in enumerate(waits):
        following = waits[min(place + 1, cfg.lanes - 1)]
        m.d.sync += held.eq(Mux(fields.begin(cycle - 1), unit.acc[place], following))
    a = round_saturate(
        m, rshift_bounded(m, waits[0], now("shift0"), doubled=True), 16,
        unless=now("source") == Source.MEM.value, instead=unit.memory_read_data[swapped])

    # Of a rotate pair's parameters, the first pass takes the cosine of lane 2i, the second the sine of 2i + 1.
    param = node(m, unit.param_data[Cat(Mux(first_turn, 0, lane[0] | second), lane[1:])], "param")
    sign = param[7] & (now("factor1") == Factor1.SIGNED.value)
    factor = node(m, Mux(now("factor1") == Factor1.ONE.value, 1, Cat(param, sign))[:9].as_signed(), "factor")
    factor = Mux(second & ~lane[0], -factor, factor)[:9].as_signed()
    mantissa = now("mantissa")
    other = choose(now("factor2"), {Factor2.SCALAR: mantissa, Factor2.MEM: plain}, number(1, 16))
    addend = choose(now("addend"), {Addend.MEM: plain, Addend.SCALAR: mantissa}, number(0, 16))
    return SimpleNamespace(a=a, f1=factor, f2=other, addend=addend)


def add(m: Module, unit: Vector, fields: Fields, cycle: int, multiplied: Value, addend: Value) -> tuple[Value, Value]:
    """The product shifted and rounded, and the addend: d, and d a cycle later. The first of a rotate pair's passes is
    held in these registers until the second one comes."""
    settled, valid = rshift_bounded(m, multiplied, fields.at(cycle, "shift2"), doubled=True), fields.valid(cycle)
    kept, late = (Signal(signed(32), name=name) for name in ("kept", "late"))
    moves = node(m, valid | ~fields.at(cycle, "first_turn"), "moves")
    held = saturate(m, late, 16)
    with m.If(moves):
        m.d.sync += late.eq(kept)
    for lane in range(2, unit.cfg.lanes):
        before, held = held, Signal(signed(16), name=f"held_{lane}")
        with m.If(moves):
            m.d.sync += held.eq(before)
    addend = Mux(fields.at(cycle, "second"), held, addend).as_signed()
    with m.If(valid):
        m.d.sync += kept.eq((settled + Cat(settled[0], addend).as_signed())[1:33])
    return kept, late


def clamp(m: Module, unit: Vector, fields: Fields, cycle: int, d: Value) -> SimpleNamespace:
    """The function tables' index, SILU's without its sign, and which of the functions the result comes from; of a
    masked lane, none."""
    asked = fields.at(cycle, "function")
    masked = node(m, fields.at(cycle, "masked").bit_select(fields.lane(cycle), 1), "lane_masked")
    tiny = node(m, d[-1] & (~d[8:].all() | ~d[:8].any()), "tiny")  # EXP2 of -256 and less is 0
    power, small = asked == Function.EXP2.value, saturate(m, d, 8)
    return pipe(
        m, True, "clamped", masked=masked,
        index=Mux(power, Mux(d[-1], d[:8], 0), Mux(d[-1], -small, small))[:8], negative=d[-1],
        from_d=(asked == Function.IDENTITY.value) & ~masked, from_silu=(asked == Function.SILU.value) & ~masked,
        from_exp2=power & ~masked & ~tiny)


def function(m: Module, unit: Vector, fields: Fields, cycle: int, d: Value, clamped: SimpleNamespace) -> Value:
    """f: saturated or looked up, zero where masked. A row is written as its last lane's f is made."""
    cfg = unit.cfg
    silus = silu_of_parts(*parts_of_size(m, 0, clamped.index, clamped.negative))
    powers = exp2(m, 0, clamped.index, direct=False)
    f = (Mux(clamped.from_d, saturate(m, d, 16), 0) | Mux(clamped.from_silu, silus, 0)
         | Mux(clamped.from_exp2, powers, 0))
    f = node(m, f[:16].as_signed(), "f")
    effective = fields.at(cycle, "effective")
    reduces = node(m, fields.valid(cycle) & effective, "reduces")
    m.submodules.reduce = reduce = SerialReduce(cfg)
    m.d.comb += [
        reduce.kind.eq(Mux(reduces, fields.at(cycle, "reduce"), isa.Reduce.NONE.value)),
        reduce.opens.eq(fields.begin(cycle)), reduce.first.eq(fields.at(cycle, "first")),
        reduce.target.eq(fields.at(cycle, "target")), reduce.sequence.eq(fields.at(cycle, "sequence")),
        reduce.result.eq(f), reduce.negative.eq(clamped.negative & (clamped.from_d | clamped.from_silu)),
        reduce.masked.eq(clamped.masked), reduce.term.eq(d), reduce.short.eq(~clamped.from_d),
        reduce.read_index.eq(unit.reduce_index), unit.reduce_value.eq(reduce.read_value),
        unit.reduce_found.eq(reduce.read_found), unit.token.eq(reduce.token)]
    line = [f]
    for lane in range(1, cfg.lanes):
        line.append(register(m, line[-1], f"f_late{lane}"))
    m.d.comb += [
        unit.memory_write_row.eq(fields.at_last(cycle, "dst")),
        unit.memory_write_enable.eq(
            fields.at_last(cycle, "write") & fields.at_last(cycle, "effective") & fields.last(cycle)),
        Cat(unit.memory_write_data).eq(Cat(*reversed(line)))]
    return line[1]


def narrow(m: Module, fields: Fields, cycle: int, f: Value, *, in_dsp: bool) -> Value:
    """f shifted, as shift_doubled has it, a cycle later."""
    amount = fields.at(cycle, "shift3")
    if in_dsp:  # a product with a power of two; with 0 where nothing is left
        power = node(m, (Mux(amount[4:].any(), 0, 1) << ~amount[:4])[:16], "power")
        return shifted_by(m, "narrow", f, power)[14:].as_signed()
    return register(m, rshift_bounded(m, f, amount, doubled=True), "narrowed")


def output(m: Module, unit: Vector, fields: Fields, cycle: int, shifted: Value) -> None:
    """o: 8 bits; a row goes to activation memory or into the banks as its last lane's is made."""
    def now(name: str) -> Any:
        return fields.at_last(cycle, name)

    cfg = unit.cfg
    line = [round_saturate(m, shifted, 8)]
    for lane in range(1, cfg.lanes):
        line.append(register(m, line[-1], f"o_late{lane}"))
    stores = node(m, fields.last(cycle) & now("effective"), "stores")
    store = node(m, Mux(stores, now("store"), Store.NONE.value), "store")
    keys = node(m, store == Store.KEYS.value, "in_keys")
    position, key_offset = (of_sequence(values, now("sequence")) for values in (unit.position, unit.key_offset))
    offset = node(m, Mux(keys, key_offset, position >> log2(cfg.taps)), "offset")
    store_in_banks(m, unit, SimpleNamespace(
        store=store, chunk=now("chunk"), sequence=now("sequence"), dst=now("dst"), o=list(reversed(line)),
        row=(now("dst") + offset)[:len(unit.bank_row)]))
