"""Top-k: a token is drawn from the k likeliest alone, as often as their softmax has it, and the same one everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.image import Image
from compiler.image_file import load_image, save_image
from compiler.lower import EXP2_TOP, MOST_TOP_K
from compiler.quantise import quantise
from compiler.quantised import QuantisedModel, Shape
from compiler.random_model import random_float_model
from compiler.sampling import mantissa_and_shift, temperature_of, with_sampling
from rtl.config import PRESETS, preset
from rtl.encoding import EncodingError, Insn, encode
from rtl.isa import SCALAR, VECTOR, Op, ScalarFunction
from sim.commands.check import compare
from sim.cycle import CycleSimulator, IllegalProgram
from sim.cycle.proof import prove
from sim.device import CycleDevice, GoldenDevice, open_device
from sim.generate import generate_together
from sim.golden import Golden
from sim.golden import primitives as golden
from sim.golden.noise import Noise
from sim.golden.primitives import Scalar
from tests.sim.programs import SQUARE, image

SHAPE = Shape(dim=16, hidden=24, layers=2, heads=4, kv_heads=2, head_dim=4, vocab=19, context=20)
MODEL = quantise(random_float_model(SHAPE))
ABLE = [name for name, cfg in PRESETS.items() if cfg.top_k]
T, K = 2.0, 4


def image_of(top_k: int = K, name: str = "tiny", sequences: int = 1, model: QuantisedModel = MODEL) -> Image:
    return replace(compile_model(model, preset(name), sequences=sequences, top_k=top_k), model=model)


def told(image: Image, device: Callable[[Image], object] = CycleDevice) -> list[int]:
    return generate_together(device(image), image, [[1, 4]], stop=frozenset()).stories[0]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def four() -> Image:
    return image_of()


@pytest.mark.parametrize("name", ABLE)
def test_all_devices_draw_the_same_tokens_in_the_predicted_cycles(name: str):
    """With as many texts at once as the machine has; logits are compared too."""
    image = with_sampling(image_of(name=name, sequences=PRESETS[name].sequences), T, 21)
    devices = [GoldenDevice(image), CycleDevice(image, poison=3), open_device("rtl", image)]
    found = compare(devices, image, [1, 4, 2], image.context, tensors=True)
    assert all(one.good for one in found), found
    assert all("logits" in one.compared for one in found[1:])


@pytest.mark.parametrize("name", ABLE)
def test_what_is_drawn_depends_on_no_machine(name: str, four: Image):
    assert told(with_sampling(image_of(name=name), T, 5)) == told(with_sampling(four, T, 5))


def test_a_model_whose_vocabulary_fills_its_rows_or_less_than_one():
    """No tail to mask, and nothing but a tail."""
    for vocab in (3, 8, 20):
        model = quantise(random_float_model(replace(SHAPE, vocab=vocab)))
        image = with_sampling(image_of(2, model=model), T / 2, 3)
        found = compare([GoldenDevice(image), CycleDevice(image, poison=1)], image, [1, 2], 12, tensors=True)
        assert all(one.good for one in found)


def test_a_schedule_with_it_is_proved_legal():
    for sequences in (1, 2):
        assert prove(image_of(sequences=sequences)).positions == SHAPE.context


# The search -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [3, 200, 32767])
def test_the_search_finds_the_kth_largest(spread: int):
    """Of any numbers of 16 bits, also the ends; where there are fewer than k, the least number that there is."""
    rng = np.random.default_rng(spread)
    for _ in range(40):
        logits = rng.integers(-spread - 1, spread + 1, 30)
        count = int(rng.integers(1, 34))
        at = Scalar(0, 0)
        for _ in range(16):
            enough = int((logits >= at.mantissa).sum()) * EXP2_TOP
            at = golden.search(enough, at, bias=65536 - EXP2_TOP * count, adjust=1)
        assert at.mantissa == (np.sort(logits)[-count] if count <= 30 else -32768)


def test_logits_that_equal_the_last_one_stay():
    drawn = golden.likeliest(np.array([5, 3, 1, 3, 7]), 3, np.array([10, 11, 12, 13, 14]))
    assert drawn.tolist() == [10, 11, -32768, 13, 14]


def test_equal_tokens_are_kept_or_left_together():
    """Each token of the vocabulary has a twin: of the single likeliest two are drawn, on the machine too."""
    weights = MODEL.classifier.weights.copy()
    weights[1::2] = weights[:-1:2]
    multiplier = MODEL.classifier.multiplier.copy()
    multiplier[1::2] = multiplier[:-1:2]
    model = replace(MODEL, classifier=replace(MODEL.classifier, weights=weights, multiplier=multiplier))
    stories = {tuple(told(with_sampling(image_of(1, model=model), T, seed), GoldenDevice)[:1]) for seed in range(20)}
    assert len(stories) == 2
    image = with_sampling(image_of(1, model=model), T, 2)
    found = compare([GoldenDevice(image), CycleDevice(image)], image, [1, 4], image.context, tensors=True)
    assert all(one.good for one in found)


# What is drawn --------------------------------------------------------------------------------------------------------


def chi_square(one: Image, top_k: int, draws: int) -> tuple[float, int, int]:
    """Of tokens drawn at one position with as many seeds, against the softmax of the `top_k` largest logits; its
    freedom; and how many others were drawn."""
    device = Golden(MODEL)
    for token in (1, 7, 5):
        device.step(token)
    scaled = device.logits * MODEL.logit_scale / temperature_of(with_sampling(one, T))
    inside = device.logits >= np.sort(device.logits)[-top_k]
    shares = np.where(inside, np.exp(scaled - scaled.max()), 0)
    expected, found = draws * shares / shares.sum(), np.zeros(SHAPE.vocab)
    for seed in range(draws):
        register = with_sampling(one, T, seed).registers
        mantissa, shift = mantissa_and_shift(register.temperature)
        noise = Noise(register.seeds[0], mantissa=mantissa, shift=shift)
        noise.begin()
        drawn = golden.finish(device.logits + noise.draw(SHAPE.vocab))
        found[np.argmax(golden.likeliest(device.logits, one.top_k, drawn))] += 1
    parts = [*zip(found[expected >= 5], expected[expected >= 5], strict=True)]
    return sum((seen - wanted) ** 2 / wanted for seen, wanted in parts), len(parts) - 1, int(found[~inside].sum())


def test_tokens_come_as_often_as_the_softmax_of_the_likeliest_says(four: Image):
    """Nothing else is ever drawn; and they do not come as often as those of another k would."""
    chi, freedom, outside = chi_square(four, K, 4000)
    assert outside == 0 and freedom == K - 1
    assert chi < freedom + 4 * (2 * freedom) ** 0.5
    chi, freedom, outside = chi_square(four, K - 1, 4000)
    assert outside > 50 or chi > freedom + 8 * (2 * freedom) ** 0.5


def test_the_machine_draws_nothing_but_the_likeliest(four: Image):
    """Of a whole story, each token is one of the four that golden's logits name."""
    image = with_sampling(four, T, 6)
    machine, device, token = CycleSimulator(image), Golden(MODEL), 1
    for _ in range(SHAPE.context):
        winner = machine.step(token).token
        device.step(token)
        assert device.logits[winner] >= np.sort(device.logits)[-K]
        token = winner


