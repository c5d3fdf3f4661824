"""A slice of the sweep over random shapes, other ones each time; and that the sweep sees what is wrong.

What failed is repeated by the command that it prints. The whole sweep: `python -m verification.sweep --rounds 300`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.image import Image
from rtl.config import PRESETS, preset
from verification import sweep
from verification.settings import new_seed
from verification.sweep import Trial, attempt, differences, main, model_of, run

MODELS = 2


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("number", range(MODELS))
def test_a_random_model_is_the_same_on_all_devices(number: int, name: str) -> None:
    trial = Trial(seed=new_seed(), number=number, preset=name)
    print(trial.command)
    outcome = attempt(trial)
    assert not outcome.wrong, outcome
    if outcome.refused:
        pytest.skip(outcome.refused)
    assert outcome.tensors >= 9 * outcome.sequences


@pytest.fixture(scope="module")
def image() -> Image:
    model, _ = model_of(1, 1)
    return replace(compile_model(model, preset("tiny")), model=model)


def wrong(image: Image) -> list[str]:
    found = run(image, ("golden", "cycle"), noise=1)
    return [what for one in found for what in differences(one)]


def test_a_right_image_has_no_differences(image: Image) -> None:
    assert wrong(image) == []


def test_a_wrong_weight_is_seen(image: Image) -> None:
    """Golden runs another model than the machine: one column of a matrix has the other sign."""
    assert image.model
    *others, last = image.model.layers
    weights = last.wq.weights.copy()
    weights[:, 0] *= -1
    other = replace(image.model, layers=(*others, replace(last, wq=replace(last.wq, weights=weights))))
    found = wrong(replace(image, model=other))
    assert any(what.startswith(f"layer{len(others)}.q differs at [0") for what in found), found


def test_a_wrong_cycle_count_is_seen(image: Image) -> None:
    cycles = image.cycles.copy()
    cycles[:, 3] += 1
    assert wrong(replace(image, cycles=cycles)) == ["other cycles than predicted at [3]"]


def test_a_model_that_is_refused_for_another_reason_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("no idea")

    trial = Trial(seed=1, number=0, preset="tiny")
    monkeypatch.setattr(sweep, "compile_model", refuse)
    assert attempt(trial).wrong == ["refused: no idea"]


def test_the_command_counts_and_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--rounds", "2", "--preset", "tiny", "--devices", "golden,cycle"]
    assert main([*arguments, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["ran"] == {"tiny": 2} and made["wrong"] == 0
    assert [one["trial"]["number"] for one in made["outcomes"]] == [0, 1]
    right = sweep.compile_model

    def late(*given: object, **named: object) -> Image:
        image = right(*given, **named)  # type: ignore[arg-type]
        return replace(image, cycles=image.cycles + 1)

    monkeypatch.setattr(sweep, "compile_model", late)
    monkeypatch.setattr(sweep, "sweep", lambda trials, devices, *_: [attempt(trial, devices) for trial in trials])
    assert main(arguments) == 1
    assert "--seed 1 --first 1 --rounds 1 --preset tiny" in " ".join(capsys.readouterr().out.split())


def test_a_log_is_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it says was right is not run again, all else is; a line that was cut off does no harm."""
    log = tmp_path / "log"
    arguments = ["--preset", "tiny", "--devices", "golden,cycle", "--json", "--log", str(log)]
    assert main([*arguments, "--rounds", "2"]) == 0
    first = json.loads(capsys.readouterr().out)
    lines = log.read_text().splitlines()
    assert [json.loads(line)["trial"]["number"] for line in lines] == [0, 1]
    log.write_text(f"{lines[0]}\n{lines[1][:40]}")
    assert [one.trial.number for one in sweep.logged(log, ("golden", "cycle"))] == [0]
    assert not list(sweep.logged(log, ("golden", "rtl")))
    assert main([*arguments, "--rounds", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["outcomes"] == first["outcomes"]
    assert log.read_text().splitlines() == [lines[0], lines[1][:40], lines[1]]
    log.write_text(lines[0].replace('"wrong": []', '"wrong": ["all"]'))
    assert not list(sweep.logged(log, ("golden", "cycle")))


@pytest.mark.parametrize("arguments", [
    ["--devices", "cycle,golden"], ["--devices", "golden"], ["--rounds", "0"], ["--preset", "huge"],
    ["--log", "no such/folder/log"]])
def test_what_cannot_be_asked_for(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert arguments[0] in capsys.readouterr().err
