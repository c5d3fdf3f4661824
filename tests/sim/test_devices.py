"""Devices side by side, and generation on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.image import Image
from compiler.quantise import quantise
from compiler.quantised import Shape
from compiler.random_model import random_float_model
from rtl.config import PRESETS, preset
from sim.device import DEVICES, CycleDevice, GoldenDevice, Record, Records, open_device, tensor_order
from sim.generate import STOP, encode_prompt, generate

SHAPES = {
    "even": Shape(dim=16, hidden=24, layers=2, heads=4, kv_heads=2, head_dim=4, vocab=20, context=20),
    "odd": Shape(dim=12, hidden=18, layers=1, heads=2, kv_heads=1, head_dim=6, vocab=19, context=18),
}


def image_of(shape: Shape, name: str) -> Image:
    model = quantise(random_float_model(shape))
    return replace(compile_model(model, preset(name)), model=model)


@pytest.fixture(scope="module")
def image() -> Image:
    return image_of(SHAPES["even"], "tiny")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PRESETS)
def test_cycle_and_golden_agree_in_the_cycles_that_the_compiler_promised(name: str, shape: str):
    """With noise in all memory that no correct program depends on."""
    image = image_of(SHAPES[shape], name)
    golden, cycle = GoldenDevice(image), CycleDevice(image, poison=1)
    token = 1
    for position in range(image.context):
        classify = position > 2
        expected, got = golden.step(token, classify=classify), cycle.step(token, classify=classify)
        assert got == Record(expected.token, int(image.cycles[int(classify), position])), position
        token = expected.token if classify else 3 + position


def test_tensors_agree(image: Image):
    golden, cycle = GoldenDevice(image), CycleDevice(image)
    assert golden.tensor("layer1.x") is None
    golden.keep_tensors()
    compared = 0
    for token in (1, 5, 7):
        golden.step(token, classify=True)
        cycle.step(token, classify=True)
        for name in image.tensors:
            expected, got = golden.tensor(name), cycle.tensor(name)
            assert got is not None
            if expected is not None:
                assert np.array_equal(expected, got), name
                compared += 1
    assert compared >= 3 * 5
    assert cycle.tensor("nothing") is None


def test_tensor_order_leaves_padding_out():
    entry = {"space": "vector", "first": 0, "index": [1, -1, 0, 2]}
    assert tensor_order(entry, np.array([10, 99, 20, 30])).tolist() == [20, 10, 30]


@pytest.mark.parametrize("make", [GoldenDevice, CycleDevice])
def test_reset_starts_over(image: Image, make: Callable[[Image], GoldenDevice | CycleDevice]):
    device = make(image)
    runs: list[list[int]] = []
    for _ in range(2):
        device.reset()
        runs.append([device.step(token, classify=True).token for token in (1, 4, 6, 2)])
    assert runs[0] == runs[1]


def test_devices_end_with_the_context(image: Image):
    for device in (GoldenDevice(image), CycleDevice(image)):
        for _ in range(image.context):
            device.step(1, classify=False)
        with pytest.raises(ValueError, match="past the context"):
            device.step(1, classify=False)


def test_unknown_device(image: Image):
    with pytest.raises(InputError, match="unknown device 'gpu'; known devices: golden, cycle, rtl"):
        open_device("gpu", image)
    assert DEVICES == ("golden", "cycle", "rtl")


def test_golden_needs_the_model(image: Image):
    with pytest.raises(InputError, match="does not carry its model"):
        open_device("golden", replace(image, model=None))


class Counting:
    """Says the token after the one it was given; takes a hundred cycles and the position."""

    name = "counting"

    def __init__(self) -> None:
        self.seen: list[tuple[int, bool]] = []

    def reset(self) -> None:
        self.seen.clear()

    def advance(self, tokens: Sequence[int], *, classify: bool, restart: Sequence[int] = ()) -> Records:
        (token,) = tokens
        assert not restart
        self.seen.append((token, classify))
        return Records((token + 1 if classify else token,), 99 + len(self.seen))

    def step(self, token: int, *, classify: bool) -> Record:
        (winner,), cycles = self.advance([token], classify=classify)
        return Record(winner, cycles)

    def tensor(self, name: str) -> None:
        return None


@pytest.fixture
def plain(image: Image) -> Image:
    cycles = np.stack([np.arange(20) + 100] * 2)
    return replace(image, cycles=cycles, useful_macs=np.full((2, 20), 320))


def test_prompt_then_winners(plain: Image):
    device, heard = Counting(), list[int]()
    made = generate(device, plain, [1, 7, 9], tokens=3, on_token=heard.append)
    assert device.seen == [(1, False), (7, False), (9, True), (10, True), (11, True)]
    assert made.tokens == heard == [10, 11, 12]
    assert made.prompt_tokens == [1, 7, 9]
    assert made.cycles == made.predicted_cycles == [100, 101, 102, 103, 104]
    assert made.useful_macs == [320] * 5
    assert made.utilisation == pytest.approx(1600 / (16 * 510))
    assert made.mispredicted == []


def test_cycles_that_were_not_promised_are_found(plain: Image):
    plain.cycles[1, 3] += 1
    assert generate(Counting(), plain, [1, 7, 9], tokens=3).mispredicted == [3]


def test_a_stop_token_ends_it_and_is_kept(plain: Image):
    assert generate(Counting(), plain, [0], tokens=9).tokens == [1]
    assert generate(Counting(), plain, [0], tokens=4, stop=frozenset()).tokens == [1, 2, 3, 4]
    assert frozenset({1, 2}) == STOP


def test_the_context_ends_it(plain: Image):
    made = generate(Counting(), plain, [3, 5], stop=frozenset())
    assert made.positions == 20
    assert len(made.tokens) == 19
    assert generate(Counting(), plain, [3] * 20).tokens == [4]


def test_devices_without_cycles(image: Image):
    made = generate(GoldenDevice(image), image, [1], tokens=3, stop=frozenset())
    assert made.cycles == [None] * 3
    assert made.total_cycles == sum(made.predicted_cycles)


def test_at_least_one_token(plain: Image):
    with pytest.raises(InputError, match="at least 1"):
        generate(Counting(), plain, [1], tokens=0)


class Letters:
    """A tokenizer of letters."""

    begin, prefix = 1, (1,)

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


def test_prompts():
    letters: object = Letters()
    assert encode_prompt(letters, None, 5) == [1]  # type: ignore[arg-type]
    assert encode_prompt(letters, "ab", 3) == [1, 97, 98]  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"the prompt has 4 tokens .* the context holds 3"):
        encode_prompt(letters, "abc", 3)  # type: ignore[arg-type]
    for empty in ("", "  "):
        with pytest.raises(InputError, match="prompt is empty"):
            encode_prompt(letters, empty, 5)  # type: ignore[arg-type]
