"""Mutation: faults are switched on one at a time, transcripts tell machines apart, and most faults are found."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.errors import InputError
from rtl.config import preset
from rtl.protocol import Request
from sim.rtl_device import build_core
from sim.verilate import VerilatedCore
from verification import mutants, mutation
from verification.mutants import Mutant, candidates, unit_of
from verification.mutation import Equivalent, NothingToSay, load_equivalents, main, mutate
from verification.settings import new_seed
from verification.transcript import Transcript, play, recording


@pytest.mark.parametrize(("cell", "unit"), [
    (r"$flatten\core.\vector.\reduce.$neg$design.v:19582$10666", "core.vector.reduce"),
    (r"$flatten\core.\banks.\bank_1.$procmux$15758", "core.banks.bank_*"),
    ("core.control.table.rows", "core.control.table"), ("$procdff$12", "openlpu")])
def test_a_cells_name_tells_its_unit(cell: str, unit: str) -> None:
    assert unit_of(cell) == unit


def test_a_fault_is_told_in_short() -> None:
    fault = Mutant(unit="core.act", command="mutate -mode cnot1 -module openlpu -cell c -port A -portbit 3 -ctrlbit 1 "
                                            "-wire core.act.x -wirebit 3")
    assert fault.what == "cnot1 c A[3] by [1], from core.act.x"


def test_a_bit_that_is_so_already_is_not_stuck_as_a_fault() -> None:
    design = "module openlpu(input clk, input [3:0] a, output reg b); always @(posedge clk) b <= a == 10; endmodule"
    drawn = [mutant.what for unit in candidates(design, 1).values() for mutant in unit]
    found = {(hit[1], int(hit[2])) for text in drawn if (hit := re.match(r"const([01]) \S*\$eq\S* B\[(\d)\]", text))}
    assert found == {("1", 0), ("0", 1), ("1", 2), ("0", 3)}


def test_a_bit_that_is_inverted_where_another_has_decided_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    design = """module openlpu(input clk, input [3:0] a, output reg b, c, d); always @(posedge clk)
        begin b <= a == 10; c <= |a; d <= &a; end endmodule"""
    faults = {"eq": {("0", 0), ("1", 1), ("0", 2), ("1", 3)},  # where the other bit is as it is in 10, which is 1010
              "reduce_or": {("0", bit) for bit in range(4)}, "reduce_and": {("1", bit) for bit in range(4)}}

    def drawn() -> dict[str, set[tuple[str, int]]]:
        texts = [mutant.what for unit in candidates(design, 1).values() for mutant in unit]
        hits = [re.match(r"cnot([01]) \S*\$(eq|reduce_\w+)\S* A\[\d\] by \[(\d)\]", text) for text in texts]
        return {kind: {(hit[1], int(hit[3])) for hit in hits if hit and hit[2] == kind} for kind in faults}
    assert all(found and found <= faults[kind] for kind, found in drawn().items())
    monkeypatch.setattr(mutants, "_is_decided", lambda *given: False)
    assert not any(found <= faults[kind] for kind, found in drawn().items())


def test_a_survivor_is_explained_by_its_unit_its_fault_and_its_code_together() -> None:
    fault = Mutant(unit="core.act", command="mutate -mode const1 -cell c -port EN -portbit 0",
                   code=("reg a;", "a <= b;"))
    right = Equivalent(presets=("tiny",), unit="act$", what="^const1 c EN", code="^a <=", reason="so")
    assert right.covers("tiny", fault)
    assert not right.covers("large", fault)
    for wrong in ({"unit": "bank"}, {"what": "const0"}, {"code": "^b"}):
        assert not replace(right, **wrong).covers("tiny", fault)
    assert replace(right, code="").covers("tiny", replace(fault, code=()))


def test_explained_survivors_count_neither_way(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of three faults that nothing finds the file explains one: two are told, and the unit is below the bar."""
    faults = [Mutant(unit="core.act", command=f"mutate -mode const1 -cell c{n} -port EN -portbit 0", code=("x",))
              for n in range(3)]
    monkeypatch.setattr(mutation, "candidates", lambda *given: {"core.act": faults})
    monkeypatch.setattr(mutation, "library", lambda *given: Path())
    monkeypatch.setattr(mutation, "record", lambda *given, **named: [Transcript(library=Path(), calls=[])])
    monkeypatch.setattr(mutation, "survives", lambda *given: True)
    monkeypatch.setattr(mutation, "load_equivalents", lambda: [
        Equivalent(presets=(), unit="act", what="c1", code="x", reason="so")])
    assert main(["--each", "3"]) == 1
    said = capsys.readouterr().out
    assert "const1 c0 EN[0]" in said and "const1 c2 EN[0]" in said and "const1 c1 EN[0]" not in said
    assert re.search(r"core\.act +3 +0 +1 +2 +0\.0 %", said)
    monkeypatch.setattr(mutation, "load_equivalents", lambda: [
        Equivalent(presets=(), unit="act", what="c", code="", reason="so")])
    assert main(["--each", "3"]) == 0
    assert main(["--each", "3", "--units", "act$"]) == 0
    capsys.readouterr()
    assert main(["--each", "3", "--units", "banks"]) == 2
    assert "no unit of tiny is named like banks" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["--units", "("])


