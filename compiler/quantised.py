"""The quantised model: every integer that docs/numerics.md names, in the model's own shape, for no particular preset.

The quantiser makes it, the golden model runs it as it stands, and the lowering places it into a machine's banks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Int8 = npt.NDArray[np.int8]
UInt8 = npt.NDArray[np.uint8]

MULTIPLIER_MAX: Final = 255  # parameters are bytes
S1_MOST: Final = 31


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Dimensions of a Llama-style decoder.

    dim: residual width; hidden: feed-forward width; heads and kv_heads: query and key/value heads (GQA);
    head_dim: even; vocab: tokens; context: most positions a sequence can have.
    """

    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int

    @property
    def queries_per_kv(self) -> int:
        return self.heads // self.kv_heads

    def macs(self, position: int, *, classify: bool) -> int:
        """Useful multiply-accumulates of one token at a position (0-based), attention included."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        weights = self.dim * (2 * q + 2 * kv + 3 * self.hidden)
        attention = 2 * q * (position + 1)
        return self.layers * (weights + attention) + (self.vocab * self.dim if classify else 0)


@dataclass(frozen=True, kw_only=True)
class Linear:
    """One quantised matrix.

    weights: (outputs, inputs) int8, of experts (experts, outputs, inputs); multiplier: (outputs,) uint8, the requantise
    factor `m` of each output channel, which experts share.
    """

    weights: Int8
    multiplier: UInt8


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One decoder layer. Rows of wq and wk have the two members of a RoPE pair side by side (2i, 2i+1)."""

    wq: Linear  # (heads * head_dim, dim)
    wk: Linear  # (kv_heads * head_dim, dim)
    wv: Linear  # (kv_heads * head_dim, dim)
    attention: UInt8  # (heads * head_dim,) multiplier of the A.V requantise step
    wo: Linear  # (dim, heads * head_dim)
    w1: Linear  # (hidden, dim), gate
    w3: Linear  # (hidden, dim), up
    w2: Linear  # (dim, hidden), down
    attention_x_shift: int  # x8 = sat8(rshift(x, shift)) as wq, wk, wv read it
    ffn_x_shift: int  # and as w1, w3 read it
    score_shifts: tuple[int, ...]  # (kv_heads) s0 of the scores, for all queries of a KV head
    # What is added to q, k and v, (outputs, 1): 64 * weights * multiplier, shifted; None where the model adds nothing.
    bias_q: Linear | None = None
    bias_k: Linear | None = None
    bias_v: Linear | None = None
    # Where heads are normalised: (outputs,) parameters of the sum of squares, about 1/gain; else None.
    head_q: UInt8 | None = None
    head_k: UInt8 | None = None
    router: Linear | None = None  # (experts, dim); then w1, w2 and w3 are those of all experts
    stream_shift: int = 0  # after the feed-forward norm has read x: x = sat16(rshift(x, shift)), where the stream grows


@dataclass(frozen=True, kw_only=True)
class Shifts:
    """Static shifts of each step, the same in every layer. Names follow docs/numerics.md: (s0, s1, s2[, s3])."""

    embed_s1: int
    square: int
    q: tuple[int, int, int]
    k: tuple[int, int, int]
    v: tuple[int, int, int]
    rotate_q_s3: int
    rotate_k_s3: int
    attention: tuple[int, int, int]
    o: tuple[int, int, int]
    gate: tuple[int, int, int]
    up: tuple[int, int, int]
    down: tuple[int, int, int]
    logit: tuple[int, int, int]
    # s1 of the biases of q, k and v, and s3 of v, which is some bits wider than 8 until its bias is in.
    bias_q: int = 0
    bias_k: int = 0
    bias_v: int = 0
    value_s3: int = 0
    # Of normalised heads of q and k: s1 and s2 of the squares, s2 of the rotation; and what is added to the sum.
    head_q: tuple[int, int, int] = (0, 0, 0)
    head_k: tuple[int, int, int] = (0, 0, 0)
    head_bias: int = 1
    # Of the router's logits; and the shift that makes what EXP2 takes of them.
    router: tuple[int, int, int] = (0, 0, 0)
    router_unit: int = 0


@dataclass(frozen=True, kw_only=True)
class QuantisedModel:
    """A whole model in integers.

    Members:
        shape: dimensions.
        embed: (vocab, dim) int8 and embed_multiplier: (dim,) uint8.
        layers: the decoder layers; classifier: (vocab, dim).
        final_x_shift: x8 of the classifier.
        rope_cos, rope_sin: (context, head_dim // 2) int8.
        norm_bias: the integer added to SUM x*x before RSQRT (epsilon).
        hidden_chunks: ends of the chunks of the hidden vector that have a block exponent of their own; the last is
            `hidden`.
        logit_scale: real value of one unit of an integer logit (for cross-entropy and temperature).
        experts_used: of each layer for a token; 0 where there are no experts to choose from.
        window: positions that a token attends to, its own included; 0 for all.
        weight_bits: 8, or 4: then the weights of a layer's wq, wk, wv, wo, w1, w2 and w3 are multiples of 16.
    """

    shape: Shape
    embed: Int8
    embed_multiplier: UInt8
    layers: tuple[Layer, ...]
    classifier: Linear
    final_x_shift: int
    rope_cos: Int8
    rope_sin: Int8
    norm_bias: int
    shifts: Shifts
    hidden_chunks: tuple[int, ...]
    logit_scale: float
    experts_used: int = 0
    window: int = 0
    weight_bits: int = 8

    @property
    def experts(self) -> int:
        """Feed-forward networks of a layer that the router chooses from; 0 for the one that every token uses."""
        router = self.layers[0].router
        return 0 if router is None else len(router.multiplier)

    def macs(self, position: int, *, classify: bool) -> int:
        """Useful multiply-accumulates of one token, as `Shape.macs`, of the experts that it uses, the router, and the
        positions that it attends to."""
        shape, further = self.shape, max(0, self.experts_used - 1)
        routed = shape.layers * shape.dim * (self.experts + 3 * shape.hidden * further)
        unseen = max(0, position + 1 - self.window) if self.window else 0
        attention = 2 * shape.layers * shape.heads * shape.head_dim
        return shape.macs(position, classify=classify) + routed - unseen * attention
