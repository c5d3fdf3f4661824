"""The scalar unit: reciprocals, square roots and scales, each a mantissa with an exponent."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.arithmetic import bit_length, node, pipe, saturate
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
    scalar_index: (groups) registers to read; scalars: (groups) their contents, in the same cycle.
    out_index, out_exponent: one further read port, of an exponent.
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
            "out_index": In(shapes["dst"]), "out_exponent": Out(scalar_layout()["exponent"].shape),
            "host": In(host_signature(cfg, Space.CONSTANT))})

    def elaborate(self, platform):
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
        biased = node(m, self.reduce_value + asked.bias, "biased")
        operand = node(m, Mux(biased[32], 0xFFFF_FFFF, biased[:32]), "operand")
        read = pipe(
            m, True, "read", valid=asked.valid, function=asked.function, dst=asked.dst, adjust=asked.adjust,
            a=a.data, b_exponent=b.data.exponent, reduce=self.reduce_value,
            operand=Mux(operand == 0, 1, operand)[:32])  # RSQRT and RECIP of 0 count as of 1
        m.d.comb += [
            constant.addr.eq(asked.constant), constant.en.eq(asked.valid), a.addr.eq(asked.a), b.addr.eq(asked.b)]

        # Normalise: the leading bits index the table, their position is the exponent.
        def is_(function: ScalarFunction):
            return read.function == function.value

        negated = node(m, -read.reduce.as_signed(), "negated")
        length = bit_length(m, node(m, Mux(is_(ScalarFunction.BLOCK), read.reduce, read.operand), "measured"))
        read = pipe(
            m, cfg.scalar_register, "length", **vars(read), length=length, negated=negated, constant=constant.data)
        length, negated = read.length, read.negated
        even = is_(ScalarFunction.RSQRT)
        rounded = node(m, length + (even & length[0]), "rounded")  # RSQRT: up to even
        leading = (read.operand << (32 - rounded)[:5])[24:32]
        mantissa, exponent = Signal(signed(16)), Signal(signed(9))
        with m.Switch(read.function):
            with m.Case(ScalarFunction.RSQRT.value):
                m.d.comb += exponent.eq(14 + rounded[1:] + read.adjust)
            with m.Case(ScalarFunction.RECIP.value):
                m.d.comb += exponent.eq(14 + rounded + read.adjust)
            with m.Case(ScalarFunction.NEGATE.value):
                m.d.comb += mantissa.eq(saturate(m, negated, 16))
            with m.Case(ScalarFunction.BLOCK.value):
                m.d.comb += [mantissa.eq(UNIT), exponent.eq(Mux(length > 7, length - 7, 0) + read.adjust)]
            with m.Case(ScalarFunction.COMBINE.value):
                m.d.comb += [
                    mantissa.eq(read.a.mantissa), exponent.eq(read.a.exponent - read.b_exponent + read.adjust)]
            with m.Case(ScalarFunction.CONST.value):
                m.d.comb += [mantissa.eq(UNIT), exponent.eq(read.constant)]
        normal = pipe(
            m, True, "normalise", valid=read.valid, dst=read.dst, mantissa=mantissa, exponent=exponent,
            index=Cat(leading, is_(ScalarFunction.RECIP)), tabled=even | is_(ScalarFunction.RECIP))

        # Table: its output register is the stage's.
        rom = table.read_port()
        clamped = Mux(normal.exponent < 0, 0, Mux(normal.exponent > 63, 63, normal.exponent))[:EXPONENT_BITS]
        found = pipe(
            m, True, "table", valid=normal.valid, dst=normal.dst, mantissa=normal.mantissa, exponent=clamped,
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
        out = registers.read_port(domain="comb")
        m.d.comb += [out.addr.eq(self.out_index), self.out_exponent.eq(out.data.exponent)]

        # The host's way in; constants are not read meanwhile.
        load = constants.write_port()
        m.d.comb += [
            load.addr.eq(self.host.address), load.data.eq(self.host.data),
            load.en.eq(self.host.active & self.host.write)]
        return m
