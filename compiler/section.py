"""Section: the issue cycles of one section (prologue, one layer, epilogue), on the section's own clock.

All cycles are arrays over the position buckets, so that every bucket is scheduled exactly, by one program.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from compiler.columns import MOST_VALUES, Columns, NoValueLeft, Wait
from compiler.ir import CompileError, Ints, Operation, Section
from compiler.links import Links
from rtl.config import Config
from rtl.timing import timing

QUEUE_NAMES = ("matrix", "vector", "scalar")
_RESERVE = 3  # columns kept for the waits that close the loop over layers, one a queue


PAIR_TRIES = 8


@dataclass
class Placed:
    """One operation: its wait after the one before it in its queue, and its issue on the section's clock."""

    operation: Operation
    wait: Wait
    issue: Ints


def _no_queues() -> dict[str, list[Placed]]:
    return {queue: [] for queue in QUEUE_NAMES}


@dataclass
class SectionSchedule:
    """The three queues of a section, each in the order of issue."""

    section: Section
    queues: dict[str, list[Placed]] = field(default_factory=_no_queues)

    def first(self, queue: str) -> Ints:
        """Issue of the queue's first operation. Raises CompileError where there is none."""
        if not self.queues[queue]:
            raise CompileError(f"the {self.section.name.lower()} leaves the {queue} queue empty")
        return self.queues[queue][0].issue

    def end(self, queue: str) -> Ints:
        """Cycle after the queue's last operation; 0 for an empty queue."""
        if not self.queues[queue]:
            return np.zeros(1, np.int64)
        last = self.queues[queue][-1]
        return last.issue + np.array([last.operation.accesses(b).duration for b in range(len(last.issue))])


def issues(operations: list[Operation], part: SectionSchedule) -> Ints:
    """(operations, buckets) issue cycles in the order of the list."""
    issue = {id(placed.operation): placed.issue for queue in part.queues.values() for placed in queue}
    return np.array([issue[id(operation)] for operation in operations])


def durations(operations: list[Operation], buckets: int) -> Ints:
    """(operations, buckets) cycles that each occupies its queue."""
    return np.array([[operation.accesses(b).duration for b in range(buckets)] for operation in operations])


class _Ports:
    """Bookings of the banks where reads and stores share a port, a list a bucket."""

    def __init__(self, config: Config, buckets: int) -> None:
        self.shared, self.read = config.shared_port, timing(config).matrix_read
        self.reads: list[list[tuple[int, int]]] = [[] for _ in range(buckets)]  # (first cycle, cycle after the last)
        self.writes: list[list[int]] = [[] for _ in range(buckets)]

    def clear_start(self, operation: Operation, bucket: int, start: int) -> int:
        """The first start from `start` on with which the operation meets no booking."""
        accesses = operation.accesses(bucket)
        while True:
            moved = start
            if accesses.bank_reads:
                first = start + self.read
                for cycle in self.writes[bucket]:
                    if first <= cycle < first + accesses.bank_reads:
                        start = cycle - self.read + 1
                        first = start + self.read
            for offset in accesses.bank_writes.tolist():
                for low, high in self.reads[bucket]:
                    if low <= start + offset < high:
                        start = high - offset
            if start == moved:
                return start

    def clear(self, operation: Operation, start: Ints) -> Ints:
        """The same in every bucket."""
        if not self.shared:
            return start
        return np.array([self.clear_start(operation, b, int(cycle)) for b, cycle in enumerate(start)])

    def book(self, operation: Operation, start: Ints) -> None:
        if not self.shared:
            return
        for bucket, cycle in enumerate(start.tolist()):
            accesses = operation.accesses(bucket)
            if accesses.bank_reads:
                booking = (cycle + self.read, cycle + self.read + accesses.bank_reads)
                self.reads[bucket] = [*self.reads[bucket][-64:], booking]  # older ones are long over
            if len(accesses.bank_writes):
                mine = [cycle + int(offset) for offset in accesses.bank_writes]
                self.writes[bucket] = sorted(self.writes[bucket] + mine)[-256:]


