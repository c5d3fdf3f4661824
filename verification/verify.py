"""Everything that is proved, swept and fuzzed, on a budget of time: `make verify MINUTES=10`.

Each check is a row of commands that can be repeated by hand. Those with an end (a proof a preset, a netlist a family)
run through once, if there is time; those without (random models, programs, inputs, faults) go on with a new seed each
time until their share of the budget is used up. What one check leaves over goes to those after it, and the command in
progress is always finished.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.table import Table

from compiler.image_file import write_atomically
from fpga.board import board_names
from rtl.config import PRESETS
from verification.formal.__main__ import UNITS
from verification.fuzz.targets import TARGETS
from verification.independence import MACHINES

REPORT = Path(__file__).parents[1] / "build" / "verify.json"
LIMIT_S = 900
"""A command that takes longer hangs."""

FUZZED = 500
"""Inputs of each target in one command."""

FLIPS = 50
"""Of each kind on each machine in one command."""

TOLD_LINES = 20
"""Of the output of a command that failed."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A row of commands.

    Members
    -------
    unit: what is counted, so many in each command. share: of the budget. commands: arguments of Python, from a seed.
    whole: how many commands there are, None if they never end.
    """

    name: str
    unit: str
    each: int
    share: int
    commands: Callable[[int], Iterator[list[str]]]
    whole: int | None = None


def proofs(seed: int) -> Iterator[list[str]]:
    return (["-m", "verification.independence", "--preset", name] for name in MACHINES)


def properties(seed: int) -> Iterator[list[str]]:
    return (["-m", "verification.formal", "--unit", unit] for unit in UNITS)


def netlists(seed: int) -> Iterator[list[str]]:
    return (["-m", "fpga.cli", "gates", family, "--tokens", "2"] for family in ("ice40", "ecp5", "gowin"))


def boards(seed: int) -> Iterator[list[str]]:
    return (["-m", "fpga.cli", "synth", name] for name in board_names())


def endless(module: str, option: str, each: int, *more: str) -> Callable[[int], Iterator[list[str]]]:
    """One command after another, each with a seed of its own."""
    def commands(seed: int) -> Iterator[list[str]]:
        return (["-m", module, option, str(each), "--seed", str(seed + number), *more] for number in count())
    return commands


CHECKS = (
    Check(name="timing is independent of data", unit="machines proved", each=1, share=2, commands=proofs,
          whole=len(MACHINES)),
    Check(name="properties of blocks", unit="units proved", each=1, share=3, commands=properties,
          whole=len(UNITS)),
    Check(name="netlists run as golden", unit="families", each=1, share=2, commands=netlists, whole=3),
    Check(name="boards have the memories and sites that we think", unit="boards", each=1, share=2, commands=boards,
          whole=len(board_names())),
    Check(name="random models", unit="models", each=1, share=3, commands=endless("verification.sweep", "--rounds", 1)),
    Check(name="random programs", unit="programs", each=len(PRESETS), share=3,
          commands=endless("verification.lockstep", "--programs", 1)),
    Check(name="machines of random sizes", unit="machines", each=1, share=2,
          commands=endless("verification.lockstep", "--configs", 1, "--programs", "4")),
    Check(name="bits that flip", unit="flips of each kind, with and without ECC", each=FLIPS, share=1,
          commands=endless("verification.flips", "--flips", FLIPS)),
    Check(name="faults on the line", unit="faults", each=25, share=1,
          commands=endless("fpga.link.soak", "--faults", 25)),
    Check(name="hostile input", unit="inputs", each=FUZZED * len(TARGETS), share=2,
          commands=endless("verification.fuzz", "--inputs", FUZZED)))


@dataclass(kw_only=True)
class Result:
    """What a check did. failed: commands that did not end well, with the end of what they said."""

    check: str
    unit: str
    whole: int | None
    commands: int = 0
    done: int = 0
    seconds: float = 0.0
    failed: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def run(check: Check, seed: int, budget_s: float) -> Result:
    """The commands of a check until the budget is used up; at least one."""
    result, start = Result(check=check.name, unit=check.unit, whole=check.whole), time.monotonic()
    for arguments in check.commands(seed):
        code, output = call([sys.executable, *arguments])
        result.commands += 1
        if code:
            last = "\n".join(output.splitlines()[-TOLD_LINES:])
            result.failed.append((" ".join(["python", *arguments]), f"exit code {code}\n{last}"))
        else:
            result.done += check.each
        result.seconds = time.monotonic() - start
        if result.seconds >= budget_s:
            break
    return result


def call(command: Sequence[str]) -> tuple[int, str]:
    """Exit code and all output; a command that hangs is killed, and has failed."""
    try:
        found = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return -1, f"killed after {LIMIT_S} s"
    return found.returncode, found.stdout + found.stderr


def verify(checks: Sequence[Check], seed: int, minutes: float, console: Console) -> list[Result]:
    """All checks, one after another."""
    start, results = time.monotonic(), list[Result]()
    for number, check in enumerate(checks):
        left = minutes * 60 - (time.monotonic() - start)
        budget = left * check.share / sum(one.share for one in checks[number:])
        if console.is_terminal:
            console.print(f"{check.name}, for {max(0, budget):.0f} s", highlight=False)
        results.append(run(check, seed, budget))
    return results


def report(results: Sequence[Result], console: Console) -> None:
    """A line a check, then what failed with the command that repeats it."""
    table = Table("check", "done", "", "seconds", "failed", box=None, pad_edge=False)
    for one in results:
        of = f" of {one.whole}" if one.whole is not None else ""
        table.add_row(one.check, f"{one.done}{of}", one.unit, f"{one.seconds:.0f}",
                      f"[red]{len(one.failed)}[/]" if one.failed else "0")
    console.print(table)
    for one in results:
        for command, said in one.failed:
            console.print(f"{one.check}: {command}", style="red", highlight=False, soft_wrap=True)
            console.print(said, highlight=False, markup=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit code 1 where a check failed."""
    parser = argparse.ArgumentParser(prog="python -m verification.verify",
                                     description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="for all checks together")
    parser.add_argument("--seed", type=int, help="of all that is random; without, a new one")
    parser.add_argument("--check", action="append", choices=[check.name for check in CHECKS],
                        help="several are possible; without, all")
    parser.add_argument("--report", type=Path, default=REPORT, help="JSON file to write")
    parser.add_argument("--json", action="store_true", help="print the report instead of a table")
    args = parser.parse_args(arguments)
    if args.minutes <= 0:
        parser.error(f"--minutes {args.minutes:g}: expected more than 0")
    seed = secrets.randbelow(1 << 30) if args.seed is None else args.seed
    checks = [check for check in CHECKS if args.check is None or check.name in args.check]
    console = Console(stderr=True)
    results = verify(checks, seed, args.minutes, console)
    document = json.dumps({"seed": seed, "minutes": args.minutes, "checks": [asdict(one) for one in results]}, indent=1)
    args.report.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.report, document.encode())
    if args.json:
        print(document)
    else:
        report(results, Console())
        print(f"seed {seed}; report in {args.report}")
    return int(any(one.failed for one in results))


if __name__ == "__main__":
    sys.exit(main())
