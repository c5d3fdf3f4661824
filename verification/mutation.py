"""Mutation of the gateware: how many seeded faults do the tests find? `python -m verification.mutation --each 40`.

Faults of each unit are drawn by yosys (verification/mutants.py), all in one netlist of the whole machine, and switched
on one at a time. Tests are recorded once on the machine without fault, where they pass: random models and random
programs, compared with golden and the cycle simulator, and the host's tests (verification/transcript.py). A fault is
killed where the machine answers anything else, or nothing. Of survivors `verification/mutation_equivalents.toml` says
why nothing can find them; those count neither way. Exit code 1 where a unit's share of killed faults is below the bar,
or the netlist without a fault answers otherwise; 2 for bad input.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import track
from rich.table import Table

from compiler.errors import InputError
from rtl.config import PRESETS, preset
from rtl.verilog import generate
from sim.cycle.program import IllegalProgram
from sim.rtl_device import build_core
from sim.verilate import VerilatedCore, cached_verilog
from verification import lockstep, sweep
from verification.explanations import load
from verification.lockstep_trial import Trial, refilled, trial_of
from verification.mutants import SELECT, Mutant, candidates, choose, library
from verification.transcript import Transcript, play, recording

BAR = 0.95
EQUIVALENTS = Path(__file__).with_name("mutation_equivalents.toml")
TESTS = Path(__file__).parents[1] / "tests"
HOST_TESTS = TESTS / "rtl" / "test_host.py"
TOP_K_TEST = f"{TESTS / 'sim' / 'test_top_k.py'}::test_all_devices_draw_the_same_tokens_in_the_predicted_cycles"


class NothingToSay(Exception):
    """A test does not pass on the machine without fault, so nothing can be said."""


@dataclass(frozen=True, kw_only=True)
class Equivalent:
    """Why some faults are none that a test could find.

    Members
    -------
    presets : whose machine has it, empty for all. unit, what : what the fault's unit and description must contain.
    code : what a line of its Verilog must contain; regular expressions. reason : for people.
    """

    presets: tuple[str, ...]
    unit: str
    what: str
    code: str
    reason: str

    def covers(self, preset: str, mutant: Mutant) -> bool:
        return ((not self.presets or preset in self.presets) and re.search(self.unit, mutant.unit) is not None
                and re.search(self.what, mutant.what) is not None
                and any(re.search(self.code, line) for line in mutant.code or ("",)))


def load_equivalents(path: Path = EQUIVALENTS) -> list[Equivalent]:
    """Raises InputError for a file that is none."""
    entries = load(path, "equivalent", ("presets", "unit", "what", "code", "reason"), ("unit", "what", "code"))
    return [Equivalent(**{**entry, "presets": tuple(entry["presets"])}) for entry in entries]


@dataclass(kw_only=True)
class Score:
    """Faults of a unit. survivors : those that no test finds. explained : how many more survive, and are equivalent."""

    unit: str
    killed: int = 0
    survivors: list[Mutant] = field(default_factory=list[Mutant])
    explained: int = 0

    @property
    def share(self) -> float:
        """Of those that could be found."""
        there = self.killed + len(self.survivors)
        return self.killed / there if there else 1.0


def record(name: str, seed: int, *, models: int, programs: int) -> list[Transcript]:
    """What tests say to the preset's machine and what it answers. Raises NothingToSay."""
    with recording() as made:
        for number in range(models):
            outcome = sweep.attempt(sweep.Trial(seed=seed, number=number, preset=name), ("golden", "rtl"))
            if outcome.wrong:
                raise NothingToSay(f"model {number}: {outcome.wrong[0]}")
        for number in range(programs):
            for one in _fillings(name, seed, number):
                try:
                    difference = lockstep.run(one)
                except IllegalProgram:
                    continue
                if difference:
                    raise NothingToSay(f"program {number}: {difference}")
        tests = [str(HOST_TESTS), *([f"{TOP_K_TEST}[{name}]"] if preset(name).top_k else [])]
        with redirect_stdout(io.StringIO()):
            code = pytest.main(["-q", "-p", "no:cacheprovider", "-k", name, *tests])
        if code:
            raise NothingToSay(f"a test of {', '.join(tests)} fails")
    # Machines of other presets, and those with a bug for a test's own sake, are none of ours.
    return [one for one in made if one.library == build_core(preset(name))]


