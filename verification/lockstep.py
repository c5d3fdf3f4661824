"""Random legal programs in lock step on the RTL and the cycle simulator: `python -m verification.lockstep --minutes 5`.

Each program (verification/legal_programs.py) runs for some tokens on both; winners and cycles must agree after every
token, and in the end all memory that a host can read, into which the program has moved registers. What differs is
shrunk to a short program and printed with the command that repeats it. Exit code 1 if anything differed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
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
from rtl.isa import QUEUES, SCALAR, VECTOR, Insn, Op, Queue, disassemble, encode
from rtl.protocol import Space
from sim.cycle import CycleSimulator
from sim.cycle.program import IllegalProgram
from sim.rtl_device import RtlDevice
from verification.legal_machine import Machine, cache_rows, machine
from verification.legal_programs import Maker, insns_of
from verification.lockstep_points import control_points, known_points, points_of, result_points
from verification.plan import all_points
from verification.random_configs import RANDOM, config_of

KEPT = ("wait", "wait_value", "end_inner", "end_outer")
"""What is left of a word that is made into a NOP."""
LONG = 0.1
"""Share of programs that run on to further positions."""
Make = Callable[[Image], CycleSimulator]


class Rtl(Protocol):
    """What is asked of the RTL; see `sim.rtl_device.RtlDevice`."""

    def step(self, tokens: Sequence[int], classify: bool, restart: Sequence[int] = ()) -> tuple[tuple[int, ...], int]:
        ...

    def read(self, space: Space, address: int, count: int) -> npt.NDArray[np.int8] | npt.NDArray[np.int16]:
        ...


Open = Callable[[Image], AbstractContextManager[Rtl]]


@dataclass(frozen=True, kw_only=True)
class Token:
    """What is asked for: a token of each sequence. restart : sequences that begin anew."""

    tokens: tuple[int, ...]
    classify: bool
    restart: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A program and its tokens. weights, caches : bank rows that are loaded, and the first of K and V stores."""

    image: Image
    script: tuple[Token, ...]
    weights: int
    caches: int


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


def trial_of(name: str, seed: int, number: int) -> tuple[Trial, Maker]:
    """A program of the machine, a preset or `random-N`. Raises IllegalProgram where the random words leave no place for
    what it needs."""
    rng = random.Random(f"{seed}-{name}-{number}")
    made = machine(config_of(name), rng)
    maker = Maker(made, rng)
    image = maker.program()
    return Trial(image=image, script=tuple(script(made, rng)), weights=made.weights, caches=made.caches), maker


def script(made: Machine, rng: random.Random) -> Iterator[Token]:
    """Tokens up to a corner of the positions: the first two, around a row of lanes or taps, the end of the context."""
    cfg = made.image.config
    last = rng.choice((1, 2, cfg.lanes - 1, cfg.lanes, cfg.lanes + 1, cfg.taps + 1))
    if rng.random() < LONG:
        last = rng.choice((cfg.bucket_positions + 1, made.image.context - 1))
    for _ in range(min(last, made.image.context - 1, 300) + 1):
        restart = tuple(s for s in range(cfg.sequences) if rng.random() < 0.05) if cfg.sequences > 1 else ()
        tokens = tuple(rng.choice((rng.randrange(made.tokens), 0, made.tokens - 1)) for _ in range(cfg.sequences))
        yield Token(tokens=tokens, classify=rng.random() < 0.7, restart=restart)


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
            if tally:
                timeline = simulator.timeline(max(simulator.positions) - 1, classify=one.classify)
                tally.tokens += 1
                tally.instructions += sum(map(len, timeline.runs.values()))
                points_of(image, timeline, simulator.positions, tally.points)
                result_points(simulator.worked, tally.points)
        return _memories(trial, simulator, rtl)


def _memories(trial: Trial, simulator: CycleSimulator, rtl: Rtl) -> str | None:
    cfg, state = trial.image.config, simulator.state
    parts = [range(trial.weights), range(trial.caches, min(cfg.bank_rows, trial.caches + cache_rows(trial.image)))]
    pairs: list[tuple[str, int, Any, Any]] = [
        ("vector memory row", 0, state.memory,
         rtl.read(Space.VECTOR, 0, cfg.vector_rows * cfg.lanes).reshape(-1, cfg.lanes)),
        ("activation row", 0, state.act.reshape(-1, cfg.act_width),
         rtl.read(Space.ACT, 0, cfg.act_rows * cfg.act_width).reshape(-1, cfg.act_width)),
        *(("bank row", rows.start, state.banks[:, rows].transpose(1, 0, 2),
           rtl.read(Space.BANK, rows.start * cfg.lanes, len(rows) * cfg.lanes).reshape(-1, cfg.lanes, cfg.taps))
          for rows in parts)]
    for what, first, expected, found in pairs:
        wrong = np.flatnonzero((expected != found).reshape(len(found), -1).any(axis=1))
        if len(wrong):
            row = int(wrong[0])
            return f"{what} {first + row}: {expected[row].tolist()} in the simulator, {found[row].tolist()} in the RTL"
    return None


