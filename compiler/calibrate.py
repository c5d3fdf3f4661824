"""Activations of a float model on stories that it tells itself: what static scales are chosen from.

No text is needed, so any checkpoint can be quantised, and nothing that accuracy is measured on is seen. Several
sequences run side by side, because numpy is quick with many rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from compiler.errors import InputError
from compiler.float_model import FloatModel, rope_tables
from compiler.head_norms import usable

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

SEQUENCES: Final = 8
LENGTH: Final = 512

ACTIVATION_LIMIT: Final = 1e12
"""No trained model's activations come near, and products of three smaller ones are still float32."""


@dataclass(frozen=True, kw_only=True)
class LayerActivations:
    """Tensors of one layer; the first axis of each is the token.

    Members:
        attention_x, ffn_x: (tokens, dim) residual stream at the entry of each block.
        q: (tokens, heads, head_dim) and k: (tokens, kv_heads, head_dim), rotated; v: (tokens, kv_heads, head_dim).
        o: (tokens, heads, head_dim) attention's output.
        gate, up: (tokens, hidden) before SiLU and product; where a token uses several experts, one row for each.
        router: (tokens, experts) logits; without experts none.
        q_peak: (heads, head_dim) and k_peak: (kv_heads, head_dim), largest magnitudes before a normalisation of heads.
    """

    attention_x: Float32
    q: Float32
    k: Float32
    v: Float32
    o: Float32
    ffn_x: Float32
    gate: Float32
    up: Float32
    router: Float32
    q_peak: Float32
    k_peak: Float32


@dataclass(frozen=True, kw_only=True)
class Activations:
    """What a model does on its own samples.

    Members:
        layers: one a layer. final_x: (tokens, dim) residual stream at the classifier.
        logit_peak: largest magnitude of a logit.
        sequences: tokens lie position by position, this many at each.
        norm_epsilon: of the model's normalisations.
    """

    layers: tuple[LayerActivations, ...]
    final_x: Float32
    logit_peak: float
    sequences: int
    norm_epsilon: float


def normalise(x: Float32, epsilon: float) -> Float32:
    """RMS normalisation over the last axis, without the gain."""
    return (x / np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + epsilon)).astype(np.float32)


def silu(x: Float32) -> Float32:
    """x * sigmoid(x), without overflow at either end."""
    return (x * (0.5 * (1.0 + np.tanh(0.5 * x)))).astype(np.float32)


class _Batch:
    """Several sequences in lock step, and a record of every step."""

    def __init__(self, model: FloatModel, sequences: int, length: int) -> None:
        self.model, shape = model, model.shape
        cos, sin = rope_tables(shape, model.traits.rope)
        self.cos, self.sin = cos.astype(np.float32), sin.astype(np.float32)
        cache = (shape.layers, sequences, shape.kv_heads, length, shape.head_dim)
        self.keys, self.values = np.zeros(cache, np.float32), np.zeros(cache, np.float32)
        self.records: list[list[tuple[Float32, ...]]] = [[] for _ in range(shape.layers)]
        self.final: list[Float32] = []
        self.peaks = [[np.zeros((heads, shape.head_dim), np.float32) for heads in (shape.heads, shape.kv_heads)]
                      for _ in range(shape.layers)]

    def _rotate(self, x: Float32, position: int) -> Float32:
        cos, sin = self.cos[position], self.sin[position]
        even, odd = x[..., 0::2], x[..., 1::2]
        return np.stack((even * cos - odd * sin, even * sin + odd * cos), axis=-1).reshape(x.shape)

    def _heads(self, i: int, which: int, y: Float32, position: int) -> Float32:
        """Queries (which 0) or keys (1), normalised where the model does that, and rotated."""
        peak = self.peaks[i][which]
        heads = y.reshape(len(y), *peak.shape)
        np.maximum(peak, np.abs(heads).max(axis=0), out=peak)
        gain = (self.model.q_norm, self.model.k_norm)[which]
        if gain is not None:
            heads = normalise(heads, self.model.traits.norm_epsilon) * usable(gain[i]).astype(np.float32)
        return self._rotate(heads, position)

    def _feed_forward(self, i: int, normed: Float32) -> tuple[Float32, Float32, Float32, Float32]:
        """gate and up, a row for each expert that a token uses; what is added to the stream; logits of the router."""
        m = self.model
        if m.router is None:
            gate, up = normed @ m.w1[i].T, normed @ m.w3[i].T
            return gate, up, (silu(gate) * up) @ m.w2[i].T, np.zeros((len(normed), 0), np.float32)
        logits = normed @ m.router[i].T
        chosen = np.argsort(-logits, axis=1, kind="stable")[:, :m.traits.experts_used]
        best = np.take_along_axis(logits, chosen, axis=1)
        share = np.exp(best - best[:, :1])
        share /= share.sum(axis=1, keepdims=True)
        gates, ups, added = list[Float32](), list[Float32](), np.zeros_like(normed)
        for row, experts in enumerate(chosen.tolist()):
            for expert, weight in zip(experts, share[row], strict=True):
                gate, up = m.w1[i, expert] @ normed[row], m.w3[i, expert] @ normed[row]
                gates.append(gate)
                ups.append(up)
                added[row] += weight * (m.w2[i, expert] @ (silu(gate) * up))
        return np.array(gates), np.array(ups), added, logits

    def step(self, tokens: npt.NDArray[np.int64], position: int) -> Float32:
        """Logits (sequences, vocab) after one more token of each sequence."""
        m, shape, rows, epsilon = self.model, self.model.shape, len(tokens), self.model.traits.norm_epsilon
        x = m.embed[tokens]
        for i in range(shape.layers):
            attention_x = x
            normed = normalise(x, epsilon) * m.attention_norm[i]
            y = [normed @ w[i].T + (0.0 if bias is None else bias[i])
                 for w, bias in ((m.wq, m.q_bias), (m.wk, m.k_bias), (m.wv, m.v_bias))]
            q, k = self._heads(i, 0, y[0], position), self._heads(i, 1, y[1], position)
            v = y[2].reshape(rows, shape.kv_heads, -1)
            self.keys[i, :, :, position], self.values[i, :, :, position] = k, v
            # (rows, kv_heads, queries_per_kv, positions)
            grouped = q.reshape(rows, shape.kv_heads, -1, shape.head_dim)
            scores = grouped @ self.keys[i, :, :, : position + 1].swapaxes(2, 3) / np.float32(shape.head_dim**0.5)
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            weights /= weights.sum(axis=-1, keepdims=True)
            o = (weights @ self.values[i, :, :, : position + 1]).reshape(rows, shape.heads, -1)
            x = ffn_x = x + o.reshape(rows, -1) @ m.wo[i].T
            normed = normalise(x, epsilon) * m.ffn_norm[i]
            gate, up, added, router = self._feed_forward(i, normed)
            x = x + added
            self.records[i].append((attention_x, q, k, v, o, ffn_x, gate, up, router))
        self.final.append(x)
        return ((normalise(x, epsilon) * m.final_norm) @ m.classifier.T).astype(np.float32)


