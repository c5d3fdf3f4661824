"""Models of random shapes, compiled and run: golden model and cycle simulator agree, in the cycles promised.

The cycle simulator raises on every hazard, port conflict and cell that nobody wrote; with `poison` what is not loaded
is noise. Another seed: `OPENLPU_SEED=7 pytest tests/compiler/test_random_shapes.py`; more rounds: `OPENLPU_ROUNDS=100`.
"""

from __future__ import annotations

import os
import random

import pytest

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.quantise import quantise
from compiler.quantised import QuantisedModel, Shape
from compiler.random_model import random_float_model
from rtl.config import preset
from sim.cycle import CycleSimulator
from sim.golden.model import Golden

SEED = int(os.environ.get("OPENLPU_SEED", "1"))
ROUNDS = int(os.environ.get("OPENLPU_ROUNDS", "3"))
PRESETS = ("tiny", "icebreaker", "tangnano20k", "ulx3s")


def random_shape(rng: random.Random) -> Shape:
    """Small, with sizes that divide nothing: head sizes, widths, vocabulary; MHA, GQA and MQA.

    In half of them the heads together are as wide as the residual stream, as most models have it.
    """
    head_dim, kv_heads = rng.choice((2, 4, 6, 8, 10, 14)), rng.choice((1, 1, 2, 3))
    heads = kv_heads * rng.choice((1, 1, 2, 3))
    dim = rng.choice((heads * head_dim, rng.randint(2, 60)))
    return Shape(
        dim=dim, hidden=rng.randint(1, 90), layers=rng.randint(1, 3), heads=heads, kv_heads=kv_heads,
        head_dim=head_dim, vocab=rng.randint(4, 60), context=rng.randint(1, 30))


def check(model: QuantisedModel, name: str, sequences: int = 1) -> None:
    """To the end of the context. Further sequences begin anew after a few steps, so they are at other positions."""
    image = compile_model(model, preset(name), sequences=sequences)
    goldens, cycle = [Golden(model) for _ in range(sequences)], CycleSimulator(image, poison=1)
    tokens = [1] * sequences
    for number in range(image.context):
        restart = [sequence for sequence in range(1, sequences) if number == 2 * sequence + 1]
        for sequence in restart:
            goldens[sequence].reset()
            tokens[sequence] = 2
        classify, furthest = number % 5 != 1, max(golden.position for golden in goldens)
        expected = [golden.step(token, classify=classify) for golden, token in zip(goldens, tokens, strict=True)]
        step = cycle.advance(tokens, classify=classify, restart=restart)
        assert step.cycles == image.cycles[int(classify), furthest], f"step {number}"
        if classify:
            assert list(step.tokens) == expected, f"step {number}"
        tokens = [token if classify else (token + 3) % model.shape.vocab for token in step.tokens]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_random_shape_runs_as_promised(number: int, name: str):
    seed = f"{SEED}-{number}-{name}"
    shape = random_shape(random.Random(seed))
    print(f"seed {seed}: {shape}")
    model = quantise(random_float_model(shape, seed=number))
    for sequences in range(1, preset(name).sequences + 1):
        try:
            check(model, name, sequences)
        except InputError as error:
            assert "does not fit" in str(error)
            pytest.skip(str(error))
