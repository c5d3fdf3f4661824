"""Windows: a token attends to the last so many positions alone, on every device as in the float reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.float_model import Traits
from compiler.image import Image
from compiler.image_file import load_image, save_image
from compiler.quantise import quantise
from compiler.quantised import QuantisedModel, Shape
from compiler.random_model import random_float_model
from rtl.config import PRESETS, preset
from sim.commands.check import Comparison, compare
from sim.cycle.proof import prove
from sim.device import CycleDevice, GoldenDevice, open_device
from sim.golden import Golden
from sim.reference import Reference

SHAPE = Shape(dim=16, hidden=24, layers=2, heads=4, kv_heads=2, head_dim=4, vocab=19, context=40)
ABLE = [name for name, cfg in PRESETS.items() if cfg.windows]


def model_of(window: int, **sizes: int) -> QuantisedModel:
    return quantise(random_float_model(replace(SHAPE, **sizes), traits=Traits(window=window)))


def image_of(window: int, name: str = "tiny", sequences: int = 1) -> Image:
    model = model_of(window)
    return replace(compile_model(model, preset(name), sequences=sequences), model=model)


def checked(image: Image, devices: Sequence[str] = ("golden", "cycle")) -> list[Comparison]:
    made = {"golden": GoldenDevice, "cycle": lambda image: CycleDevice(image, poison=5)}
    return compare([made[name](image) if name in made else open_device(name, image) for name in devices], image,
                   [1, 4, 2], image.context, tensors=True)


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5, 7, 8, 9, 20, 39, 40, 50])
def test_golden_and_cycle_attend_to_the_same_positions(window: int):
    """Windows that end within a row of lanes, at its end, over several; the whole context and more."""
    assert all(one.good for one in checked(image_of(window)))
    assert image_of(window).registers.window == (window if window < SHAPE.context else 0)


@pytest.mark.parametrize("name", ABLE)
def test_the_rtl_attends_to_the_same_positions(name: str):
    """With two texts, of which one begins anew half way: each has its own first position."""
    found = checked(image_of(11, name, PRESETS[name].sequences), ("golden", "cycle", "rtl"))
    assert all(one.good for one in found), found


@pytest.mark.parametrize("window", [1, 4, 13])
def test_integers_follow_the_floats(window: int):
    """And those that see a position more or less do not: the bound means something."""
    model = random_float_model(replace(SHAPE, dim=32, head_dim=8), seed=7, traits=Traits(window=window))
    integers = quantise(model)
    wrong = [replace(integers, window=other) for other in (window + 1, window - 1 or 5, 0)]
    reference, goldens = Reference(model), [Golden(one) for one in (integers, *wrong)]
    floats, found, token = list[np.ndarray](), [list[np.ndarray]() for _ in goldens], 1
    for _ in range(SHAPE.context):
        floats.append(reference.step(token))
        for golden, logits in zip(goldens, found, strict=True):
            golden.step(token)
            logits.append(golden.logits * integers.logit_scale)
        token = int(floats[-1].argmax())
    expected = np.array(floats)
    right, *bad = (float(np.square(np.array(one) - expected).mean() / np.square(expected).mean()) ** 0.5
                   for one in found)
    assert right < 0.08 and min(bad) > 1.5 * right, (right, bad)


def test_cycles_are_those_of_the_whole_context():
    """A window hides positions; it does not yet spare the time of those that it hides."""
    assert np.array_equal(image_of(5).cycles, image_of(0).cycles)
    assert image_of(5).programs == image_of(0).programs
    assert image_of(5).useful_macs[1, 4] == image_of(0).useful_macs[1, 4]
    assert image_of(5).useful_macs[1, 39] == image_of(0).useful_macs[1, 4]


def test_a_schedule_with_it_is_proved_legal_and_a_file_keeps_it(tmp_path: Path):
    image = image_of(6)
    assert prove(image).positions == SHAPE.context
    save_image(image, tmp_path / "a.lpu")
    kept = load_image(tmp_path / "a.lpu")
    assert kept.registers.window == 6 and kept.model is not None and kept.model.window == 6


@pytest.mark.parametrize("device", ["cycle", "rtl"])
def test_another_window_is_found(device: str):
    """Seeded into the machine's register, golden has the model's."""
    image = image_of(6)
    wrong = replace(image, registers=replace(image.registers, window=7))
    found = compare([GoldenDevice(image), open_device(device, wrong)], image, [1, 4], 20, tensors=True)
    assert not found[1].good and min(min(where) for where in found[1].tensors.values() if where) == 6


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in ABLE])
def test_a_machine_without_them_says_so(name: str):
    with pytest.raises(InputError, match=f"attends to 6 of 40 positions, which {name} cannot do; tiny, .* can, and it"):
        image_of(6, name)
    model = model_of(6)
    image = replace(compile_model(model, preset(name), context=6), model=model)
    assert all(one.good for one in checked(image)) and image.registers.window == 0
