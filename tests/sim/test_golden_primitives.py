"""Primitives of the golden model against docs/numerics.md written once more, slowly, with Python's own integers."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.golden import primitives as p

int16 = st.integers(-32768, 32767)
word = st.integers(0, 2**32 - 1)


def one(value: int) -> p.Int:
    return np.array([value], np.int64)


def slow_rshift(x: int, s: int) -> int:
    """Floor of x / 2**s + 1/2, exactly."""
    return math.floor(Fraction(x, 2**s) + Fraction(1, 2))


def clamp(x: int, bits: int) -> int:
    return sorted((-(1 << (bits - 1)), x, (1 << (bits - 1)) - 1))[1]


@given(st.integers(-(2**46), 2**46), st.integers(0, 47))
def test_rshift_is_the_nearest_integer_with_halves_up(x: int, s: int) -> None:
    assert p.rshift(one(x), s)[0] == slow_rshift(x, s)


@pytest.mark.parametrize(
    ("x", "s", "expected"), [(3, 1, 2), (-3, 1, -1), (-1, 1, 0), (5, 0, 5), (1, 47, 0), (-1, 60, 0)])
def test_rshift_of_chosen_values(x: int, s: int, expected: int) -> None:
    assert p.rshift(one(x), s)[0] == expected


@given(st.integers(-(2**40), 2**40))
def test_saturation_clamps(x: int) -> None:
    assert p.sat8(one(x))[0] == clamp(x, 8)
    assert p.sat16(one(x))[0] == clamp(x, 16)


def test_silu_table_is_silu_to_half_a_unit() -> None:
    for index in range(-128, 128):
        x = index / 16
        assert abs(int(p.silu(one(index))[0]) - 2048 * x / (1 + math.exp(-x))) <= 0.5 + 1e-9
    assert p.silu(one(-32768))[0] == p.silu(one(-128))[0]
    assert p.silu(one(300))[0] == p.silu(one(127))[0]


@given(st.integers(-32768, 32767))
def test_exp2_rounds_twice(d: int) -> None:
    n = max(0, -d)
    entry = round(127 * 2 ** (-(n % 32) / 32))
    assert p.exp2(one(d))[0] == slow_rshift(entry, min(n // 32, 15))


def test_exp2_is_monotonic_and_within_a_unit() -> None:
    d = np.arange(-512, 1)
    found = p.exp2(d)
    assert np.all(np.diff(found) >= 0)
    assert np.all(np.abs(found - 127 * 2.0 ** (d / 32)) <= 1.0)
    assert found[-1] == 127
    assert found[0] == 0


def slow_rsqrt(v: int) -> tuple[int, int]:
    v = max(v, 1)
    k = v.bit_length() + v.bit_length() % 2
    i = v >> (k - 8) if k >= 8 else v << (8 - k)
    return round(2**18 / math.sqrt(i + 0.5)), 14 + k // 2


def slow_recip(v: int) -> tuple[int, int]:
    v = max(v, 1)
    n = v.bit_length()
    i = v >> (n - 8) if n >= 8 else v << (8 - n)
    return round(2**22 / (i + 0.5)), 14 + n


@given(word)
def test_reciprocals_are_their_tables(v: int) -> None:
    assert tuple(p.rsqrt(v, bias=0, adjust=0)) == slow_rsqrt(v)
    assert tuple(p.recip(v, adjust=0)) == slow_recip(v)


@given(st.integers(128, 2**32 - 1))
def test_reciprocals_are_close(v: int) -> None:
    root, inverse = p.rsqrt(v, bias=0, adjust=0), p.recip(v, adjust=0)
    assert abs(root.mantissa * 2.0**-root.exponent * math.sqrt(v) - 1) < 0.005
    assert abs(inverse.mantissa * 2.0**-inverse.exponent * v - 1) < 0.005
    assert 0 < root.mantissa < 32768
    assert 0 < inverse.mantissa < 32768


@given(word, word, st.integers(-64, 64))
def test_the_scalar_unit_saturates(value: int, bias: int, adjust: int) -> None:
    mantissa, exponent = slow_rsqrt(min(value + bias, 2**32 - 1))
    assert p.rsqrt(value, bias=bias, adjust=adjust) == (mantissa, min(max(exponent + adjust, 0), 63))


@pytest.mark.parametrize(("reduce", "expected"), [(5, -5), (-32768, 32767), (32767, -32767), (0, 0)])
def test_negate(reduce: int, expected: int) -> None:
    assert p.negate(reduce) == (expected, 0)


@given(st.lists(int16, min_size=1, max_size=8))
def test_block_exponents_bring_everything_to_8_bits(values: list[int]) -> None:
    h = np.array(values)
    e = p.block(p.reduce_maxabs(h)).exponent
    assert np.all(np.abs(h) < 2 ** (7 + e))
    assert e == 0 or np.abs(h).max() >= 2 ** (6 + e)


def test_combine_clamps_the_exponent() -> None:
    assert p.combine(p.Scalar(20000, 9), p.Scalar(16384, 4)) == (20000, 5)
    assert p.combine(p.Scalar(20000, 3), p.Scalar(16384, 4)) == (20000, 0)


shift = st.integers(0, 15)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 255), int16, shift, shift, shift, shift, shift)
def test_requantise_is_the_vector_units_pass(
    acc: int, m: int, f2: int, s0: int, s1: int, s2: int, early: int, late: int
) -> None:
    a = clamp(slow_rshift(acc, s0 + early), 16)
    b = clamp(slow_rshift(a * m, s1), 16)
    c = slow_rshift(b * f2, s2 + late)
    assert p.requantise(one(acc), one(m), (s0, s1, s2), f2, early=early, late=late)[0] == c
    assert p.finish(one(c))[0] == clamp(c, 16)
    assert p.finish(one(c), p.Table.SILU)[0] == p.silu(one(clamp(c, 8)))[0]
    assert p.finish(one(c), p.Table.EXP2)[0] == p.exp2(one(clamp(c, 16)))[0]
    assert p.output8(one(acc), s3=s0, out=s1)[0] == clamp(slow_rshift(acc, s0 + s1), 8)


def test_sums_wrap_at_32_bits() -> None:
    assert p.reduce_sum(np.full(8, 2**30)) == 0
    assert p.reduce_sum(np.array([-1])) == 2**32 - 1
