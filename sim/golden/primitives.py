"""Section 1 of docs/numerics.md: the roundings, the tables, the vector unit's pass and the scalar unit.

Arrays are int64 throughout: no intermediate of the machine has more than 48 bits.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Int = npt.NDArray[np.int64]

SHIFT_MAX: Final = 47
EXPONENT_MAX: Final = 63
SILU_IN_BITS: Final = 4
SILU_OUT_BITS: Final = 11
EXP2_ENTRIES: Final = 32  # table entries for each factor of two: scores come in units of 1/32
EXP2_TOP: Final = 127
MANTISSA_ONE: Final = 16384
_WORD: Final = 1 << 32


def rshift(x: Int, shift: int) -> Int:
    """Arithmetic shift right that rounds half up."""
    shift = min(shift, SHIFT_MAX)
    return (x + (1 << (shift - 1))) >> shift if shift else x


def sat8(x: Int) -> Int:
    """Clamp to int8."""
    return np.minimum(np.maximum(x, -128), 127)  # numpy.clip takes three times as long on short arrays


def sat16(x: Int) -> Int:
    """Clamp to int16."""
    return np.minimum(np.maximum(x, -32768), 32767)


def bitlen(value: int) -> int:
    """Position of the highest set bit, counted from 1."""
    return value.bit_length()


# Tables ---------------------------------------------------------------------------------------------------------------


def _silu_table() -> Int:
    """256 entries in the order of the index read as unsigned: 0..127, then -128..-1."""
    x = np.arange(256).astype(np.uint8).astype(np.int8) / 2.0**SILU_IN_BITS
    return np.rint(2**SILU_OUT_BITS * x / (1.0 + np.exp(-x))).astype(np.int64)


SILU: Final = _silu_table()
EXP2: Final = np.rint(EXP2_TOP * 2.0 ** (-np.arange(EXP2_ENTRIES) / EXP2_ENTRIES)).astype(np.int64)
RSQRT: Final = np.rint(2.0**18 / np.sqrt(np.arange(64, 256) + 0.5)).astype(np.int64)  # index i - 64
RECIP: Final = np.rint(2.0**22 / (np.arange(128, 256) + 0.5)).astype(np.int64)  # index i - 128


def silu(x: Int) -> Int:
    """Table SILU of 16-bit arguments, which are saturated to 8 bits first."""
    return SILU[sat8(x) & 255]


def exp2(d: Int) -> Int:
    """Table EXP2: 127 * 2**(d / 32) for d <= 0, rounded twice."""
    n = np.maximum(-d, 0)
    whole = np.minimum(n // EXP2_ENTRIES, 15)
    # rshift with a shift for each element: half of 2**whole is added first, nothing where whole is 0.
    return (EXP2[n % EXP2_ENTRIES] + ((1 << whole) >> 1)) >> whole


# The scalar unit ------------------------------------------------------------------------------------------------------


class Scalar(NamedTuple):
    """mantissa * 2**-exponent."""

    mantissa: int
    exponent: int


def _scalar(mantissa: int, exponent: int) -> Scalar:
    return Scalar(mantissa, min(max(exponent, 0), EXPONENT_MAX))


def _normalised(value: int, length: int) -> int:
    """The 8 bits below `length` of a value."""
    return value >> (length - 8) if length >= 8 else value << (8 - length)


def rsqrt(reduce: int, *, bias: int, adjust: int) -> Scalar:
    """1 / sqrt(reduce + bias), the sum a saturating 32-bit number."""
    value = max(min(reduce + bias, _WORD - 1), 1)
    length = bitlen(value) + (bitlen(value) & 1)
    return _scalar(int(RSQRT[_normalised(value, length) - 64]), 14 + length // 2 + adjust)


def recip(reduce: int, *, bias: int = 0, adjust: int) -> Scalar:
    """1 / (reduce + bias)."""
    value = max(min(reduce + bias, _WORD - 1), 1)
    length = bitlen(value)
    return _scalar(int(RECIP[_normalised(value, length) - 128]), 14 + length + adjust)


def negate(reduce: int) -> Scalar:
    """The addend that subtracts a maximum."""
    return Scalar(min(max(-reduce, -32768), 32767), 0)


def block(reduce: int, *, adjust: int = 0) -> Scalar:
    """The exponent that brings a largest magnitude to 7 bits."""
    return _scalar(MANTISSA_ONE, max(0, bitlen(reduce) - 7) + adjust)


def combine(a: Scalar, b: Scalar, *, adjust: int = 0) -> Scalar:
    """a divided by b's power of two."""
    return _scalar(a.mantissa, a.exponent - b.exponent + adjust)


def value(reduce: int, a: Scalar, *, adjust: int = 0) -> Scalar:
    """A reduced value as mantissa, with another's exponent."""
    return _scalar(min(max(reduce, -32768), 32767), a.exponent + adjust)


def search(reduce: int, a: Scalar, *, bias: int, adjust: int = 0) -> Scalar:
    """A step of successive approximation: the bit that was tried stays if the sum is large enough, the next one is
    tried. The bits are those of an unsigned number: the mantissa's, the first inverted."""
    bit, word = 15 - a.exponent % 16, (a.mantissa + 32768) % 65536
    word = word | 1 << bit if reduce + bias >= 65536 else word & ~(1 << bit)
    return _scalar((word | 1 << bit >> 1) - 32768, a.exponent + adjust)


# The vector unit ------------------------------------------------------------------------------------------------------


class Table(enum.Enum):
    """Look-up at the end of a pass."""

    NONE = enum.auto()
    SILU = enum.auto()
    EXP2 = enum.auto()


def source(x: Int, *, s0: int = 0) -> Int:
    """Step a: an accumulator, or memory with s0 = 0."""
    return sat16(rshift(x, s0))


def factor(a: Int, f1: Int, *, s1: int) -> Int:
    """Step b: times a parameter."""
    return sat16(rshift(a * f1, s1))


def scale(b: Int, f2: Int | int, *, s2: int) -> Int:
    """Step c: times the scalar's mantissa, memory, or b itself; 32 bits wide."""
    return rshift(b * f2, s2)


def requantise(acc: Int, multiplier: Int, shifts: tuple[int, int, int], f2: Int | int = 1, *, early: int = 0,
               late: int = 0) -> Int:  # fmt: skip
    """Steps a, b and c: how most passes begin."""
    return scale(factor(source(acc, s0=shifts[0] + early), multiplier, s1=shifts[1]), f2, s2=shifts[2] + late)


def finish(d: Int, table: Table = Table.NONE) -> Int:
    """Step f: back to 16 bits, through a table where the pass has one."""
    if table is Table.SILU:
        return silu(sat8(d))
    return exp2(sat16(d)) if table is Table.EXP2 else sat16(d)


def output8(f: Int, *, s3: int = 0, out: int = 0) -> Int:
    """Step o: the 8-bit output."""
    return sat8(rshift(f, s3 + out))


# Reductions -----------------------------------------------------------------------------------------------------------


def reduce_sum(x: Int) -> int:
    """SUM, modulo 2**32."""
    return int(x.sum()) % _WORD


def reduce_max(f: Int) -> int:
    """MAX."""
    return int(f.max())


def likeliest(logits: Int, count: int, drawn: Int) -> Int:
    """What is drawn where a logit is one of the `count` largest or equals the least of them; elsewhere the least."""
    least = np.partition(logits, -count)[-count]
    return np.where(logits >= least, drawn, -32768)


def reduce_maxabs(f: Int) -> int:
    """MAXABS."""
    return int(np.abs(f).max())
