"""Timing is independent of data on every preset; and the proof fails on a machine where it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from amaranth.hdl import EnableInserter, ResetInserter, Signal

import rtl.control
import rtl.host
import rtl.issue_matrix
import rtl.issue_vector
import rtl.matrix
import rtl.memories
import rtl.reduce
import rtl.scalar
import rtl.sequencer
import verification.independence
from rtl.config import PRESETS, preset
from rtl.verilog import TOP, generate
from verification.flow import Flow, NotUnderstood, flow
from verification.independence import EXCEPTIONS, GATHERED, Verdict, machine_flow, main, prove

Patch = pytest.MonkeyPatch

# What every bug is seeded into: all of the machine's parts, each as small as can be. A token's gather, all queues, two
# memory copies or none make no difference to where data can go, and the presets themselves are proved above.
SMALL = replace(
    preset("tiny"), lanes=2, taps=2, groups=1, bank_rows=32, vector_rows=16, act_rows=16, param_rows=16, matrix_words=8,
    vector_words=8, scalar_words=8, constants=8, scalars=4, reduces=4, slots=2, values=4, sequences=1, position_bits=4)


@pytest.mark.parametrize("name", [*PRESETS, "tiny+ecc"])
def test_timing_is_independent_of_data(name: str) -> None:
    verdict = prove(machine_flow(preset(name)), preset(name))
    assert verdict.wrong == []
    # Neither half is empty, and what the gather reaches are read addresses, but where a bank has one address for both.
    assert min(verdict.control, verdict.data, *verdict.memory.values()) > 800
    kinds = {port.split()[1] for port in verdict.gathers}
    assert kinds == {"read", "write"} if preset(name).single_port else {"read"}
    assert {port.startswith(GATHERED) for port in verdict.gathers} == {True}


def test_no_exception_is_named_that_nobody_needs() -> None:
    assert set(prove(machine_flow(preset("tiny")), preset("tiny")).exceptions) == set(EXCEPTIONS)


def test_the_command_says_what_it_found(capsys: pytest.CaptureFixture[str], monkeypatch: Patch) -> None:
    assert main(["--preset", "tiny"]) == 0
    assert "independent of data" in capsys.readouterr().out
    monkeypatch.delitem(EXCEPTIONS, "core.matrix_issue.row_start")
    assert main(["--preset", "tiny", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert [text.partition(":")[0] for text in found["wrong"]] == ["data reaches core.matrix_issue.row_start"]


# A machine whose timing does depend on data -------------------------------------------------------------------------


def leak(patch: Patch, unit: Any, value: Callable[[Any], Any]) -> Signal:
    """A wire that a unit drives with something of its own, for others to look at."""
    wire, elaborate = Signal(name="leak"), unit.elaborate

    def wrong(self: Any, platform: Any) -> Any:
        m = elaborate(self, platform)
        m.d.comb += wire.eq(value(self))
        return m

    patch.setattr(unit, "elaborate", wrong)
    return wire


def alter(patch: Patch, unit: Any, change: Callable[[Any, Any], Any]) -> None:
    """Statements after a unit's own: the last one counts. `change` may return what stands for the unit."""
    elaborate = unit.elaborate

    def wrong(self: Any, platform: Any) -> Any:
        m = elaborate(self, platform)
        return change(self, m) or m

    patch.setattr(unit, "elaborate", wrong)


def _sum_is_0(patch: Patch) -> Signal:
    return leak(patch, rtl.matrix.Matrix, lambda self: self.acc[0] == 0)


def a_wait_ends_when_an_accumulator_is_0(patch: Patch) -> None:
    found = _sum_is_0(patch)

    def change(self: Any, m: Any) -> None:
        with m.If(found):
            m.d.comb += self.current.zero.wait.eq(1)

    alter(patch, rtl.sequencer.Sequencer, change)


def a_loop_counts_to_a_scalar_register(patch: Patch) -> None:
    found = leak(patch, rtl.scalar.Scalar, lambda self: self.scalars[0].mantissa[0])
    alter(patch, rtl.control.Values, lambda self, m: m.d.comb.__iadd__(self.row.found.value.eq(found)) and None)