WHOLE = "[[equivalent]]\npresets = []\nunit = 'a'\nwhat = ''\ncode = ''\nreason = 'so'"


@pytest.mark.parametrize("text", [
    "equivalent = 3", "[[equivalent", WHOLE.replace("code", "core"), WHOLE.replace("'a'", "'('"),
    WHOLE.replace("[]\n", "3\n"), WHOLE.replace("[]\n", "'tiny'\n"), WHOLE.replace("'so'", "[]")])
def test_a_file_of_explanations_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text(text)
    with pytest.raises(InputError, match=r"e\.toml"):
        load_equivalents(tmp_path / "e.toml")
    (tmp_path / "e.toml").write_text(WHOLE)
    assert len(load_equivalents(tmp_path / "e.toml")) == 1
    assert all(one.reason for one in load_equivalents())


@pytest.fixture(scope="module")
def talk() -> Transcript:
    """A few requests to tiny, with a slow host in between."""
    with recording() as made:
        from sim import verilate
        with verilate.VerilatedCore(build_core(preset("tiny"))) as core:
            core.transact(bytes([Request.STOP, 0x55]), 2)
            core.stall(rx=0.5, seed=3)
            core.transact(bytes([Request.RESET]), 1)
    (one,) = made
    return one


def test_a_transcript_is_heard_again_by_the_same_machine_and_not_by_another(talk: Transcript) -> None:
    with VerilatedCore(talk.library, reset_cycles=0) as core:
        assert play(talk.calls, core) is None
    last = max(number for number, call in enumerate(talk.calls) if call.what == "fetch")
    wrong = replace(talk.calls[last], answer=b"?")
    with VerilatedCore(talk.library, reset_cycles=0) as core:
        assert play([*talk.calls[:last], wrong], core) == last


def test_a_machine_that_hangs_is_found(talk: Transcript) -> None:
    with VerilatedCore(talk.library, reset_cycles=0) as core:
        waiting = next(call for call in talk.calls if call.what == "clock")
        assert play([replace(waiting, given=(b"", 5, 1 << 40), cycles=10)], core) == 0
        assert core.cycles < 10_000


@pytest.mark.slow
def test_most_faults_of_any_seed_are_found_and_the_machine_without_one_is_as_recorded(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--each", "2", "--models", "6", "--programs", "8", "--seed", str(new_seed() % 1000), "--json"]
    made: list[mutation.Score] = []

    def keep(*given: object, **named: object) -> list[mutation.Score]:
        made.extend(mutate(*given, **named))  # type: ignore[arg-type]
        return made
    monkeypatch.setattr(mutation, "mutate", keep)
    main(arguments)
    assert '"units"' in capsys.readouterr().out
    assert {"core.vector", "core.matrix.mesh", "core.scalar_sequencer", "core.host"} <= {one.unit for one in made}
    killed = sum(one.killed for one in made)
    assert killed > sum(len(one.survivors) for one in made)


def test_without_tests_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation, "record", lambda *given, **named: [])
    monkeypatch.setattr(mutation, "candidates", lambda *given: {})
    monkeypatch.setattr(mutation, "library", lambda *given: Path())
    with pytest.raises(NothingToSay, match="does not answer"):
        mutate("tiny", 1, 1, models=1, programs=1, console=None)  # type: ignore[arg-type]
