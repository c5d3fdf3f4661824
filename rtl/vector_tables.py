"""The vector unit's function tables, small enough for look-up tables beside each lane.

SILU(-i) = SILU(i) - 2**(SILU_OUT_BITS - SILU_IN_BITS) * i exactly, rounding included, so one table of what is missing
from the straight line, for 0 <= i < 128, serves both signs. EXP2 shifts one of 32 mantissas: with the lower bits l and
the upper bits h of a negative x, -x = 32 * ~h + 32 - l, so neither a negation nor a subtraction is needed.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from amaranth.hdl import Module, Mux, Value, unsigned
from amaranth.lib.memory import Memory

from rtl.arithmetic import node

SILU_IN_BITS, SILU_OUT_BITS = 4, 11
EXP2_ROWS = 32


def silu_gap(index: int) -> int:
    """2**SILU_OUT_BITS * max(x, 0) - SILU at +-x, the same for both; x is index / 2**SILU_IN_BITS."""
    x = Decimal(index) / 2**SILU_IN_BITS
    return round(2**SILU_OUT_BITS * x / (1 + x.exp()))


def exp2_mantissa(index: int) -> int:
    """127 * 2**(-index / 32)."""
    return round(127 * Decimal(2) ** (Decimal(-index) / EXP2_ROWS))


def look_up(m: Module, name: str, bits: int, rows: list[int], index: Value, *, in_luts: bool = False) -> Value:
    """An entry of a table of constants, in the same cycle. in_luts: also where a register follows, with which it would
    else become block RAM."""
    attrs: dict[str, Any] = {"rom_style": "logic"} if in_luts else {}
    m.submodules[name] = table = Memory(shape=unsigned(bits), depth=len(rows), init=rows, attrs=attrs)
    port = table.read_port(domain="comb")
    m.d.comb += port.addr.eq(index)
    return port.data


def silu_at(x: int) -> int:
    """SILU of an 8-bit x."""
    return (max(x, 0) << SILU_OUT_BITS - SILU_IN_BITS) - silu_gap(abs(x))


def silu_directly(m: Module, lane: int, x: Value) -> Value:
    """SILU of a signed 8-bit x: 16 bits signed, from a table of all results."""
    return look_up(m, f"silu_{lane}", 16, [
        silu_at(index - (index >> 7 << 8)) & 0xFFFF for index in range(256)], x[:8]).as_signed()


def silu_parts(m: Module, lane: int, x: Value) -> tuple[Value, Value]:
    """Of a signed 8-bit x what `silu_of_parts` makes its SILU of."""
    return parts_of_size(m, lane, node(m, Mux(x[7], -x, x)[:8], "size"), x[7])


def parts_of_size(m: Module, lane: int, size: Value, negative: Value) -> tuple[Value, Value]:
    """The straight line at an x, by its size, 0 to 128, and its sign, before its last zeros; and what is missing."""
    gaps = [silu_gap(index) for index in range(128)]
    gap = look_up(m, f"silu_{lane}", max(gaps).bit_length(), gaps, size[:7])
    gap = Mux(size[7], silu_gap(128), gap)
    return Mux(negative, 0, size), gap


def silu_of_parts(line: Value, gap: Value) -> Value:
    """SILU: 16 bits signed."""
    return ((line << SILU_OUT_BITS - SILU_IN_BITS) - gap)[:16].as_signed()


def exp2_at(index: int) -> int:
    """EXP2 of index - 256, and for index 0 that of 0."""
    if not index:
        return exp2_mantissa(0)
    halvings, part = divmod(256 - index, EXP2_ROWS)
    return (2 * exp2_mantissa(part) >> halvings) + 1 >> 1


def exp2(m: Module, lane: int, x: Value, *, direct: bool) -> Value:
    """EXP2 of the 8 lower bits of a negative x down to -255, and of 0: 0 to 127, 8 bits signed. direct: from a table of
    all results."""
    if direct:
        return look_up(m, f"exp2_{lane}", 8, [exp2_at(index) for index in range(256)], x).as_signed()
    part = x[:5]
    # Twice the mantissa for -x = 32 * ~h + 32 - l; for l = 0, where that is one h further, half of it.
    rows = [exp2_mantissa(0)] + [2 * exp2_mantissa(EXP2_ROWS - low) for low in range(1, EXP2_ROWS)]
    mantissa = look_up(m, f"exp2_{lane}", 8, rows, part)
    doubled = node(m, Mux(x.any(), mantissa >> ~x[5:8], 2 * exp2_mantissa(0)), "power")
    return node(m, (doubled[1:] + doubled[0])[:8].as_signed(), f"exp2_{lane}")
