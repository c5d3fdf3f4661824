"""The scalar unit: reciprocals, square roots and scales, each a mantissa with an exponent."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.arithmetic import leading_place, node, pipe, saturate
from rtl.config import Config
from rtl.contents import EMPTY, Contents
from rtl.isa import SCALAR, ScalarFunction
from rtl.ports import EXPONENT_BITS, NEVER_COLLIDES, field_bits, host_signature, operation_layout, scalar_layout
from rtl.protocol import Space
from rtl.scalar_tables import TABLE_ROWS, root_and_reciprocal

UNIT = 16384
"""Mantissa of what is a power of two alone."""


class Scalar(wiring.Component):
    """One operation a cycle, from a reduce register or a constant to a scalar register: docs/numerics.md.

    Parameters
    ----------
    cfg: uses scalars, reduces, constants, groups, scalar_register.
    contents: uses CONSTANT.

    Members
    -------
    issue: the operation of this cycle, see rtl.ports.operation_layout.
    reduce_index: reduce register to read, in the issue cycle; reduce_value: its 32 bits, a cycle later.
    scalar_index: (groups) registers to read; scalars: (groups) their contents, in the same cycle; exponents: (lanes)
        the exponent for each lane, of its group. With `spread` each lane has a copy of all exponents.
    out_index, out_exponent: one further read port, of an exponent.
    With `small_scalar`: reduce_index in the two cycles after the issue; reduce_found: reduce_value is what was asked
        for a cycle ago, which is so after one of them at least. scalars follow a cycle after the index, and there is no
        further port.
    host: writes constant memory, see rtl.ports.host_signature.

    Latency: rtl.timing `scalar_read` and `scalar_visible`. Throughput: an operation a cycle.
    Reset: nothing is on its way; scalar registers stay.
    """

    def __init__(self, cfg: Config, contents: Contents = EMPTY):
        self.cfg, self.contents = cfg, contents
        shapes = field_bits(cfg, SCALAR, "reduce", "dst")
        super().__init__({
            "issue": In(operation_layout(cfg)), "reduce_index": Out(shapes["reduce"]), "reduce_value": In(32),
            "scalar_index": In(data.ArrayLayout(shapes["dst"], cfg.groups)),
            "scalars": Out(data.ArrayLayout(scalar_layout(), cfg.groups)),
            **({"reduce_found": In(1)} if cfg.small_scalar else {
                "exponents": Out(data.ArrayLayout(scalar_layout()["exponent"].shape, cfg.lanes)),
                "out_index": In(shapes["dst"]), "out_exponent": Out(scalar_layout()["exponent"].shape)}),
            "host": In(host_signature(cfg, Space.CONSTANT))})

    def elaborate(self, platform):
        if self.cfg.small_scalar:
            from rtl.small_scalar import small_scalar  # which needs this unit's ports
            return small_scalar(self)
        cfg, m = self.cfg, Module()
        m.submodules.registers = registers = Memory(shape=scalar_layout(), depth=cfg.scalars, init=[])
        m.submodules.constants = constants = Memory(
            shape=unsigned(8), depth=cfg.constants, init=self.contents.of(Space.CONSTANT), attrs=NEVER_COLLIDES)
        m.submodules.table = table = Memory(shape=unsigned(15), depth=2 * TABLE_ROWS, init=root_and_reciprocal())
        m.d.comb += self.reduce_index.eq(self.issue.reduce)

        # Address.
        asked = Signal(operation_layout(cfg))
        m.d.sync += asked.eq(self.issue)

        # Read: reduce register with its bias, scalar registers; the constant arrives with the next stage.
        constant, a, b = constants.read_port(), registers.read_port(domain="comb"), registers.read_port(domain="comb")
        tabled = (asked.function == ScalarFunction.RSQRT.value) | (asked.function == ScalarFunction.RECIP.value)
        exact = (asked.function == ScalarFunction.NEGATE.value) | (asked.function == ScalarFunction.CONST.value)
        # What the table's 15 bits add to an exponent is added early: later there is just time for one addition.
        adjust = node(m, Mux(exact, 0, asked.adjust + Mux(tabled, 15, 0)), "adjust")
        biased = tabled
        if cfg.top_k:
            biased |= asked.function == ScalarFunction.SEARCH.value
        total = node(m, (self.reduce_value + Mux(biased, asked.bias, 0))[:33], "total")
        read = pipe(
            m, True, "read", valid=asked.valid, function=asked.function, dst=asked.dst, adjust=adjust,
            a=a.data, b_exponent=b.data.exponent, operand=total[:32], over=total[32])  # over: counts as all ones
        m.d.comb += [
            constant.addr.eq(asked.constant), constant.en.eq(asked.valid), a.addr.eq(asked.a), b.addr.eq(asked.b)]

        # Normalise: the leading bits index the table, their position is the exponent.
        def is_(function: ScalarFunction):
            return read.function == function.value

        negated = node(m, -read.operand.as_signed(), "negated")
        place = node(m, leading_place(m, read.operand) | read.over.replicate(5), "place")
        difference = node(m, read.a.exponent - read.b_exponent, "difference")
        made = {"found": search(m, read.a, read.over | read.operand[16:].any())} if cfg.top_k else {}
        read = pipe(
            m, cfg.scalar_register, "place", **vars(read), place=place, negated=negated, constant=constant.data,
            difference=difference, **made)
        place, root, reciprocal = read.place, is_(ScalarFunction.RSQRT), is_(ScalarFunction.RECIP)
        # The first of the leading bits is set; RSQRT and RECIP of 0 count as of 1.
        leading = node(m, (read.operand << ~place)[24:32] | read.over.replicate(8) | 128, "leading")
        index = Mux(root & ~place[0], leading[1:], leading)  # RSQRT: an even number of bits, one more where it is odd
        mantissa, base = Signal(signed(16)), Signal(signed(9))
        with m.Switch(read.function):
            with m.Case(ScalarFunction.RSQRT.value):
                m.d.comb += base.eq(place[1:])
            with m.Case(ScalarFunction.RECIP.value):
                m.d.comb += base.eq(place)
            with m.Case(ScalarFunction.NEGATE.value):
                m.d.comb += mantissa.eq(saturate(m, read.negated, 16))
            with m.Case(ScalarFunction.BLOCK.value):
                m.d.comb += [mantissa.eq(UNIT), base.eq(Mux(place > 6, place - 6, 0))]
            with m.Case(ScalarFunction.COMBINE.value):
                m.d.comb += [mantissa.eq(read.a.mantissa), base.eq(read.difference)]
            with m.Case(ScalarFunction.CONST.value):
                m.d.comb += [mantissa.eq(UNIT), base.eq(read.constant)]
            if cfg.choices:
                with m.Case(ScalarFunction.VALUE.value):
                    m.d.comb += [mantissa.eq(saturate(m, read.operand.as_signed(), 16)), base.eq(read.a.exponent)]
            if cfg.top_k:
                with m.Case(ScalarFunction.SEARCH.value):
                    m.d.comb += [mantissa.eq(read.found), base.eq(read.a.exponent)]
        exponent = node(m, (base + read.adjust)[:9].as_signed(), "exponent")
        normal = pipe(
            m, True, "normalise", valid=read.valid, dst=read.dst, mantissa=mantissa,
            exponent=clamped(exponent),
            index=Cat(index[:8], reciprocal), tabled=root | reciprocal)

        # Table: its output register is the stage's.
        rom = table.read_port()
        found = pipe(
            m, True, "table", valid=normal.valid, dst=normal.dst, mantissa=normal.mantissa, exponent=normal.exponent,
            tabled=normal.tabled)
        m.d.comb += rom.addr.eq(normal.index)

        # Write.
        writer = registers.write_port()
        m.d.comb += [
            writer.addr.eq(found.dst), writer.en.eq(found.valid), writer.data.exponent.eq(found.exponent),
            writer.data.mantissa.eq(Mux(found.tabled, rom.data, found.mantissa))]

        # The vector unit's read ports.
        for group in range(cfg.groups):
            port = registers.read_port(domain="comb")
            m.d.comb += [port.addr.eq(self.scalar_index[group]), self.scalars[group].eq(port.data)]
        for lane in range(cfg.lanes):
            group = lane // cfg.group_lanes
            m.d.comb += self.exponents[lane].eq(self.scalars[group].exponent)
            if cfg.spread:
                m.submodules[f"exponents_{lane}"] = exponents = Memory(
                    shape=scalar_layout()["exponent"].shape, depth=cfg.scalars, init=[])
                keep, find = exponents.write_port(), exponents.read_port(domain="comb")
                m.d.comb += [
                    keep.addr.eq(writer.addr), keep.en.eq(writer.en), keep.data.eq(found.exponent),
                    find.addr.eq(self.scalar_index[group]), self.exponents[lane].eq(find.data)]
        out = registers.read_port(domain="comb")
        m.d.comb += [out.addr.eq(self.out_index), self.out_exponent.eq(out.data.exponent)]

        # The host's way in; constants are not read meanwhile.
        load = constants.write_port()
        m.d.comb += [
            load.addr.eq(self.host.address), load.data.eq(self.host.data),
            load.en.eq(self.host.active & self.host.write)]
        return m


def clamped(exponent: Value) -> Value:
    """To 0 ... 63, as long as a register has. Told by bits: a comparison would be a second carry chain."""
    large = exponent[EXPONENT_BITS:-1].any()
    return Mux(exponent[-1], 0, exponent[:EXPONENT_BITS] | large.replicate(EXPONENT_BITS))[:EXPONENT_BITS]


def search(m: Module, a, enough: Value) -> Value:
    """The mantissa of `a` after a step of successive approximation: the bit that its exponent names becomes `enough`
    (the sign bit, the first one, the opposite), and the bit below it becomes 1."""
    last = len(a.mantissa) - 1
    here = [node(m, a.exponent[:4] == last - bit, f"search_{bit}") for bit in range(last + 1)]
    made = [Mux(here[bit], enough if bit < last else ~enough, a.mantissa[bit] | here[min(last, bit + 1)])
            for bit in range(last + 1)]
    return Cat(made).as_signed()
