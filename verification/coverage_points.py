"""Points of code coverage: what Verilator counts in a design, merged over runs, and the holes that are explained.

Verilator counts, in each instance of each module: lines and branches (both sides of every `if` and `?:`, every case),
expressions (each way in which a condition's parts can make it true or false), toggles (each bit, up and down). A hole
is a point that nothing reached. `verification/coverage_holes.toml` says of holes why nothing can reach them.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import InputError
from verification.explanations import load

HOLES = Path(__file__).with_name("coverage_holes.toml")
KINDS = ("line", "branch", "expr", "toggle")
TOP = "openlpu"


@dataclass(frozen=True, kw_only=True, order=True)
class Point:
    """Something that can be reached.

    Members
    -------
    kind : one of KINDS. module : the instance, as the design's hierarchy names it, without the top.
    line : of the Verilog, from 1. what : which of the line's points it is, in Verilator's words.
    """

    module: str
    line: int
    kind: str
    what: str


@functools.cache
def _point(key: str) -> Point:
    """The point that a line of Verilator's file is about; each run's file has the same ones."""
    parts = dict(part.split("\x02", 1) for part in key.split("\x01") if part)
    module = parts["h"].replace("__05F", "_").partition(f".{TOP}")[2].lstrip(".")
    kind = parts["page"].partition("/")[0].removeprefix("v_")
    what = parts["o"].replace("__05F", "_")
    return Point(module=module, line=int(parts["l"]), kind=kind, what=f"{what} at {parts['n']}")


def read_counts(path: Path) -> Counter[Point]:
    """How often each point was reached in one run. Raises InputError where Verilator did not write the file."""
    found = Counter[Point]()
    try:
        for text in path.read_text(encoding="latin-1").splitlines()[1:]:
            key, count = text.removeprefix("C '").rsplit("' ", 1)
            found[_point(key)] += int(count)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: no coverage of a Verilated design: {error!r}") from None
    return found


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why some holes are none to fill.

    Members
    -------
    presets : whose designs have it, empty for all. kinds : of points. module, code, what : what the instance's name,
    the line of Verilog and the point's own name must contain, regular expressions. reason : for people.
    """

    presets: tuple[str, ...]
    kinds: tuple[str, ...]
    module: str
    code: str
    what: str
    reason: str

    def covers(self, preset: str, point: Point, code: str) -> bool:
        return ((not self.presets or preset in self.presets) and point.kind in self.kinds
                and re.search(self.module, point.module) is not None and re.search(self.code, code) is not None
                and re.search(self.what, point.what) is not None)


def load_explanations(path: Path = HOLES) -> list[Explanation]:
    """Raises InputError for a file that is none."""
    patterns = ("module", "code", "what")
    entries = load(path, "hole", ("presets", "kinds", *patterns, "reason"), patterns)
    for entry in entries:
        if not set(entry["kinds"]) <= set(KINDS):
            raise InputError(f"{path}: kinds of a [[hole]] must be some of {', '.join(KINDS)}")
    return [Explanation(**{**entry, "presets": tuple(entry["presets"]), "kinds": tuple(entry["kinds"])})
            for entry in entries]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A preset's design after all runs. verilog : its lines. counts : how often each point was reached."""

    preset: str
    verilog: Sequence[str]
    counts: Mapping[Point, int]

    def code(self, point: Point) -> str:
        return self.verilog[point.line - 1].strip()

    def holes(self, kinds: Collection[str]) -> list[Point]:
        return sorted(point for point, count in self.counts.items() if not count and point.kind in kinds)

    def unexplained(self, kinds: Collection[str], explanations: Sequence[Explanation]) -> list[Point]:
        return [point for point in self.holes(kinds)
                if not any(one.covers(self.preset, point, self.code(point)) for one in explanations)]

    def table(self) -> dict[str, dict[str, tuple[int, int]]]:
        """By module, then kind: points reached, and points. Numbers in names are left out: lanes are alike."""
        reached, there = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for point, count in self.counts.items():
            key = re.sub(r"\d+", "*", point.module) or TOP, point.kind
            reached[key] += count > 0
            there[key] += 1
        return {module: {kind: (reached[module, kind], there[module, kind]) for kind in KINDS}
                for module in sorted({module for module, _ in there})}

    def total(self, kind: str) -> tuple[int, int]:
        """Points reached, and points, of the whole design."""
        counts = [count for point, count in self.counts.items() if point.kind == kind]
        return sum(count > 0 for count in counts), len(counts)


def stale(explanations: Sequence[Explanation], measured: Sequence[Measured]) -> list[Explanation]:
    """Explanations of holes that are none, for the presets that were measured."""
    presets = {one.preset for one in measured}
    return [one for one in explanations if (not one.presets or presets & set(one.presets)) and not any(
        one.covers(design.preset, point, design.code(point)) for design in measured for point in design.holes(KINDS))]


def share(reached: int, there: int) -> str:
    """For people; nothing where there is nothing to reach."""
    return f"{100 * reached / there:.1f} %" if there else ""
