"""Static scales of activations, from what a model did on its own samples.

A scale is the real value of one unit of an integer tensor. Channels that never move get a harmless one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from compiler.attention_scales import alive, attention_scales
from compiler.calibrate import Activations, LayerActivations, silu
from compiler.quantised import Shape

Float = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

INT8_MAX: Final = 127
STREAM_PEAK: Final = 16384.0  # largest residual seen: half of 16 bits, the other half is headroom
HIDDEN_PEAK: Final = 16384.0  # largest hidden value seen, likewise
CLIPS: Final = np.linspace(0.5, 1.0, 26)  # fractions of the largest magnitude, of which the search takes the best
STREAM_GROWTH: Final = 4  # bits by which the stream may grow from the first layer to the last on one scale
OUTPUT_HEADROOM: Final = 1.15  # of attention's output: a head that copies a rare word exceeds what calibration saw
TINY: Final = 1e-5  # keeps a token of zeros from dividing by nothing
STREAM_STEPS: Final = 8  # candidates of the residual's scale within a factor of two


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
        stream: (layers + 1) of the residual stream as each layer finds it, and as the classifier does; each a power of
            two times the one before. x_shifts: (2 * layers + 1) shifts of x8, in the order in which they are used.
        score_shifts: (layers) s0 of the scores of each KV head, which the scales of q and k are made for.
    """

    stream: Float64
    x_shifts: tuple[int, ...]
    score_shifts: tuple[tuple[int, ...], ...]
    layers: tuple[LayerScales, ...]


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
    return float((error / (np.square(x).sum(axis=1) + TINY)).mean())


def stream_scales(streams: list[Float]) -> tuple[Float64, tuple[int, ...]]:
    """Scale of the residual stream at each layer, and the shift of x8 at each of its uses.

    streams: as attention and feed-forward of each layer find it, then as the classifier does. Where the stream grows by
    more than 16 bits can bear, its scale grows with it.
    """
    peaks = [float(np.abs(x).max()) or 1.0 for x in streams]
    layer_peaks = [max(peaks[at : at + 2]) for at in range(0, len(peaks), 2)]
    growth = np.maximum.accumulate(np.ceil(np.log2(np.array(layer_peaks) / layer_peaks[-1])))
    growth -= growth[-1]
    if growth[0] >= -STREAM_GROWTH:
        growth[:] = 0
    best: tuple[float, Float64, tuple[int, ...]] | None = None
    for step in range(STREAM_STEPS):
        units = max(layer_peaks) / STREAM_PEAK * 2.0 ** (step / STREAM_STEPS + growth)
        shifts, total = list[int](), 0.0
        for number, x in enumerate(streams):
            errors = [_stream_error(x, units[number // 2] * 2.0**shift) for shift in range(12)]
            shifts.append(int(np.argmin(errors)))
            total += min(errors)
        if best is None or total < best[0]:
            best = (total, units, tuple(shifts))
    assert best is not None
    return best[1], best[2]


def hidden_scales(a: LayerActivations, epsilon: float) -> Float64:
    """Scales that make all hidden channels alike, since they share a block exponent. epsilon: of the normalisation."""
    size = np.sqrt(np.mean(np.square(a.ffn_x), axis=1, keepdims=True) + epsilon)
    hidden = silu(a.gate) * a.up * np.repeat(size, len(a.gate) // len(size), axis=0)
    peak = alive(np.abs(hidden).max(axis=0))
    return peak * (float(np.abs(hidden / peak).max()) or 1.0) / HIDDEN_PEAK


def choose_scales(shape: Shape, activations: Activations, basis: Float64) -> Scales:
    """All scales of a model; `basis` turns its residual stream."""
    turned: list[Float] = []
    for a in activations.layers:
        turned += [a.attention_x @ basis, a.ffn_x @ basis]
    stream, x_shifts = stream_scales([*turned, activations.final_x @ basis])
    pairs = attention_scales(shape, activations)
    layers: list[LayerScales] = []
    for a, (_, q, k) in zip(activations.layers, pairs, strict=True):
        v, o = clipped_scale(a.v), alive(np.abs(a.o).max(axis=0)) * OUTPUT_HEADROOM / INT8_MAX
        layers.append(LayerScales(q=q, k=k, v=v, o=o, hidden=hidden_scales(a, activations.norm_epsilon)))
    return Scales(
        stream=stream, x_shifts=x_shifts, score_shifts=tuple(shifts for shifts, _, _ in pairs), layers=tuple(layers))


def evened(scales: Scales) -> Scales:
    """One scale for all channels of what wo and w2 read, the largest."""
    return replace(scales, layers=tuple(
        replace(layer, o=np.full_like(layer.o, layer.o.max()), hidden=np.full_like(layer.hidden, layer.hidden.max()))
        for layer in scales.layers))