class _Placing:
    """A section half placed: what is issued so far, and the first cycle in which each queue is free."""

    def __init__(self, section: Section, operations: list[Operation], sequence: list[int], links: Links,
                 config: Config, columns: Columns, latest: Ints | None, release: Ints) -> None:
        self.operations, self.columns, self.latest, self.release = operations, columns, latest, release
        self.buckets, self.fetch = release.shape[1], config.fetch
        self.result = SectionSchedule(section)
        self.incoming = links.incoming(len(operations))
        self.durations = durations(operations, self.buckets)
        self.ports = _Ports(config, self.buckets)
        self.rank = {number: rank for rank, number in enumerate(sequence)}
        self.left = {queue: [n for n in sequence if operations[n].queue == queue] for queue in QUEUE_NAMES}
        number_of = {id(operation): number for number, operation in enumerate(operations)}
        self.mate = {number_of[id(operation.partner)]: mate for mate, operation in enumerate(operations)
                     if operation.partner is not None}
        self.issue: dict[int, Ints] = {}
        self.free: dict[str, Ints] = {queue: np.zeros(self.buckets, np.int64) for queue in QUEUE_NAMES}
        self.lost = np.zeros(self.buckets, np.int64)  # cycles that the matrix queue is behind `latest`

    def known(self, number: int) -> bool:
        """Whether all that the operation depends on is issued."""
        return all(earlier in self.issue for earlier, _ in self.incoming[number])

    def next(self) -> int:
        """The first operation in the sequence that heads its queue and can be issued now."""
        heads = [numbers[0] for numbers in self.left.values() if numbers]
        able: list[int] = []
        for number in heads:
            mate = self.mate.get(number)
            if self.operations[number].partner is None and self.known(number) and (
                    mate is None or (mate in heads and self.known(mate))):
                able.append(number)
        if not able:
            raise CompileError(f"the order of the {self.result.section.name.lower()} cannot be issued")
        number = min(able, key=self.rank.__getitem__)
        if self.ports.shared and len(self.operations[number].accesses(0).bank_writes):
            # A store that is booked first holds up the matmul in whose time it falls; behind that it costs one cycle.
            due = self.earliest(number) + int(self.operations[number].accesses(0).bank_writes[0])
            for other in able:
                if self.operations[other].queue == "matrix" and self.mate.get(other) is None and (
                        (self.earliest(other) + self.ports.read < due).all()):
                    return other
        return number

    def earliest(self, number: int) -> Ints:
        """The first cycles that the queue and the operations before allow."""
        start = np.maximum(self.free[self.operations[number].queue], self.release[number])
        for earlier, separation in self.incoming[number]:
            np.maximum(start, self.issue[earlier] + separation, out=start)
        return start

    def fit(self, number: int, start: Ints, most: int = MOST_VALUES) -> tuple[Wait, Ints]:
        """The least wait, and start, that the columns can say (with `most` of them) and the bank ports allow."""
        operation = self.operations[number]
        queue, free = operation.queue, self.free[operation.queue]
        while True:
            start = self.ports.clear(operation, start)
            if not self.result.queues[queue]:  # a section's first waits are the same at every position
                wait, sayable = Wait(0), np.full(self.buckets, start.max())
            else:
                slack = np.zeros(self.buckets, np.int64)
                if self.latest is not None:
                    slack = np.maximum(0, self.latest[number] + self.lost - start)
                wait, gap = self.columns.cover(start - free, slack, _RESERVE, self.fetch(queue), most)
                sayable = free + gap
            if np.array_equal(self.ports.clear(operation, sayable), sayable):
                return wait, sayable
            start = sayable

    def settle(self, number: int, start: Ints, most: int = MOST_VALUES) -> None:
        """Issue an operation, at `start` or as soon after it as can be said, with `most` dynamic values."""
        operation = self.operations[number]
        wait, start = self.fit(number, start, most)
        self.result.queues[operation.queue].append(Placed(operation, wait, start))
        self.issue[number] = start
        self.free[operation.queue] = start + self.durations[number]
        if self.latest is not None and operation.queue == "matrix":
            np.maximum(self.lost, start - self.latest[number], out=self.lost)
        self.ports.book(operation, start)
        self.left[operation.queue].remove(number)

    def settle_pair(self, number: int, mate: int) -> None:
        """Issue a matmul and, exactly `lag` cycles behind it, the vector operation that empties its accumulators."""
        lag = self.operations[mate].lag
        start = np.maximum(self.earliest(number), self.earliest(mate) - lag)
        tries, most = 0, MOST_VALUES
        while True:  # both waits must be sayable at once
            _, start = self.fit(number, start, most)
            _, following = self.fit(mate, start + lag, most)
            if np.array_equal(following, start + lag):
                break
            start, tries = following - lag, tries + 1
            if tries > PAIR_TRIES:  # rounding one up keeps spoiling the other
                free = self.free[self.operations[number].queue]
                behind = self.free[self.operations[mate].queue] - lag
                try:
                    gap = self.columns.cover_both(start - free, free - behind, self.fetch("matrix"))
                except NoValueLeft:
                    most = self.columns.most_exact
                    gap = self.columns.cover_both(start - free, free - behind, self.fetch("matrix"), most)
                start = free + gap
        self.settle(number, start, most)
        self.settle(mate, start + lag, most)
        if not np.array_equal(self.issue[mate], self.issue[number] + lag):
            raise CompileError(f"{self.operations[mate].name} does not follow its matmul")


def issue_section(section: Section, operations: list[Operation], sequence: list[int], links: Links,
                  config: Config, columns: Columns, latest: Ints | None, release: Ints) -> SectionSchedule:
    """Issue cycles of a section, each as early as what came before allows and the columns can say.

    sequence: numbers of the operations in the order of `compiler.order`. links: between them.
    latest: (operations, buckets) issue by which an operation delays nobody, on the ideal clock; what the matrix queue
    has already lost against that clock moves it. release: (operations, buckets) issue before which an operation gains
    nothing, because the section before is not ready for it: without it an operation that is placed too early would hold
    the whole section back.
    """
    placing = _Placing(section, operations, sequence, links, config, columns, latest, release)
    while len(placing.issue) < len(operations):
        number = placing.next()
        mate = placing.mate.get(number)
        if mate is None:
            placing.settle(number, placing.earliest(number))
        else:
            placing.settle_pair(number, mate)
    return placing.result
