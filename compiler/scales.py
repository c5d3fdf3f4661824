"""Static scales of activations, from what a model did on its own samples.

A scale is the real value of one unit of an integer tensor. Channels that never move get a harmless one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from compiler.calibrate import Activations, LayerActivations, silu
from compiler.checkpoint import NORM_EPSILON
from compiler.quantised import Shape

Float = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

INT8_MAX: Final = 127
STREAM_PEAK: Final = 16384.0  # largest residual seen: half of 16 bits, the other half is headroom
HIDDEN_PEAK: Final = 16384.0  # largest hidden value seen, likewise
DEAD: Final = 1e-9  # what counts as zero beside the largest channel
CLIPS: Final = np.linspace(0.5, 1.0, 26)  # fractions of the largest magnitude, of which the search takes the best
STREAM_STEPS: Final = 8  # candidates of the residual's scale within a factor of two
SCORE_STEPS: Final = 32  # units of a score in a factor of two
SCORE_SHIFT_MAX: Final = 8
SCORE_OVERFLOW: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class LayerScales:
    """Scales of one layer.

    Members:
        q: (heads, head_dim) and k: (kv_heads, head_dim), the two members of a RoPE pair alike.
        v: (kv_heads, head_dim); o: (heads, head_dim).
        hidden: (hidden,) of silu(gate) * up with `up` not normalised.
    """

    q: Float64
    k: Float64
    v: Float64
    o: Float64
    hidden: Float64


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Scales of a model.

    Members:
        stream: of the residual stream. x_shifts: (2 * layers + 1) shifts of x8, in the order in which they are used.
        score_shift: s0 of the scores, which the scales of q and k are made for.
    """

    stream: float
    x_shifts: tuple[int, ...]
    score_shift: int
    layers: tuple[LayerScales, ...]


def alive(magnitude: Float) -> Float64:
    """Magnitudes with those of dead channels replaced, so that they can divide."""
    top = float(magnitude.max(initial=0.0))
    return np.maximum(magnitude.astype(np.float64), top * DEAD if top > 0 else 1.0)


def clipped_scale(values: Float) -> Float64:
    """Scale of int8 for each channel (all axes but the first) with the least square error."""
    peak = alive(np.abs(values).max(axis=0)) / INT8_MAX
    best, least = peak, np.full(peak.shape, np.inf)
    for clip in CLIPS:
        scale = peak * clip
        error = np.square(np.clip(np.rint(values / scale), -INT8_MAX, INT8_MAX) * scale - values).sum(axis=0)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return best


def _stream_error(x: Float, scale: float) -> float:
    """Square error of x8, relative to each token's size."""
    error = np.square(np.clip(np.rint(x / scale), -INT8_MAX - 1, INT8_MAX) * scale - x).sum(axis=1)
    return float((error / (np.square(x).sum(axis=1) + NORM_EPSILON)).mean())


def stream_scales(streams: list[Float]) -> tuple[float, tuple[int, ...]]:
    """Scale of the residual stream and the shift of x8 at each of its uses."""
    peak = max(float(np.abs(x).max()) for x in streams) or 1.0
    best: tuple[float, float, tuple[int, ...]] | None = None
    for step in range(STREAM_STEPS):
        unit = peak / STREAM_PEAK * 2.0 ** (step / STREAM_STEPS)
        shifts, total = list[int](), 0.0
        for x in streams:
            errors = [_stream_error(x, unit * 2.0**shift) for shift in range(12)]
            shifts.append(int(np.argmin(errors)))
            total += min(errors)
        if best is None or total < best[0]:
            best = (total, unit, tuple(shifts))
    assert best is not None
    return best[1], best[2]


def _pair_peaks(values: Float) -> Float64:
    """Largest radius of each RoPE pair: (tokens, heads, head_dim) to (heads, head_dim // 2)."""
    return alive(np.hypot(values[..., 0::2], values[..., 1::2]).max(axis=0))


def score_unit(shape: Shape, shift: int) -> float:
    """Product of the scales of q and k with which a score, shifted, has its unit."""
    return np.sqrt(shape.head_dim) / (SCORE_STEPS * np.log2(np.e)) * 2.0**-shift


def score_shift(shape: Shape, layers: tuple[LayerActivations, ...]) -> int:
    """The largest shift at which the widest head still fits into 8 bits."""
    widest = 0.0
    for a in layers:
        kv = np.repeat(_pair_peaks(a.k), shape.queries_per_kv, axis=0)
        widest = max(widest, float((_pair_peaks(a.q) * kv).max()))
    room = [s for s in range(SCORE_SHIFT_MAX + 1)
            if widest <= SCORE_OVERFLOW * INT8_MAX**2 * score_unit(shape, s)]  # fmt: skip
    return max(room, default=0)


def query_key_scales(shape: Shape, a: LayerActivations, shift: int) -> tuple[Float64, Float64]:
    """Scales of q and k whose product is the score's unit, shared so that both use the same part of 8 bits."""
    unit = score_unit(shape, shift)
    q = _pair_peaks(a.q).reshape(shape.kv_heads, -1, shape.head_dim // 2)
    k = _pair_peaks(a.k)
    # All query heads of a key head meet the same k: the largest of them counts.
    k_scale = np.sqrt(unit * k / q.max(axis=1))
    q_scale = np.repeat(unit / k_scale, shape.queries_per_kv, axis=0)
    return np.repeat(q_scale, 2, axis=1), np.repeat(k_scale, 2, axis=1)


def hidden_scales(a: LayerActivations) -> Float64:
    """Scales that make all hidden channels alike, since they share a block exponent."""
    size = np.sqrt(np.mean(np.square(a.ffn_x), axis=1, keepdims=True) + NORM_EPSILON)
    hidden = silu(a.gate) * a.up * size
    peak = alive(np.abs(hidden).max(axis=0))
    return peak * (float(np.abs(hidden / peak).max()) or 1.0) / HIDDEN_PEAK


def choose_scales(shape: Shape, activations: Activations, basis: Float64) -> Scales:
    """All scales of a model; `basis` turns its residual stream."""
    turned: list[Float] = []
    for a in activations.layers:
        turned += [a.attention_x @ basis, a.ffn_x @ basis]
    stream, x_shifts = stream_scales([*turned, activations.final_x @ basis])
    shift = score_shift(shape, activations.layers)
    layers: list[LayerScales] = []
    for a in activations.layers:
        q, k = query_key_scales(shape, a, shift)
        v, o = clipped_scale(a.v), clipped_scale(a.o)
        layers.append(LayerScales(q=q, k=k, v=v, o=o, hidden=hidden_scales(a)))
    return Scales(stream=stream, x_shifts=x_shifts, score_shift=shift, layers=tuple(layers))
