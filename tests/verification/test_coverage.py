"""Code coverage: what Verilator counts is read right, a hole is seen, and an explanation covers what it says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from compiler.errors import InputError
from sim.verilate import COVERAGE_VARIABLE, VerilatedCore, build
from verification import coverage
from verification.coverage import BARRED, below, collect, summary
from verification.coverage_page import page
from verification.coverage_points import Explanation, Measured, Point, load_explanations, read_counts, stale

DESIGN = """module openlpu(input clk, input rst, input [7:0] rx_data, input rx_valid, output rx_ready,
    output [7:0] tx_data, output tx_valid, input tx_ready);
  part part(.clk(clk), .data(rx_data), .valid(rx_valid), .told(tx_data));
  assign rx_ready = 1;
  assign tx_valid = 0;
endmodule
module part(input clk, input [7:0] data, input valid, output reg [7:0] told);
  always @(posedge clk)
    if (valid & data[7])
      told <= 8'd1;
    else if (valid)
      told <= data;
endmodule
"""
ABOVE, BELOW = b"\x80", b"\x01"


def run(data: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Measured:
    """The design after these bytes."""
    monkeypatch.setenv(COVERAGE_VARIABLE, str(folder))
    monkeypatch.setattr(coverage, "design_of", lambda name: DESIGN)
    with VerilatedCore(build(DESIGN)) as core:
        core.send(data)
        core.run(2)
    counts = Counter[Point]()
    collect(folder, "tiny", counts)
    assert not list(folder.glob("*.dat"))
    return Measured(preset="tiny", verilog=DESIGN.splitlines(), counts=counts)


def lines(points: list[Point]) -> set[int]:
    return {point.line for point in points}


def test_what_nothing_reached_is_a_hole_and_what_something_reached_is_none(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    low = run(BELOW, tmp_path, monkeypatch)
    assert 9 in lines(low.holes(["line", "branch"])) and 9 in lines(low.holes(["expr"]))
    assert {point.module for point in low.holes(BARRED)} == {"part"}
    assert "branch" in below(low) or "line" in below(low)
    both = run(BELOW + ABOVE, tmp_path, monkeypatch)
    assert both.holes(["line", "branch"]) == [] and both.table()["part"]["line"][0] > 0
    assert len(both.holes(["expr"])) < len(low.holes(["expr"]))


def test_a_design_of_another_machine_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COVERAGE_VARIABLE, str(tmp_path))
    with VerilatedCore(build(DESIGN)):
        pass
    monkeypatch.setattr(coverage, "design_of", lambda name: DESIGN + "\n")
    counts = Counter[Point]()
    collect(tmp_path, "tiny", counts)
    assert not counts


MEASURED = Measured(preset="tiny", verilog=["a = b ? c : d;", "if (e)"], counts={
    Point(module="core.host", line=1, kind="branch", what="cond_then"): 0,
    Point(module="core.host", line=1, kind="expr", what="(b==0) => 0"): 0,
    Point(module="core.bank_12", line=2, kind="branch", what="if"): 3,
    Point(module="core.bank_13", line=2, kind="branch", what="if"): 0})


def explanation(**changes: object) -> Explanation:
    return Explanation(**{"presets": (), "kinds": ("branch",), "module": "host$", "code": "b [?]",  # type: ignore[arg-type]
                          "what": "", "reason": "<why>"} | changes)


def test_an_explanation_covers_its_kinds_modules_code_and_presets() -> None:
    assert len(MEASURED.unexplained(BARRED, [])) == 3
    left = MEASURED.unexplained(BARRED, [explanation()])
    assert [(point.module, point.kind) for point in left] == [("core.bank_13", "branch"), ("core.host", "expr")]
    for changes in ({"module": "bank"}, {"code": "x"}, {"what": "x"}, {"presets": ("large",)}, {"kinds": ("line",)}):
        assert len(MEASURED.unexplained(BARRED, [explanation(**changes)])) == 3
    old = explanation(code="x")
    assert stale([explanation(), old, explanation(presets=("large",))], [MEASURED]) == [old]


def test_reports_have_every_hole() -> None:
    assert MEASURED.table()["core.bank_*"]["branch"] == (1, 2)
    assert MEASURED.total("branch") == (1, 3) and "branch" in below(MEASURED)
    text = page([MEASURED], [explanation()])
    assert "cond_then" in text and "&lt;why&gt;" in text and "(b==0) =&gt; 0" in text
    assert text.count("<p>line") == len({(point.module, point.line) for point in MEASURED.holes(BARRED)})
    found = summary(MEASURED, [explanation()])
    assert found["unexplained"] == 2 and len(found["holes"]) == 3  # type: ignore[arg-type]


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("# SystemC::Coverage-3\nC 'nothing' 1\n")
    with pytest.raises(InputError, match="no coverage of a Verilated design"):
        read_counts(file)
    unknown_kind = "[[hole]]\npresets=[]\nkinds=['some']\nmodule=''\ncode=''\nwhat=''\nreason=''"
    for text in ("[[hole]]\nmodule = 3\n", unknown_kind, "["):
        file.write_text(text)
        with pytest.raises(InputError):
            load_explanations(file)


def test_the_shipped_explanations_are_whole() -> None:
    assert all(one.reason for one in load_explanations())
