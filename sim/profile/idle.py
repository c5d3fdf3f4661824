"""Idle cycles of the matrix unit, each with what it was waiting for.

A gap before a matmul belongs to its latest bound: without it the matmul could have started earlier. Cycles after the
latest bound belong to nobody's need: the wait was longer than that (`schedule`). So the cycles of all gaps add up to
those in which the unit did not multiply, and `gaps` checks that they do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sim.cycle.access import Space
from sim.cycle.timeline import Timeline
from sim.profile.bounds import Bound, Bounds, Cause
from sim.profile.tasks import Task

_DEEPEST = 64


@dataclass(frozen=True)
class Gap:
    """Idle cycles from `start` on, for one cause.

    Members:
        task: the matmul that was to come; None after the last one.
        producer: what had to get somewhere first. path: it, and how its time came about, back to the matrix unit's
            work; empty where nothing had to.
    """

    start: int
    cycles: int
    cause: Cause
    task: Task | None = None
    producer: Task | None = None
    space: Space | None = None
    path: tuple[Task, ...] = ()


def gaps(bounds: Bounds, timeline: Timeline) -> list[Gap]:
    """All idle cycles of the matrix unit, in order."""
    made: list[Gap] = []
    free = 0
    for task in bounds.unit("matrix"):
        if task.start > free:
            made += _split(bounds, free, task.start, bounds.of(task), task)
        free = task.end
    end = max(timeline.ends.values())
    made += _split(bounds, free, end, bounds.end(), None)
    made.append(Gap(max(free, end), timeline.cycles - max(free, end), Cause.END))
    busy = sum(task.end - task.start for task in bounds.unit("matrix"))
    idle = sum(gap.cycles for gap in made)
    if idle + busy != timeline.cycles:
        raise AssertionError(f"{busy} busy and {idle} idle cycles are not the token's {timeline.cycles}")
    return made


def _split(bounds: Bounds, free: int, start: int, bound: Bound, task: Task | None) -> Iterator[Gap]:
    """The gap from `free` to `start`: what its latest bound explains, and the rest."""
    if free == 0:  # the start itself: the words are current from cycle 1 on
        yield Gap(0, 1, Cause.START, task)
        free = 1
    explained = min(max(bound.earliest, free), start)
    if explained > free:
        yield Gap(free, explained - free, bound.cause, task, bound.producer, bound.space, tuple(_path(bounds, bound)))
    if start > explained:
        yield Gap(explained, start - explained, Cause.SCHEDULE, task, bound.producer, bound.space)


def _path(bounds: Bounds, bound: Bound) -> Iterator[Task]:
    """The producer, what bound it in turn, and so on, up to work of the matrix unit."""
    task = bound.producer
    for _ in range(_DEEPEST):
        if task is None:
            return
        yield task
        if task.unit == "matrix":
            return
        task = bounds.of(task).producer
