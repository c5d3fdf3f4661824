"""The whole compiler: the context it chooses, the same bytes on every run, what it tells."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from compiler.calibrate import calibrate
from compiler.compile import compile_model, largest_context
from compiler.errors import InputError
from compiler.fit import misfits
from compiler.image import Image
from compiler.layout import lay_out
from compiler.library import open_model
from compiler.quantise import quantise
from compiler.quantised import QuantisedModel
from rtl.config import preset
from sim.cycle import CycleSimulator

MODELS = Callable[[str], QuantisedModel]


def digest(image: Image) -> str:
    """Of everything a machine is loaded with, and the cycles promised."""
    state = hashlib.sha256()
    for name in sorted(image.programs):
        state.update(f"{name} {image.programs[name]}".encode())
    for array in (image.banks, image.act, image.params, image.constants, image.values, image.cycles):
        state.update(np.ascontiguousarray(array).tobytes())
    state.update(f"{image.registers} {image.tensors} {image.provenance}".encode())
    return state.hexdigest()


@pytest.mark.parametrize("name", ["tiny", "icebreaker", "ulx3s"])
def test_the_same_image_twice(model: MODELS, name: str):
    assert digest(compile_model(model("even"), preset(name))) == digest(compile_model(model("even"), preset(name)))


PROGRAM = """
from compiler.compile import compile_model
from compiler.quantise import quantise
from compiler.quantised import Shape
from compiler.random_model import random_float_model
from rtl.config import preset
from sim.cycle import CycleSimulator
shape = Shape(dim=12, hidden=18, layers=2, heads=2, kv_heads=1, head_dim=6, vocab=19, context=18)
image = compile_model(quantise(random_float_model(shape)), preset("tiny"))
print(image.programs, image.values.tobytes(), image.cycles.tobytes(), image.banks.tobytes(), image.tensors)
"""


def test_the_same_image_whatever_the_hash_seed():
    outputs = {
        subprocess.run([sys.executable, "-c", PROGRAM], env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
                       capture_output=True).stdout for seed in ("1", "2")}
    assert len(outputs) == 1


def test_the_context_is_the_models_where_it_fits(model: MODELS):
    assert compile_model(model("even"), preset("tiny")).context == 20


@pytest.mark.parametrize("rows", [330, 360, 400])
def test_the_context_is_the_longest_that_fits(model: MODELS, rows: int):
    config = replace(preset("tiny"), bank_rows=rows)
    longest = largest_context(model("even"), config)
    fits = [context for context in range(1, 21) if not misfits(model("even"), lay_out(model("even"), config, context))]
    assert longest == max(fits, default=0)
    if longest:
        assert compile_model(model("even"), config).context == longest


def test_a_model_that_does_not_fit_at_all(model: MODELS):
    with pytest.raises(InputError, match="bytes too many in bank rows"):
        compile_model(model("even"), replace(preset("tiny"), bank_rows=64))


@pytest.fixture(scope="module")
def fables80k() -> QuantisedModel:
    loaded = open_model("fables80k")[0]
    return quantise(loaded, calibrate(loaded, sequences=1, length=16))


@pytest.mark.parametrize("context", [16, 48, 100])
def test_a_context_shorter_than_one_that_fits_fits_too(fables80k: QuantisedModel, context: int):
    """The smallest machine: few dynamic values, and a vector memory in which much lies over one another."""
    assert compile_model(fables80k, preset("icebreaker"), context=context).cycles.shape == (2, context)


@pytest.mark.parametrize("context", [0, -1, 21])
def test_an_impossible_context(model: MODELS, context: int):
    with pytest.raises(InputError, match=f"context {context} is not possible: .* 1 to 20"):
        compile_model(model("even"), preset("tiny"), context=context)


@pytest.mark.parametrize("queue", ["matrix", "vector", "scalar"])
def test_a_program_that_is_too_long(model: MODELS, queue: str):
    config = replace(preset("tiny"), **{f"{queue}_words": 4})
    with pytest.raises(InputError, match=f"does not fit tiny: .* {queue} words; tiny has room for 4"):
        compile_model(model("even"), config)


@pytest.mark.parametrize("values", [64, 256])
def test_nothing_dynamic_runs_before_the_dynamic_values_are_read(model: MODELS, values: int):
    """A machine with many of them takes long to read them: the layers start later."""
    config = replace(preset("ulx3s"), values=values)
    image = compile_model(model("even"), config)
    assert image.cycles[0, 0] >= values
    step = CycleSimulator(image).step(1)
    assert step.cycles == image.cycles[1, 0]


def test_usage_is_told(model: MODELS):
    config = preset("tiny")
    image = compile_model(model("even"), config, provenance={"name": "mine"})
    assert image.provenance["name"] == "mine"
    bank = image.provenance["memory"]["bank rows"]
    assert bank["used"] + bank["free"] == config.bank_rows
    for queue, words in image.programs.items():
        assert image.provenance["program"][queue]["used"] == len(words)


def test_cycles_grow_with_the_position_and_prompts_take_less(model: MODELS):
    cycles = compile_model(model("even"), preset("tiny")).cycles
    assert cycles.shape == (2, 20)
    assert (np.diff(cycles, axis=1) >= 0).all()
    assert (cycles[0] < cycles[1]).all()