def data_is_written_into_a_program(patch: Patch) -> None:
    found = _sum_is_0(patch)
    alter(patch, rtl.host.Host, lambda self, m: m.d.comb.__iadd__(self.matrix_program.data[0].eq(found)) and None)


def a_queues_clock_stops(patch: Patch) -> None:
    found = _sum_is_0(patch)
    alter(patch, rtl.sequencer.Sequencer, lambda self, m: EnableInserter(~found)(m))


def a_queue_is_reset(patch: Patch) -> None:
    found = _sum_is_0(patch)
    alter(patch, rtl.sequencer.Sequencer, lambda self, m: ResetInserter(found)(m))


def a_text_ends_when_its_token_is_0(patch: Patch) -> None:
    def change(self: Any, m: Any) -> None:
        with m.If(self.token[0] == 0):
            m.d.sync += self.position[0].eq(0)

    alter(patch, rtl.control.Control, change)


def an_answer_waits_for_a_sum(patch: Patch) -> None:
    found = _sum_is_0(patch)

    def change(self: Any, m: Any) -> None:
        with m.If(found):
            m.d.comb += self.tx.valid.eq(0)

    alter(patch, rtl.host.Host, change)


@pytest.mark.parametrize(("bug", "reached"), [
    (an_answer_waits_for_a_sum, "the wire tx_valid"),
    (a_wait_ends_when_an_accumulator_is_0, "core.scalar_sequencer.due"),
    (a_loop_counts_to_a_scalar_register, "core.matrix_sequencer.inner_left"),
    (data_is_written_into_a_program, "core.matrix_sequencer.words"),
    (a_queues_clock_stops, "core.vector_sequencer.going"),
    (a_queue_is_reset, "core.vector_sequencer.going"),
    (a_text_ends_when_its_token_is_0, "core.control.position")], ids=lambda value: getattr(value, "__name__", ""))
def test_the_proof_finds_a_seeded_bug(bug: Callable[[Patch], None], reached: str, monkeypatch: Patch) -> None:
    bug(monkeypatch)
    wrong = small_verdict().wrong
    (text,) = [text for text in wrong if text.startswith(f"data reaches {reached}: ")]
    assert "leak" in text or bug is a_text_ends_when_its_token_is_0
    assert any(text.startswith("data reaches core.control.phase_state") for text in wrong)  # when a record comes


def small_verdict() -> Verdict:
    return prove(flow(generate(SMALL), TOP), SMALL)


def test_the_proof_finds_seeded_bugs_that_move_nothing_else(monkeypatch: Patch) -> None:
    """Of these five none hides another, so they are all in one machine."""
    found = _sum_is_0(monkeypatch)
    largest = leak(monkeypatch, rtl.reduce.Reduce, lambda self: self.read_value == 0)

    def the_counter_stops(self: Any, m: Any) -> None:
        with m.If(found):
            m.d.sync += self.cycles.eq(self.cycles)

    def a_pass_is_skipped(self: Any, m: Any) -> None:
        with m.If(largest):
            m.d.comb += self.issued.valid.eq(0)
        m.d.comb += self.issued.src.eq(found)  # and a vector is read where a sum says

    def a_gather_is_skipped(self: Any, m: Any) -> None:
        with m.If(self.column[0] == 0):
            m.d.comb += self.step.valid.eq(0)

    alter(monkeypatch, rtl.control.Control, the_counter_stops)
    alter(monkeypatch, rtl.issue_vector.VectorIssue, a_pass_is_skipped)
    alter(monkeypatch, rtl.issue_matrix.MatrixIssue, a_gather_is_skipped)
    elaborate = rtl.memories.ActMemory.elaborate

    def zeros_are_not_written(self: Any, platform: Any) -> Any:
        self.write_enable = self.write_enable & self.write_data.as_value().any()
        return elaborate(self, platform)

    monkeypatch.setattr(rtl.memories.ActMemory, "elaborate", zeros_are_not_written)
    wrong = [text.partition(":")[0] for text in small_verdict().wrong]
    for expected in ("data reaches core.control.cycles", "data reaches the wire core.vector_issue.issued.valid",
                     "data reaches the wire core.matrix_issue.step.valid",
                     "data reaches the wire core.vector_issue.issued.src",
                     "data reaches read address 0 of core.memory.ram",
                     "data reaches write enable 0 of core.act.copy_0",
                     "the gather reaches write enable 0 of core.matrix.accumulators"):
        assert expected in wrong
    assert "data reaches core.control.phase_state" not in wrong


