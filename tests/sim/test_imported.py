"""Imported folders through the commands and the devices: what runs is the model that the float reference runs."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.quantise import quantise
from compiler.quantised import Shape
from compiler.random_model import random_float_model
from sim import cli
from sim.golden import Golden
from sim.reference import Reference
from tests.compiler.importers.folders import CASES, Case, halved, write_folder
from tests.compiler.importers.test_gguf import write as write_gguf

SMALL = Case(architecture="LlamaForCausalLM", model=random_float_model(
    Shape(dim=10, hidden=12, layers=1, heads=2, kv_heads=1, head_dim=6, vocab=48, context=8)))
RUNS = ("llama", "llama, tied, MHA", "llama, MQA, wide heads", "llama 3", "llama, linear", "mistral, no window")


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
