"""The float model that integers are measured against: llama2.c's forward pass in numpy, one token at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from compiler.checkpoint import NORM_EPSILON, FloatModel, rope_tables

Float = npt.NDArray[np.floating[Any]]
Float32 = npt.NDArray[np.float32]

TENSORS: Final = tuple(item.name for item in fields(FloatModel) if item.name != "shape")

# Called with a name ("layer0.q", "logits") and the tensor.
Record = Callable[[str, Float], None]


def rms_norm(x: Float, gain: Float) -> Float:
    """Root-mean-square normalisation."""
    return x / np.sqrt(np.mean(x * x) + NORM_EPSILON) * gain


def rotate(x: Float, cos: Float, sin: Float) -> Float:
    """Rotary embedding of heads (heads, head_dim): the pair (2i, 2i+1) turns by the angle i of the position."""
    even, odd = x[:, 0::2], x[:, 1::2]
    return np.stack((even * cos - odd * sin, even * sin + odd * cos), axis=-1).reshape(x.shape)


def silu(x: Float) -> Float:
    """x * sigmoid(x), without overflow at either end."""
    return x * (0.5 * (1.0 + np.tanh(0.5 * x)))


class Reference:
    """A float decoder with a KV cache.

    Parameters
    ----------
    model: the weights; the arithmetic is float32, as in llama2.c.

    Members
    -------
    position: of the next token. logits: (vocab,) of the last one.
    """

    def __init__(self, model: FloatModel) -> None:
        self.model, self.shape = model, model.shape
        cos, sin = rope_tables(model.shape)
        self._cos, self._sin = cos.astype(np.float32), sin.astype(np.float32)
        self._w: dict[str, Float32] = {name: getattr(model, name) for name in TENSORS}
        self.reset()

    def reset(self) -> None:
        """Forget the sequence."""
        shape = self.shape
        cache = (shape.layers, shape.kv_heads, shape.context, shape.head_dim)
        self._keys, self._values = np.zeros(cache, np.float32), np.zeros(cache, np.float32)
        self.logits: Float = np.zeros(shape.vocab, np.float32)
        self.position = 0

    def step(self, token: int, *, record: Record | None = None) -> Float:
        """Run one token; returns its logits. `record` sees every intermediate tensor."""
        if self.position >= self.shape.context:
            raise ValueError(f"position {self.position} is past the context of {self.shape.context}")
        keep: Record = record or (lambda name, tensor: None)
        w, shape, position = self._w, self.shape, self.position
        cos, sin = self._cos[position], self._sin[position]
        x = w["embed"][token].copy()
        for i in range(shape.layers):
            keep(f"layer{i}.attention.x", x)
            normed = rms_norm(x, w["attention_norm"][i])
            q = rotate((w["wq"][i] @ normed).reshape(shape.heads, shape.head_dim), cos, sin)
            k = rotate((w["wk"][i] @ normed).reshape(shape.kv_heads, shape.head_dim), cos, sin)
            v = (w["wv"][i] @ normed).reshape(shape.kv_heads, shape.head_dim)
            keep(f"layer{i}.q", q)
            keep(f"layer{i}.k", k)
            keep(f"layer{i}.v", v)
            self._keys[i, :, position], self._values[i, :, position] = k, v
            attended = np.empty_like(q)
            for head in range(shape.heads):
                kv = head // shape.queries_per_kv
                scores = self._keys[i, kv, : position + 1] @ q[head] / np.float32(np.sqrt(shape.head_dim))
                keep(f"layer{i}.scores.head{head}", scores)
                weights = np.exp(scores - scores.max())
                attended[head] = weights / weights.sum() @ self._values[i, kv, : position + 1]
            keep(f"layer{i}.o", attended)
            x = x + w["wo"][i] @ attended.reshape(-1)
            keep(f"layer{i}.ffn.x", x)
            normed = rms_norm(x, w["ffn_norm"][i])
            gate, up = w["w1"][i] @ normed, w["w3"][i] @ normed
            keep(f"layer{i}.gate", gate)
            keep(f"layer{i}.up", up)
            x = x + w["w2"][i] @ (silu(gate) * up)
        keep("final.x", x)
        self.logits = w["classifier"] @ rms_norm(x, w["final_norm"])
        keep("logits", self.logits)
        self.position += 1
        return self.logits
