"""The vector unit's function tables, small enough for look-up tables beside each lane.

SILU(-i) = SILU(i) - 2**(SILU_OUT_BITS - SILU_IN_BITS) * i exactly, rounding included, so one table of what is missing
from the straight line, for 0 <= i < 128, serves both signs. EXP2 shifts one of 32 mantissas.
"""

from __future__ import annotations

from decimal import Decimal

from amaranth.hdl import Cat, Const, Module, Mux, Value, unsigned
from amaranth.lib.memory import Memory

from rtl.arithmetic import limit, node, rshift

SILU_IN_BITS, SILU_OUT_BITS = 4, 11
EXP2_ROWS, EXP2_MOST = 32, 15


def silu_gap(index: int) -> int:
    """2**SILU_OUT_BITS * max(x, 0) - SILU at +-x, the same for both; x is index / 2**SILU_IN_BITS."""
    x = Decimal(index) / 2**SILU_IN_BITS
    return round(2**SILU_OUT_BITS * x / (1 + x.exp()))


def exp2_mantissa(index: int) -> int:
    """127 * 2**(-index / 32)."""
    return round(127 * Decimal(2) ** (Decimal(-index) / EXP2_ROWS))


def look_up(m: Module, name: str, bits: int, rows: list[int], index: Value) -> Value:
    """An entry of a table of constants, in the same cycle."""
    m.submodules[name] = table = Memory(shape=unsigned(bits), depth=len(rows), init=rows)
    port = table.read_port(domain="comb")
    m.d.comb += port.addr.eq(index)
    return port.data


def silu(m: Module, lane: int, x: Value) -> Value:
    """SILU of a signed 8-bit x: 16 bits signed."""
    gaps = [silu_gap(index) for index in range(128)]
    negative = x[7]
    size = node(m, Mux(negative, -x, x)[:8], "size")  # 0 to 128
    gap = look_up(m, f"silu_{lane}", max(gaps).bit_length(), gaps, size[:7])
    gap = Mux(size[7], silu_gap(128), gap)
    line = Mux(negative, 0, size) << SILU_OUT_BITS - SILU_IN_BITS
    return (line - gap)[:16].as_signed()


def exp2(m: Module, lane: int, x: Value) -> Value:
    """EXP2 of a signed 16-bit x: 0 to 127, 8 bits signed."""
    size = node(m, Mux(x[15], -x, 0)[:16], "size")
    part, whole = size[:5], size[5:]
    mantissa = look_up(m, f"exp2_{lane}", 7, [exp2_mantissa(index) for index in range(EXP2_ROWS)], part)
    amount = limit(m, whole, EXP2_MOST)
    return rshift(m, Cat(mantissa, Const(0, 1)).as_signed(), amount)
