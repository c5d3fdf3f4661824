"""The campaign: shares of the budget, failures with their command, seeds, the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from rich.console import Console

from verification import verify
from verification.verify import CHECKS, Check, call, main, run

QUIET = Console(quiet=True)


def python(*programs: str) -> Check:
    """A check of these programs, one after another."""
    def commands(seed: int) -> Iterator[list[str]]:
        return (["-c", program, str(seed + number)] for number, program in enumerate(programs))
    return Check(name="some", unit="programs", each=5, share=1, commands=commands, whole=len(programs))


def test_what_ends_well_is_counted_and_what_does_not_is_told_with_its_command() -> None:
    found = run(python("pass", "import sys; print('why'); sys.exit(3)", "raise SystemExit"), 7, 60)
    assert (found.commands, found.done) == (3, 10)
    ((command, said),) = found.failed
    assert command == "python -c import sys; print('why'); sys.exit(3) 8"
    assert said == "exit code 3\nwhy"


def test_the_budget_ends_what_has_no_end() -> None:
    def commands(seed: int) -> Iterator[list[str]]:
        return (["-c", "import time; time.sleep(0.1)"] for _ in count())
    endless = Check(name="endless", unit="programs", each=1, share=1, commands=commands)
    assert 1 <= run(endless, 1, 0.5).commands <= 5
    assert run(endless, 1, 0).commands == 1  # at least one


def test_time_that_a_check_leaves_goes_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    def fake(check: Check, seed: int, budget_s: float) -> verify.Result:
        given.append(budget_s)
        return verify.Result(check=check.name, unit="", whole=None)

    monkeypatch.setattr(verify, "run", fake)
    verify.verify([python("pass")] * 3, 1, 1, QUIET)
    assert given == pytest.approx([20, 30, 60], rel=0.01)


def test_what_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "LIMIT_S", 0.2)
    assert call([verify.sys.executable, "-c", "import time; time.sleep(60)"]) == (-1, "killed after 0.2 s")


@pytest.mark.parametrize("good", [True, False])
def test_the_command_writes_a_report_and_fails_where_a_check_did(
        good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(verify, "CHECKS", (python("pass" if good else "1 / 0"),))
    file = tmp_path / "new" / "report.json"
    assert main(["--seed", "5", "--minutes", "0.1", "--report", str(file)]) == (not good)
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["seed"] == 5 and found["checks"][0]["done"] == 5 * good
    assert ("ZeroDivisionError" in capsys.readouterr().out) == (not good)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name.replace(" ", "-"))
def test_every_command_is_understood_by_its_module(check: Check) -> None:
    """Its options, that is: with --help behind them nothing runs."""
    first = next(check.commands(3))
    code, said = call([verify.sys.executable, *first, "--help"])
    assert code == 0 and "usage" in said.lower(), said
    code, said = call([verify.sys.executable, *first[:2], *first[2:], "--no-such-option"])
    assert code == 2, said


def test_seeds_differ_from_command_to_command() -> None:
    for check in CHECKS:
        if check.whole is None:
            commands = check.commands(3)
            assert len({tuple(next(commands)) for _ in range(5)}) == 5
        else:
            assert len(list(check.commands(3))) == check.whole


def test_no_time_at_all_is_refused() -> None:
    with pytest.raises(SystemExit) as left:
        main(["--minutes", "0"])
    assert left.value.code == 2
