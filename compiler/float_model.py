"""The float model: what every importer makes, and what the quantiser and the float reference read.

It is one family: pre-normalised decoders with rotary embedding, grouped queries and a gated feed-forward block. `Shape`
has the sizes, `Traits` what members of the family do differently, `FloatModel` the weights.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from compiler.errors import InputError
from compiler.quantised import Shape

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# Far above any model that on-chip SRAM could hold: a larger number means that the file is something else.
SANE_LIMIT: Final = 1 << 20
_SIZES: Final = ("dim", "hidden", "layers", "heads", "kv_heads", "vocab", "context", "head_dim")


@dataclass(frozen=True, kw_only=True)
class LinearScaling:
    """Every position counts as position / factor."""

    factor: float


@dataclass(frozen=True, kw_only=True)
class Llama3Scaling:
    """Llama 3.1: pairs that turn slowly are slowed down by `factor`, quick ones stay, those in between are blended.

    low, high: turns within `original` positions, below and above which a pair is slow and quick.
    """

    factor: float
    low: float
    high: float
    original: int


@dataclass(frozen=True, kw_only=True)
class TableScaling:
    """A divisor for each pair, (head_dim // 2,), as GGUF files have it."""

    divisors: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Rope:
    """Rotary embedding: pair i of a head turns by base ** (-2i / head_dim) a position, scaled."""

    base: float = 10000.0
    scaling: LinearScaling | Llama3Scaling | TableScaling | None = None

    def frequencies(self, head_dim: int) -> Float64:
        """Radians a position, (head_dim // 2,)."""
        plain: Float64 = self.base ** (-np.arange(0, head_dim, 2) / head_dim)
        match self.scaling:
            case None:
                return plain
            case LinearScaling(factor=factor):
                return plain / factor
            case TableScaling(divisors=divisors):
                return plain / np.array(divisors)
            case Llama3Scaling(factor=factor, low=low, high=high, original=original):
                turns = original * plain / (2 * np.pi)
                quick = np.clip((turns - low) / (high - low), 0.0, 1.0)  # 0: slow, 1: quick
                return plain * (quick + (1 - quick) / factor)


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a model does beside its sizes.

    norm_epsilon: of every normalisation. rope: the rotation of queries and keys.
    window: positions that a token attends to, itself included; None for all.
    experts: feed-forward networks of a layer, of which the router picks `experts_used` for a token; 0 for the one
        network that every token uses.
    """

    norm_epsilon: float = 1e-5
    rope: Rope = Rope()
    window: int | None = None
    experts: int = 0
    experts_used: int = 0


@dataclass(frozen=True, kw_only=True)
class FloatModel:
    """A trained decoder in float32.

    Members:
        shape, traits: sizes, and what is not a size. begin: token that a sequence begins with.
        embed, classifier: (vocab, dim); the same array where the classifier is tied.
        attention_norm, ffn_norm: (layers, dim); final_norm: (dim,).
        wq: (layers, heads * head_dim, dim); wk, wv: (layers, kv_heads * head_dim, dim).
        wo: (layers, dim, heads * head_dim).
        w1, w3: (layers, hidden, dim); w2: (layers, dim, hidden); with experts (layers, experts, ...).
        q_bias: (layers, heads * head_dim); k_bias, v_bias: (layers, kv_heads * head_dim); all three or none.
        q_norm, k_norm: (layers, head_dim), gains of a normalisation of each head before it is rotated; both or none.
        router: (layers, experts, dim), with experts only.

    Rows 2i and 2i+1 of a head in wq and wk (and their biases and gains) form a RoPE pair.
    """

    shape: Shape
    traits: Traits = Traits()
    begin: int = 1
    embed: Float32
    attention_norm: Float32
    wq: Float32
    wk: Float32
    wv: Float32
    wo: Float32
    ffn_norm: Float32
    w1: Float32
    w2: Float32
    w3: Float32
    final_norm: Float32
    classifier: Float32
    q_bias: Float32 | None = None
    k_bias: Float32 | None = None
    v_bias: Float32 | None = None
    q_norm: Float32 | None = None
    k_norm: Float32 | None = None
    router: Float32 | None = None

    def tensors(self) -> dict[str, Float32]:
        """The weights by name, those that there are."""
        found = {item.name: getattr(self, item.name) for item in fields(self)
                 if item.name not in ("shape", "traits", "begin")}
        return {name: tensor for name, tensor in found.items() if tensor is not None}


def check_shape(shape: Shape, where: str) -> None:
    """Raise `InputError` where a shape is none that a model of the family can have."""
    for name in _SIZES:
        value = getattr(shape, name)
        if value < 1 or value > SANE_LIMIT:
            raise InputError(f"{where}: {name} is {value}, it must be between 1 and {SANE_LIMIT}")
    if shape.head_dim % 2:
        raise InputError(f"{where}: the head size {shape.head_dim} is odd, rotary embedding needs an even one")
    if shape.heads % shape.kv_heads:
        raise InputError(f"{where}: {shape.kv_heads} KV heads do not divide {shape.heads} heads into equal groups")


def check_finite(tensor: Float32, name: str, where: str) -> None:
    """Raise `InputError` where a weight is no number."""
    if np.isfinite(tensor).all():
        return
    bad = np.argwhere(~np.isfinite(tensor))
    at = ", ".join(map(str, bad[0].tolist()))
    raise InputError(
        f"{where}: {len(bad)} of the weights of {name} are NaN or infinite, the first at [{at}]; all must be finite")


def rope_tables(shape: Shape, rope: Rope) -> tuple[Float64, Float64]:
    """Cosines and sines, (context, head_dim // 2) each, of the rotation of every RoPE pair at every position."""
    angle = np.arange(shape.context)[:, None] * rope.frequencies(shape.head_dim)
    return np.cos(angle), np.sin(angle)
