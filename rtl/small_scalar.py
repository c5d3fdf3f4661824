"""The small scalar unit: what rtl/scalar.py does, with one adder, one normaliser and one read port of each memory.

```
issue  +1       +2           +3            +4         +5     +6
       reduce   or reduce    sum           normalise  table  write
                register b   register a,
                             constant
```
The vector unit's first lanes need the reduce registers' read port themselves, but not in two cycles one after another:
the sum is made of what was found last. Operations are four cycles apart, so what one says stands still until it is
normalised.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib.memory import Memory

from rtl.arithmetic import node, pipe, register, saturate
from rtl.isa import ScalarFunction
from rtl.ports import EXPONENT_BITS, NEVER_COLLIDES, scalar_layout
from rtl.protocol import Space
from rtl.scalar import UNIT, Scalar
from rtl.scalar_tables import TABLE_ROWS, root_and_reciprocal


def small_scalar(unit: Scalar) -> Module:
    """The module of a Scalar whose Config says `small_scalar`."""
    cfg, m = unit.cfg, Module()
    # Constants are in rows of the table that no operand reaches.
    rows = [*unit.contents.of(Space.CONSTANT), *[0] * cfg.constants][:cfg.constants]
    m.submodules.table = table = Memory(
        shape=unsigned(15), depth=2 * TABLE_ROWS, init=rows + root_and_reciprocal()[len(rows):], attrs=NEVER_COLLIDES)
    rom, load = table.read_port(), table.write_port()
    m.d.comb += [
        load.addr.eq(unit.host.address), load.data.eq(unit.host.data),
        load.en.eq(unit.host.active & unit.host.write)]

    # What is asked for stands still until it is normalised.
    asked, begins = unit.issue, [unit.issue.valid]
    place_of_constant = register(m, asked.constant, "place_of_constant", enable=unit.issue.valid)  # a loop moves it
    for cycle in range(1, 7):
        begins.append(register(m, begins[-1], f"begin_{cycle}"))

    def is_(function: ScalarFunction):
        return asked.function == function.value

    # Read: reduce register with its bias, then scalar registers. NEGATE adds -1 and is inverted later.
    m.submodules.registers = registers = Memory(
        shape=scalar_layout(), depth=cfg.scalars, init=[], attrs=NEVER_COLLIDES)
    own, own_writer = registers.read_port(), registers.write_port()
    operand, b_exponent = Signal(33), Signal(EXPONENT_BITS)
    negates = node(m, is_(ScalarFunction.NEGATE), "negates")
    addend = Cat(Mux(negates, 0xFFFF, Mux(is_(ScalarFunction.BLOCK), 0, asked.bias))[:16], negates.replicate(17))
    total = node(m, (Cat(unit.reduce_value, negates & unit.reduce_value[31]) + addend)[:33], "total")
    m.d.comb += [unit.reduce_index.eq(asked.reduce), own.addr.eq(Mux(begins[2], asked.b, asked.a))]
    with m.If(unit.reduce_found & (begins[2] | begins[3])):
        m.d.sync += operand.eq(total)
    with m.If(begins[3]):
        m.d.sync += b_exponent.eq(own.data.exponent)

    # Normalise: the leading bits index the table, their position is the exponent.
    leading, place = normalise(m, operand[:32], operand[32])
    root, reciprocal = node(m, is_(ScalarFunction.RSQRT), "root"), node(m, is_(ScalarFunction.RECIP), "reciprocal")
    constant = node(m, is_(ScalarFunction.CONST), "constant")
    half = root & ~place[0]  # RSQRT: an even number of bits, one more where it is odd
    index = Mux(half, leading[1:], leading)[:8]
    mantissa, base = Signal(signed(16)), Signal(signed(8))
    offset = Signal(signed(8))  # of the exponent, known long before the operand's place: NEGATE's exponent is 0
    m.d.comb += offset.eq(asked.adjust + Mux(root | reciprocal, 15, 0))
    with m.Switch(asked.function):
        with m.Case(ScalarFunction.RSQRT.value):
            m.d.comb += base.eq(place[1:])
        with m.Case(ScalarFunction.RECIP.value):
            m.d.comb += base.eq(place)
        with m.Case(ScalarFunction.NEGATE.value):
            m.d.comb += [mantissa.eq(saturate(m, node(m, ~operand.as_signed(), "negated"), 16)), offset.eq(0)]
        with m.Case(ScalarFunction.BLOCK.value):
            m.d.comb += [mantissa.eq(UNIT), base.eq(Mux(place > 6, place, 6)), offset.eq(asked.adjust - 6)]
        with m.Case(ScalarFunction.COMBINE.value):
            m.d.comb += [mantissa.eq(own.data.mantissa), base.eq(own.data.exponent - b_exponent)]
        with m.Case(ScalarFunction.CONST.value):
            m.d.comb += mantissa.eq(UNIT)
    normal = pipe(
        m, True, "normalise", dst=asked.dst, mantissa=mantissa, base=base, offset=offset,
        index=Mux(constant, Cat(place_of_constant, Const(0, 9))[:9], Cat(index, reciprocal)), constant=constant,
        tabled=root | reciprocal)

    # Table: its output register is the stage's.
    exponent = node(m, (normal.base + normal.offset)[:9].as_signed(), "exponent")
    clamped = Mux(exponent < 0, 0, Mux(exponent > 63, 63, exponent))[:EXPONENT_BITS]
    found = pipe(
        m, True, "table", dst=normal.dst, mantissa=normal.mantissa, exponent=clamped, constant=normal.constant,
        tabled=normal.tabled)
    m.d.comb += rom.addr.eq(normal.index)
    fixed = Mux(rom.data[6:8].any(), 63, rom.data[:6])[:EXPONENT_BITS]

    # The vector unit's read port; write.
    shown = registers.read_port()
    m.d.comb += [
        shown.addr.eq(unit.scalar_index[0]), unit.scalars[0].eq(shown.data),
        own_writer.addr.eq(found.dst), own_writer.en.eq(begins[6]),
        own_writer.data.mantissa.eq(Mux(found.tabled, rom.data, found.mantissa)),
        own_writer.data.exponent.eq(Mux(found.constant, fixed, found.exponent))]
    return m


def normalise(m: Module, x: Any, over: Any) -> tuple[Any, Any]:
    """The 8 leading bits of an unsigned 32-bit x, the first of them set, and the place of that one. 0 counts as 1; with
    `over`, all bits of x are set."""
    window, found = x, []
    for step in (16, 8, 4, 2, 1):
        large = node(m, over | window[-step:].any(), f"from_{step}")
        kept = 8 + step - 1  # bits that later steps can still bring to the top
        padded = Cat(Const(0, max(0, kept + step - len(window))), window)
        window = node(m, Mux(large, padded[-kept:], padded[-kept - step:-step])[:kept], f"window_{step}")
        found.append(large)
    return Cat(window | over.replicate(8))[:7] | Const(128, 8), Cat(*reversed(found))
