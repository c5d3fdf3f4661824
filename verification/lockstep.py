"""Random legal programs in lock step on the RTL and the cycle simulator: `python -m verification.lockstep --minutes 5`.

Each program (verification/legal_programs.py) runs for some tokens on both; after every token winners, cycles and the
memory that it writes must agree, into which it has moved registers, and in the end all memory that a host can read.
What differs is shrunk to a short program and printed with the command that repeats it. Exit code 1 if any differed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from compiler.image import Image
from compiler.image_file import write_atomically
from rtl.config import PRESETS, Config
from rtl.protocol import Space
from sim.cycle import CycleSimulator
from sim.cycle.program import IllegalProgram
from sim.rtl_device import RtlDevice
from verification.legal_machine import CACHE_ROWS, Machine, cache_rows
from verification.lockstep_points import control_points, known_points, points_of, result_points
from verification.lockstep_shrink import listing, shrink
from verification.lockstep_trial import Trial, refilled, trial_of
from verification.plan import all_points
from verification.random_configs import RANDOM, config_of

FILLINGS = 4
"""Contents of the memories that a program runs with: to make it takes four times as long as to run it."""

Make = Callable[[Image], CycleSimulator]


class Rtl(Protocol):
    """What is asked of the RTL; see `sim.rtl_device.RtlDevice`."""

    def step(self, tokens: Sequence[int], classify: bool, restart: Sequence[int] = ()) -> tuple[tuple[int, ...], int]:
        ...

    def read(self, space: Space, address: int, count: int) -> npt.NDArray[np.int8] | npt.NDArray[np.int16]:
        ...


Open = Callable[[Image], AbstractContextManager[Rtl]]


@dataclass(kw_only=True)
class Tally:
    """What ran on a machine.

    cut : programs that the simulator refused at some position, and that ended before it. impossible : that found no
    place for what every program needs. drawn, refused : words and loops, and those that no wait made legal. tight :
    that stand one cycle after one at which they were illegal.
    """

    preset: str
    config: Config
    programs: int = 0
    tokens: int = 0
    instructions: int = 0
    cut: int = 0
    impossible: int = 0
    drawn: int = 0
    refused: int = 0
    tight: int = 0
    failed: list[str] = field(default_factory=list[str])
    points: Counter[str] = field(default_factory=Counter[str])


def run(trial: Trial, tally: Tally | None = None, *, make: Make = CycleSimulator,
        open_rtl: Open = RtlDevice) -> str | None:
    """What differs, in words; None if nothing does. Raises IllegalProgram where the first token is refused.

    make, open_rtl : another simulator, another machine: those with a seeded bug.
    """
    simulator, image = make(trial.image), trial.image
    with open_rtl(image) as rtl:
        for number, one in enumerate(trial.script):
            try:
                expected = simulator.advance(one.tokens, classify=one.classify, restart=one.restart)
            except IllegalProgram:
                if not number:
                    raise
                if tally:
                    tally.cut += 1
                simulator = make(image)  # the one that stopped did so within the token
                for earlier in trial.script[:number]:
                    simulator.advance(earlier.tokens, classify=earlier.classify, restart=earlier.restart)
                break
            found = rtl.step(one.tokens, one.classify, one.restart)
            if found != tuple(expected):
                return f"token {number}: winners and cycles {tuple(expected)} in the simulator, {found} in the RTL"
            if tally and simulator.worked:
                timeline, plan = simulator.worked
                tally.tokens += 1
                tally.instructions += sum(map(len, timeline.runs.values()))
                points_of(image, timeline, simulator.positions, tally.points)
                result_points(plan, tally.points)
            if (difference := _memories(trial.made, simulator, rtl, whole=False)) is not None:
                return f"token {number}: {difference}"
        return _memories(trial.made, simulator, rtl, whole=True)


def _memories(made: Machine, simulator: CycleSimulator, rtl: Rtl, *, whole: bool) -> str | None:
    """What differs of the memories that a host can read. whole : also where the program should not write."""
    cfg, state = made.image.config, simulator.state
    rows = range(cfg.vector_rows) if whole else made.memory
    vectors = range(cfg.act_vectors) if whole else made.vectors
    caches = range(made.caches, min(cfg.bank_rows, made.caches + cache_rows(cfg, made.image.context)))
    pairs: list[tuple[str, int, Any, Any]] = [
        ("vector memory row", rows.start, state.memory[rows],
         rtl.read(Space.VECTOR, rows.start * cfg.lanes, len(rows) * cfg.lanes).reshape(-1, cfg.lanes)),
        ("activation vector", vectors.start, state.vectors[vectors],
         rtl.read(Space.ACT, vectors.start * cfg.lanes, len(vectors) * cfg.lanes).reshape(-1, cfg.lanes)),
        *(("bank row", part.start, state.banks[:, part].transpose(1, 0, 2),
           rtl.read(Space.BANK, part.start * cfg.lanes, len(part) * cfg.lanes).reshape(-1, cfg.lanes, cfg.taps))
          for part in ((range(made.weights), caches) if whole else (caches[:CACHE_ROWS],)))]
    for what, first, expected, found in pairs:
        wrong = np.flatnonzero((expected != found).reshape(len(found), -1).any(axis=1))
        if len(wrong):
            row = int(wrong[0])
            return f"{what} {first + row}: {expected[row].tolist()} in the simulator, {found[row].tolist()} in the RTL"
    return None


# -------------------------------------------------------------------------------------------------------------- command


def attempt(name: str, seed: int, number: int, tally: Tally) -> None:
    """Make a program and run it with several fillings of the memories, into the tally."""
    try:
        trial, maker = trial_of(name, seed, number)
        difference = run(trial, tally)
    except IllegalProgram:
        tally.impossible += 1
        return
    for filling in range(1, FILLINGS):
        if difference is None:
            try:
                other = refilled(trial, random.Random(f"{seed}-{name}-{number}-{filling}"))
                difference, trial = run(other, tally), other
            except IllegalProgram:  # a token that the program was not made for
                tally.cut += 1
    tally.programs += 1
    tally.tight += maker.tight
    tally.drawn += maker.drawn
    tally.refused += maker.refused
    tally.points.update({f"tight {reason}": times for reason, times in maker.reasons.items()})
    control_points(maker.insns, tally.points)
    if difference is not None:
        def differs(other: Trial) -> bool:
            try:
                return run(other) is not None
            except IllegalProgram:
                return False
        small = shrink(trial, differs)
        command = f"python -m verification.lockstep --preset {name} --seed {seed} --first {number} --programs 1"
        tally.failed.append(f"{command}\n{difference}\nshrunk: {run(small)}\n{listing(small)}")


def lockstep(names: Sequence[str], seed: int, first: int, *, programs: int | None, minutes: float,
             progress: Progress) -> list[Tally]:
    """Programs of the presets in turn, so many each or for so long."""
    tallies, start, number = [Tally(preset=name, config=config_of(name)) for name in names], time.monotonic(), first
    task = progress.add_task("programs", total=None if programs is None else programs * len(names))
    while programs is None or number < first + programs:
        for tally in tallies:
            attempt(tally.preset, seed, number, tally)
            progress.update(task, advance=1, description=f"{sum(one.instructions for one in tallies)} instructions")
            if programs is None and time.monotonic() - start > 60 * minutes:
                return tallies
        number += 1
    return tallies


def report(tallies: Sequence[Tally], console: Console) -> None:
    """A line a preset; failures; and what no program has reached."""
    counts = ("programs", "tokens", "instructions", "drawn", "refused", "tight", "cut", "impossible")
    table = Table("machine", *counts, "wrong", box=None, pad_edge=False)
    for one in tallies:
        table.add_row(one.preset, *(str(getattr(one, count)) for count in counts), str(len(one.failed)))
    console.print(table)
    for one in tallies:
        for text in one.failed:
            console.print(text, style="red", highlight=False, markup=False, soft_wrap=True)
    reached = sum((one.points for one in tallies), Counter[str]())
    known = dict.fromkeys(point for one in tallies for point in known_points(one.config))
    for what, points in (("the plan", all_points()), ("corners", list(known))):
        missing = [point for point in points if not reached[point]]
        told = f"; not reached: {', '.join(missing)}" if missing else ""
        console.print(f"{what}: {len(points) - len(missing)} of {len(points)} points reached{told}", highlight=False,
                      soft_wrap=True)


def _name(text: str) -> str:
    try:
        config_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit code 1 where anything differed, or no program could be made."""
    parser = argparse.ArgumentParser(prog="python -m verification.lockstep",
                                     description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", type=_name, action="append",
                        help=f"{', '.join(PRESETS)}, or {RANDOM}N, a machine of random sizes; several are possible; "
                             "without, all presets")
    parser.add_argument("--configs", type=int, default=0, help="also so many machines of random sizes, from the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first program")
    parser.add_argument("--programs", type=int, help="of each preset; without, as many as there is time for")
    parser.add_argument("--minutes", type=float, default=1, help="where --programs is not given")
    parser.add_argument("--coverage", type=Path, help="JSON file for how often each point was reached")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    if args.minutes <= 0 or (args.programs is not None and args.programs < 1):
        parser.error("--minutes and --programs must be more than 0")
    start, console = time.monotonic(), Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        names = args.preset or ([] if args.configs else list(PRESETS))
        names += [f"{RANDOM}{args.seed * 1000 + number}" for number in range(args.configs)]
        tallies = lockstep(names, args.seed, args.first, programs=args.programs,
                           minutes=args.minutes, progress=progress)
    points = sum((one.points for one in tallies), Counter[str]())
    if args.coverage:
        write_atomically(args.coverage, json.dumps({"seed": args.seed, "points": points}, indent=1).encode())
    wrong, instructions = sum(len(one.failed) for one in tallies), sum(one.instructions for one in tallies)
    if args.json:
        print(json.dumps({"seed": args.seed, "first": args.first, "instructions": instructions, "wrong": wrong,
                          "presets": [{**vars(one), "config": repr(one.config)} for one in tallies]}))
    else:
        report(tallies, Console())
        print(f"seed {args.seed}: {instructions} instructions, {wrong} programs differ; "
              f"{time.monotonic() - start:.0f} s")
    ran = any(one.programs for one in tallies)
    if not ran:
        impossible = sum(one.impossible for one in tallies)
        print(f"lockstep: nothing ran: {impossible} programs were impossible", file=sys.stderr)
    return int(wrong > 0 or not ran)


if __name__ == "__main__":
    sys.exit(main())
