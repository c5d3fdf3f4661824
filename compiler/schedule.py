"""Schedule: the issue cycle of every operation, at every position bucket at once.

Each section (prologue, one layer, epilogue) is placed on its own clock, then they are joined. A wait that differs
between buckets needs dynamic values, which are few, so a token is scheduled twice: first with as many as it likes, to
learn which operations have slack, then with those that the machine has. What is placed later sees what was placed
earlier, so rounding a wait up is always legal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from compiler.columns import Columns
from compiler.dependence import dependences
from compiler.ir import Accesses, Ints, Operation, Section
from compiler.join import Schedule, join
from compiler.links import Links
from compiler.order import order
from compiler.section import SectionSchedule, durations, issue_section, issues
from rtl.config import Config
from rtl.encoding import Insn

REFERENCE_POSITION = 63
"""The order of the operations is chosen for the bucket of this position."""


def reference(config: Config, buckets: int) -> int:
    """The bucket for which orders are chosen."""
    return min(buckets - 1, max(0, REFERENCE_POSITION // config.bucket_positions))


Release = dict[Section, Ints]
"""Of each section's operations, (operations, buckets): see `compiler.section.issue_section`."""

RELEASE_ROUNDS = 4
"""How often the operations of a layer are moved towards the layer before."""


def _work(plan: Schedule) -> int:
    """What a schedule is judged by: the cycles from layer to layer, over all buckets."""
    return int((plan.period + plan.epilogue_start).sum())


def _looked_at(operations: list[Operation], buckets: Sequence[int]) -> list[Operation]:
    """The operations as they are in some buckets only: what they touch in bucket n of these is that of buckets[n]."""
    seen: dict[int, Operation] = {}
    for one in operations:
        def reach(insn: Insn, number: int, original: Operation = one) -> Accesses:
            return original.reach(insn, buckets[number])
        seen[id(one)] = replace(one, reach=reach, partner=seen.get(id(one.partner)))
    return list(seen.values())


class Token:
    """A token's operations by section, their dependences in each bucket, and the order of their issue."""

    def __init__(self, operations: list[Operation], config: Config, buckets: Sequence[int], bucket: int, *,
                 patient: bool) -> None:
        """buckets: those to schedule, ascending. bucket: index of the one for which the order is chosen.

        Everywhere else "bucket" is an index of this list.
        """
        if list(buckets) != list(range(len(buckets))):
            operations = _looked_at(operations, buckets)
        self.config, self.buckets = config, len(buckets)
        self.parts = {section: [op for op in operations if op.section is section] for section in Section}
        prologue, body, epilogue = (self.parts[section] for section in Section)
        # Two layers show every dependence from a layer to the next.
        whole = [*prologue, *body, *body, *epilogue]
        marks: list[int] = np.cumsum([0, len(prologue), len(body), len(body), len(epilogue)]).tolist()
        links = Links.of([dependences(whole, b) for b in range(self.buckets)])
        ahead, layer, next_layer, behind = pairwise(marks)
        self.to_body, self.to_next_layer = links.part(ahead, layer), links.part(layer, next_layer)
        self.to_epilogue = links.part(next_layer, behind)
        ranges = dict(zip(Section, (ahead, layer, behind), strict=True))
        self.inner = {section: links.part(one, one) for section, one in ranges.items()}
        self.orders = {section: order(ops, self.inner[section].edges(bucket), bucket, patient=patient)
                          for section, ops in self.parts.items()}
        blocks = np.array(buckets, np.int64)
        scales = sorted({count.scale for op in operations for count in op.counts.values()})
        if config.linear_values:  # the machine's columns, and no others
            scales = [1 << number for number in range(config.values - 1)]
        self.given = [blocks * scale for scale in scales]
        self._no_release = {
            section: np.zeros((len(ops), self.buckets), np.int64) for section, ops in self.parts.items()}

    def ideal(self) -> tuple[Schedule, Release]:
        """The schedule with as many dynamic values as it likes, and the releases that made it."""
        release = self._no_release
        best = self._place(Columns(self.buckets, None, 32, self.given), None, release)
        for _ in range(RELEASE_ROUNDS):
            tried = self._releases(best)
            closer = self._place(Columns(self.buckets, None, 32, self.given), None, tried)
            if _work(closer) >= _work(best):
                break
            best, release = closer, tried
        return best, release

    def schedule(self, ideal: Schedule, release: Release) -> Schedule:
        """The schedule with the dynamic values that the machine has, as near to the ideal one as they allow."""
        columns = Columns(self.buckets, self.config.values, self.config.value_bits, self.given)
        return self._place(columns, self._latest_issues(ideal), release)

    def _place(self, columns: Columns, latest: dict[Section, Ints] | None, release: Release) -> Schedule:
        """Issue cycles of all sections, joined; latest and release: see `compiler.section.issue_section`."""
        sections = {
            section: issue_section(section, ops, self.orders[section], self.inner[section], self.config, columns,
                                   latest[section] if latest else None, release[section])
            for section, ops in self.parts.items()}
        ahead, layer, behind = (issues(self.parts[section], part) for section, part in sections.items())
        return join(sections, columns, self.config,
                    int(self.to_body.apart(ahead, layer).max()), self.to_next_layer.apart(layer, layer),
                    self.to_epilogue.apart(layer, behind))

    def _releases(self, plan: Schedule) -> Release:
        """When the layer before would be ready for each operation, if the matrix queue never waited between layers."""
        release = dict(self._no_release)
        body = self.parts[Section.BODY]
        layer = issues(body, plan.sections[Section.BODY])
        target = plan.sections[Section.BODY].end("matrix")
        for section, links in ((Section.BODY, self.to_next_layer), (Section.EPILOGUE, self.to_epilogue)):
            ready = np.zeros_like(release[section])
            np.maximum.at(ready, links.later, layer[links.earlier] + links.separation - target)
            first = next(n for n, operation in enumerate(self.parts[section]) if operation.queue == "matrix")
            release[section] = np.maximum(0, ready - ready[first])
        return release

    def _latest_issues(self, ideal: Schedule) -> dict[Section, Ints]:
        """The latest issue of each operation that delays nobody, see `_latest`."""
        latest = {section: _latest(ops, ideal.sections[section], self.inner[section])
                  for section, ops in self.parts.items()}
        body = self.parts[Section.BODY]
        issued = issues(body, ideal.sections[Section.BODY])
        following = self.to_next_layer
        limit = np.maximum(issued[following.later] + ideal.period - following.separation, issued[following.earlier])
        np.minimum.at(latest[Section.BODY], following.earlier, limit)
        latest[Section.BODY] = _latest(
            body, ideal.sections[Section.BODY], self.inner[Section.BODY], latest[Section.BODY])
        return latest


def _latest(operations: list[Operation], part: SectionSchedule, links: Links, limit: Ints | None = None) -> Ints:
    """(operations, buckets) the latest issue that moves no matrix operation of an ideal schedule.

    limit: what the caller knows already.
    """
    issued = issues(operations, part)
    latest = np.full_like(issued, 1 << 40) if limit is None else limit.copy()
    busy = durations(operations, issued.shape[1])
    number_of = {id(operation): number for number, operation in enumerate(operations)}
    after = links.outgoing(len(operations))
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
