"""Faults of the scalar unit."""

from __future__ import annotations

from amaranth.hdl import Cat, Const

import rtl.scalar
import rtl.small_scalar
from verification.seeded.common import PRESET, Bug, Patch


def a_mantissa_is_off_by_one(patch: Patch) -> None:
    rows = rtl.scalar.root_and_reciprocal()
    patch.setattr(rtl.scalar, "root_and_reciprocal", lambda: [row + (at == 200) for at, row in enumerate(rows)])


def negation_does_not_saturate(patch: Patch) -> None:
    patch.setattr(rtl.scalar, "saturate", lambda m, x, bits: x[:bits])


def a_value_is_negated(patch: Patch) -> None:
    right = rtl.scalar.saturate
    patch.setattr(rtl.scalar, "saturate", lambda m, x, bits: right(m, -x, bits))


def lengths_ignore_the_highest_bit(patch: Patch) -> None:
    place = rtl.scalar.leading_place
    patch.setattr(rtl.scalar, "leading_place", lambda m, x: place(m, Cat(x[:-1], 0)))


def the_small_units_operands_lack_their_highest_bit(patch: Patch) -> None:
    normalise = rtl.small_scalar.normalise
    patch.setattr(rtl.small_scalar, "normalise", lambda m, x, over: normalise(m, Cat(x[:-1], 0), over))


def every_bit_that_is_tried_stays(patch: Patch) -> None:
    right = rtl.scalar.search
    patch.setattr(rtl.scalar, "search", lambda m, a, enough: right(m, a, Const(1)))


def no_next_bit_is_tried(patch: Patch) -> None:
    right = rtl.scalar.search
    patch.setattr(rtl.scalar, "search", lambda m, a, enough: (
        right(m, a, enough) & ~(Const(1 << 14, 16) >> a.exponent[:4]))[:16].as_signed())


BUGS: tuple[Bug, ...] = (
    ("scalar", PRESET, every_bit_that_is_tried_stays),
    ("scalar", PRESET, no_next_bit_is_tried),
    ("scalar", PRESET, a_value_is_negated),
    ("scalar", PRESET, a_mantissa_is_off_by_one),
    ("scalar", PRESET, negation_does_not_saturate),
    ("scalar", PRESET, lengths_ignore_the_highest_bit),
    ("scalar", "icebreaker", the_small_units_operands_lack_their_highest_bit))
"""Bench, preset, fault."""
