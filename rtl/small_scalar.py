"""The small scalar unit: what rtl/scalar.py does, with one adder and one normaliser for all functions.

It takes the same cycles, but more of each of them.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib.memory import Memory

from rtl.arithmetic import node, pipe, saturate
from rtl.config import Config
from rtl.isa import ScalarFunction
from rtl.ports import EXPONENT_BITS, NEVER_COLLIDES, operation_layout, scalar_layout
from rtl.protocol import Space
from rtl.scalar import UNIT, Scalar
from rtl.scalar_tables import TABLE_ROWS, root_and_reciprocal


def small_scalar(unit: Scalar) -> Module:
    """The module of a Scalar whose Config says `small_scalar`."""
    cfg, m = unit.cfg, Module()
    m.submodules.constants = constants = Memory(
        shape=unsigned(8), depth=cfg.constants, init=unit.contents.of(Space.CONSTANT), attrs=NEVER_COLLIDES)
    m.submodules.table = table = Memory(shape=unsigned(15), depth=2 * TABLE_ROWS, init=root_and_reciprocal())
    m.d.comb += unit.reduce_index.eq(unit.issue.reduce)

    # Address.
    asked = Signal(operation_layout(cfg))
    m.d.sync += asked.eq(unit.issue)
    registers = Registers(m, cfg)
    now = unit.issue if cfg.scalar_memory else asked
    a, b_exponent = registers.read("a", now.a), registers.read("b", now.b, whole=False)

    # Read: reduce register with its bias, scalar registers; the constant arrives with the next stage. NEGATE adds
    # -1 and is inverted later.
    constant = constants.read_port()
    negates = node(m, asked.function == ScalarFunction.NEGATE.value, "negates")
    biased = asked.function != ScalarFunction.BLOCK.value
    addend = Cat(Mux(negates, 0xFFFF, Mux(biased, asked.bias, 0))[:16], negates.replicate(17))
    total = node(m, (Cat(unit.reduce_value, negates & unit.reduce_value[31]) + addend)[:33], "total")
    read = pipe(
        m, True, "read", valid=asked.valid, function=asked.function, dst=asked.dst, adjust=asked.adjust,
        mantissa=a.mantissa, a_exponent=a.exponent, b_exponent=b_exponent, operand=total)
    m.d.comb += [constant.addr.eq(asked.constant), constant.en.eq(asked.valid)]

    # Normalise: the leading bits index the table, their position is the exponent.
    def is_(function: ScalarFunction):
        return read.function == function.value

    leading, place = normalise(m, read.operand[:32], read.operand[32])
    root, reciprocal = node(m, is_(ScalarFunction.RSQRT), "root"), node(m, is_(ScalarFunction.RECIP), "reciprocal")
    half = root & ~place[0]  # RSQRT: an even number of bits, one more where it is odd
    index = Mux(half, leading[1:], leading)[:8]
    mantissa, base = Signal(signed(16)), Signal(signed(8))
    with m.Switch(read.function):
        with m.Case(ScalarFunction.RSQRT.value):
            m.d.comb += base.eq(place[1:] + 15)
        with m.Case(ScalarFunction.RECIP.value):
            m.d.comb += base.eq(place + 15)
        with m.Case(ScalarFunction.NEGATE.value):
            m.d.comb += mantissa.eq(saturate(m, node(m, ~read.operand.as_signed(), "negated"), 16))
        with m.Case(ScalarFunction.BLOCK.value):
            m.d.comb += [mantissa.eq(UNIT), base.eq(Mux(place > 6, place - 6, 0))]
        with m.Case(ScalarFunction.COMBINE.value):
            m.d.comb += [mantissa.eq(read.mantissa), base.eq(read.a_exponent - read.b_exponent)]
        with m.Case(ScalarFunction.CONST.value):
            m.d.comb += mantissa.eq(UNIT)
    bare = is_(ScalarFunction.NEGATE)  # its exponent is 0
    exponent = Mux(is_(ScalarFunction.CONST), constant.data, base + Mux(bare, 0, read.adjust))
    normal = pipe(
        m, True, "normalise", valid=read.valid, dst=read.dst, mantissa=mantissa, exponent=exponent,
        index=Cat(index, reciprocal), tabled=root | reciprocal)

    # Table: its output register is the stage's.
    rom = table.read_port()
    clamped = Mux(normal.exponent < 0, 0, Mux(normal.exponent > 63, 63, normal.exponent))[:EXPONENT_BITS]
    found = pipe(
        m, True, "table", valid=normal.valid, dst=normal.dst, mantissa=normal.mantissa, exponent=clamped,
        tabled=normal.tabled)
    m.d.comb += rom.addr.eq(normal.index)

    # The vector unit's read ports.
    for group in range(cfg.groups):
        m.d.comb += unit.scalars[group].eq(registers.read(f"group_{group}", unit.scalar_index[group]))
    m.d.comb += unit.out_exponent.eq(registers.read("out", unit.out_index, whole=False))

    # Write.
    registers.write(found.valid, found.dst, Mux(found.tabled, rom.data, found.mantissa), found.exponent)

    # The host's way in; constants are not read meanwhile.
    load = constants.write_port()
    m.d.comb += [
        load.addr.eq(unit.host.address), load.data.eq(unit.host.data),
        load.en.eq(unit.host.active & unit.host.write)]
    return m


class Registers:
    """The scalar registers, a copy for each port; or, without `scalar_memory`, one with ports that need no cycle."""

    def __init__(self, m: Module, cfg: Config) -> None:
        self.m, self.cfg = m, cfg
        self.writers: list[Any] = []
        self.shared = None if cfg.scalar_memory else self._copy("registers", scalar_layout())

    def _copy(self, name: str, shape: Any) -> Memory:
        self.m.submodules[name] = copy = Memory(shape=shape, depth=self.cfg.scalars, init=[], attrs=NEVER_COLLIDES)
        self.writers.append(copy.write_port())
        return copy

    def read(self, name: str, index: Any, *, whole: bool = True) -> Any:
        """A register's contents, or its exponent alone."""
        if self.shared is not None:
            port = self.shared.read_port(domain="comb")
        else:
            port = self._copy(f"for_{name}", scalar_layout() if whole else EXPONENT_BITS).read_port()
        self.m.d.comb += port.addr.eq(index)
        return port.data if whole or self.shared is None else port.data.exponent

    def write(self, enable: Any, index: Any, mantissa: Any, exponent: Any) -> None:
        """Statements that write a register; after all reads."""
        for writer in self.writers:
            value = writer.data if isinstance(writer.data, Signal) else None
            self.m.d.comb += [writer.addr.eq(index), writer.en.eq(enable)]
            if value is not None:
                self.m.d.comb += value.eq(exponent)
            else:
                self.m.d.comb += [writer.data.mantissa.eq(mantissa), writer.data.exponent.eq(exponent)]


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
