"""Imported folders through the commands and the devices: what runs is the model that the float reference runs."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.compile import compile_model
from compiler.float_model import FloatModel
from compiler.head_norms import usable
from compiler.model_tensors import flatten_model, restore_model
from compiler.quantise import biases, quantise
from compiler.quantised import QuantisedModel, Shape
from compiler.random_model import random_float_model
from rtl.config import PRESETS, preset
from sim import cli
from sim.commands.check import compare
from sim.device import CycleDevice, GoldenDevice
from sim.golden import Golden
from sim.reference import Reference
from tests.compiler.importers.folders import CASES, Case, halved, write_folder
from tests.compiler.importers.test_gguf import write as write_gguf

SMALL = Case(architecture="LlamaForCausalLM", model=random_float_model(
    Shape(dim=10, hidden=12, layers=1, heads=2, kv_heads=1, head_dim=6, vocab=48, context=8)))
RUNS = ("llama", "llama, tied, MHA", "llama, MQA, wide heads", "llama 3", "llama, linear", "mistral, no window",
        "mistral", "qwen2", "qwen2, window", "qwen3")


@pytest.mark.parametrize("name", RUNS)
def test_integers_follow_the_floats(name: str) -> None:
    """And those of an import that leaves q's RoPE pairs in halves do not: the bound means something."""
    model = CASES[name].model
    wrong = replace(model, wq=np.stack([halved(one, model.shape.head_dim) for one in model.wq]))
    reference, integers = Reference(model), [quantise(model), quantise(wrong)]
    goldens, floats = [Golden(one) for one in integers], list[Any]()
    found: tuple[list[Any], list[Any]] = ([], [])
    token = 1
    for _ in range(model.shape.context):
        floats.append(reference.step(token))
        for golden, one, logits in zip(goldens, integers, found, strict=True):
            golden.step(token)
            logits.append(golden.logits * one.logit_scale)
        token = int(floats[-1].argmax())
    expected = np.array(floats, np.float64)
    right, bad = (float(np.square(np.array(one) - expected).mean() / np.square(expected).mean()) ** 0.5
                  for one in found)
    assert np.corrcoef(expected.ravel(), np.array(found[0]).ravel())[0, 1] > 0.99
    assert right < 0.06
    assert bad > 3 * right


@pytest.fixture
def lpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """lpu(arguments): what the command prints as JSON."""
    def run(*arguments: object) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", ["lpu", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as left:
            cli.main()
        made = capsys.readouterr()
        assert left.value.code in (None, 0), made.err
        return json.loads(made.out)
    return run


@pytest.mark.parametrize("source", ["folder", "gguf"])
def test_the_commands_take_it(lpu: Any, tmp_path: Path, source: str) -> None:
    model = (write_folder(SMALL, tmp_path / "tale") if source == "folder"
             else write_gguf(tmp_path / "tale.gguf", "small"))
    image = tmp_path / "tale.lpu"
    made = lpu("compile", model, "-o", image, "--preset", "tiny", "--context", 8)
    assert made["provenance"]["name"] == "tale"
    checked = lpu("check", image, "--devices", "golden,cycle", "--prompt", "abc", "--tokens", 4)
    assert checked["good"]
    assert checked["positions"] == (7 if source == "folder" else 5)  # in the file, " abc" is one token
    told = lpu("generate", image, "--tokens", 4, "--prompt", "abc", "--ignore-stop")
    assert told["text"].startswith("abc")
    assert len(told["tokens"]) == 4


BIASED = {"GQA": Shape(dim=12, hidden=18, layers=2, heads=4, kv_heads=2, head_dim=6, vocab=19, context=12),
          "MQA": Shape(dim=10, hidden=7, layers=1, heads=3, kv_heads=1, head_dim=10, vocab=13, context=9)}


def same_on_golden_and_cycle(name: str, model: QuantisedModel) -> None:
    """With noise in all memory that no correct program depends on; tensors too."""
    image = replace(compile_model(model, preset(name)), model=model)
    _, cycle = compare([GoldenDevice(image), CycleDevice(image, poison=1)], image, [1], image.context, tensors=True)
    assert (cycle.tokens, cycle.cycles, cycle.tensors) == ([], [], {})
    compared = {tensor.rpartition(".")[2] for tensor in cycle.compared}
    assert {"q", "k", "q8", "o8", "x"} <= compared


@pytest.mark.parametrize("shape", BIASED)
@pytest.mark.parametrize("name", PRESETS)
def test_biases_are_the_same_on_golden_and_cycle(name: str, shape: str) -> None:
    same_on_golden_and_cycle(name, quantise(random_float_model(BIASED[shape], 3, biases=True)))


NORMED = {**BIASED, "spans": Shape(dim=20, hidden=20, layers=2, heads=3, kv_heads=3, head_dim=20, vocab=19, context=10)}


@pytest.mark.parametrize("shape", NORMED)
@pytest.mark.parametrize("name", PRESETS)
def test_head_norms_are_the_same_on_golden_and_cycle(name: str, shape: str) -> None:
    """Heads that share a block, end within one, and span several; biases before the norm in one of them."""
    same_on_golden_and_cycle(name, quantise(random_float_model(
        NORMED[shape], 3, head_norms=True, biases=shape == "GQA")))