def calibrate(model: FloatModel, *, sequences: int = SEQUENCES, length: int = LENGTH, seed: int = 0) -> Activations:
    """Let a model tell stories and record its activations.

    Parameters
    ----------
    sequences: how many. The first is greedy, the others are sampled at temperature 1.
    length: tokens of each, or the context if that is shorter; a story that ends is followed by another one.
    seed: of the sampling.

    Raises `InputError` where the model's own arithmetic overflows: finite weights can still be no trained ones.
    """
    if not 0 <= model.traits.norm_epsilon < ACTIVATION_LIMIT:
        raise InputError(f"an epsilon of {model.traits.norm_epsilon:g} in the norms is impossible; models have about "
                         "1e-5")
    with np.errstate(all="ignore"):
        found = _calibrate(model, sequences, length, seed)
    tensors = [found.final_x, *(tensor for layer in found.layers for tensor in vars(layer).values())]
    if not all((np.abs(tensor) < ACTIVATION_LIMIT).all() for tensor in tensors) or not math.isfinite(found.logit_peak):
        raise InputError("this model's activations overflow float32 or are no numbers; its weights are damaged")
    return found


def _calibrate(model: FloatModel, sequences: int, length: int, seed: int) -> Activations:
    length, rng = min(length, model.shape.context), np.random.default_rng(seed)
    batch, peak = _Batch(model, sequences, length), 0.0
    tokens = np.full(sequences, min(model.begin, model.shape.vocab - 1), np.int64)
    for position in range(length):
        logits = batch.step(tokens, position).astype(np.float64)
        peak = max(peak, float(np.abs(logits).max()))
        cumulative = np.cumsum(np.exp(logits - logits.max(axis=1, keepdims=True)), axis=1)
        draw = rng.random((sequences, 1)) * cumulative[:, -1:]
        tokens = np.minimum((cumulative < draw).sum(axis=1), model.shape.vocab - 1)
        tokens[0] = logits[0].argmax()
    names = ("attention_x", "q", "k", "v", "o", "ffn_x", "gate", "up", "router")
    layers = tuple(
        LayerActivations(**{n: np.concatenate(t) for n, t in zip(names, zip(*steps, strict=True), strict=True)},
                         q_peak=peaks[0], k_peak=peaks[1])
        for steps, peaks in zip(batch.records, batch.peaks, strict=True)
    )
    return Activations(
        layers=layers, final_x=np.concatenate(batch.final), logit_peak=peak, sequences=sequences,
        norm_epsilon=model.traits.norm_epsilon)