def _fillings(name: str, seed: int, number: int) -> Iterator[Trial]:
    """A program with two fillings of the memories; none where there is no place for what it needs."""
    with suppress(IllegalProgram):
        trial, _ = trial_of(name, seed, number)
        yield trial
        yield refilled(trial, random.Random(f"{seed}-{name}-{number}"))


def survives(place: Path, number: int, transcripts: Sequence[Transcript]) -> bool:
    """Whether the netlist with this fault (0: with none) answers like the machine that was recorded."""
    for one in transcripts:
        with VerilatedCore(place, reset_cycles=0) as core:
            core.set(SELECT, number)
            if play(one.calls, core) is not None:
                return False
    return True


def mutate(name: str, seed: int, each: int, *, models: int, programs: int, console: Console,
           units: str = "") -> list[Score]:
    """Scores of a preset's units, those in whose names the regular expression is found. Raises NothingToSay,
    and InputError where there is no such unit."""
    cfg = preset(name)
    verilog = cached_verilog(lambda: generate(cfg), facts=repr(cfg))
    mutants = [one for one in choose(candidates(verilog, seed), each) if re.search(units, one.unit)]
    if units and not mutants:
        raise InputError(f"no unit of {name} is named like {units}")
    place = library(verilog, mutants)
    transcripts = record(name, seed, models=models, programs=programs)
    if not transcripts or not survives(place, 0, transcripts):
        raise NothingToSay("the netlist without a fault does not answer as the machine does")
    equivalents, scores = load_equivalents(), dict[str, Score]()
    found = defaultdict[int, int](int)  # how many faults each transcript has killed: the best is played first
    for number, mutant in enumerate(track(mutants, name, console=console, disable=not console.is_terminal), 1):
        score = scores.setdefault(mutant.unit, Score(unit=mutant.unit))
        order = sorted(range(len(transcripts)), key=lambda index: -found[index])
        for index in order:
            if not survives(place, number, [transcripts[index]]):
                found[index] += 1
                score.killed += 1
                break
        else:
            if any(one.covers(name, mutant) for one in equivalents):
                score.explained += 1
            else:
                score.survivors.append(mutant)
    return list(scores.values())


def report(name: str, scores: Sequence[Score], console: Console) -> None:
    """A line a unit, then the faults that nothing has found."""
    table = Table(name, "faults", "killed", "equivalent", "survive", "share", box=None, pad_edge=False)
    total = Score(unit="all", killed=sum(one.killed for one in scores), explained=sum(one.explained for one in scores),
                  survivors=[mutant for one in scores for mutant in one.survivors])
    for one in (*scores, total):
        counts = one.killed, one.explained, len(one.survivors)
        table.add_row(one.unit, *map(str, (sum(counts), *counts)), f"{100 * one.share:.1f} %",
                      style="bold" if one is total else "" if one.share >= BAR else "red")
    console.print(table)
    for mutant in total.survivors:
        code = "".join(f"\n    {line}" for line in mutant.code)
        console.print(f"{mutant.unit}: {mutant.what}{code}", highlight=False, markup=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit code as said above."""
    parser = argparse.ArgumentParser(prog="python -m verification.mutation",
                                     description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny")
    parser.add_argument("--each", type=int, default=40, help="faults of each unit")
    parser.add_argument("--models", type=int, default=12, help="random models that are recorded")
    parser.add_argument("--programs", type=int, default=40, help="random programs that are recorded")
    parser.add_argument("--units", default="", help="only those in whose names this regular expression is found")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    if min(args.each, args.models, args.programs) < 1:
        parser.error("--each, --models and --programs must be at least 1")
    try:
        re.compile(args.units)
    except re.error as error:
        parser.error(f"--units is no regular expression: {error}")
    start = time.monotonic()
    try:
        scores = mutate(args.preset, args.seed, args.each, models=args.models, programs=args.programs,
                        console=Console(stderr=True), units=args.units)
    except (NothingToSay, InputError) as error:
        print(f"mutation: {error}", file=sys.stderr)
        return 1 if isinstance(error, NothingToSay) else 2
    if args.json:
        print(json.dumps({"preset": args.preset, "seed": args.seed, "units": {one.unit: {
            "killed": one.killed, "equivalent": one.explained,
            "survivors": [{"what": mutant.what, "code": mutant.code} for mutant in one.survivors]}
            for one in scores}}))
    else:
        report(args.preset, scores, Console())
        print(f"seed {args.seed}, {time.monotonic() - start:.0f} s")
    return int(any(one.share < BAR for one in scores))


if __name__ == "__main__":
    sys.exit(main())
