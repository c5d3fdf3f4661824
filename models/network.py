"""The Llama network of llama2.c in PyTorch, arranged for fast training of tiny models on a CPU, and Mixtral's experts.

Inside training q, k and v are one product, w1 and w3 are one product, and RoPE pairs element i of a head with element
i + head_dim / 2, which needs no strided access. ``export`` undoes all of it: the file has llama2.c's adjacent pairs.
With ``weight_bits`` 4 every product of a layer is one with the weights that the machine will have (`models.four_bits`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.checkpoint import Array, Shape, rope_tables
from models.four_bits import Basis

NORM_EPSILON = 1e-5
INITIAL_DEVIATION = 0.02
QUERY_BLOCKS = 4
MASKED = -1e9


def _norm(x: Tensor) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],), None, NORM_EPSILON)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of q (stories, tokens, heads, head_dim) to k and v (stories, tokens, kv_heads, head_dim).

    Written out because for heads of 8 elements PyTorch's fused attention is several times slower on a CPU. The query
    heads that share a K head stand one after another in one product, and each block of queries meets only the keys up
    to its own end.
    """
    stories, tokens, heads, head_dim = q.shape
    kv_heads = k.shape[2]
    group = heads // kv_heads
    if q.is_cuda:
        q, k, v = (x.transpose(1, 2) for x in (q, k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)))
        mixed_heads = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed_heads.transpose(1, 2).reshape(stories, tokens, heads * head_dim)
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


class Experts(nn.Module):
    """Feed-forward networks of which a router chooses some for each token, as in Mixtral (Jiang et al., 2024).

    All are computed for every token and those not chosen count nothing: for networks this small that is the quick way.
    """

    def __init__(self, shape: Shape, experts: int, used: int) -> None:
        super().__init__()
        self.shape, self.experts, self.used = shape, experts, used
        out = 1 / math.sqrt(2 * shape.layers)
        self.router = nn.Parameter(torch.randn(experts, shape.dim) * shape.dim ** -0.5)
        self.w13 = nn.Parameter(torch.randn(experts, 2 * shape.hidden, shape.dim) * shape.dim ** -0.5)
        self.w2 = nn.Parameter(torch.randn(experts, shape.dim, shape.hidden) * out * shape.hidden ** -0.5)
        self.imbalance = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        """x: (stories, tokens, dim), normalised."""
        logits = functional.linear(x, self.router)
        best, chosen = logits.topk(self.used, dim=-1)
        share = torch.zeros_like(logits).scatter(-1, chosen, best.softmax(dim=-1))
        # Switch Transformer's loss (Fedus et al., 2021): 1 where all experts are chosen alike.
        often = (share > 0).float().mean(dim=(0, 1)) / self.used
        self.imbalance = self.experts * (often * logits.softmax(dim=-1).mean(dim=(0, 1))).sum()
        gate, up = functional.linear(x, self.w13.flatten(0, 1)).unflatten(-1, (self.experts, -1)).chunk(2, dim=-1)
        hidden = functional.silu(gate) * up * share[..., None]
        return functional.linear(hidden.flatten(2), self.w2.transpose(0, 1).flatten(1))


