"""Combinational pieces that several units share: shifts that round, saturation, and optional registers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed


def node(m: Module, value: Value, name: str) -> Signal:
    """A named wire. Amaranth writes an expression out at each use; what is used twice goes through a wire."""
    wire = Signal(value.shape(), name=name)
    m.d.comb += wire.eq(value)
    return wire


def shift_doubled(m: Module, x: Value, amount: Value) -> Value:
    """floor(2 * x / 2**amount): x / 2**amount in the upper bits, in bit 0 what rounding half up still adds to it."""
    return node(m, Cat(Const(0, 1), x).as_signed() >> amount, "doubled")


def round_saturate(m: Module, doubled: Value, bits: int, *, unless: Value = Const(0),
                   instead: Value | None = None) -> Value:
    """shift_doubled's result rounded half up and clamped to that many bits. Which numbers are too large is found beside
    the addition; only rounding to one more than the largest is seen afterwards. unless: the result is `instead`, a
    choice that costs no time, for it is made beside the addition, too."""
    whole, half, sign = doubled[1:], doubled[0], doubled[-1]
    top = whole[bits - 1:]
    total = node(m, whole[:bits].as_signed() + half, "total")
    opposite = node(m, ~sign, "opposite")
    fits = node(m, (~top.any() | top.all()) & ~(total[bits - 1] & opposite), "fits")
    edge = Cat(opposite.replicate(bits - 1), sign)
    if instead is not None:
        fits = node(m, fits & ~unless, "rounded")
        edge = node(m, Mux(unless, instead, edge)[:bits], "otherwise")
    return node(m, Mux(fits, total[:bits], edge).as_signed(), f"clamped{bits}")


def partial_products(a: Value, b: Value) -> list[Value]:
    """Terms of a * b, both signed and b of even width, by additions alone: one for every two bits of b."""
    terms = []
    for place in range(0, len(b), 2):
        low, high = (Mux(bit, a, 0).as_signed()[:len(a)].as_signed() for bit in b[place:place + 2])
        shifted = Cat(Const(0, 1), high).as_signed()
        terms.append(Cat(Const(0, place), low - shifted if place == len(b) - 2 else low + shifted).as_signed())
    return terms


def rshift_bounded(m: Module, x: Value, amount: Value, *, doubled: bool = False) -> Value:
    """x * 2**-amount, rounded half up; as wide as x, which is signed and has at most 32 bits. Amounts of its width and
    more need no shifter, they make 0. doubled: the result as shift_doubled has it."""
    levels = min(5, (len(x) - 1).bit_length())
    none = node(m, amount[levels:].any(), "all_out")
    first = node(m, shift_doubled(m, x, amount[0])[:len(x) + 1], "first_level")
    some = node(m, Mux(none, 0, first)[:len(x) + 1].as_signed(), "some_left")  # in the next level's multiplexers
    twice = node(m, (some >> Cat(Const(0, 1), amount[1:levels]))[:len(x) + 1].as_signed(), "bounded")
    return twice if doubled else node(m, (twice[1:].as_signed() + twice[0])[:len(x)].as_signed(), "shifted")


def saturate(m: Module, x: Value, bits: int) -> Value:
    """x, a signal, clamped to a signed number of that many bits."""
    top, sign = x[bits - 1:], x[-1]
    opposite = node(m, ~sign, "opposite")
    limits = Cat(opposite.replicate(bits - 1), sign)
    return node(m, Mux(~top.any() | top.all(), x[:bits], limits).as_signed(), f"clamped{bits}")


def limit(m: Module, x: Value, most: int) -> Value:
    """The smaller of an unsigned x and a constant, as narrow as the constant."""
    whole = node(m, x, "unlimited")
    # The upper bits decide; told one by one, so that no carry chain is made of the comparison.
    more = most + 1
    low = (more & -more).bit_length() - 1
    upper = range(more >> low, 1 << max(0, len(whole) - low))
    over = Cat(whole[low:] == value for value in upper).any() if upper else Const(0)
    return node(m, Mux(over, most, whole)[:most.bit_length()], "limited")


def register(m: Module, value, name: str, *, enable: Value = Const(1)) -> Any:
    """The value a cycle later; a list of values as a list. Without the enable it stays."""
    if isinstance(value, list):
        return [register(m, item, f"{name}_{index}", enable=enable) for index, item in enumerate(value)]
    held = Signal(value.shape(), name=name)
    if isinstance(enable, Const):
        m.d.sync += held.eq(value)
    else:
        with m.If(enable):
            m.d.sync += held.eq(value)
    return held


def pipe(m: Module, cut: bool, stage: str, **values) -> SimpleNamespace:
    """A bundle of named values that enters a stage: through registers where there is a cut, else as they are.

    All registers are reset: without a reset, DSP blocks are mapped wrongly on iCE40.
    """
    return SimpleNamespace(**{
        name: register(m, value, f"{stage}_{name}") if cut else value for name, value in values.items()})


def picked(m: Module, values: list[Value], index: Value, *, in_steps: bool) -> Value:
    """values[index] of a power of two of values; `in_steps`: of two neighbours each, with a register after every step
    but the last, and the index must stay that long."""
    if not in_steps:
        return Array(values)[index]
    for level, upper in enumerate(index):
        values = [Mux(upper, b, a) for a, b in zip(values[::2], values[1::2], strict=True)]
        if len(values) > 1:
            values = [register(m, value, f"picked_{level}_{place}") for place, value in enumerate(values)]
    return values[0]


def number(value: int, bits: int) -> Const:
    """A signed constant of a fixed width."""
    return Const(value, signed(bits))


def sum_is(m: Module, a: Value, b: Value, wanted: int) -> Value:
    """Whether the sum of two unsigned numbers is a constant, without a carry chain: what each place needs as a carry is
    what the place below it makes, if that one is right."""
    width = max(len(a), len(b), wanted.bit_length()) + 1
    a, b = Cat(a, Const(0, width - len(a))), Cat(b, Const(0, width - len(b)))
    right = []
    for place in range(width):
        bit, carry = wanted >> place & 1, Const(0, 1)
        if place:
            below = wanted >> place - 1 & 1
            carry = a[place - 1] & b[place - 1] if below else a[place - 1] | b[place - 1]
        right.append(a[place] ^ b[place] ^ carry ^ bit ^ 1)
    return node(m, Cat(right).all(), f"sum_is_{wanted}")


def leading_place(m: Module, x: Value) -> Value:
    """Place of the highest set bit of an unsigned x, counted from 0; also 0 for 0. The width of x is a power of two.
    In a tree, not in a chain."""
    if len(x) == 2:
        return x[1]
    low, high = x[:len(x) // 2], x[len(x) // 2:]
    upper = node(m, high.any(), f"upper{len(x)}")
    return node(m, Cat(Mux(upper, leading_place(m, high), leading_place(m, low)), upper), f"place{len(x)}")
