"""Small models with random weights, compiled for a preset: what the benches run that need a real program."""

from __future__ import annotations

from dataclasses import replace

from compiler.compile import compile_model
from compiler.float_model import Traits
from compiler.image import Image
from compiler.quantise import quantise
from compiler.quantised import Shape
from compiler.random_model import random_float_model
from rtl.config import Config

SHAPES = {
    "one layer": Shape(dim=16, hidden=24, layers=1, heads=4, kv_heads=2, head_dim=4, vocab=20, context=20),
    "two layers": Shape(dim=12, hidden=18, layers=2, heads=2, kv_heads=1, head_dim=6, vocab=19, context=18),
}
"""The second has no dimension that is a power of two, so padding is everywhere."""
WEIGHT_BITS = {"one layer": 8, "two layers": 4}
TRAITS = Traits(norm_epsilon=1e-6)
"""Whatever the seed: with the usual epsilon one random model in some hundreds has more than icebreaker's immediates."""


def small_image(cfg: Config, shape: str, seed: int, *, sequences: int = 1) -> Image:
    """A model's image for so many sequences, with the model in it."""
    model = quantise(random_float_model(SHAPES[shape], seed % (1 << 32), traits=TRAITS),
                     weight_bits=WEIGHT_BITS[shape])
    return replace(compile_model(model, cfg, sequences=sequences), model=model)
