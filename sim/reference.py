"""The float model that integers are measured against: the family's forward pass in numpy, one token at a time.

For llama2.c's checkpoints it is llama2.c's; for the others, that of Hugging Face's `transformers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from compiler.float_model import FloatModel, rope_tables

Float = npt.NDArray[np.floating[Any]]
Float32 = npt.NDArray[np.float32]

# Called with a name ("layer0.q", "logits") and the tensor; it may answer with another one to go on with.
Hook = Callable[[str, Float], Float | None]
Seen = Callable[[str, Float], Float]


def rms_norm(x: Float, gain: Float, epsilon: float) -> Float:
    """Root-mean-square normalisation over the last axis."""
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(epsilon)) * gain


def rotate(x: Float, cos: Float, sin: Float) -> Float:
    """Rotary embedding of heads (heads, head_dim): the pair (2i, 2i+1) turns by the angle i of the position."""
    even, odd = x[:, 0::2], x[:, 1::2]
    return np.stack((even * cos - odd * sin, even * sin + odd * cos), axis=-1).reshape(x.shape)


def silu(x: Float) -> Float:
    """x * sigmoid(x), without overflow at either end."""
    return x * (0.5 * (1.0 + np.tanh(0.5 * x)))


def softmax(x: Float) -> Float:
    """Over the last axis."""
    weights = np.exp(x - x.max())
    return weights / weights.sum()


def chosen_experts(scores: Float, count: int) -> npt.NDArray[np.int64]:
    """Numbers of the `count` experts with the highest scores, best first; of equals, the lower number."""
    return np.argsort(-scores, kind="stable")[:count]


class Reference:
    """A float decoder with a KV cache.

    Parameters
    ----------
    model: the weights; the arithmetic is float32.

    Members
    -------
    position: of the next token. logits: (vocab,) of the last one.
    """

    def __init__(self, model: FloatModel) -> None:
        self.model, self.shape, self.traits = model, model.shape, model.traits
        cos, sin = rope_tables(model.shape, model.traits.rope)
        self._cos, self._sin = cos.astype(np.float32), sin.astype(np.float32)
        self._w = model.tensors()
        self.reset()

    def reset(self) -> None:
        """Forget the sequence."""
        shape = self.shape
        cache = (shape.layers, shape.kv_heads, shape.context, shape.head_dim)
        self._keys, self._values = np.zeros(cache, np.float32), np.zeros(cache, np.float32)
        self.logits: Float = np.zeros(shape.vocab, np.float32)
        self.position = 0

    def prefill(self, tokens: Sequence[int]) -> Float:
        """Run several tokens; their logits, (tokens, vocab)."""
        return np.array([self.step(token) for token in tokens])

    def step(self, token: int, *, hook: Hook | None = None) -> Float:
        """Run one token; returns its logits.

        hook: is shown every intermediate tensor, and may replace it; of the residual stream, what a block reads.
        """
        if self.position >= self.shape.context:
            raise ValueError(f"position {self.position} is past the context of {self.shape.context}")
        def seen(name: str, tensor: Float) -> Float:
            other = None if hook is None else hook(name, tensor)
            return tensor if other is None else other

        w, epsilon = self._w, self.traits.norm_epsilon
        x = w["embed"][token].copy()
        for i in range(self.shape.layers):
            read = seen(f"layer{i}.attention.x", x)
            x = x + self._attention(i, rms_norm(read, w["attention_norm"][i], epsilon), seen)
            read = seen(f"layer{i}.ffn.x", x)
            x = x + self._feed_forward(i, rms_norm(read, w["ffn_norm"][i], epsilon), seen)
        read = seen("final.x", x)
        self.logits = seen("logits", w["classifier"] @ rms_norm(read, w["final_norm"], epsilon))
        self.position += 1
        return self.logits

    def _project(self, i: int, name: str, heads: int, normed: Float) -> Float:
        """Queries, keys or values, (heads, head_dim)."""
        y = self._w[f"w{name}"][i] @ normed
        if f"{name}_bias" in self._w:
            y = y + self._w[f"{name}_bias"][i]
        y = y.reshape(heads, self.shape.head_dim)
        if f"{name}_norm" in self._w:
            y = rms_norm(y, self._w[f"{name}_norm"][i], self.traits.norm_epsilon)
        return y

    def _attention(self, i: int, normed: Float, seen: Seen) -> Float:
        """What attention adds to the residual stream."""
        shape, position = self.shape, self.position
        cos, sin = self._cos[position], self._sin[position]
        q = seen(f"layer{i}.q", rotate(self._project(i, "q", shape.heads, normed), cos, sin))
        k = seen(f"layer{i}.k", rotate(self._project(i, "k", shape.kv_heads, normed), cos, sin))
        v = seen(f"layer{i}.v", self._project(i, "v", shape.kv_heads, normed))
        self._keys[i, :, position], self._values[i, :, position] = k, v
        first = 0 if self.traits.window is None else max(0, position + 1 - self.traits.window)
        attended = np.empty_like(q)
        for head in range(shape.heads):
            kv = head // shape.queries_per_kv
            scores = self._keys[i, kv, first : position + 1] @ q[head] / np.float32(np.sqrt(shape.head_dim))
            scores = seen(f"layer{i}.scores.head{head}", scores)
            attended[head] = softmax(scores) @ self._values[i, kv, first : position + 1]
        return self._w["wo"][i] @ seen(f"layer{i}.o", attended).reshape(-1)

    def _feed_forward(self, i: int, normed: Float, seen: Seen) -> Float:
        """What the feed-forward block adds: one network, or those that the router picks, each by its weight."""
        w1, w2, w3 = (self._w[name][i] for name in ("w1", "w2", "w3"))
        if not self.traits.experts:
            gate, up = seen(f"layer{i}.gate", w1 @ normed), seen(f"layer{i}.up", w3 @ normed)
            return w2 @ seen(f"layer{i}.h", silu(gate) * up)
        scores = seen(f"layer{i}.router", self._w["router"][i] @ normed)
        chosen = chosen_experts(scores, self.traits.experts_used)
        out = np.zeros_like(normed)
        for expert, share in zip(chosen.tolist(), softmax(scores[chosen]), strict=True):
            out = out + share * (w2[expert] @ seen(f"layer{i}.h", silu(w1[expert] @ normed) * (w3[expert] @ normed)))
        return out