# ------------------------------------------------------------------------------------------------------------ shrinking


BLOCKS = (16, 8, 4, 2, 1, 1, 1)
"""Words that are taken out together, at first many; the last first, because others read what they write."""


def shrink(trial: Trial, differs: Callable[[Trial], bool]) -> Trial:
    """A smaller trial that differs too: fewer tokens, words that do nothing, fields that are 0."""
    for count in range(1, len(trial.script)):
        shorter = replace(trial, script=trial.script[:count])
        if differs(shorter):
            trial = shorter
            break
    for size in BLOCKS:
        for queue in reversed(QUEUES):
            for start in reversed(range(0, len(trial.image.programs[queue.name]), size)):
                trial = _if(differs, trial, _without(trial, queue, range(start, start + size)))
    for queue in QUEUES:
        for index, word in enumerate(insns_of(trial.image)[queue.name]):
            for name in word.fields:
                if name not in ("op", "wait") and word["op"] is Op.RUN and word.number(name):
                    trial = _if(differs, trial, _zeroed(trial, queue, index, name))
    return trial


def _if(differs: Callable[[Trial], bool], trial: Trial, smaller: Trial) -> Trial:
    """The smaller one if it still differs, and is smaller."""
    return smaller if smaller.image.programs != trial.image.programs and differs(smaller) else trial


def _without(trial: Trial, queue: Queue, indices: range) -> Trial:
    """Words made into NOPs that wait as long; words that end a queue stay."""
    words = insns_of(trial.image)[queue.name]
    for index in indices:
        if index < len(words) and words[index]["op"] in (Op.RUN, Op.LOOP_INNER, Op.LOOP_OUTER):
            kept = {name: value for name, value in words[index].fields.items() if name in KEPT}
            most = (1 << queue.by_name["wait"].bits(trial.image.config)) - 1
            wait = min(most, words[index].number("wait") + _cycles(trial.image.config, words[index]) - 1)
            words[index] = Insn(queue, {**kept, "wait": wait})
    return _with(trial, queue, words)


def _cycles(cfg: Config, word: Insn) -> int:
    """That a word takes, without what dynamic values add."""
    if word["op"] is not Op.RUN or word.queue is SCALAR:
        return 1
    if word.queue is VECTOR:
        return word.number("repeat") * (word.number("pace") + 1) + cfg.beats
    return (word.number("repeat") + 1) * (word.number("outer") + 1)


def _zeroed(trial: Trial, queue: Queue, index: int, name: str) -> Trial:
    words = insns_of(trial.image)[queue.name]
    rest = {other: value for other, value in words[index].fields.items() if other != name}
    return _with(trial, queue, [*words[:index], Insn(queue, rest), *words[index + 1:]])


def _with(trial: Trial, queue: Queue, words: Sequence[Insn]) -> Trial:
    encoded = [encode(trial.image.config, word) for word in words]
    return replace(trial, image=replace(trial.image, programs={**trial.image.programs, queue.name: encoded}))


def listing(trial: Trial) -> str:
    """The program and its tokens for people; what does nothing is left out."""
    lines: list[str] = []
    for queue, words in insns_of(trial.image).items():
        lines += [f"{queue} {index:3}: {disassemble(word)}" for index, word in enumerate(words)
                  if word["op"] is not Op.NOP or word.number("wait")]
    return "\n".join([*lines, *(str(one) for one in trial.script)])


# -------------------------------------------------------------------------------------------------------------- command


def attempt(name: str, seed: int, number: int, tally: Tally, *, make: Make = CycleSimulator,
            open_rtl: Open = RtlDevice) -> None:
    """Make and run one program, into the tally."""
    try:
        trial, maker = trial_of(name, seed, number)
        difference = run(trial, tally, make=make, open_rtl=open_rtl)
    except IllegalProgram:
        tally.impossible += 1
        return
    tally.programs += 1
    tally.tight += maker.tight
    tally.drawn += maker.drawn
    tally.refused += maker.refused
    tally.points.update({f"tight {reason}": times for reason, times in maker.reasons.items()})
    control_points(maker.insns, tally.points)
    if difference is not None:
        def differs(other: Trial) -> bool:
            try:
                return run(other, make=make, open_rtl=open_rtl) is not None
            except IllegalProgram:
                return False
        small = shrink(trial, differs)
        told = run(small, make=make, open_rtl=open_rtl)
        command = f"python -m verification.lockstep --preset {name} --seed {seed} --first {number} --programs 1"
        tally.failed.append(f"{command}\n{difference}\nshrunk: {told}\n{listing(small)}")


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
    """Command line; exit code 1 where anything differed."""
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
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
