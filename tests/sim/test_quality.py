"""What each rounding costs: the measurement sees the tensor that is made bad, and rounds what the quantiser rounds."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest

from compiler.float_model import FloatModel
from compiler.prepare import prepare
from compiler.quantise import finish
from compiler.quantised import Shape
from compiler.random_model import random_float_model
from sim import cli, quality
from sim.quality import ACTIVATIONS, FINAL, OPERATIONS, READERS, WEIGHTS, measure, own_stories

LAYERS = 2
COARSE = 12.0


@pytest.fixture(scope="module")
def model() -> FloatModel:
    return random_float_model(Shape(dim=20, hidden=70, layers=LAYERS, heads=4, kv_heads=2, head_dim=4, vocab=40,
                                    context=24), seed=3)


@pytest.fixture(scope="module")
def stories(model: FloatModel) -> list[list[int]]:
    return own_stories(model, count=3, length=20)


def test_every_tensor_is_measured_in_every_layer(model: FloatModel, stories: list[list[int]]) -> None:
    told: list[str] = []
    found = measure(model, stories, progress=lambda what, steps: told.append(what))
    measured = {(cost.tensor, cost.layer) for cost in found.costs}
    assert measured == {
        *((tensor, layer) for tensor in (*WEIGHTS, *ACTIVATIONS) for layer in (None, *range(LAYERS))),
        ("embed", None), ("classifier", None), (FINAL, None)}
    assert len(found.costs) == len(measured) == len(told) - 2
    assert all(cost.nats != 0 for cost in found.costs), "nothing was rounded there"
    assert max(abs(cost.nats) for cost in found.costs) < 0.02 * found.float_ce
    assert all(0 < cost.error < 0.01 for cost in found.costs)
    assert abs(found.excess) < 0.05
    assert found.predictions == 60
    assert len(found.stream_errors) == LAYERS and 0.001 < max(found.stream_errors) < 0.1


@pytest.mark.parametrize("tensor", [*ACTIVATIONS, FINAL])
def test_a_coarse_activation_costs_most(
    model: FloatModel, stories: list[list[int]], tensor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scale is made so much larger that two or three bits are left."""
    right, exact = quality._hook, quality._int8

    def coarse(prepared: Any, which: str, layers: set[int]) -> Any:
        hook = right(prepared, which, layers)

        def call(name: str, x: Any) -> Any:
            with pytest.MonkeyPatch.context() as patch:
                if which == tensor:
                    patch.setattr(quality, "_int8", lambda x, scale: exact(x, scale * COARSE * 2))
                return hook(name, x)
        return call

    monkeypatch.setattr(quality, "_hook", coarse)
    found = measure(model, stories)
    together = {cost.tensor: cost.nats for cost in found.costs if cost.layer is None}
    assert max(together, key=lambda one: abs(together[one])) == tensor, together


@pytest.mark.parametrize("tensor", WEIGHTS)
def test_rounded_weights_are_the_integers(model: FloatModel, tensor: str) -> None:
    """Folded and scaled as the quantiser does it, they are a multiple of the integers that it makes, row by row."""
    prepared = prepare(model)
    made = finish(model, prepared)
    names = {"q": "wq", "k": "wk", "v": "wv", "o": "wo", "gate": "w1", "up": "w3", "down": "w2"}
    rounded = quality._rounded_weights(model, prepared, tensor)
    for i, layer in enumerate(made.layers):
        linear = getattr(layer, names[OPERATIONS[tensor]])
        folded = getattr(prepared.folded.layers[i], tensor)
        matrix = prepared.matrices[OPERATIONS[tensor]][i]
        again = (rounded[i] * getattr(model, READERS[tensor])[i]) @ prepared.basis if tensor in READERS \
            else prepared.basis.T @ rounded[i]
        integers = again * matrix / folded
        total = np.rint(np.log2(np.median(linear.weights * linear.multiplier[:, None].astype(float) / integers)))
        np.testing.assert_allclose(integers * 2.0**total, linear.weights * linear.multiplier[:, None].astype(int),
                                   atol=0.01 * linear.multiplier.max())


def test_a_stream_on_another_scale_is_seen(
    model: FloatModel, stories: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = quality.Golden.step

    def doubled(self: Any, token: int, *, trace: dict[str, Any]) -> Any:
        found = right(self, token, trace=trace)
        trace["layer1.x"] = trace["layer1.x"] * 2
        return found

    monkeypatch.setattr(quality.Golden, "step", doubled)
    first, second = measure(model, stories, costs=False).stream_errors
    assert first < 0.1 and second == pytest.approx(1.0, abs=0.05)


def test_own_stories_are_the_same_each_time(model: FloatModel) -> None:
    told = own_stories(model, count=2, length=100)
    assert told == own_stories(model, count=2, length=100) != own_stories(model, count=2, length=100, seed=2)
    assert [len(story) for story in told] == [24, 24], "as long as the context"
    assert told[0] != told[1]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["lpu", "quantise", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code or 0  # type: ignore[return-value]


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    text = tmp_path / "text"
    text.write_text("Once upon a time there was a fox.\nThe end.\n")
    arguments = ("fables43k", "--text", text, "--tokens", 9, "--stories", 1)
    assert run(monkeypatch, *arguments, "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["predictions"] == 9 and made["costs"] == [] and made["excess"] == made["int_ce"] / made["float_ce"] - 1
    assert run(monkeypatch, *arguments, "--report") == 0
    shown = capsys.readouterr().out
    assert all(tensor in shown for tensor in (*WEIGHTS, *ACTIVATIONS, "embed", "classifier", FINAL))
    assert f"{made['float_ce']:.4f}" in shown


@pytest.mark.parametrize(("arguments", "message"), [
    (("--stories", 0), "--stories 0"), (("--tokens", -1), "--tokens -1"), (("--text", "nowhere"), "cannot read"),
    (("--text", "empty"), "no stories")])
def test_what_cannot_be_measured(
    arguments: tuple[str, object], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("\n")
    assert run(monkeypatch, "fables43k", *arguments) == 2
    made = capsys.readouterr()
    assert message in made.err and made.err.count("\n") == 1 and not made.out