def test_of_one_it_is_the_likeliest_and_of_all_the_plain_program():
    assert told(with_sampling(image_of(1), T, 9)) == told(image_of(0))
    plain = image_of(0)
    for everything in (SHAPE.vocab, SHAPE.vocab + 1, 10**6):
        image = image_of(everything)
        assert image.top_k == 0 and image.programs == plain.programs
    assert image_of(K).programs != plain.programs


@pytest.mark.parametrize("bug", ["the search keeps every bit", "nothing is below", "one more is drawn from"])
def test_a_seeded_bug_is_found(bug: str, four: Image, monkeypatch: pytest.MonkeyPatch):
    image = with_sampling(four, T, 8)
    right, search = GoldenDevice(image), golden.search
    wrong = {"the search keeps every bit": {"bias": 65535}, "nothing is below": {"bias": 0},
             "one more is drawn from": {"bias": 65536 - EXP2_TOP * (K + 1)}}[bug]
    monkeypatch.setattr(golden, "search", lambda reduce, a, *, bias, adjust: search(reduce, a, adjust=adjust, **wrong))
    found = compare([right, CycleDevice(image)], image, [1, 4], image.context, tensors=False)
    assert not all(one.good for one in found)


# What is refused ------------------------------------------------------------------------------------------------------


def test_what_cannot_be_compiled():
    with pytest.raises(InputError, match=r"^icebreaker cannot draw from the likeliest tokens alone; tiny, .* can$"):
        image_of(name="icebreaker")
    with pytest.raises(InputError, match=f"a top-k of -1 is impossible; it must be 1 to {MOST_TOP_K}, or 0 for all"):
        image_of(-1)
    large = quantise(random_float_model(replace(SHAPE, vocab=600)))
    with pytest.raises(InputError, match="a top-k of 517 is impossible"):
        image_of(MOST_TOP_K + 1, "large", model=large)
    assert image_of(MOST_TOP_K, "large", model=large).top_k == MOST_TOP_K


def test_a_machine_without_it_has_neither_field_nor_function():
    word = Insn(SCALAR, {"op": Op.RUN, "function": ScalarFunction.SEARCH})
    with pytest.raises(IllegalProgram, match="square has no SEARCH"):
        CycleSimulator(image(replace(SQUARE, top_k=False), scalar="RUN function=SEARCH\nEND"))
    assert encode(PRESETS["tiny"], word)
    with pytest.raises(EncodingError, match="below is 1; icebreaker holds 0 to 0"):
        encode(PRESETS["icebreaker"], Insn(VECTOR, {"op": Op.RUN, "below": 1}))


def test_an_image_file_keeps_it(four: Image, tmp_path: Path):
    save_image(four, tmp_path / "a.lpu")
    assert load_image(tmp_path / "a.lpu").top_k == K
