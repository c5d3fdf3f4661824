"""The Llama network of llama2.c in PyTorch, arranged for fast training of tiny models on a CPU.

Inside training q, k and v are one product, w1 and w3 are one product, and RoPE pairs element i of a head with element
i + head_dim / 2, which needs no strided access. ``export`` undoes all of it: the file has llama2.c's adjacent pairs.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.checkpoint import Array, Shape, rope_tables

NORM_EPSILON = 1e-5
INITIAL_DEVIATION = 0.02
QUERY_BLOCKS = 4
MASKED = -1e9


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],), weight, NORM_EPSILON)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of q (stories, tokens, heads, head_dim) to k and v (stories, tokens, kv_heads, head_dim).

    Written out because for heads of 8 elements PyTorch's fused attention is several times slower on a CPU. The query
    heads that share a K head stand one after another in one product, and each block of queries meets only the keys up
    to its own end.
    """
    stories, tokens, heads, head_dim = q.shape
    kv_heads = k.shape[2]
    group = heads // kv_heads
    q = q.view(stories, tokens, kv_heads, group, head_dim).permute(0, 2, 3, 1, 4)
    q = q.reshape(stories * kv_heads, group, tokens, head_dim)
    k = k.permute(0, 2, 3, 1).reshape(stories * kv_heads, head_dim, tokens)
    v = v.transpose(1, 2).reshape(stories * kv_heads, tokens, head_dim)
    mixed: list[Tensor] = []
    for n in range(QUERY_BLOCKS):
        start, stop = n * tokens // QUERY_BLOCKS, (n + 1) * tokens // QUERY_BLOCKS
        future = torch.full((stop - start, stop), MASKED).triu(1 + start).repeat(group, 1)
        block = q[:, :, start:stop].reshape(stories * kv_heads, -1, head_dim)
        scores = torch.baddbmm(future, block, k[:, :, :stop], alpha=head_dim ** -0.5)
        block = torch.bmm(scores.softmax(dim=-1), v[:, :stop])
        mixed.append(block.view(stories, kv_heads, group, stop - start, head_dim))
    return torch.cat(mixed, dim=3).permute(0, 3, 1, 2, 4).reshape(stories, tokens, heads * head_dim)


class Block(nn.Module):
    """One layer: attention with grouped K and V heads, then SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.norm_attention = nn.Parameter(torch.ones(shape.dim))
        self.norm_ffn = nn.Parameter(torch.ones(shape.dim))
        self.qkv = nn.Parameter(torch.randn(shape.dim + 2 * shape.kv_dim, shape.dim) * shape.dim ** -0.5)
        self.w13 = nn.Parameter(torch.randn(2 * shape.hidden, shape.dim) * shape.dim ** -0.5)
        out = 1 / math.sqrt(2 * shape.layers)
        self.wo = nn.Parameter(torch.randn(shape.dim, shape.dim) * out * shape.dim ** -0.5)
        self.w2 = nn.Parameter(torch.randn(shape.dim, shape.hidden) * out * shape.hidden ** -0.5)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x: (stories, tokens, dim); cos and sin: (tokens, 1, head_dim / 2)."""
        s = self.shape
        stories, tokens, _ = x.shape
        qkv = functional.linear(_norm(x, self.norm_attention), self.qkv)
        qkv = qkv.view(stories, tokens, s.heads + 2 * s.kv_heads, s.head_dim)
        first, second = qkv[:, :, :s.heads + s.kv_heads].chunk(2, dim=-1)
        turned = torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
        mixed = _attend(turned[:, :, :s.heads], turned[:, :, s.heads:], qkv[:, :, s.heads + s.kv_heads:])
        x = x + functional.linear(mixed, self.wo)
        gate, up = functional.linear(_norm(x, self.norm_ffn), self.w13).chunk(2, dim=-1)
        return x + functional.linear(functional.silu(gate) * up, self.w2)


class Network(nn.Module):
    """Embedding, blocks, final norm, and the embedding again as classifier."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Parameter(torch.randn(shape.vocabulary, shape.dim) * INITIAL_DEVIATION)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm_final = nn.Parameter(torch.ones(shape.dim))
        cos, sin = (torch.from_numpy(table)[:, None, :] for table in rope_tables(shape))
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (stories, tokens, vocabulary) for ids (stories, tokens); every story starts at position 0."""
        tokens = ids.shape[1]
        x = functional.embedding(ids, self.embedding)
        for block in self.blocks:
            x = block(x, self.cos[:tokens], self.sin[:tokens])
        return functional.linear(_norm(x, self.norm_final), self.embedding)


def export(shape: Shape, state: dict[str, Tensor]) -> dict[str, Array]:
    """The arrays of a checkpoint file from a network's state."""
    d, kv = shape.dim, shape.kv_dim

    def stacked(name: str) -> Array:
        return np.stack([state[f"blocks.{n}.{name}"].detach().numpy() for n in range(shape.layers)])

    def adjacent(rows: Array) -> Array:
        """Rows of q or k from halves to adjacent pairs: (layers, heads, 2, pairs, dim) to (..., pairs, 2, dim)."""
        halves = rows.reshape(shape.layers, -1, 2, shape.head_dim // 2, d)
        return halves.swapaxes(2, 3).reshape(rows.shape)

    qkv, w13 = stacked("qkv"), stacked("w13")
    return {
        "embedding": state["embedding"].detach().numpy(), "norm_attention": stacked("norm_attention"),
        "wq": adjacent(qkv[:, :d]), "wk": adjacent(qkv[:, d:d + kv]), "wv": qkv[:, d + kv:], "wo": stacked("wo"),
        "norm_ffn": stacked("norm_ffn"), "w1": w13[:, :shape.hidden], "w2": stacked("w2"),
        "w3": w13[:, shape.hidden:], "norm_final": state["norm_final"].detach().numpy()}
