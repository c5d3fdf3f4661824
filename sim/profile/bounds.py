"""Bounds: for each task the cycle before which it could not have been issued, and what forbade it.

Everything comes from the list of reads and writes of the timeline (`sim.cycle.access`) and the numbers of rtl.timing;
the compiler's schedule takes no part. Everything else being where it is, a task could not start before

- its operands are visible (read after write),
- what it overwrites has been read (write after read; of one unit's own writes the order of issue takes care),
- the bank's port is free, on a machine whose banks have one,
- its unit has finished the task before, and the sequencer the words between, each of which takes a cycle,
- the dynamic values that it uses are there.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import numpy as np

from rtl.config import Config
from rtl.timing import timing
from sim.cycle.access import Accesses, Space, Touches, store_writes
from sim.cycle.check import deadlines
from sim.cycle.timeline import Ints, Timeline
from sim.profile.tasks import UNITS, Task

_FAR = 1 << 40  # more than any cycle


class Cause(enum.Enum):
    """Why a unit could not do something earlier, as reports name it."""

    OPERAND = "operand"
    REUSE = "reuse"
    PORT = "bank port"
    BUSY = "busy"
    SEQUENCER = "sequencer"
    VALUES = "dynamic values"
    SCHEDULE = "schedule"
    START = "token start"
    END = "token end"


@dataclass(frozen=True)
class Bound:
    """earliest: first cycle that is allowed.

    producer: the task that must get somewhere before; None at the token's start. space: in which storage they meet.
    partner: a task that can only move together with this one, and whose bound this is.
    """

    earliest: int
    cause: Cause
    producer: Task | None = None
    space: Space | None = None
    partner: Task | None = None


class Bounds:
    """The bounds of all tasks of a token at a position.

    Members:
        tasks: all of them. accesses: what they read and write. position: of the token.
    """

    def __init__(self, cfg: Config, timeline: Timeline, tasks: list[Task], accesses: Accesses, *, position: int,
                 key_step: int) -> None:
        self._cfg, self._timeline, self.tasks = cfg, timeline, tasks
        self._by_unit = {unit: [task for task in tasks if task.unit == unit] for unit in UNITS}
        self._starts = {unit: np.array([task.start for task in mine], np.int64) for unit, mine in self._by_unit.items()}
        self._all_starts = np.array([task.start for task in tasks], np.int64)
        self._writes = {**accesses.writes, Space.BANK: store_writes(
            cfg, accesses.stores, [position] * cfg.sequences, key_step)}
        self._data: list[list[Bound]] = [[] for _ in tasks]
        for space, reads in accesses.reads.items():
            self._operands(reads, self._writes[space])
            self._reuse(reads, self._writes[space])
        if cfg.shared_port:
            self._ports(accesses)
        self._partner = self._partners()

    def unit(self, unit: str) -> list[Task]:
        """The tasks of a unit, in the order of issue."""
        return self._by_unit[unit]

    def before(self, task: Task) -> Task | None:
        """The task before it in its queue."""
        other = self.tasks[task.number - 1] if task.number else None
        return other if other is not None and other.unit == task.unit else None

    def of(self, task: Task) -> Bound:
        """What binds a task: the latest bound.

        Of two alike it is the unit's own work, then what others do, then the sequencer: a NOP in a gap that there has
        to be costs nothing.
        """
        bounds = self._own(task)
        partner = self._partner.get(task.number)
        if partner is not None:  # what holds the partner back holds this one back
            ahead = partner.start - task.start
            bounds = [bound for bound in bounds if bound.producer is not partner]
            bounds += [replace(bound, earliest=bound.earliest - ahead, partner=partner)
                       for bound in self._own(partner) if bound.producer is not task]
        best = max(bounds, key=lambda bound: bound.earliest)
        if best.earliest > task.start:
            raise AssertionError(f"{task} is issued in cycle {task.start}, before its {best}")
        return best

    def end(self) -> Bound:
        """What binds the end of the token: the cycle of its last queue's END."""
        cfg, timeline = self._cfg, self._timeline
        bounds: list[Bound] = []
        for unit, walk in timeline.walks.items():
            last = self._by_unit[unit][-1] if self._by_unit[unit] else None
            bounds.append(Bound((last.end if last else 1) + walk.controls, Cause.BUSY if last else Cause.START, last))
        limits = deadlines(timing(cfg), timeline)
        end = max(timeline.ends.values())
        for space, writes in self._writes.items():
            if len(writes.time):
                i = int(np.argmax(writes.time))
                bounds.append(Bound(int(writes.time[i]) - (limits[space] - end), Cause.OPERAND,
                                    self.tasks[int(self._owners(writes)[i])], space))
        return max(bounds, key=lambda bound: bound.earliest)

    def _own(self, task: Task) -> list[Bound]:
        """The bounds of a task by itself, in the order in which they count."""
        queue = self._queue(task)
        return [queue, *self._data[task.number]] if queue.cause is Cause.BUSY else [*self._data[task.number], queue]

    def _queue(self, task: Task) -> Bound:
        before = self.before(task)
        free = (before.end if before else 1) + task.controls
        if task.run.values_from > free and task.start == task.run.cycle:
            return Bound(task.run.values_from, Cause.VALUES, before)
        if task.controls:
            return Bound(free, Cause.SEQUENCER, before)
        return Bound(free, Cause.BUSY if before else Cause.START, before)

    def _owners(self, touches: Touches) -> Ints:
        """(n,) number of the task that makes each access."""
        queue = np.array([word.queue.name for word in touches.words], object)[touches.who] if len(touches.who) else (
            np.zeros(0, object))
        owners = np.zeros(len(touches.cell), np.int64)
        for unit, starts in self._starts.items():
            mine = queue == unit
            if mine.any():
                first = self._by_unit[unit][0].number
                owners[mine] = first + np.searchsorted(starts, touches.issue[mine], side="right") - 1
        return owners

    def _operands(self, reads: Touches, writes: Touches) -> None:
        """Read after write: the last write that a read can see."""
        if not len(writes.cell) or not len(reads.cell):
            return
        order = np.argsort(writes.cell * _FAR + writes.time, kind="stable")
        keys = (writes.cell * _FAR + writes.time)[order]
        at = np.searchsorted(keys, reads.cell * _FAR + reads.time, side="right") - 1
        seen = order[np.maximum(at, 0)]
        readers, writers = self._owners(reads), self._owners(writes)[seen]
        found = (at >= 0) & (writes.cell[seen] == reads.cell) & (readers != writers)
        earliest = writes.time[seen] - (reads.time - self._all_starts[readers])
        self._keep(Cause.OPERAND, reads.space, readers[found], writers[found], earliest[found])

    def _reuse(self, reads: Touches, writes: Touches) -> None:
        """Write after read: the last read of what a write replaces, by another unit."""
        if not len(writes.cell) or not len(reads.cell):
            return
        writer, reader = self._owners(writes), self._owners(reads)
        unit = np.array([UNITS.index(task.unit) for task in self.tasks])
        for one in np.unique(unit[writer]):
            mine, others = np.flatnonzero(unit[writer] == one), np.flatnonzero(unit[reader] != one)
            if not len(others):
                continue
            key = reads.cell[others] * _FAR + reads.time[others]
            order = others[np.argsort(key, kind="stable")]
            at = np.searchsorted(np.sort(key), writes.cell[mine] * _FAR + writes.time[mine], side="left") - 1
            last = order[np.maximum(at, 0)]
            found = (at >= 0) & (reads.cell[last] == writes.cell[mine])
            earliest = reads.time[last] + 1 - (writes.time[mine] - self._all_starts[writer[mine]])
            self._keep(Cause.REUSE, reads.space, writer[mine][found], reader[last][found], earliest[found])

    def _ports(self, accesses: Accesses) -> None:
        """Banks with one port for both: the last cycle in which the other side had it."""
        times, matrix = timing(self._cfg), self._by_unit["matrix"]
        stores = np.array(sorted(one.cycle for one in accesses.stores), np.int64)
        if not len(stores) or not matrix:
            return
        owners = np.searchsorted(self._starts["vector"], stores, side="right") - 1 + self._by_unit["vector"][0].number
        starts = self._starts["matrix"]
        ends = np.array([task.end for task in matrix], np.int64)
        used = stores + times.bank_write
        # A matmul could not start in the cycle that would read when a store before it writes.
        at = np.searchsorted(used, starts + times.matrix_read, side="left") - 1
        ok = np.flatnonzero(at >= 0)
        self._keep(Cause.PORT, Space.BANK, ok + matrix[0].number, owners[at[ok]],
                   used[at[ok]] - times.matrix_read + 1)
        # A store could not be issued when a step before its own cycle reads.
        at = np.searchsorted(starts + times.matrix_read, used, side="left") - 1
        ok = np.flatnonzero(at >= 0)
        last_read = np.minimum(ends[at[ok]] - 1 + times.matrix_read, used[ok] - 1)
        self._keep(Cause.PORT, Space.BANK, owners[ok], at[ok] + matrix[0].number,
                   last_read + 1 - (used[ok] - self._all_starts[owners[ok]]))

    def _keep(self, cause: Cause, space: Space, tasks: Ints, producers: Ints, earliest: Ints) -> None:
        """Of each producer's bounds on a task, the latest."""
        order: Ints = np.lexsort((earliest, producers, tasks))
        tasks, producers, earliest = tasks[order], producers[order], earliest[order]
        last = np.ones(len(tasks), bool)
        last[:-1] = (tasks[1:] != tasks[:-1]) | (producers[1:] != producers[:-1])
        for task, producer, cycle in np.stack((tasks, producers, earliest), axis=1)[last]:
            self._data[int(task)].append(Bound(int(cycle), cause, self.tasks[int(producer)], space))

    def _partners(self) -> dict[int, Task]:
        """Matmuls whose outputs are more than the accumulators, and the vector passes that must keep pace with them."""
        partners: dict[int, Task] = {}
        for task in self._by_unit["vector"]:
            if task.moves:
                for bound in self._data[task.number]:
                    made = bound.producer
                    if bound.space is Space.ACC and bound.cause is Cause.OPERAND and made is not None and made.moves:
                        partners[made.number] = task
        return partners