class Block(nn.Module):
    """One layer: attention with grouped K and V heads, then SwiGLU or experts.

    basis: where its weights are rounded; None where they are not.
    """

    def __init__(self, shape: Shape, experts: int, used: int, basis: Basis | None) -> None:
        super().__init__()
        self.shape, self.basis = shape, basis
        self.norm_attention = nn.Parameter(torch.ones(shape.dim))
        self.norm_ffn = nn.Parameter(torch.ones(shape.dim))
        self.qkv = nn.Parameter(torch.randn(shape.dim + 2 * shape.kv_dim, shape.dim) * shape.dim ** -0.5)
        out = 1 / math.sqrt(2 * shape.layers)
        self.wo = nn.Parameter(torch.randn(shape.dim, shape.dim) * out * shape.dim ** -0.5)
        self.experts = Experts(shape, experts, used) if experts else None
        if not experts:
            self.w13 = nn.Parameter(torch.randn(2 * shape.hidden, shape.dim) * shape.dim ** -0.5)
            self.w2 = nn.Parameter(torch.randn(shape.dim, shape.hidden) * out * shape.hidden ** -0.5)

    def reader(self, name: str, gain: Tensor) -> Tensor:
        """Weights over the normalised stream, with its gain in them."""
        weights = getattr(self, name) * gain
        return weights if self.basis is None else self.basis.reader(weights)

    def writer(self, name: str) -> Tensor:
        """Weights whose products are added to the stream."""
        weights = getattr(self, name)
        return weights if self.basis is None else self.basis.writer(weights)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x: (stories, tokens, dim); cos and sin: (tokens, 1, head_dim / 2)."""
        s = self.shape
        stories, tokens, _ = x.shape
        qkv = functional.linear(_norm(x), self.reader("qkv", self.norm_attention))
        qkv = qkv.view(stories, tokens, s.heads + 2 * s.kv_heads, s.head_dim)
        first, second = qkv[:, :, :s.heads + s.kv_heads].chunk(2, dim=-1)
        turned = torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
        mixed = _attend(turned[:, :, :s.heads], turned[:, :, s.heads:], qkv[:, :, s.heads + s.kv_heads:])
        x = x + functional.linear(mixed, self.writer("wo"))
        if self.experts is not None:
            return x + self.experts(_norm(x) * self.norm_ffn)
        gate, up = functional.linear(_norm(x), self.reader("w13", self.norm_ffn)).chunk(2, dim=-1)
        return x + functional.linear(functional.silu(gate) * up, self.writer("w2"))


class Network(nn.Module):
    """Embedding, blocks, final norm, and the embedding again as classifier.

    Parameters
    ----------
    experts, used: of each layer, and those of them that a token uses; 0 experts: one network that every token uses.
    """

    def __init__(self, shape: Shape, experts: int = 0, used: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Parameter(torch.randn(shape.vocabulary, shape.dim) * INITIAL_DEVIATION)
        self.blocks = nn.ModuleList(Block(shape, experts, used, None) for _ in range(shape.layers))
        self.norm_final = nn.Parameter(torch.ones(shape.dim))
        cos, sin = (torch.from_numpy(table)[:, None, :] for table in rope_tables(shape))
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def round_weights(self) -> None:
        """From now on the layers' weights count as what four bits make of them."""
        basis = Basis(self.shape.dim, self.embedding.device)
        for block in self.blocks:
            block.basis = basis

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (stories, tokens, vocabulary) for ids (stories, tokens); every story starts at position 0."""
        tokens = ids.shape[1]
        x = functional.embedding(ids, self.embedding)
        for block in self.blocks:
            x = block(x, self.cos[:tokens], self.sin[:tokens])
        return functional.linear(_norm(x) * self.norm_final, self.embedding)

    def imbalance(self) -> Tensor:
        """How unevenly the last tokens chose experts: 1 is even, summed over the layers; 0 without experts."""
        found = [block.experts.imbalance for block in self.blocks if block.experts is not None]
        return torch.stack(found).sum() if found else self.embedding.new_zeros(())


@torch.no_grad()
def export(net: Network) -> dict[str, Array]:
    """The arrays of a checkpoint file. Gains of the norms within layers are in the weights, and are ones."""
    shape = net.shape
    d, kv = shape.dim, shape.kv_dim

    def stacked(matrices: list[Tensor]) -> Array:
        return torch.stack(matrices).cpu().numpy()

    def adjacent(rows: Array) -> Array:
        """Rows of q or k from halves to adjacent pairs: (layers, heads, 2, pairs, dim) to (..., pairs, 2, dim)."""
        halves = rows.reshape(shape.layers, -1, 2, shape.head_dim // 2, d)
        return halves.swapaxes(2, 3).reshape(rows.shape)

    blocks = list(net.blocks)
    qkv = stacked([block.reader("qkv", block.norm_attention) for block in blocks])
    w13 = stacked([block.reader("w13", block.norm_ffn) for block in blocks])
    ones = np.ones((shape.layers, d), np.float32)
    return {
        "embedding": net.embedding.cpu().numpy(), "norm_attention": ones, "wq": adjacent(qkv[:, :d]),
        "wk": adjacent(qkv[:, d:d + kv]), "wv": qkv[:, d + kv:], "wo": stacked([b.writer("wo") for b in blocks]),
        "norm_ffn": ones, "w1": w13[:, :shape.hidden], "w2": stacked([b.writer("w2") for b in blocks]),
        "w3": w13[:, shape.hidden:], "norm_final": net.norm_final.cpu().numpy()}
