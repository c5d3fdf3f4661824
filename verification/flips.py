"""Bits that flip while a machine tells a text, with and without ECC: `python -m verification.flips --flips 1000`.

Each flip is one trial: a small model's text is told, in some cycle of it a bit of some state of the gateware is
inverted, and what the host gets is compared with golden's tokens and the compiler's cycles. A flip of the banks that
nobody read is then looked at by the host. With ECC every flip of the banks must be corrected, and two of a word be
detected; of all other states, which have no code, the campaign tells what happens.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from rtl.config import PRESETS, WITH_ECC
from verification.flips_trial import Campaign, Kind, Outcome, Result

MACHINES = tuple(f"{name}{code}" for code in ("", WITH_ECC) for name, cfg in PRESETS.items()
                 if not cfg.external_banks and not (code and cfg.single_port))
"""Whose banks are memories of the design itself."""
TOLD_FAILURES = 10


@dataclass(kw_only=True)
class Tally:
    """What came of the trials of a kind on a machine.

    Members
    -------
    outcomes : of the texts. replaced : of those that were masked, the words that the machine wrote anew. later : of
        those that were masked and not replaced, what the host read.
    broken : flips of banks with ECC that were not corrected or detected, in words, with the command that repeats them.
    """

    preset: str
    kind: Kind
    flips: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter[Outcome])
    replaced: int = 0
    later: Counter[Outcome] = field(default_factory=Counter[Outcome])
    broken: list[str] = field(default_factory=list[str])

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self) | {"outcomes": {way: self.outcomes[way] for way in Outcome},
                             "later": {way: self.later[way] for way in Outcome}}

    def add(self, result: Result, *, promised: bool, command: str) -> None:
        """One more; promised: the machine has ECC, and this is a flip of its banks."""
        self.flips += 1
        self.outcomes[result.outcome] += 1
        if result.outcome is Outcome.MASKED:
            self.replaced += result.replaced
            if result.later is not None:
                self.later[result.later] += 1
        if promised and not result.as_promised:
            told = f", read later: {result.later}" if result.later else ""
            self.broken.append(f"{command}: {result.outcome}{told}: {result.flip}")


def run(campaign: Campaign, kind: Kind, numbers: range, console: Console) -> Tally:
    """The trials of these numbers."""
    name = campaign.config.name
    tally, promised = Tally(preset=name, kind=kind), campaign.config.ecc and kind in (Kind.BANK, Kind.PAIR)
    for number in track(numbers, f"{name}, {kind}", console=console, disable=not console.is_terminal):
        command = (f"python -m verification.flips --preset {name} --kind {kind} --seed {campaign.seed} "
                   f"--first {number} --flips 1")
        tally.add(campaign.trial(kind, number), promised=promised, command=command)
    return tally


def report(tallies: Sequence[Tally], console: Console) -> None:
    """A line a kind of flip and machine, then what broke the promise."""
    table = Table("machine", "flipped", "flips", *Outcome, "of the masked: replaced", "corrected later",
                  "detected later", "wrong later", box=None, pad_edge=False)
    for one in tallies:
        later = [one.replaced, *(one.later[way] for way in (Outcome.CORRECTED, Outcome.DETECTED, Outcome.WRONG))]
        of_banks = one.kind in (Kind.BANK, Kind.PAIR)
        table.add_row(one.preset, one.kind, str(one.flips), *(str(one.outcomes[way]) for way in Outcome),
                      *(str(number) if of_banks else "" for number in later))
    console.print(table)
    for one in tallies:
        for words in one.broken[:TOLD_FAILURES]:
            console.print(words, style="red", highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit code 1 where a flip of banks with ECC was neither corrected nor detected."""
    parser = argparse.ArgumentParser(prog="python -m verification.flips",
                                     description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--flips", type=int, default=100, help="of each kind on each machine")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--seed", type=int, help="of the model and all flips; without, a new one")
    parser.add_argument("--preset", choices=MACHINES, action="append",
                        help=f"several are possible; without, tiny and tiny{WITH_ECC}")
    parser.add_argument("--kind", choices=tuple(map(str, Kind)), action="append", help="without, all")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    if args.flips < 1 or args.first < 0:
        parser.error("--flips must be at least 1, and --first not be below 0")
    seed = secrets.randbelow(1 << 30) if args.seed is None else args.seed
    console, tallies = Console(stderr=True), list[Tally]()
    for name in args.preset or ("tiny", f"tiny{WITH_ECC}"):
        with closing(Campaign(name, seed)) as campaign:
            tallies += [run(campaign, Kind(kind), range(args.first, args.first + args.flips), console)
                        for kind in args.kind or Kind]
    broken = sum(len(one.broken) for one in tallies)
    if args.json:
        print(json.dumps({"seed": seed, "flips": args.flips, "broken": broken,
                          "tallies": [one.plain() for one in tallies]}))
    else:
        report(tallies, Console())
        print(f"seed {seed}; {broken} flips of banks with ECC neither corrected nor detected")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
