"""rtl/arithmetic.py: every piece equals what its name says, for every operand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from rtl import arithmetic
from verification.formal.prover import Property, claim, given

SHIFT_MOST = 47
"""rtl/vector.py's; larger sums of shifts are limited to it."""


def clamp(x: Value, bits: int) -> Value:
    """The naive saturation: comparisons with the two limits."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    return Mux(x < low, low, Mux(x > high, high, x))


def rounded(x: Value, amount: Value) -> Value:
    """x / 2**amount to the nearest integer, halves up: half of the divisor is added before."""
    return (x + ((Const(1, SHIFT_MOST + 1) << amount) >> 1).as_signed()) >> amount


def requantise(m: Module, *, width: int, bits: int) -> Sequence[Value]:
    """shift_doubled and round_saturate together are rounding and clamping."""
    x, amount = Signal(signed(width)), Signal(range(SHIFT_MOST + 1))
    made = arithmetic.round_saturate(m, arithmetic.shift_doubled(m, x, amount), bits)
    m.d.comb += [given(amount <= SHIFT_MOST), claim(made == clamp(rounded(x, amount), bits))]
    return [x, amount]


def instead(m: Module, *, width: int, bits: int) -> Sequence[Value]:
    """`unless` chooses the other value, whatever is to be rounded."""
    x, amount, unless, other = Signal(signed(width)), Signal(4), Signal(), Signal(signed(bits))
    made = arithmetic.round_saturate(
        m, arithmetic.shift_doubled(m, x, amount), bits, unless=unless, instead=other)
    m.d.comb += claim(made == Mux(unless, other, clamp(rounded(x, amount), bits)))
    return [x, amount, unless, other]


def bounded(m: Module, *, width: int) -> Sequence[Value]:
    """rshift_bounded is a rounded shift; amounts beyond the width make 0."""
    x, amount = Signal(signed(width)), Signal(range(SHIFT_MOST + 1))
    made = arithmetic.rshift_bounded(m, x, amount)
    m.d.comb += [given(amount <= SHIFT_MOST),
                 claim(made == Mux(amount > width, 0, rounded(x, amount))[:width].as_signed())]
    return [x, amount]


def saturate(m: Module, *, width: int, bits: int) -> Sequence[Value]:
    x = Signal(signed(width))
    m.d.comb += claim(arithmetic.saturate(m, x, bits) == clamp(x, bits))
    return [x]


def limit(m: Module, *, width: int, most: int) -> Sequence[Value]:
    x = Signal(width)
    m.d.comb += claim(arithmetic.limit(m, x, most) == Mux(x < most, x, most))
    return [x]


def sum_is(m: Module, *, width: int, wanted: int) -> Sequence[Value]:
    a, b = Signal(width), Signal(width - 3)
    m.d.comb += claim(arithmetic.sum_is(m, a, b, wanted) == (a + b == wanted))
    return [a, b]


def leading(m: Module, *, width: int) -> Sequence[Value]:
    """The place that is found has a one, and none is above it; 0 for 0."""
    x = Signal(width)
    place = Signal(range(width))
    m.d.comb += [place.eq(arithmetic.leading_place(m, x)),
                 claim(Mux(x == 0, place == 0, (x >> place) == 1))]
    return [x]


def product(m: Module, *, width: int) -> Sequence[Value]:
    """The terms of a multiplier of adders add up to the product."""
    a, b = Signal(signed(width)), Signal(signed(width))
    terms = arithmetic.partial_products(a, b)
    total = Const(0, 1)
    for term in terms:
        total = total + term
    m.d.comb += claim(total[:2 * width] == (a * b)[:2 * width])
    return [a, b]


def picked(m: Module, *, number: int) -> Sequence[Value]:
    """Without steps it is the value with that index."""
    index, values = Signal(range(number)), list[Value]()
    values += [Signal(4, name=f"value_{place}") for place in range(number)]
    m.d.comb += claim(arithmetic.picked(m, values, index, in_steps=False) == Cat(values).word_select(index, 4))
    return [*values, index]


PROPERTIES = (
    *(Property(unit="arithmetic", name=f"requantise {width} to {bits} bits", build=partial(
        requantise, width=width, bits=bits), intent="rounded half up, then clamped, for every operand and shift")
      for width, bits in ((22, 16), (23, 16), (24, 16), (32, 16), (16, 8))),
    Property(unit="arithmetic", name="requantise or instead", build=partial(instead, width=20, bits=16),
             intent="the other choice beside the rounding"),
    *(Property(unit="arithmetic", name=f"bounded shift of {width} bits", build=partial(bounded, width=width),
               intent="rounded half up; amounts beyond the width make 0") for width in (24, 32)),
    *(Property(unit="arithmetic", name=f"saturate {width} to {bits} bits", build=partial(
        saturate, width=width, bits=bits), intent="the nearest number of that width")
      for width, bits in ((32, 16), (32, 8), (17, 16))),
    *(Property(unit="arithmetic", name=f"limit {width} bits to {most}", build=partial(
        limit, width=width, most=most), intent="the smaller of the two")
      for width, most in ((7, 47), (6, 15), (9, 47))),
    *(Property(unit="arithmetic", name=f"a sum is {wanted}", build=partial(sum_is, width=11, wanted=wanted),
               intent="the sum is that number, seen without a carry chain") for wanted in (0, 1, 2, 700)),
    *(Property(unit="arithmetic", name=f"leading place of {width} bits", build=partial(leading, width=width),
               intent="the highest bit that is set") for width in (8, 32)),
    Property(unit="arithmetic", name="product of adders", build=partial(product, width=8),
             intent="partial products add up to the product of any two bytes"),
    Property(unit="arithmetic", name="one of eight", build=partial(picked, number=8), intent="the value of the index"))
