"""Models that several tests of the passes compile, made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from compiler.assemble import Program, assemble, encode_program
from compiler.fit import check_fit
from compiler.ir import Operation
from compiler.join import Schedule
from compiler.layout import Layout
from compiler.quantise import quantise
from compiler.quantised import QuantisedModel, Shape
from compiler.random_model import random_float_model
from compiler.search import find_schedule
from rtl.config import preset

SHAPES = {
    "even": Shape(dim=16, hidden=24, layers=2, heads=4, kv_heads=2, head_dim=4, vocab=20, context=20),
    "odd": Shape(dim=12, hidden=18, layers=1, heads=2, kv_heads=1, head_dim=6, vocab=19, context=18),
    "mha": Shape(dim=20, hidden=70, layers=3, heads=2, kv_heads=2, head_dim=10, vocab=33, context=30),
    "mqa": Shape(dim=18, hidden=7, layers=2, heads=3, kv_heads=1, head_dim=6, vocab=13, context=9),
}


class Passes:
    """The results of all passes for a shape on a preset."""

    def __init__(self, shape: str, name: str) -> None:
        self.model, self.config = model_of(shape), preset(name)
        self.layout: Layout = check_fit(self.model, self.config, self.model.shape.context)
        self.buckets = self.layout.geometry.attention_blocks
        self.operations: list[Operation]
        self.plan: Schedule
        self.operations, self.plan = find_schedule(self.model, self.layout)
        self.program: Program = assemble(self.plan, self.layout)
        self.words = encode_program(self.program, self.layout)


@cache
def model_of(shape: str) -> QuantisedModel:
    return quantise(random_float_model(SHAPES[shape]))


@cache
def passes_of(shape: str, name: str) -> Passes:
    return Passes(shape, name)


@pytest.fixture
def passes() -> Callable[[str, str], Passes]:
    """passes("even", "tiny"): what each pass makes of a shape on a preset."""
    return passes_of


@pytest.fixture
def model() -> Callable[[str], QuantisedModel]:
    """model("even"): a quantised model of a shape."""
    return model_of
