"""The chain that bounds a token: from its end back to its start, at each task to what bound it.

The links of the chain add up to the cycles of the token. What is not on it could be slower without harm; what is on it
and is neither the matrix unit's work nor a pipeline's latency is where cycles can be had.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sim.cycle.access import Space
from sim.cycle.timeline import Timeline
from sim.profile.bounds import Bounds, Cause
from sim.profile.tasks import Task


@dataclass(frozen=True)
class Link:
    """A task on the chain, and the time until what comes after it could be issued.

    Members:
        task: None at the token's start and end. cycles: from its issue to the bound of the next link; negative where
            only a later step of the next one needs it. cause: in what way the next one waited for it.
        late: cycles by which the next one came later than that.
    """

    task: Task | None
    cycles: int
    cause: Cause
    space: Space | None = None
    late: int = 0


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Neighbouring links of one unit, layer and cause. kinds: of their operations, in order; the rest as in `Link`."""

    unit: str
    layer: int | None
    kinds: tuple[str, ...]
    first: str
    last: str
    links: int
    issue: int
    cycles: int
    cause: Cause
    space: Space | None
    late: int


def chain(bounds: Bounds, timeline: Timeline) -> list[Link]:
    """The chain in the order of time."""
    end = max(timeline.ends.values())
    links = [Link(None, timeline.cycles - end, Cause.END)]
    bound, cycle = bounds.end(), end
    while True:
        task = bound.producer
        start = 0 if task is None else task.start
        links.append(Link(task, bound.earliest - start, bound.cause, bound.space, cycle - bound.earliest))
        if task is None:
            break
        bound, cycle = bounds.of(task), task.start
    links.reverse()
    total = sum(link.cycles + link.late for link in links)
    if total != timeline.cycles:
        raise AssertionError(f"the links of the chain are {total} cycles, the token's are {timeline.cycles}")
    return links


def stretches(links: Iterable[Link]) -> list[Stretch]:
    """The chain with such neighbours put together."""
    made: list[Stretch] = []
    issue = 0
    for link in links:
        task = link.task
        unit, kind, layer, name = (task.unit, task.kind, task.layer, task.name) if task else ("", "", None, "")
        one = Stretch(unit=unit, layer=layer, kinds=(kind,), first=name, last=name, links=1, issue=issue,
                      cycles=link.cycles, cause=link.cause, space=link.space, late=link.late)
        issue += link.cycles + link.late
        if made and _alike(made[-1], one):
            before = made.pop()
            kinds = before.kinds if kind in before.kinds else (*before.kinds, kind)
            one = replace(before, kinds=kinds, last=name, links=before.links + 1, cycles=before.cycles + one.cycles,
                          late=before.late + one.late)
        made.append(one)
    return made


def _alike(a: Stretch, b: Stretch) -> bool:
    return (a.unit, a.layer, a.cause, a.space) == (b.unit, b.layer, b.cause, b.space)
