"""Fuzz what reads input from outside; every finding is printed with the command that repeats it.

Exit code 1 where there is a finding.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from verification.fuzz.guard import BATCH, Finding, fuzz
from verification.fuzz.target import Target, case_input, put
from verification.fuzz.targets import TARGETS


@dataclass(kw_only=True)
class Outcome:
    """What came of a target. findings: the first of each kind and place, with how often each came."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    findings: dict[tuple[str, str, str], tuple[Finding, int]] = field(default_factory=dict)

    def add(self, found: Sequence[Finding]) -> None:
        for one in found:
            first, count = self.findings.get(one.key, (one, 0))
            self.findings[one.key] = first, count + 1


def run(targets: Sequence[Target], seed: int, inputs: int | None, minutes: float | None,
        console: Console) -> list[Outcome]:
    """All targets, each with so many inputs, or for its share of so many minutes."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # workers are forked
    outcomes: list[Outcome] = []
    with Progress(console=console, disable=not console.is_terminal) as progress:
        for target in targets:
            made = Outcome(target=target.name)
            outcomes.append(made)
            task = progress.add_task(target.name, total=inputs)
            start, end = time.monotonic(), None if minutes is None else time.monotonic() + 60 * minutes / len(targets)
            seeds = target.seeds()
            for _, found in fuzz(target, seeds, seed, range(-len(seeds), 0)):
                made.add(found)
            while (inputs is None or made.inputs < inputs) and (end is None or time.monotonic() < end):
                batch = min(BATCH, BATCH if inputs is None else inputs - made.inputs)
                for done, found in fuzz(target, seeds, seed, range(made.inputs, made.inputs + batch)):
                    made.inputs += done
                    made.add(found)
                    progress.update(task, completed=made.inputs)
            made.seconds = time.monotonic() - start
    return outcomes


def repeat(target: Target, seed: int, case: int) -> None:
    """One case without the guard: whatever it raises is seen whole. Its files are kept."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{target.name}-"))
    put(case_input(target, target.seeds(), seed, case), folder)
    print(f"files in {folder}", flush=True)
    try:
        target.read(folder)
        print("taken")
    except target.refusals as error:
        print(f"refused: {error}")


def report(outcomes: Sequence[Outcome], console: Console) -> None:
    """A line a target, and the findings."""
    table = Table("target", "inputs", "seconds", "inputs/s", "findings", box=None, pad_edge=False)
    for one in outcomes:
        table.add_row(one.target, str(one.inputs), f"{one.seconds:.1f}", f"{one.inputs / max(one.seconds, 1e-9):.0f}",
                      f"[red]{len(one.findings)}[/]" if one.findings else "0")
    console.print(table)
    for one in outcomes:
        for finding, count in one.findings.values():
            said = finding.said.encode("unicode_escape").decode()
            console.print(f"[red]{one.target}[/]: {escape(finding.kind)} at {escape(finding.place)}, {count} times: "
                          f"{escape(said)}\n    {finding.repeat}", highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit code 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m verification.fuzz",
                                     description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="several are possible; without, all")
    parser.add_argument("--inputs", type=int, help="of each target; 1000, unless --minutes says how long")
    parser.add_argument("--minutes", type=float, help="for all targets together")
    parser.add_argument("--seed", type=int, help="of all that is random; without, a new one")
    parser.add_argument("--case", type=int, help="run only this input of a --target and --seed, without a guard")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    args = parser.parse_args(arguments)
    targets = [TARGETS[name] for name in args.target or TARGETS]
    if args.case is not None:
        if len(targets) != 1 or args.seed is None:
            parser.error("--case needs one --target and the --seed")
        repeat(targets[0], args.seed, args.case)
        return 0
    if (args.inputs is not None and args.inputs < 1) or (args.minutes is not None and args.minutes <= 0):
        parser.error("--inputs and --minutes must be more than 0")
    inputs = 1000 if args.inputs is None and args.minutes is None else args.inputs
    seed = secrets.randbelow(1 << 30) if args.seed is None else args.seed
    console = Console(stderr=True)
    if console.is_terminal:
        console.print(f"seed {seed}", highlight=False)
    outcomes = run(targets, seed, inputs, args.minutes, console)
    if args.json:
        print(json.dumps({"seed": seed, "targets": [
            {"target": one.target, "inputs": one.inputs, "seconds": one.seconds, "findings": [
                {**asdict(finding), "count": count, "repeat": finding.repeat}
                for finding, count in one.findings.values()]} for one in outcomes]}, indent=1))
    else:
        report(outcomes, Console())
        print(f"seed {seed}")
    return int(any(one.findings for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
