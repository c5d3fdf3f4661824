"""Sample stories from a checkpoint in float32 numpy, many at once, with a K and V cache.

It is the float reference that says how good a checkpoint is; the chip's arithmetic lives elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np

from compiler.importers.huggingface import load_folder
from models import bpe, checkpoint, hub_tokenizer
from models.checkpoint import Array, Shape

NORM_EPSILON = 1e-5


def _norm(x: Array, weight: Array) -> Array:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + NORM_EPSILON) * weight


def _rotate(x: Array, cos: Array, sin: Array) -> Array:
    """RoPE on adjacent pairs; x: (stories, heads, head_dim), cos and sin: (head_dim / 2,)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = np.stack((even * cos - odd * sin, even * sin + odd * cos), axis=-1)
    return cast(Array, turned.reshape(x.shape))


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def load_tokenizer(folder: Path) -> bpe.Tokenizer:
    """The tokenizer of either format."""
    path = folder / "tokenizer.bin"
    return bpe.Tokenizer.load(path) if path.exists() else hub_tokenizer.load(folder)


def load_weights(folder: Path) -> tuple[Shape, dict[str, Array], int]:
    """Sizes, arrays by the names of `models.checkpoint`, and how many experts a token uses (0: there are none)."""
    if (folder / "model.bin").exists():
        return *checkpoint.load(folder / "model.bin"), 0
    model, _ = load_folder(folder)
    s, router = model.shape, model.router
    assert router is not None
    shape = Shape(dim=s.dim, hidden=s.hidden, layers=s.layers, heads=s.heads, kv_heads=s.kv_heads, vocabulary=s.vocab,
                  context=s.context)
    return shape, {
        "embedding": model.embed, "norm_attention": model.attention_norm, "norm_ffn": model.ffn_norm,
        "norm_final": model.final_norm, "router": router,
        **{name: getattr(model, name) for name in ("wq", "wk", "wv", "wo", "w1", "w2", "w3")},
    }, model.traits.experts_used


class Decoder:
    """A network that reads one token of each of several stories at a time.

    Parameters
    ----------
    folder: of the checkpoint.
    stories: how many stories run side by side.
    """

    def __init__(self, folder: Path, stories: int) -> None:
        self.shape, self.weights, self.experts_used = load_weights(folder)
        s = self.shape
        self._cos, self._sin = checkpoint.rope_tables(s)
        cache = (s.layers, stories, s.kv_heads, s.context, s.head_dim)
        self._keys, self._values = np.zeros(cache, np.float32), np.zeros(cache, np.float32)
        self.position = 0

    def step(self, ids: np.ndarray) -> Array:
        """Logits (stories, vocabulary) after one more token ids (stories,)."""
        s, w, at = self.shape, self.weights, self.position
        group = s.heads // s.kv_heads
        x = w["embedding"][ids]  # (stories, dim)
        for n in range(s.layers):
            y = _norm(x, w["norm_attention"][n])
            q = _rotate((y @ w["wq"][n].T).reshape(-1, s.heads, s.head_dim), self._cos[at], self._sin[at])
            k = _rotate((y @ w["wk"][n].T).reshape(-1, s.kv_heads, s.head_dim), self._cos[at], self._sin[at])
            self._keys[n, :, :, at] = k
            self._values[n, :, :, at] = (y @ w["wv"][n].T).reshape(-1, s.kv_heads, s.head_dim)
            keys, values = self._keys[n, :, :, :at + 1], self._values[n, :, :, :at + 1]
            q = q.reshape(-1, s.kv_heads, group, s.head_dim)
            scores = _softmax(q @ keys.swapaxes(-1, -2) / np.float32(np.sqrt(s.head_dim)))
            x = x + (scores @ values).reshape(-1, s.dim) @ w["wo"][n].T  # scores: (stories, kv_heads, group, at + 1)
            x = x + self._feed_forward(n, _norm(x, w["norm_ffn"][n]))
        self.position += 1
        return _norm(x, w["norm_final"]) @ w["embedding"].T


    def _feed_forward(self, n: int, y: Array) -> Array:
        """Of every story; where there are experts, all of them are computed, and the shares of most are 0."""
        w = self.weights
        gate = y @ w["w1"][n].swapaxes(-1, -2)  # (stories, hidden), of experts (experts, stories, hidden)
        made = (gate / (1 + np.exp(-gate)) * (y @ w["w3"][n].swapaxes(-1, -2))) @ w["w2"][n].swapaxes(-1, -2)
        if not self.experts_used:
            return made
        logits = y @ w["router"][n].T
        least = np.sort(logits, axis=-1)[:, -self.experts_used, None]
        share = _softmax(np.where(logits < least, -np.inf, logits))
        return np.einsum("esd,se->sd", made, share)


def sample(folder: Path, *, count: int, temperature: float, seed: int) -> list[str]:
    """``count`` stories of the checkpoint in ``folder``, from BOS to EOS or the end of the context.

    A story that the context cuts off is returned as far as it got, for the checker to reject.
    """
    rng = np.random.default_rng(seed)
    tokenizer = load_tokenizer(folder)
    decoder = Decoder(folder, count)
    ids = np.full(count, bpe.BEGIN)
    rows: list[list[int]] = [[] for _ in range(count)]
    going = np.ones(count, dtype=bool)
    while going.any() and decoder.position < decoder.shape.context:
        logits = decoder.step(ids).astype(np.float64)
        if temperature == 0:
            ids = logits.argmax(axis=-1)
        else:
            chances = np.exp((logits - logits.max(axis=-1, keepdims=True)) / temperature).cumsum(axis=-1)
            ids = (chances < rng.random((count, 1)) * chances[:, -1:]).sum(axis=-1)
        going &= (ids != bpe.END) & (ids != bpe.BEGIN)
        for row, token in zip(np.flatnonzero(going), ids[going], strict=True):
            rows[row].append(int(token))
    return [tokenizer.decode(row) for row in rows]
