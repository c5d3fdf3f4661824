"""Scales of q and k: the part of an 8-bit Transformer that costs most.

The score has a shift but no multiplier, so the product of both scales is a fixed unit over a power of two. How it is
shared within a RoPE pair is free: a finer key is a coarser query. What an error costs is known from calibration.
Softmax does not see what all scores of a query have in common, so an error of q counts by the variance of the keys
under the attention that they get, and an error of a key by the queries that attend to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from compiler.calibrate import Activations, LayerActivations
from compiler.quantised import Shape

Float = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

SCORE_STEPS: Final = 32  # units of a score in a factor of two, docs/numerics.md
INT8_MAX: Final = 127
SHIFT_MAX: Final = 8
QUERY_STRIDE: Final = 4  # every fourth query is enough to see where attention goes
SHARES: Final = 2.0 ** np.linspace(-3, 3, 25)  # candidates around the even share
DEAD: Final = 1e-9  # what counts as zero beside the largest channel


def alive(magnitude: Float) -> Float64:
    """Magnitudes with those of dead channels replaced, so that they can divide."""
    top = float(magnitude.max(initial=0.0))
    return np.maximum(magnitude.astype(np.float64), top * DEAD if top > 0 else 1.0)


def score_unit(shape: Shape, shift: int) -> float:
    """Product of the scales of q and k with which a score, shifted, has its unit."""
    return float(np.sqrt(shape.head_dim) / (SCORE_STEPS * np.log2(np.e)) * 2.0**-shift)


@dataclass(frozen=True)
class _Pairs:
    """Queries and keys of a layer by RoPE pair, and what a square error of each costs.

    q: (queries, sequences, kv_heads, queries_per_kv, pairs, 2);
    q_cost: (queries, sequences, kv_heads, queries_per_kv, pairs).
    k: (keys, sequences, kv_heads, pairs, 2); k_cost: (keys, sequences, kv_heads, pairs).
    """

    q: Float
    q_cost: Float
    k: Float
    k_cost: Float


def _pairs(shape: Shape, a: LayerActivations, sequences: int) -> _Pairs:
    groups, pairs = shape.queries_per_kv, shape.head_dim // 2
    k = a.k.reshape(-1, sequences, shape.kv_heads, pairs, 2)
    q = a.q.reshape(-1, sequences, shape.kv_heads, groups, pairs, 2)[::QUERY_STRIDE]
    # Sequence, head and group in front, so that the products are plain matrix products.
    queries = q.transpose(1, 2, 3, 0, 4, 5).reshape(sequences, shape.kv_heads, groups, len(q), -1)
    keys = k.transpose(1, 2, 0, 3, 4).reshape(sequences, shape.kv_heads, 1, len(k), -1)
    scores = queries @ keys.swapaxes(3, 4) / np.sqrt(shape.head_dim).astype(np.float32)
    later = np.arange(len(k))[None, :] > np.arange(0, len(k), QUERY_STRIDE)[:, None]
    scores = np.where(later, -np.inf, scores)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    mean, square = weights @ keys, weights @ np.square(keys)
    q_cost = (square - np.square(mean)).reshape(*mean.shape[:-1], pairs, 2).sum(axis=-1)
    sizes = np.square(queries).reshape(*queries.shape[:-1], pairs, 2).sum(axis=-1)
    k_cost = (weights.swapaxes(3, 4) @ sizes).sum(axis=2)
    return _Pairs(q=q, q_cost=q_cost.transpose(3, 0, 1, 2, 4), k=k, k_cost=k_cost.transpose(2, 0, 1, 3))


def _error(x: Float, scale: Float64) -> Float:
    """Square error of int8, of each pair."""
    unit = scale[..., None].astype(np.float32)
    return np.square(np.clip(np.rint(x / unit), -INT8_MAX, INT8_MAX) * unit - x).sum(axis=-1)


def _share(p: _Pairs, unit: float) -> tuple[Float64, Float64]:
    """Scales of keys, (kv_heads, pairs), and the error that they leave in the scores of each KV head."""
    size = np.sqrt(alive(np.square(p.k).mean(axis=(0, 1, 4))) / alive(np.square(p.q).mean(axis=(0, 1, 3, 5))))
    even = np.sqrt(unit * size)
    best, least = even, np.full(even.shape, np.inf)
    for share in SHARES:
        scale = even * share
        error = (_error(p.k, scale) * p.k_cost).sum(axis=(0, 1))
        error = error + (_error(p.q, (unit / scale)[:, None]) * p.q_cost).sum(axis=(0, 1, 3))
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return best, least.sum(axis=1)


def attention_scales(shape: Shape, activations: Activations) -> list[tuple[tuple[int, ...], Float64, Float64]]:
    """For each layer the shifts of the scores, and the scales of q and k.

    Returns
    -------
    (kv_heads) s0 of the scores; (heads, head_dim) scales of q and (kv_heads, head_dim) of k, the members of a pair
    alike.
    """
    chosen: list[tuple[tuple[int, ...], Float64, Float64]] = []
    for a in activations.layers:
        pairs = _pairs(shape, a, activations.sequences)
        shifts, units = np.zeros(shape.kv_heads, np.int64), np.ones(shape.kv_heads)
        keys, least = np.ones((shape.kv_heads, shape.head_dim // 2)), np.full(shape.kv_heads, np.inf)
        for shift in range(SHIFT_MAX + 1):
            unit = score_unit(shape, shift)
            scale, error = _share(pairs, unit)
            better = error < least
            if not better.any():
                break  # finer than this saturates
            shifts, units = np.where(better, shift, shifts), np.where(better, unit, units)
            keys, least = np.where(better[:, None], scale, keys), np.minimum(error, least)
        q = np.repeat(units[:, None] / keys, shape.queries_per_kv, axis=0)
        chosen.append((tuple(shifts.tolist()), np.repeat(q, 2, axis=1), np.repeat(keys, 2, axis=1)))
    return chosen
