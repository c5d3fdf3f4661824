"""Schedule: the issue cycle of every operation, at every position bucket at once.

Each section (prologue, one layer, epilogue) is placed on its own clock, then they are joined. A wait that differs
between buckets needs dynamic values, which are few, so a token is scheduled twice: first with as many as it likes, to
learn which operations have slack, then with those that the machine has. What is placed later sees what was placed
earlier, so rounding a wait up is always legal.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from compiler.columns import Columns
from compiler.dependence import Edges, dependences
from compiler.ir import Ints, Operation, Section
from compiler.join import Ranges, Schedule, apart, between, join
from compiler.order import order
from compiler.section import SectionSchedule, durations, issue_section, issues, over_buckets
from rtl.config import Config
from rtl.timing import timing

REFERENCE_POSITION = 63
"""The order of the operations is chosen for the bucket of this position."""


def schedule(operations: list[Operation], config: Config, buckets: int) -> Schedule:
    """Place a lowered token: first with as many dynamic values as it likes, then with those that serve it best."""
    parts = {section: [op for op in operations if op.section is section] for section in Section}
    prologue, body, epilogue = (parts[section] for section in Section)
    # Two layers show every dependence from a layer to the next.
    whole = [*prologue, *body, *body, *epilogue]
    marks: list[int] = np.cumsum([0, len(prologue), len(body), len(body), len(epilogue)]).tolist()
    edges = [dependences(whole, b) for b in range(buckets)]
    to_body, to_next_layer, to_epilogue = _three(marks, 0), _three(marks, 1), _three(marks, 2)
    starts = dict(zip(Section, ((marks[0], marks[1]), (marks[1], marks[2]), (marks[3], marks[4])), strict=True))
    inner = {section: [_within(one, *starts[section]) for one in edges] for section in Section}
    reference = min(buckets - 1, max(0, REFERENCE_POSITION // config.bucket_positions))
    sequences = {section: order(ops, _every(inner[section], reference), reference) for section, ops in parts.items()}
    blocks = np.arange(buckets, dtype=np.int64)
    given = [blocks * scale for scale in sorted({count.scale for op in operations for count in op.counts.values()})]

    def attempt(columns: Columns, latest: dict[Section, Ints] | None) -> Schedule:
        sections = {section: issue_section(section, ops, sequences[section], inner[section], config, columns,
                                           latest[section] if latest else None) for section, ops in parts.items()}
        ahead, layer, behind = (issues(parts[section], part) for section, part in sections.items())
        return join(sections, columns, timing(config).values_ready, int(apart(edges, ahead, layer, to_body).max()),
                    apart(edges, layer, layer, to_next_layer), apart(edges, layer, behind, to_epilogue))

    ideal = attempt(Columns(buckets, None, 32, given), None)
    latest = {section: _latest(ops, ideal.sections[section], inner[section]) for section, ops in parts.items()}
    issued = issues(body, ideal.sections[Section.BODY])
    for b, one in enumerate(edges):  # what the next layer needs
        for (earlier, later), separation in between(one, to_next_layer).items():
            limit = max(int(issued[later, b] + ideal.period[b]) - separation, int(issued[earlier, b]))
            latest[Section.BODY][earlier, b] = min(latest[Section.BODY][earlier, b], limit)
    latest[Section.BODY] = _latest(body, ideal.sections[Section.BODY], inner[Section.BODY], latest[Section.BODY])
    return attempt(Columns(buckets, config.values, config.value_bits, given), latest)


def _three(marks: list[int], at: int) -> Ranges:
    return marks[at], marks[at + 1], marks[at + 2]


def _within(edges: Edges, low: int, high: int) -> Edges:
    """The edges inside a range of operations, numbered from its start."""
    return {(earlier - low, later - low): separation for (earlier, later), separation in edges.items()
            if low <= earlier < high and low <= later < high}


def _every(edges: list[Edges], reference: int) -> Edges:
    """The reference bucket's edges, and those that only other buckets have: the order must suit them too."""
    every: Edges = {}
    for one in (edges[reference], *edges):
        for key, separation in one.items():
            every.setdefault(key, separation)
    return every


def _latest(operations: list[Operation], part: SectionSchedule, edges: list[Edges], limit: Ints | None = None) -> Ints:
    """(operations, buckets) the latest issue that moves no matrix operation of an ideal schedule.

    limit: what the caller knows already.
    """
    issued = issues(operations, part)
    latest = np.full_like(issued, 1 << 40) if limit is None else limit.copy()
    busy = durations(operations, issued.shape[1])
    number_of = {id(operation): number for number, operation in enumerate(operations)}
    after: list[list[tuple[int, Ints]]] = [[] for _ in operations]
    for earlier, later, separation in over_buckets(edges):
        after[earlier].append((later, separation))
    for placed in part.queues.values():
        for here, following in pairwise(placed):
            number = number_of[id(here.operation)]
            after[number].append((number_of[id(following.operation)], busy[number]))
    for number in sorted(range(len(operations)), key=lambda n: -int(issued[n].max())):
        if operations[number].queue == "matrix" or operations[number].partner is not None:
            latest[number] = issued[number]
            continue
        for later, separation in after[number]:
            np.minimum(latest[number], latest[later] - separation, out=latest[number])
    return np.maximum(latest, issued)
