"""Models with random weights, of any shape: what tests and benches run where no training is needed."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

import numpy as np

from compiler.float_model import FloatModel, Traits, check_shape
from compiler.quantised import Shape

RANDOM_SHAPES: Final = {
    "small": Shape(dim=32, hidden=48, layers=2, heads=4, kv_heads=2, head_dim=8, vocab=64, context=160),
    "odd": Shape(dim=18, hidden=70, layers=2, heads=3, kv_heads=1, head_dim=6, vocab=33, context=160),
    "stories260K": Shape(dim=64, hidden=172, layers=5, heads=8, kv_heads=4, head_dim=8, vocab=512, context=512),
    "stories15M": Shape(dim=288, hidden=768, layers=6, heads=6, kv_heads=6, head_dim=48, vocab=32000, context=256),
}
"""What `random:NAME` stands for on the command line. The first two fit every preset; `odd` divides nothing evenly."""


def random_shape(rng: random.Random) -> Shape:
    """Small, with sizes that divide nothing: head sizes, widths, vocabulary; MHA, GQA and MQA.

    In half of them the heads together are as wide as the residual stream, as most models have it.
    """
    kv_heads = rng.choice((1, 1, 2, 3))
    heads, head_dim = kv_heads * rng.choice((1, 1, 2, 3)), rng.choice((2, 4, 6, 8, 10, 14, 16))
    dim = rng.choice((max(8, heads * head_dim), rng.randint(8, 96)))
    return Shape(
        dim=dim, hidden=rng.randint(1, 120), layers=rng.randint(1, 3), heads=heads, kv_heads=kv_heads,
        head_dim=head_dim, vocab=rng.randint(4, 96), context=rng.randint(1, 30))


def random_float_model(shape: Shape, seed: int = 0, *, tied: bool = False, traits: Traits = Traits(),
                       biases: bool = False, head_norms: bool = False) -> FloatModel:
    """A model whose activations have the size that those of a trained one have.

    Parameters
    ----------
    shape: any that `check_shape` accepts.
    seed: the same seed gives the same model.
    tied: the classifier is the embedding.
    traits, biases, head_norms: what a Llama has not: see `FloatModel`.
    """
    check_shape(shape, "random model")
    rng = np.random.default_rng(seed)

    def normal(*size: int, gain: float = 1.0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        # Inputs of every matrix have about unit variance; 1/sqrt(inputs) keeps that for its outputs.
        return (rng.standard_normal(size) * gain / np.sqrt(size[-1])).astype(np.float32)

    def norm(*size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return rng.uniform(0.5, 1.5, size).astype(np.float32)

    layers, dim, q, kv = shape.layers, shape.dim, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    embed = normal(shape.vocab, dim, gain=np.sqrt(dim))
    experts = (traits.experts,) if traits.experts else ()
    plain = FloatModel(
        shape=shape,
        traits=traits,
        embed=embed,
        attention_norm=norm(layers, dim),
        wq=normal(layers, q, dim, gain=1.5),
        wk=normal(layers, kv, dim, gain=1.5),
        wv=normal(layers, kv, dim),
        wo=normal(layers, dim, q),
        ffn_norm=norm(layers, dim),
        w1=normal(layers, *experts, shape.hidden, dim),
        w2=normal(layers, *experts, dim, shape.hidden),
        w3=normal(layers, *experts, shape.hidden, dim),
        final_norm=norm(dim),
        classifier=embed if tied else normal(shape.vocab, dim, gain=2.0),
    )
    # Drawn last, so that a seed gives the same weights with and without them.
    return replace(
        plain,
        q_bias=normal(layers, q, gain=np.sqrt(q) / 2) if biases else None,
        k_bias=normal(layers, kv, gain=np.sqrt(kv) / 2) if biases else None,
        v_bias=normal(layers, kv, gain=np.sqrt(kv) / 2) if biases else None,
        q_norm=norm(layers, shape.head_dim) if head_norms else None,
        k_norm=norm(layers, shape.head_dim) if head_norms else None,
        router=normal(layers, traits.experts, dim, gain=2.0) if experts else None,
    )
