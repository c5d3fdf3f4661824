"""8-bit tables for rotary embedding.

A table entry is a point of the integer lattice, (cos, sin) of a position's angle times a radius. Where a pair turns
through a small part of the circle in the whole context, what keys have in common stays in place, is large, and an error
of its angle looks like attention. An error of its length does not: it is nearly the same for all keys. So the points of
a slow pair are chosen for their angle, from a range of lengths.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from compiler.float_model import Rope, rope_tables
from compiler.quantised import Int8, Shape

Float64 = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

ENTRY_MAX: Final = 127.0
LENGTHS: Final = np.arange(110.0, ENTRY_MAX + 0.25, 0.5)  # of points to choose among
ANGLE_WEIGHT: Final = 16.0  # of a slow pair's angle against its length
SLOW: Final = np.pi  # a pair that turns less than this in the whole context is slow


def rotary_tables(shape: Shape, rope: Rope) -> tuple[Int8, Int8, Float64]:
    """Integer cosines and sines, (context, head_dim // 2), and the radius of each pair (head_dim // 2,)."""
    cos, sin = rope_tables(shape, rope)
    ideal = cos + 1j * sin
    turned = np.arctan2(sin[1], cos[1]) * shape.context if shape.context > 1 else np.zeros(shape.head_dim // 2)
    weight = np.where(turned < SLOW, ANGLE_WEIGHT, 1.0)
    # (lengths, context, pairs)
    ray = LENGTHS[:, None, None] * ideal
    points = np.rint(ray.real) + 1j * np.rint(ray.imag)
    length, angle = np.abs(points), np.angle(points / ideal)
    chosen: Complex = points[-1]
    pairs = shape.head_dim // 2
    radius: Float64 = np.full(pairs, ENTRY_MAX)
    least: Float64 = np.full(pairs, np.inf)
    for candidate in LENGTHS:
        error = np.square(length - candidate) + weight * np.square(angle * candidate)
        total = error.min(axis=0).mean(axis=0) / candidate**2  # what counts is the error beside the value
        best = np.take_along_axis(points, error.argmin(axis=0)[None], axis=0)[0]
        better = total < least
        chosen = np.where(better, best, chosen)
        radius, least = np.where(better, candidate, radius), np.where(better, total, least)
    return chosen.real.astype(np.int8), chosen.imag.astype(np.int8), radius
