"""Code coverage of the gateware: `python -m verification.coverage --preset tiny`.

Runs models, random programs and the host's tests on machines that count what they reach (`OPENLPU_COVERAGE`, see
sim/verilate.py), merges what they leave, and says what nothing reached. All that runs compares with golden or the cycle
simulator, so that a point that counts was also checked. Exit code 1 where a run failed, where a share is below the bar,
or where a hole of line, branch or expression is not explained.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from compiler.errors import InputError
from compiler.image_file import write_atomically
from rtl.config import PRESETS, preset
from rtl.verilog import generate
from sim.cxx import fold_memory_rows
from sim.verilate import COVERAGE_VARIABLE, cached_verilog
from verification.coverage_page import page
from verification.coverage_points import (
    KINDS,
    Explanation,
    Measured,
    Point,
    load_explanations,
    read_counts,
    share,
    stale,
)

BAR = 0.98
BARRED = ("line", "branch", "expr")
EMPTY = "if (\\$auto$verilog_backend"
"""Yosys writes this, with nothing to do, into each block, for simulators that would not run it at the start."""
TOLD = 20
"""Holes that are printed; all are in the page."""


def work(name: str, seed: int, models: int, programs: int) -> Iterator[list[str]]:
    """What a preset's machine is made to do: arguments of Python."""
    for number in range(models):
        yield ["-m", "verification.sweep", "--rounds", "1", "--first", str(number), "--seed", str(seed),
               "--preset", name, "--devices", "golden,rtl"]
    yield ["-m", "verification.lockstep", "--preset", name, "--programs", str(programs), "--seed", str(seed)]
    for test in ("tests/rtl/test_host.py", *(["tests/sim/test_top_k.py"] if preset(name).top_k else [])):
        yield ["-m", "pytest", "-q", "-p", "no:cacheprovider", test, "-k", name]


def design_of(name: str) -> str:
    """The preset's Verilog as Verilator reads it."""
    cfg = preset(name)
    return fold_memory_rows(cached_verilog(lambda: generate(cfg), facts=repr(cfg)))


def collect(folder: Path, name: str, counts: Counter[Point]) -> None:
    """Adds what runs have left of a preset's design, and removes all that they have left."""
    wanted = design_of(name)
    empty = {number for number, text in enumerate(wanted.splitlines(), 1) if EMPTY in text}
    for design in folder.glob("*.v"):
        same = design.read_text() == wanted
        for path in folder.glob(f"{design.stem}-*.dat"):
            if same:
                for point, count in read_counts(path).items():
                    if point.line not in empty:
                        counts[point] += count
            path.unlink()


def measure(name: str, seed: int, models: int, programs: int, console: Console) -> tuple[Measured, list[str]]:
    """Runs the work of a preset; also the commands that failed, with the end of what they said."""
    counts, failed, commands = Counter[Point](), list[str](), list(work(name, seed, models, programs))
    with tempfile.TemporaryDirectory(prefix="openlpu-coverage-") as place:
        for arguments in track(commands, name, console=console, disable=not console.is_terminal):
            found = subprocess.run(
                [sys.executable, *arguments], env={**os.environ, COVERAGE_VARIABLE: place}, text=True, errors="replace",
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            if found.returncode:
                said = "\n".join(found.stdout.splitlines()[-TOLD:])
                failed.append(f"python {' '.join(arguments)}: exit code {found.returncode}\n{said}")
            collect(Path(place), name, counts)
    return Measured(preset=name, verilog=design_of(name).splitlines(), counts=counts), failed


def report(measured: Sequence[Measured], explanations: Sequence[Explanation], console: Console) -> None:
    """A line a module and kind, the totals, then holes that nobody has explained."""
    for one in measured:
        table = Table(one.preset, *KINDS, box=None, pad_edge=False)
        for module, kinds in one.table().items():
            table.add_row(module, *(share(*kinds[kind]) for kind in KINDS))
        table.add_row("all", *(share(*one.total(kind)) for kind in KINDS), style="bold")
        console.print(table)
        holes = one.unexplained(BARRED, explanations)
        for point in holes[:TOLD]:
            place = f"{one.preset} {point.module} line {point.line}"
            console.print(f"{place}: {point.kind} {point.what}: {one.code(point)}", style="red", highlight=False,
                          markup=False, soft_wrap=True)
        console.print(f"{one.preset}: {len(one.holes(BARRED))} holes of {', '.join(BARRED)}, {len(holes)} of them not "
                      "explained\n")
    for explanation in stale(explanations, measured):
        console.print(f"no hole any more: {explanation.module} {explanation.code}", style="yellow", markup=False)


def summary(one: Measured, explanations: Sequence[Explanation]) -> dict[str, object]:
    """For programs: totals, modules, and all holes of line, branch and expression."""
    return {"preset": one.preset, "total": {kind: one.total(kind) for kind in KINDS}, "modules": one.table(),
            "holes": [{**asdict(point), "code": one.code(point)} for point in one.holes(BARRED)],
            "unexplained": len(one.unexplained(BARRED, explanations))}


def below(one: Measured) -> list[str]:
    """Kinds of which less is reached than the bar asks."""
    return [kind for kind in BARRED if one.total(kind)[0] < BAR * one.total(kind)[1]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit code 1 as said above, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m verification.coverage",
                                     description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", choices=tuple(PRESETS), action="append", help="several are possible; without, all")
    parser.add_argument("--models", type=int, default=12, help="random models for each")
    parser.add_argument("--programs", type=int, default=60, help="random programs for each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--html", type=Path, help="write a page with every hole and its code")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    if min(args.models, args.programs) < 1:
        parser.error("--models and --programs must be at least 1")
    start, console = time.monotonic(), Console(stderr=True)
    try:
        explanations = load_explanations()
    except InputError as error:
        print(f"coverage: {error}", file=sys.stderr)
        return 2
    made = [measure(name, args.seed, args.models, args.programs, console) for name in args.preset or PRESETS]
    measured, failed = [one for one, _ in made], [text for _, texts in made for text in texts]
    if args.html:
        write_atomically(args.html, page(measured, explanations).encode())
    if args.json:
        print(json.dumps({"seed": args.seed, "models": args.models, "programs": args.programs, "failed": failed,
                          "presets": [summary(one, explanations) for one in measured]}))
    else:
        report(measured, explanations, Console())
        print(f"seed {args.seed}, {time.monotonic() - start:.0f} s")
    for text in failed:
        print(text, file=sys.stderr)
    return int(bool(failed) or any(below(one) or one.unexplained(BARRED, explanations) for one in measured))


if __name__ == "__main__":
    sys.exit(main())
