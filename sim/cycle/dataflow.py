"""Dataflow of a token: which write each read sees, with names for both that mean the same in every bucket.

A word of the program runs several times, in loops, and each run has rounds. Which run and which round a cycle belongs
to follows from the walk of the queue alone, so "pass 3 of run 17 of the vector queue" is one thing in all buckets, at
another cycle in each. The rules of `sim.cycle.rules` compare these names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from rtl.config import Config
from rtl.isa import QUEUES
from sim.cycle.access import Accesses, Flags, Space, Touches
from sim.cycle.program import IllegalProgram, Run, Word
from sim.cycle.timeline import Ints, Timeline

SPACES: Final = (Space.ACT, Space.MEMORY, Space.ACC, Space.SCALAR, Space.REDUCE, Space.INDEX)
"""Where values pass between words of one token. Banks and the ARGMAX register also outlive it."""
_NUMBER: Final = {queue: number for number, queue in enumerate(QUEUES)}
_EVENT_BITS, _STEP_BITS, _SUB_BITS = 17, 17, 5
_FAR: Final = 1 << 40  # more than any cycle


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs of one queue as arrays, (runs,) each.

    Members:
        start: cycle. steps: cycles from one event to the next: steps of an output, or cycles between passes.
        events: how many it has: outputs of a matrix word, passes of a vector word, 1 of a scalar one.
        rounds: how many steps a matrix output has, else the events.
        moving: a count is a dynamic value's. moving_events: that is the events'.
    """

    runs: list[Run]
    start: Ints
    steps: Ints
    events: Ints
    rounds: Ints
    moving: Flags
    moving_events: Flags


def _runs(queue: str, runs: list[Run]) -> Runs:
    matrix = queue == "matrix"
    table = np.array([
        (run.cycle, run.rounds if matrix else run.word.fields.get("pace", 0) + 1, run.outputs if matrix else run.rounds,
         run.rounds, run.word.fields["repeat_value"] or run.word.fields.get("outer_value", 0),
         run.word.fields["outer_value" if matrix else "repeat_value"]) for run in runs], np.int64).reshape(-1, 6)
    start, steps, events, rounds, moving, moving_events = table.T
    return Runs(runs, start, steps, events, rounds, moving.astype(bool), moving_events.astype(bool))


@dataclass(frozen=True, eq=False)
class Names:
    """What accesses belong to: (n,) each. queue: number of it. event, step: within the run; step of a matrix output."""

    queue: Ints
    run: Ints
    event: Ints
    step: Ints

    def at(self, index: Ints | Flags) -> Names:
        return Names(self.queue[index], self.run[index], self.event[index], self.step[index])

    def text(self, index: int) -> str:
        """An event for people."""
        return f"run {self.run[index]}, round {self.event[index]}"

    def with_none(self) -> Names:
        """These, and then a name that is nobody's."""
        return Names(np.append(self.queue, -1), np.append(self.run, 0), np.append(self.event, 0),
                     np.append(self.step, 0))


def _names(queues: list[Runs], touches: Touches) -> Names:
    of_word = np.array([_NUMBER[word.queue] for word in touches.words], np.int64)
    queue = of_word[touches.who] if len(of_word) else np.zeros(0, np.int64)
    made = Names(queue, np.zeros_like(queue), np.zeros_like(queue), np.zeros_like(queue))
    for number, runs in enumerate(queues):
        mine = queue == number
        if mine.any():
            run = np.searchsorted(runs.start, touches.issue[mine], side="right") - 1
            made.run[mine] = run
            made.event[mine], step = np.divmod(touches.issue[mine] - runs.start[run], runs.steps[run])
            made.step[mine] = step if number == 0 else 0
    return made


def _sub(names: Names, issue: Ints) -> Ints:
    """Number of each access among those of one queue in one cycle, in the order of the collection."""
    order = np.lexsort((issue, names.queue))
    same = (np.diff(issue[order], prepend=-1) == 0) & (np.diff(names.queue[order], prepend=-1) == 0)
    place = np.arange(len(order))
    made = np.empty_like(place)
    made[order] = place - np.maximum.accumulate(np.where(same, 0, place))
    return made


@dataclass(frozen=True, eq=False)
class Edges:
    """Reads of one space, each with the write it sees.

    Members:
        seen: (reads,) index of the write, -1 for none in this token.
        following: (writes + 1,) index of the next write to the same cell, -1 for none.
        reader: names of the reads. writer: those of the writes, and last a name for none.
        sub: (reads,) which of the reads of its cycle. key: (reads,) the reader's name as one number.
    """

    space: Space
    reads: Touches
    writes: Touches
    seen: Ints
    following: Ints
    reader: Names
    writer: Names
    sub: Ints
    key: Ints

    def producer(self, read: int) -> Word | None:
        return self.writes.word(int(self.seen[read])) if self.seen[read] >= 0 else None


def edges(space: Space, queues: list[Runs], reads: Touches, writes: Touches) -> Edges:
    """Each read sees the last write to its cell that is visible by then."""
    order = np.argsort(writes.cell * _FAR + writes.time, kind="stable")
    cells = writes.cell[order]
    before = np.searchsorted(cells * _FAR + writes.time[order], reads.cell * _FAR + reads.time, "right") - 1
    hit = before >= 0
    hit[hit] = cells[before[hit]] == reads.cell[hit]
    seen = np.full(len(before), -1, np.int64)
    seen[hit] = order[before[hit]]
    following = np.full(len(order) + 1, -1, np.int64)
    same = cells[1:] == cells[:-1]
    following[order[:-1][same]] = order[1:][same]
    reader = _names(queues, reads)
    sub = _sub(reader, reads.issue)
    if len(sub) and int(sub.max()) >> _SUB_BITS:
        raise ValueError(f"{sub.max()} reads of {space.value}s in one cycle")
    key = (((reader.queue << 22 | reader.run) << _EVENT_BITS | reader.event) << _STEP_BITS | reader.step) \
        << _SUB_BITS | sub
    return Edges(space, reads, writes, seen, following, reader, _names(queues, writes).with_none(), sub, key)


@dataclass(frozen=True, eq=False)
class Flow:
    """A token's dataflow. Queues are numbered as in rtl.isa.QUEUES."""

    timeline: Timeline
    accesses: Accesses
    queues: list[Runs]
    edges: dict[Space, Edges]

    def last(self, names: Names) -> Flags:
        """Whether each is the last event of a run whose number of events is a dynamic value's."""
        made = np.zeros(len(names.run), bool)
        for number, runs in enumerate(self.queues):
            mine = names.queue == number
            run = names.run[mine]
            made[mine] = runs.moving_events[run] & (names.event[mine] == runs.events[run] - 1)
        return made


def flow(cfg: Config, timeline: Timeline, accesses: Accesses) -> Flow:
    """The dataflow of a token. Raises IllegalProgram where a queue has more runs than the names can tell apart."""
    queues = [_runs(queue.name, timeline.runs[queue.name]) for queue in QUEUES]
    for runs in queues:
        if len(runs.runs) >= 1 << 22:
            raise IllegalProgram(None, f"{{}} is one of {len(runs.runs)} runs", runs.runs[-1].word)
    return Flow(timeline, accesses, queues, {
        space: edges(space, queues, accesses.reads[space], accesses.writes[space]) for space in SPACES})
