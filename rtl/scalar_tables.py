"""The scalar unit's tables: mantissas of 1 / sqrt and 1 / x for the leading 8 bits of an operand."""

from __future__ import annotations

from decimal import Decimal

TABLE_ROWS = 256
"""Entries of each table, indexed by the leading 8 bits; those that cannot occur are zero."""


def root_and_reciprocal() -> list[int]:
    """RSQRT's mantissas, then RECIP's. Decimal arithmetic: the same integers on every machine."""
    middles = [Decimal(index) + Decimal("0.5") for index in range(TABLE_ROWS)]
    root = [min(32767, round(Decimal(2**18) / middle.sqrt())) for middle in middles[64:]]
    reciprocal = [round(Decimal(2**22) / middle) for middle in middles[128:]]
    return [0] * 64 + root + [0] * 128 + reciprocal
