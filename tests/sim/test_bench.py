"""`lpu bench`: its tables, and the documents that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compiler.errors import InputError
from sim.bench_tables import BEGIN, END, between_markers, document, exact_table, speed_table
from sim.commands import bench
from sim.committed import load_rows

SPEEDS = {
    "golden": {"positions": 4, "tokens_per_second": 99.6, "cycles_per_second": None, "as_predicted": None},
    "cycle": {"positions": 4, "tokens_per_second": 12.3, "cycles_per_second": 2.5e6, "as_predicted": True},
}
ROW: dict[str, Any] = {
    "model": "m", "preset": "p", "sequences": 1, "context": 20,
    "cycles": {"prompt": {}, "classified": {"0": 5, "15": 8, "mean": 6.25}},
    "utilisation": 0.51239, "program": {name: {"used": 2, "free": 6} for name in ("matrix", "vector", "scalar")},
    "quantise_seconds": 1.26, "compile_seconds": 0.34, "devices": SPEEDS,
}
TOO_LARGE = {"model": "m", "preset": "q", "sequences": 1, "quantise_seconds": 1.26, "does_not_fit": "why"}


def run(**given: Any) -> None:
    """The command's function, with its defaults."""
    defaults: dict[str, Any] = {"presets": "tiny", "devices": "", "tokens": 2, "write": None, "write_cycles": None,
                                "as_json": False}
    bench.bench_command(**{"models": ["random:odd"], **defaults, **given})


def test_exact_figures():
    assert exact_table([ROW, TOO_LARGE]) == [
        ["model", "preset", "sequences", "context", "at 0", "at 15", "at 63", "at 127", "at 255", "mean", "utilisation",
         "matrix words", "vector", "scalar"],
        ["m", "p", "1", "20", "5", "8", "", "", "", "6.2", "0.512", "2 of 8", "2 of 8", "2 of 8"]]


def test_speeds():
    table = speed_table([ROW, TOO_LARGE], ["golden", "cycle"])
    assert table[1:] == [["m", "p", "1", "1.3", "0.3", "100", "12 (2.50M cycles/s, as predicted)"]]
    wrong = {**ROW, "devices": {"cycle": {**SPEEDS["cycle"], "as_predicted": False}}}
    assert "MISPREDICTED" in speed_table([wrong], ["cycle"])[1][-1]


def test_the_document_tells_its_command_and_what_does_not_fit():
    made = document([ROW, TOO_LARGE], ["cycle"], "lpu bench m")
    assert "`lpu bench m`" in made and "Does not fit: m on q." in made
    assert "| m | p | 1 | 20 | 5 | 8 |" in made


def test_only_what_is_between_the_markers_changes():
    assert between_markers(f"a\n{BEGIN}\nold\n{END}\nz\n", "new", "x") == f"a\n{BEGIN}\nnew\n{END}\nz\n"


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}"])
def test_a_document_without_its_markers(text: str):
    with pytest.raises(InputError, match="x needs one line"):
        between_markers(text, "new", "x")


def test_writes_tables_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    results, counts = tmp_path / "results.md", tmp_path / "cycles.json"
    results.write_text(f"# Head\n{BEGIN}\n{END}\ntail\n")
    run(write=results, write_cycles=counts, devices="cycle")
    shown = capsys.readouterr().out
    text = results.read_text()
    assert text.startswith("# Head\n") and text.endswith("tail\n")
    assert "`lpu bench random:odd --preset tiny --devices cycle --tokens 2`" in text and "as predicted" in text
    rows = load_rows(counts)
    assert [row.key for row in rows] == [
            ("random:odd", "tiny", run) for run in ("classified", "interleaved 2", "prompt")]
    assert f"{rows[0].cycles['0']}" in shown and f"| {rows[0].cycles['0']} |" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cycles.json", "results.md"]


def test_counts_of_other_machines_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    counts = tmp_path / "cycles.json"
    for presets in ("tiny", "ulx3s", "tiny"):
        run(presets=presets, write_cycles=counts)
    assert {row.preset for row in load_rows(counts)} == {"tiny", "ulx3s"}


def test_nothing_is_written_where_a_prediction_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture[str]):
    wrong = {**SPEEDS["cycle"], "as_predicted": False}
    monkeypatch.setattr(bench, "speed", lambda image, name, tokens: wrong)
    with pytest.raises(InputError, match="nothing is written"):
        run(devices="cycle", write_cycles=tmp_path / "cycles.json")
    assert "MISPREDICTED" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_json(capsys: pytest.CaptureFixture[str]):
    run(presets="tiny,ulx3s", as_json=True)
    results = json.loads(capsys.readouterr().out)["results"]
    assert [(row["preset"], row["sequences"]) for row in results] == [
        ("tiny", 1), ("tiny", 2), ("ulx3s", 1), ("ulx3s", 2)]
    assert results[1]["cycles"].keys() == {"interleaved 2"}
    assert results[0]["cycles"]["classified"].keys() == {"0", "15", "63", "mean"}
    assert all(room.keys() == {"used", "free"} for room in results[0]["program"].values())
    assert results[0]["compile_seconds"] > 0 and results[0]["devices"] == {}