def wrong_norms(model: FloatModel, bug: str) -> FloatModel:
    """The model with a seeded bug in its head norms."""
    q, k = model.q_norm, model.k_norm
    assert q is not None and k is not None
    match bug:
        case "none":
            return replace(model, q_norm=None, k_norm=None)
        case "no gain":
            return replace(model, q_norm=np.ones_like(q), k_norm=np.ones_like(k))
        case "pairs swapped":
            return replace(model, q_norm=q.reshape(len(q), -1, 2)[..., ::-1].reshape(q.shape))
        case _:
            return replace(model, q_norm=q[:, ::-1].copy())


@pytest.mark.parametrize("bug", ["none", "no gain", "pairs swapped", "reversed"])
def test_wrong_head_norms_show(bug: str) -> None:
    """Beside the float reference, on fixed tokens: the right integers are near, a seeded bug is not."""
    model = CASES["qwen3"].model
    reference, integers = Reference(model), [quantise(one) for one in (model, wrong_norms(model, bug))]
    goldens, expected, found = [Golden(one) for one in integers], list[Any](), (list[Any](), list[Any]())
    for token in np.random.default_rng(1).integers(0, model.shape.vocab, model.shape.context).tolist():
        expected.append(reference.step(token).astype(np.float64))
        for golden, one, logits in zip(goldens, integers, found, strict=True):
            golden.step(token)
            logits.append(golden.logits * one.logit_scale)
    right, bad = (float(np.square(np.array(one) - expected).mean() / np.square(expected).mean()) ** 0.5
                  for one in found)
    assert right < 0.06
    assert bad > 2 * right


@pytest.mark.parametrize("gain", [0.002, 0.25, 1.0, 2.0])
def test_head_norms_of_any_size_stay_near_the_floats(gain: float) -> None:
    """Small or large, one of them 0 and one four times the others. Larger scores ask more of 8 bits in any model."""
    base = CASES["qwen3"].model
    assert base.q_norm is not None
    uneven = base.q_norm.copy()
    uneven[:, 0], uneven[:, 1] = 0.0, 4.0
    model = replace(base, q_norm=uneven * np.float32(gain))
    reference, quantised = Reference(model), quantise(model)
    golden, expected, found = Golden(quantised), list[Any](), list[Any]()
    for token in np.random.default_rng(1).integers(0, model.shape.vocab, model.shape.context).tolist():
        expected.append(reference.step(token).astype(np.float64))
        golden.step(token)
        found.append(golden.logits * quantised.logit_scale)
    error = float(np.square(np.array(found) - expected).mean() / np.square(expected).mean()) ** 0.5
    assert error < 0.08, error


def test_head_norms_travel_with_the_image() -> None:
    model = quantise(random_float_model(NORMED["MQA"], 3, head_norms=True))
    again = restore_model(*flatten_model(model))
    assert again.shifts == model.shifts
    for name in ("head_q", "head_k"):
        assert np.array_equal(getattr(model.layers[0], name), getattr(again.layers[0], name))


def test_no_gain_of_a_head_norm_is_too_small() -> None:
    gains = np.array([[-2.0, 0.0, 0.01, 1.0], [0.0, 0.0, 0.0, 0.0]])
    assert usable(gains).tolist() == [[-2.0, 2 / 64, 2 / 64, 1.0], [1.0, 1.0, 1.0, 1.0]]


@pytest.mark.parametrize("which", ["bias_q", "bias_k", "bias_v"])
def test_a_bias_that_is_left_out_shows(which: str) -> None:
    """The seeded bug: golden without one of the three is another model."""
    whole = quantise(random_float_model(BIASED["GQA"], 3, biases=True))
    layers = tuple(replace(layer, **{which: None}) for layer in whole.layers)
    right, wrong = Golden(whole), Golden(replace(whole, layers=layers))
    for token in (1, 7, 3):
        right.step(token)
        wrong.step(token)
    assert not np.array_equal(right.logits, wrong.logits)


def test_biases_travel_with_the_image() -> None:
    model = quantise(random_float_model(BIASED["MQA"], 3, biases=True))
    again = restore_model(*flatten_model(model))
    assert again.shifts == model.shifts
    for name in ("bias_q", "bias_k", "bias_v"):
        one, other = getattr(model.layers[0], name), getattr(again.layers[0], name)
        assert np.array_equal(one.weights, other.weights) and np.array_equal(one.multiplier, other.multiplier)


@pytest.mark.parametrize("size", [0.0, 1e-3, 3.0, 200.0, 30000.0])
def test_a_bias_is_as_precise_as_its_layer_allows(size: float) -> None:
    """Each is within one of its units, or a five-hundredth of itself."""
    wanted = size * np.linspace(-1, 1, 41)
    linears, shift = biases([wanted])
    made = 64 * linears[0].weights[:, 0].astype(np.int64) * linears[0].multiplier / 2.0**shift
    assert 0 <= shift <= 31
    assert (np.abs(made - wanted) <= 64 / 2.0**shift + np.abs(wanted) / 500).all()
