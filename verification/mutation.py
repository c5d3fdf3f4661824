"""Mutation of the gateware: how many seeded faults do the tests find? `python -m verification.mutation --each 40`.

Faults of each unit are drawn by yosys (verification/mutants.py), all in one netlist of the whole machine, and switched
on one at a time. Tests are recorded once on the machine without fault, where they pass: random models and random
programs, compared with golden and the cycle simulator, and the host's tests (verification/transcript.py). A fault is
killed where the machine answers anything else, or nothing. Exit code 1 where a unit's share of killed faults is below
the bar, or the netlist without a fault answers otherwise.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rtl.config import PRESETS, preset
from rtl.verilog import generate
from sim.cycle.program import IllegalProgram
from sim.rtl_device import build_core
from sim.verilate import VerilatedCore, cached_verilog
from verification import lockstep, sweep
from verification.mutants import SELECT, Mutant, candidates, choose, library
from verification.transcript import Transcript, play, recording

BAR = 0.95
HOST_TESTS = Path(__file__).parents[1] / "tests" / "rtl" / "test_host.py"


class NothingToSay(Exception):
    """A test does not pass on the machine without fault, so nothing can be said."""


@dataclass(kw_only=True)
class Score:
    """Faults of a unit. survivors : those that no test finds."""

    unit: str
    killed: int = 0
    survivors: list[Mutant] = field(default_factory=list[Mutant])

    @property
    def share(self) -> float:
        return self.killed / (self.killed + len(self.survivors))


def record(name: str, seed: int, *, models: int, programs: int) -> list[Transcript]:
    """What tests say to the preset's machine and what it answers. Raises NothingToSay."""
    with recording() as made:
        for number in range(models):
            outcome = sweep.attempt(sweep.Trial(seed=seed, number=number, preset=name), ("golden", "rtl"))
            if outcome.wrong:
                raise NothingToSay(f"model {number}: {outcome.wrong[0]}")
        for number in range(programs):
            try:
                difference = lockstep.run(lockstep.trial_of(name, seed, number)[0])
            except IllegalProgram:
                continue
            if difference:
                raise NothingToSay(f"program {number}: {difference}")
        with redirect_stdout(io.StringIO()):
            code = pytest.main(["-q", "-p", "no:cacheprovider", "-k", name, str(HOST_TESTS)])
        if code:
            raise NothingToSay(f"{HOST_TESTS.name}: a test fails")
    # Machines of other presets, and those with a bug for a test's own sake, are none of ours.
    return [one for one in made if one.library == build_core(preset(name))]


def survives(place: Path, number: int, transcripts: Sequence[Transcript]) -> bool:
    """Whether the netlist with this fault (0: with none) answers like the machine that was recorded."""
    for one in transcripts:
        with VerilatedCore(place, reset_cycles=0) as core:
            core.set(SELECT, number)
            if play(one.calls, core) is not None:
                return False
    return True


def mutate(name: str, seed: int, each: int, *, models: int, programs: int, console: Console) -> list[Score]:
    """Scores of a preset's units. Raises NothingToSay."""
    cfg = preset(name)
    verilog = cached_verilog(lambda: generate(cfg), facts=repr(cfg))
    mutants = choose(candidates(verilog, seed), each)
    place = library(verilog, mutants)
    transcripts = record(name, seed, models=models, programs=programs)
    if not transcripts or not survives(place, 0, transcripts):
        raise NothingToSay("the netlist without a fault does not answer as the machine does")
    scores: dict[str, Score] = {}
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
            score.survivors.append(mutant)
    return list(scores.values())


def report(name: str, scores: Sequence[Score], console: Console) -> None:
    """A line a unit, then the faults that nothing has found."""
    table = Table(name, "faults", "killed", "share", box=None, pad_edge=False)
    for one in scores:
        table.add_row(one.unit, str(one.killed + len(one.survivors)), str(one.killed), f"{100 * one.share:.0f} %",
                      style="" if one.share >= BAR else "red")
    total = Score(unit="all", killed=sum(one.killed for one in scores),
                  survivors=[mutant for one in scores for mutant in one.survivors])
    table.add_row("all", str(total.killed + len(total.survivors)), str(total.killed), f"{100 * total.share:.1f} %",
                  style="bold")
    console.print(table)
    for mutant in total.survivors:
        console.print(f"{mutant.unit}: {mutant.what}", highlight=False, markup=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit code as said above."""
    parser = argparse.ArgumentParser(prog="python -m verification.mutation",
                                     description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny")
    parser.add_argument("--each", type=int, default=40, help="faults of each unit")
    parser.add_argument("--models", type=int, default=12, help="random models that are recorded")
    parser.add_argument("--programs", type=int, default=40, help="random programs that are recorded")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    if min(args.each, args.models, args.programs) < 1:
        parser.error("--each, --models and --programs must be at least 1")
    start = time.monotonic()
    try:
        scores = mutate(args.preset, args.seed, args.each, models=args.models, programs=args.programs,
                        console=Console(stderr=True))
    except NothingToSay as error:
        print(f"mutation: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({"preset": args.preset, "seed": args.seed, "units": {one.unit: {
            "killed": one.killed, "survivors": [mutant.what for mutant in one.survivors]} for one in scores}}))
    else:
        report(args.preset, scores, Console())
        print(f"seed {args.seed}, {time.monotonic() - start:.0f} s")
    return int(any(one.share < BAR for one in scores))


if __name__ == "__main__":
    sys.exit(main())
