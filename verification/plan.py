"""The test plan joined with results: `python -m verification.plan`, after `make test`.

`verification/plan.toml` says what the project promises, which tests show it, and which members of instruction fields
random programs must reach. Results are pytest's JUnit files; how often each point was reached is a JSON file with
"points". A feature is passed if a case of each of its tests passed and none failed, partly passed if some were skipped
or points not reached, failed or missing otherwise. Exit code 1 if any failed, is missing or has points left.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

from compiler.errors import InputError
from rtl.config import PRESETS
from rtl.isa import QUEUES

ROOT = Path(__file__).parents[1]
PLAN = ROOT / "verification" / "plan.toml"
RESULTS = ROOT / "build" / "results.xml"
KEYS = {"area", "name", "intent", "tests", "points"}
COLOURS = {"passed": "green", "partly": "yellow", "failed": "red", "missing": "red"}


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A promise. tests: files, or functions as `file::function`. points: patterns of `all_points`."""

    area: str
    name: str
    intent: str
    tests: tuple[str, ...]
    points: tuple[str, ...]


@dataclass(kw_only=True)
class Outcome:
    """What became of a feature: its tests by result, and points that no program has reached."""

    feature: Feature
    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list[str])
    missing: list[str] = field(default_factory=list[str])  # tests of the plan of which no case passed
    unreached: list[str] = field(default_factory=list[str])

    @property
    def state(self) -> str:
        if self.failed:
            return "failed"
        if self.missing or not self.passed:
            return "missing"
        return "partly" if self.skipped or self.unreached else "passed"


def load_plan(path: Path = PLAN) -> list[Feature]:
    """Raises InputError for a plan that is none."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a test plan: {error}") from None
    features: list[Feature] = []
    for entry in found.get("feature", []):
        if not isinstance(entry, dict) or entry.keys() != KEYS:
            raise InputError(
                f"{path}: feature {len(features) + 1} must have {', '.join(sorted(KEYS))}, and nothing else")
        features.append(Feature(area=entry["area"], name=entry["name"], intent=entry["intent"],
                                tests=tuple(entry["tests"]), points=tuple(entry["points"])))
    if not features:
        raise InputError(f"{path}: a test plan has at least one [[feature]]")
    return features


def all_points() -> list[str]:
    """queue.field for every field that some preset has, queue.field=MEMBER for each member of an enumeration."""
    found: list[str] = []
    for queue in QUEUES:
        for item in queue.fields:
            if item.enum is not None:
                found += [f"{queue.name}.{item.name}={member}" for member in item.enum.__members__]
            elif any(item.bits(cfg) for cfg in PRESETS.values()):
                found.append(f"{queue.name}.{item.name}")
    return found


def expand(patterns: Iterable[str]) -> list[str]:
    """The points that patterns mean. Raises InputError for one that means none."""
    known, found = all_points(), dict[str, None]()
    for pattern in patterns:
        some = [point for point in known if fnmatchcase(point, pattern)]
        if not some:
            raise InputError(f"the test plan's point {pattern!r} is no field or member of rtl/isa.py")
        found |= dict.fromkeys(some)
    return list(found)


def read_results(paths: Iterable[Path]) -> dict[str, str]:
    """Result of each test case, `file::function[parameters]`: passed, skipped or failed; the worst where it ran twice.

    Raises InputError for a file that pytest did not write.
    """
    worst, found = ("skipped", "passed", "failed"), dict[str, str]()
    for path in paths:
        try:
            tree = ElementTree.parse(path)
        except (OSError, ElementTree.ParseError) as error:
            raise InputError(f"{path}: not the results of a test run (pytest --junitxml): {error}") from None
        for case in tree.iter("testcase"):
            name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '')}"
            kinds = {child.tag for child in case}
            result = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            found[name] = max(found.get(name, result), result, key=worst.index)
    return found


def matches(test: str, case: str) -> bool:
    """Whether a case belongs to a test of the plan: any case of a file, all parameters of a function."""
    return case.startswith(f"{test}::") if "::" not in test else re.split(r"\[", case, maxsplit=1)[0] == test


def join(features: Sequence[Feature], results: Mapping[str, str], reached: Mapping[str, int] | None) -> list[Outcome]:
    """Each feature with what became of it. reached: how often each point was; None: not measured."""
    outcomes: list[Outcome] = []
    for feature in features:
        outcome = Outcome(feature=feature)
        for test in feature.tests:
            cases = {case: result for case, result in results.items() if matches(test, case)}
            outcome.passed += sum(result == "passed" for result in cases.values())
            outcome.skipped += sum(result == "skipped" for result in cases.values())
            outcome.failed += [case for case, result in cases.items() if result == "failed"]
            if "passed" not in cases.values():
                outcome.missing.append(test)
        if reached is not None:
            outcome.unreached = [point for point in expand(feature.points) if not reached.get(point)]
        outcomes.append(outcome)
    return outcomes


def report(outcomes: Sequence[Outcome], console: Console, *, measured: bool) -> None:
    """A line a feature, then what is wrong with it."""
    table = Table("area", "feature", "passed", "skipped", "points", "state", box=None, pad_edge=False)
    for one in outcomes:
        points = len(expand(one.feature.points))
        told = f"{points - len(one.unreached)} of {points}" if measured else f"{points}, not measured"
        table.add_row(one.feature.area, one.feature.name, str(one.passed), str(one.skipped), told if points else "",
                      f"[{COLOURS[one.state]}]{one.state}[/]")
    console.print(table)
    for one in outcomes:
        for what, tests in (("failed", one.failed), ("did not pass", one.missing), ("not reached", one.unreached)):
            for test in tests:
                console.print(f"{one.feature.name}: {what}: {test}", style="red", highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit code 1 where a feature is red, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m verification.plan",
                                     description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, nargs="+", default=[RESULTS], help="JUnit files of pytest")
    parser.add_argument("--coverage", type=Path, help='JSON with "points", how often each was reached')
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    try:
        features, results = load_plan(), read_results(args.results)
        reached = read_coverage(args.coverage) if args.coverage else None
        outcomes = join(features, results, reached)
    except InputError as error:
        print(f"plan: {error}", file=sys.stderr)
        return 2
    red = [one for one in outcomes if one.state in ("failed", "missing") or one.unreached]
    if args.json:
        print(json.dumps({"features": [{**asdict(one), "state": one.state} for one in outcomes], "red": len(red)}))
    else:
        report(outcomes, Console(), measured=reached is not None)
        print(f"{len(outcomes)} features, {len(results)} test cases: {len(red)} red")
    return int(bool(red))


def read_coverage(path: Path) -> dict[str, int]:
    """How often each point was reached. Raises InputError for another file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(point): int(times) for point, times in found["points"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: no coverage of random programs: {error!r}") from None


if __name__ == "__main__":
    sys.exit(main())