def test_the_stop_is_needed_and_is_the_only_way_from_the_code_to_control(monkeypatch: Patch) -> None:
    cfg = replace(SMALL, ecc=True)
    assert prove(flow(generate(cfg), TOP), cfg).wrong == []
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(verification.independence, "STOP", "core.bank_errors.uncorrectable_count")
        wrong = prove(flow(generate(cfg), TOP), cfg).wrong
    for register in ("core.control.go", "core.host.want"):
        assert any(text.startswith(f"data reaches {register}: core.failed -> ") for text in wrong)

    elaborate = rtl.host.Host.elaborate

    def a_correction_ends_a_run(self: Any, platform: Any) -> Any:
        self.failed = self.corrected_count[0]
        return elaborate(self, platform)

    monkeypatch.setattr(rtl.host.Host, "elaborate", a_correction_ends_a_run)
    wrong = prove(flow(generate(cfg), TOP), cfg).wrong
    assert any(text.startswith("data reaches core.host.want") and "corrected_count" in text for text in wrong)


# What flows where ---------------------------------------------------------------------------------------------------

PARTS = """
module dut(input clk, input [3:0] address, input [3:0] a, input [3:0] b, input s, input r, input e, input w,
           output reg [3:0] q, output reg [3:0] read, output [3:0] unread, output [3:0] bits, output [3:0] sum);
    reg [3:0] rows [0:15];
    reg [3:0] others [0:15];
    always @(posedge clk) begin
        if (w) rows[address] <= a;
        others[a] <= b;
        read <= rows[s];
        if (r) q <= 0; else if (e) q <= b;
    end
    assign unread = others[r];
    assign bits = s ? a & b : a;
    assign sum = a + b;
endmodule
"""


def _influences(graph: Flow, source: str, target: str) -> list[int]:
    """Bits of an output that an input influences."""
    reached = graph.reached(graph.inputs[source])
    return [index for index, bit in enumerate(graph.outputs[target]) if bit in reached]


def test_influence_goes_through_enables_resets_and_memories() -> None:
    graph = flow(PARTS, "dut")
    everything = [0, 1, 2, 3]
    expected = {"q": {"b", "r", "e"}, "read": {"w", "a", "address", "s"}, "unread": {"r", "a", "b"},
                "bits": {"s", "a", "b"}, "sum": {"a", "b"}}
    for target, sources in expected.items():
        for source in ("address", "a", "b", "s", "r", "e", "w"):
            assert _influences(graph, source, target) == (everything if source in sources else []), (source, target)
    # Bit by bit where that is known, and no further.
    second = graph.reached(graph.inputs["b"][1:2])
    assert [bit in second for bit in graph.outputs["bits"]] == [False, True, False, False]
    assert all(bit in second for bit in graph.outputs["sum"])


@pytest.mark.parametrize(("body", "complaint"), [
    ("reg q; always @* if (e) q = a[0]; assign sum = q;", r"\$dlatch"),
    ("reg q; always @(posedge e) q <= a[0]; reg p; always @(posedge q) p <= b[0]; assign sum = p;", "clocked by"),
    ("reg q; always @(posedge clk or posedge r) if (r) q <= 0; else q <= a[0]; assign sum = q;", r"\$adff")])
def test_what_has_no_rule_is_refused(body: str, complaint: str) -> None:
    text = f"module dut(input clk, input [3:0] a, input [3:0] b, input r, input e, output [3:0] sum); {body} endmodule"
    with pytest.raises(NotUnderstood, match=complaint):
        flow(text, "dut")


def test_a_register_in_no_known_module_is_refused() -> None:
    with pytest.raises(NotUnderstood, match="neither in a module of control nor in one of data"):
        prove(flow(PARTS, "dut"), SMALL)


def test_a_net_that_is_gone_is_refused() -> None:
    with pytest.raises(NotUnderstood, match="no net core"):
        flow(PARTS, "dut").named("core.control.go")
