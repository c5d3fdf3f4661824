"""The banks' error-correcting code, without its table: whatever it says, flips of one and two bits are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from amaranth.hdl import Cat, Module, Signal, Value

from rtl.ecc import Code
from verification.formal.prover import Property, claim, given

ANY_ROW = 8
"""Bits of the widest code that is proved for every row."""


def flips(m: Module, *, data: int, zeros: bool) -> Sequence[Value]:
    """A row, any two places of its word: with none, one or both of them flipped.

    Exclusive ors of very many free bits are beyond the solver. Of a wide code the row is the one of zeros, which is as
    good as any: all that decides is the exclusive or of what is there with what should be.
    """
    code = Code(data)
    row, place, other = Signal(data), Signal(range(code.bits)), Signal(range(code.bits))
    if zeros:
        m.d.comb += given(row == 0)
    m.d.comb += given((place < code.bits) & (other < code.bits) & (place != other))
    word = Cat(row, code.check_bits(row))
    one = (1 << place)[:code.bits]
    two = one | (1 << other)[:code.bits]
    for flipped, corrected, uncorrectable in ((0, 0, 0), (one, 1, 0), (two, 0, 1)):
        found, single, double = code.decode(m, word ^ flipped)
        m.d.comb += [claim(single == corrected), claim(double == uncorrectable)]
        if not uncorrectable:
            m.d.comb += claim(found == row)
    return [row, place, other]


PROPERTIES = tuple(
    Property(unit="code", name=f"of {data} bits", build=partial(flips, data=data, zeros=data > ANY_ROW), bounded=True,
             intent="a flipped bit is corrected, two are detected, none are neither") for data in (8, 16, 32, 64, 128))
