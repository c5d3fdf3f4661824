"""Head norms: RMSNorm of each head of q and k before its rotation (Qwen3), with what the vector unit has.

The gain is in the rows of wq and wk, so the sum of squares takes it out again, by parameters that are also zero in the
lanes of other heads: a pass a head in each block. 1/rms is one number for the whole head and commutes with the
rotation, so the rotation's passes multiply by it, at no cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from compiler.quantised import MULTIPLIER_MAX, S1_MOST, UInt8

Float = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

BIAS_MAX: Final = 255  # the epsilon's immediate has 8 bits on the smallest machine
GAIN_RANGE: Final = 64.0  # a gain smaller than the largest over this counts as that: its inverse has 8 bits


@dataclass(frozen=True, kw_only=True)
class HeadNorm:
    """Of q or k.

    Members
    -------
    units: (heads, head_dim) a layer: the 16-bit value of a projection of 1, its gain included.
    inverse: (heads, head_dim) a layer, parameters of the sum of squares.
    shifts: s1 and s2 of the squares, s2 of the rotation. biases: the epsilon beside each sum, of all layers and heads.
    """

    units: list[Float64]
    inverse: list[UInt8]
    shifts: tuple[int, int, int]
    biases: list[float]


def usable(gain: Float) -> Float64:
    """Gains (..., head_dim), none so small that its inverse has no place beside the others'; signs stay."""
    least = np.abs(gain).max(axis=-1, keepdims=True) / GAIN_RANGE
    return np.where(gain < 0, -1.0, 1.0) * np.maximum(np.abs(gain), np.where(least > 0, least, 1.0))


def head_norm(gains: Float, scales: Sequence[Float64], peaks: Sequence[Float], radius: Float64, epsilon: float, *,
              one: float, wide: float, most: float) -> HeadNorm:
    """Choose the integers.

    Parameters
    ----------
    gains: (layers, head_dim), usable. scales: (heads, head_dim) of q8 or k8, a layer each. peaks: (heads, head_dim)
        largest magnitudes of the projection, without gain, a layer each.
    radius: (head_dim // 2,) of the rotary table. one: 1/rms of 1 as the machine has it. wide: integers of the rotated
        value in one of q8, times the rotation's 2**shift. most: largest 16-bit value that a peak may have.
    """
    size = scales[0].shape[-1]
    square = max(0, math.ceil(math.log2(size)) - 1)  # so that no sum of squares can reach 2**32
    turn = np.repeat(radius, 2)
    # y * turn * one * 2**-s2 / sqrt(S) = wide * z / scale for z = gain * projection / rms fixes the squares' factor.
    plain = one * 2.0 ** (square / 2) / (wide * math.sqrt(size))
    ratios = [plain * scale * turn / np.abs(gain) for scale, gain in zip(scales, gains, strict=True)]
    s2 = max(0, math.ceil(math.log2(max(float(ratio.max()) for ratio in ratios))))
    ratios = [ratio * 2.0**-s2 for ratio in ratios]
    s1 = min(S1_MOST, math.floor(math.log2(MULTIPLIER_MAX / max(float(ratio.max()) for ratio in ratios))))
    units, biases = list[Float64](), list[float]()
    for ratio, gain, peak in zip(ratios, gains, peaks, strict=True):
        # A projection is `step` times its integer in the squares; a rotation can make the larger of a pair sqrt(2) so.
        step = (peak * np.maximum(1.0, math.sqrt(2.0) / ratio)).max(axis=-1, keepdims=True) / most
        step = np.where(step > 0, step, 1.0)
        units.append(np.sign(gain) / (step * ratio))
        biases += (epsilon * size / np.square(step) * 2.0**-square).ravel().tolist()
    return HeadNorm(
        units=units, inverse=[np.rint(ratio * 2.0**s1).astype(np.uint8) for ratio in ratios],
        shifts=(s1, square, s2), biases=biases)


def common_bias(norms: Sequence[HeadNorm]) -> int:
    """The epsilon, one number for all: it is far below any head that is not zero. The median, in 1..255."""
    return int(min(BIAS_MAX, max(1, round(float(np.median([bias for norm in norms for bias in norm.biases]))))))
