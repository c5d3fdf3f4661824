"""No token takes more cycles than docs/cycles.json says, and none fewer: the file stays true.

Cycles depend on a model's shape, on the chunks of its hidden vector and on whether its stream is rescaled, so a
calibration of a few tokens serves here. The file is written with whole ones, and that the counts are equal shows it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import compiler.compile
from compiler.calibrate import calibrate
from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.ir import Operation
from compiler.join import Schedule
from compiler.layout import Layout
from compiler.library import open_model, shipped_models
from compiler.quantise import quantise
from compiler.quantised import QuantisedModel
from rtl.config import PRESETS
from sim.commands.bench import SMALL_MODELS
from sim.committed import COMMAND, FILE, Row, differences, dump_rows, load_rows, merged, rows_of

ROOT = Path(__file__).parents[2]
PUBLIC = {"stories260K": ROOT.parent / "shared" / "models" / "stories260K.bin"}
LARGE = "random:stories15M"
MODELS = [*shipped_models(), *SMALL_MODELS, *PUBLIC, pytest.param(LARGE, marks=pytest.mark.slow)]
TOKENS = 16  # of the calibration


def promised(name: str) -> list[Row]:
    """Rows of a model on every preset that holds it."""
    if name in PUBLIC and not PUBLIC[name].exists():
        pytest.skip(f"needs ../shared/models/{PUBLIC[name].name}")
    loaded = open_model(str(PUBLIC.get(name, name)))[0]
    model = quantise(loaded, calibrate(loaded, sequences=1, length=TOKENS))
    found: list[Row] = []
    for config, sequences in [(one, n) for one in PRESETS.values() for n in (1, 2) if n <= one.sequences]:
        try:
            found += rows_of(compile_model(model, config, sequences=sequences), name)
        except InputError as error:
            assert "does not fit" in str(error)
    return found


def verdict(name: str, rows: list[Row]) -> str:
    """What is not as committed for a model, and what to do about it; empty where nothing is."""
    found = differences([row for row in load_rows(ROOT / FILE) if row.model == name], rows)
    advice = f"if this is meant: {COMMAND.replace('MODEL', name)}"
    return "\n".join([*found, advice]) if found else ""


@pytest.mark.parametrize("name", MODELS)
def test_cycles_are_those_committed(name: str):
    found = verdict(name, promised(name))
    assert not found, found


def test_every_committed_model_is_measured():
    assert {row.model for row in load_rows(ROOT / FILE)} == {*shipped_models(), *SMALL_MODELS, *PUBLIC, LARGE}


def test_a_wait_one_cycle_longer_is_found(monkeypatch: pytest.MonkeyPatch):
    """A legal program, only slower: the classifier starts a cycle late."""
    find_schedule = compiler.compile.find_schedule

    def late(model: QuantisedModel, layout: Layout) -> tuple[list[Operation], Schedule]:
        operations, plan = find_schedule(model, layout)
        return operations, replace(plan, epilogue_start=plan.epilogue_start + 1)

    monkeypatch.setattr(compiler.compile, "find_schedule", late)
    found = verdict("random:small", promised("random:small"))
    row = next(row for row in load_rows(ROOT / FILE) if row.key == ("random:small", "tiny", "classified"))
    was = int(row.cycles["63"])
    assert f"random:small on tiny, classified tokens: worse: {was + 1} cycles at position 63, committed {was}" in found
    assert "lpu bench random:small" in found


ROWS = [
    Row(model="m", preset="tiny", run="classified", context=64, cycles={"0": 100, "63": 120, "mean": 110.5}),
    Row(model="m", preset="ulx3s", run="classified", context=64, cycles={"0": 50, "mean": 50.0}),
]


@pytest.mark.parametrize(("measured", "complaint"), [
    ([ROWS[0], replace(ROWS[1], cycles={"0": 51, "mean": 50.0})], "on ulx3s, .*: worse: 51 cycles at position 0, comm"),
    ([ROWS[0], replace(ROWS[1], cycles={"0": 49, "mean": 50.0})], "better: 49 cycles at position 0, committed 50"),
    ([replace(ROWS[0], cycles={**ROWS[0].cycles, "mean": 110.75}), ROWS[1]], "worse: 110.75 cycles on average"),
    ([replace(ROWS[0], context=63), ROWS[1]], "m on tiny, .*: worse: context 63, committed 64"),
    ([replace(ROWS[0], context=65), ROWS[1]], "better: context 65, committed 64"),
    ([ROWS[0]], "m on ulx3s, classified tokens: committed, but it no longer compiles"),
    ([*ROWS, replace(ROWS[1], run="interleaved 2")], "m on ulx3s, interleaved 2 tokens: not committed yet"),
])
def test_every_difference_is_told(measured: list[Row], complaint: str):
    assert differences(ROWS, ROWS) == []
    with pytest.raises(AssertionError, match=complaint):
        assert not differences(ROWS, measured), "\n".join(differences(ROWS, measured))


def test_the_file_is_read_as_it_was_written(tmp_path: Path):
    (tmp_path / "a").write_text(dump_rows(reversed(ROWS)))
    assert load_rows(tmp_path / "a") == ROWS


def test_rows_of_what_was_not_tried_stay():
    slower = replace(ROWS[0], context=9)
    assert merged(ROWS, [slower], [("m", "tiny")]) == [ROWS[1], slower]
    assert merged(ROWS, [], [("m", "ulx3s"), ("n", "tiny")]) == [ROWS[0]]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{"model": "m"}]}', '{"rows": 3}'])
def test_a_damaged_file(tmp_path: Path, text: str):
    (tmp_path / "a").write_text(text)
    with pytest.raises(InputError, match="no file of committed cycle counts"):
        load_rows(tmp_path / "a")
