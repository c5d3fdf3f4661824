"""`python -m verification.formal`: prove all properties, or some; exit code 1 where one does not hold."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import track
from rich.table import Table

from sim.toolchain import ToolMissing
from verification.formal import arithmetic, blocks, code, frames, line, sequencing
from verification.formal.prover import Proof, ProverFailed, prove

PROPERTIES = (*arithmetic.PROPERTIES, *blocks.PROPERTIES, *code.PROPERTIES, *sequencing.PROPERTIES, *line.PROPERTIES,
              *frames.PROPERTIES)
UNITS = tuple(dict.fromkeys(one.unit for one in PROPERTIES))


def report(proofs: Sequence[Proof], console: Console) -> None:
    """A line a property."""
    table = Table("unit", "property", "what it says", "verdict", "cycles", "seconds", box=None, pad_edge=False)
    for proof in proofs:
        one = proof.what
        table.add_row(one.unit, one.name, one.intent, f"[{'green' if proof.good else 'red'}]{proof.verdict.value}[/]",
                      str(one.depth) if one.bounded else "any", f"{proof.seconds:.0f}")
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit code 2 where the tools are missing."""
    parser = argparse.ArgumentParser(prog="python -m verification.formal",
                                     description="Prove properties of blocks for every operand and program.")
    parser.add_argument("--unit", choices=UNITS, action="append", help="several are possible; without, all")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    chosen = [one for one in PROPERTIES if args.unit is None or one.unit in args.unit]
    progress = Console(stderr=True)
    try:
        proofs = [prove(one) for one in track(chosen, "proving", console=progress, disable=not progress.is_terminal)]
    except (ToolMissing, ProverFailed) as error:
        print(f"formal: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps([{"unit": one.what.unit, "name": one.what.name, "intent": one.what.intent,
                           "verdict": one.verdict.value, "good": one.good, "seconds": round(one.seconds, 1),
                           "depth": one.what.depth if one.what.bounded else None} for one in proofs], indent=1))
    else:
        report(proofs, Console(width=None if sys.stdout.isatty() else 160))
        print(f"{len(proofs)} properties, {sum(not one.good for one in proofs)} not proved, "
              f"{sum(one.seconds for one in proofs):.0f} s")
    return int(not all(one.good for one in proofs))


if __name__ == "__main__":
    sys.exit(main())
