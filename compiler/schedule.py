"""Schedule: the issue cycle of every operation, at every position bucket at once.

Each section (prologue, one layer, epilogue) is placed on its own clock; all cycles are arrays over the buckets. A wait that differs between
buckets needs one of the machine's dynamic values, which are few: `Columns` hands them out, and where none is left, rounds a wait up
to what can be said. What is placed later sees what was placed earlier, so rounding up is always legal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations_with_replacement

import numpy as np

from compiler.dependence import Edges, dependences
from compiler.ir import CompileError, Ints, Operation, Section
from compiler.order import order
from rtl.config import Config
from rtl.timing import timing


@dataclass(frozen=True)
class Wait:
    """Idle cycles: an immediate plus a dynamic value (0: none). Each value in `more` stands in a NOP of its own before the
    word, whose cycle is counted in `cycles`."""

    cycles: int
    value: int = 0
    more: tuple[int, ...] = ()


_MOST_VALUES = 3  # dynamic values that one wait may add up


class Columns:
    """The dynamic values: columns over the buckets; column 0 is zero.

    limit: how many there may be, or None for as many as are asked for (to learn what a schedule would like).
    """

    def __init__(self, buckets: int, limit: int | None, value_bits: int, columns: list[Ints]) -> None:
        self.columns: list[Ints] = [np.zeros(buckets, np.int64)]
        self.limit, self.largest = limit, (1 << value_bits) - 1
        self._known: dict[int, tuple[int, list[tuple[int, ...]], Ints]] = {}
        for column in columns:
            self.add(column)

    @property
    def room(self) -> int:
        return 1 << 30 if self.limit is None else self.limit - len(self.columns)

    def find(self, column: Ints) -> int | None:
        """The number of a column with exactly these values."""
        return next((number for number, known in enumerate(self.columns) if np.array_equal(known, column)), None)

    def add(self, column: Ints) -> int:
        """The number of a column with exactly these values, made where it was not there. Raises CompileError without room."""
        number = self.find(column)
        if number is not None:
            return number
        if self.room < 1 or column.min() < 0 or column.max() > self.largest:
            raise CompileError("the dynamic values have no room for a column that is needed")
        self.columns.append(column.astype(np.int64))
        return len(self.columns) - 1

    def cover(self, gap: Ints, slack: Ints, reserve: int) -> tuple[Wait, Ints]:
        """A wait nowhere shorter than `gap`, and its length.

        Where it can be said, one that nowhere exceeds gap + slack; else a new column while more than `reserve` are left; else
        the one that is late least.
        """
        best: tuple[int, int, Wait, Ints] | None = None
        for many in range(1, _MOST_VALUES + 1):
            choices, stack = self._sums(many)
            constants = np.maximum(many - 1, (gap - stack).max(axis=1))
            lengths = stack + constants[:, None]
            late = np.maximum(0, lengths - gap - slack).sum(axis=1)
            one = int(np.lexsort((lengths.sum(axis=1), late))[0])
            if best is None or late[one] < best[0]:
                value, *more = choices[one]
                best = (int(late[one]), many, Wait(int(constants[one]), value, tuple(more)), lengths[one])
            if best[0] == 0:
                return best[2], best[3]
        assert best is not None
        shape = gap - gap.min()
        if self.room > reserve and shape.max() <= self.largest:
            return Wait(int(gap.min()), self.add(shape)), gap
        return best[2], best[3]

    def _sums(self, many: int) -> tuple[list[tuple[int, ...]], Ints]:
        """All sums of so many columns: which, and their values."""
        if many not in self._known or self._known[many][0] != len(self.columns):
            first = 0 if many == 1 else 1
            choices = list(combinations_with_replacement(range(first, len(self.columns)), many)) or [(0,) * many]
            stack = np.array(self.columns)
            self._known[many] = (len(self.columns), choices, stack[np.array(choices)].sum(axis=1))
        return self._known[many][1], self._known[many][2]


@dataclass
class Placed:
    """One operation of a section: its wait after the one before it in its queue, and its issue on the section's clock."""

    operation: Operation
    wait: Wait
    issue: Ints


@dataclass
class SectionSchedule:
    """The three queues of a section. first: issue of each queue's first operation; end: cycle after its last."""

    section: Section
    queues: dict[str, list[Placed]] = field(default_factory=lambda: {"matrix": [], "vector": [], "scalar": []})

    def first(self, queue: str) -> Ints | None:
        return self.queues[queue][0].issue if self.queues[queue] else None


@dataclass
class Schedule:
    """A whole token. All members are arrays over buckets unless said otherwise.

    body_start: start of the first layer on the token's clock (where word 0 is current in cycle 1); period: cycles a layer;
    epilogue_start: start of the epilogue after the start of the last layer.
    """

    sections: dict[Section, SectionSchedule]
    columns: Columns
    body_start: int
    period: Ints
    epilogue_start: Ints
    back_waits: dict[str, Wait | None]  # NOP that ends the loop over layers, a queue


QUEUE_NAMES = ("matrix", "vector", "scalar")
_RESERVE = 3  # columns kept for the waits that close the loop over layers, one a queue


class _Ports:
    """Bank port bookings of a single-port machine, a list a bucket."""

    def __init__(self, config: Config, buckets: int) -> None:
        self.single, self.read = config.single_port, timing(config).matrix_read
        self.reads: list[list[tuple[int, int]]] = [[] for _ in range(buckets)]
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

    def book(self, operation: Operation, bucket: int, start: int) -> None:
        accesses = operation.accesses(bucket)
        if accesses.bank_reads:
            self.reads[bucket] = self.reads[bucket][-64:] + [(start + self.read, start + self.read + accesses.bank_reads)]
        if len(accesses.bank_writes):
            self.writes[bucket] = sorted(self.writes[bucket] + [start + int(c) for c in accesses.bank_writes])[-256:]


def _place(section: Section, operations: list[Operation], sequence: list[int], edges: list[Edges], config: Config,
           columns: Columns, latest: Ints | None) -> SectionSchedule:
    """Issue cycles of a section, each as early as what came before allows and the columns can say.

    latest: (operations, buckets) issue by which an operation delays nobody, on the ideal clock; what the matrix queue has
    already lost against that clock moves it.
    """
    buckets = len(edges)
    result = SectionSchedule(section)
    incoming: list[list[tuple[int, Ints]]] = [[] for _ in operations]
    keys = sorted(set().union(*edges))
    for earlier, later in keys:
        incoming[later].append((earlier, np.array([e.get((earlier, later), -(1 << 40)) for e in edges])))
    issue: dict[int, Ints] = {}
    durations = [np.array([op.accesses(b).duration for b in range(buckets)]) for op in operations]
    free = {queue: np.zeros(buckets, np.int64) for queue in QUEUE_NAMES}
    ports = _Ports(config, buckets)
    heads = {queue: [n for n in sequence if operations[n].queue == queue] for queue in QUEUE_NAMES}
    rank = {number: at for at, number in enumerate(sequence)}
    at = dict.fromkeys(QUEUE_NAMES, 0)
    follower = {id(op.partner): number for number, op in enumerate(operations) if op.partner}
    lost = np.zeros(buckets, np.int64)

    def known(number: int) -> bool:
        return all(earlier in issue for earlier, _ in incoming[number])

    def earliest(number: int) -> Ints:
        start = free[operations[number].queue].copy()
        for earlier, separation in incoming[number]:
            np.maximum(start, issue[earlier] + separation, out=start)
        return start

    def clear(number: int, start: Ints) -> Ints:
        if not ports.single:
            return start
        return np.array([ports.clear_start(operations[number], b, int(start[b])) for b in range(buckets)])

    def fit(number: int, start: Ints) -> tuple[Wait, Ints]:
        """The least wait, and start, that the columns can say and the bank ports allow."""
        queue = operations[number].queue
        while True:
            start = clear(number, start)
            if not result.queues[queue]:  # a section's first waits are the same at every position
                wait, sayable = Wait(0), np.full(buckets, start.max())
            else:
                slack = np.maximum(0, latest[number] + lost - start) if latest is not None else np.zeros(buckets, np.int64)
                wait, gap = columns.cover(start - free[queue], slack, _RESERVE)
                sayable = free[queue] + gap
            if np.array_equal(clear(number, sayable), sayable):
                return wait, sayable
            start = sayable

    def settle(number: int, start: Ints) -> None:
        wait, start = fit(number, start)
        queue = operations[number].queue
        result.queues[queue].append(Placed(operations[number], wait, start))
        issue[number] = start
        free[queue] = start + durations[number]
        if latest is not None and queue == "matrix":
            np.maximum(lost, start - latest[number], out=lost)
        if ports.single:
            for b in range(buckets):
                ports.book(operations[number], b, int(start[b]))

    while len(issue) < len(operations):
        choices: list[tuple[int, int]] = []
        for queue in QUEUE_NAMES:
            if at[queue] < len(heads[queue]):
                number = heads[queue][at[queue]]
                if operations[number].partner is None and known(number):
                    mate = follower.get(id(operations[number]))
                    if mate is None or (at["vector"] < len(heads["vector"]) and heads["vector"][at["vector"]] == mate and known(mate)):
                        choices.append((rank[number], number))
        if not choices:
            raise CompileError(f"the order of the {section.name.lower()} cannot be issued")
        _, number = min(choices)
        mate = follower.get(id(operations[number]))
        start = earliest(number)
        if mate is None:
            settle(number, start)
        else:
            lag = operations[mate].lag
            start = np.maximum(start, earliest(mate) - lag)
            while True:  # both waits must be sayable at once
                _, start = fit(number, start)
                _, following = fit(mate, start + lag)
                if np.array_equal(following, start + lag):
                    break
                start = following - lag
            settle(number, start)
            settle(mate, start + lag)
            if not np.array_equal(issue[mate], issue[number] + lag):
                raise CompileError(f"{operations[mate].name} does not follow its matmul")
            at["vector"] += 1
        at[operations[number].queue] += 1
    return result


def _between(edges: Edges, marks: tuple[int, int, int]) -> Edges:
    """The edges from the operations marks[0]..marks[1] to marks[1]..marks[2], numbered from the start of each range."""
    low, middle, high = marks
    return {(earlier - low, later - middle): separation for (earlier, later), separation in edges.items()
            if low <= earlier < middle <= later < high}


def _apart(edges: Edges, left: Ints, right: Ints, marks: tuple[int, int, int]) -> int:
    """Least distance of two neighbouring sections' starts; left and right: issues in one bucket."""
    return max((int(left[earlier]) + separation - int(right[later]) for (earlier, later), separation in _between(edges, marks).items()),
               default=-(1 << 40))


def schedule(operations: list[Operation], config: Config, buckets: int) -> Schedule:
    """Place a lowered token: first with as many dynamic values as it likes, then with those that serve it best."""
    parts = {section: [op for op in operations if op.section is section] for section in Section}
    prologue, body, epilogue = (parts[section] for section in Section)
    whole = [*prologue, *body, *body, *epilogue]
    marks = np.cumsum([0, len(prologue), len(body), len(body), len(epilogue)]).tolist()
    edges = [dependences(whole, b) for b in range(buckets)]
    reference = min(buckets - 1, max(0, 63 // config.bucket_positions))
    inner = {section: [_within(e, low, high) for e in edges]
             for section, low, high in zip(Section, (marks[0], marks[1], marks[3]), (marks[1], marks[2], marks[4]), strict=True)}
    sequences: dict[Section, list[int]] = {}
    for section, ops in parts.items():
        every: Edges = {}
        for one in (inner[section][reference], *inner[section]):  # the order must suit edges that other buckets add
            for key, separation in one.items():
                every.setdefault(key, separation)
        sequences[section] = order(ops, every, reference)
    blocks = np.arange(buckets, dtype=np.int64)
    given = [blocks * scale for scale in sorted({count.scale for op in operations for count in op.counts.values()})]
    largest = (1 << config.value_bits) - 1

    def attempt(columns: Columns, latest: dict[Section, Ints] | None) -> Schedule:
        sections = {section: _place(section, ops, sequences[section], inner[section], config, columns,
                                    latest[section] if latest else None) for section, ops in parts.items()}
        return _join(parts, sections, columns, edges, marks)

    ideal = attempt(Columns(buckets, None, 32, given), None)
    latest = {section: _latest(ops, ideal.sections[section], inner[section]) for section, ops in parts.items()}
    back = [_between(e, (marks[1], marks[2], marks[3])) for e in edges]
    issues = _issues(body, ideal.sections[Section.BODY])
    for b, one in enumerate(back):  # what the next layer needs
        for (earlier, later), separation in one.items():
            limit = int(issues[later, b] + ideal.period[b]) - separation
            latest[Section.BODY][earlier, b] = min(latest[Section.BODY][earlier, b], max(limit, int(issues[earlier, b])))
    latest[Section.BODY] = _latest(body, ideal.sections[Section.BODY], inner[Section.BODY], latest[Section.BODY])
    return attempt(Columns(buckets, config.values, config.value_bits, given), latest)


def _issues(operations: list[Operation], part: SectionSchedule) -> Ints:
    """(operations, buckets) issue cycles in the order of the list."""
    issue = {id(p.operation): p.issue for queue in part.queues.values() for p in queue}
    return np.array([issue[id(op)] for op in operations])


def _latest(operations: list[Operation], part: SectionSchedule, edges: list[Edges], limit: Ints | None = None) -> Ints:
    """(operations, buckets) the latest issue that moves no matrix operation of an ideal schedule."""
    issues = _issues(operations, part)
    latest = np.full_like(issues, 1 << 40) if limit is None else limit.copy()
    durations = np.array([[op.accesses(b).duration for b in range(issues.shape[1])] for op in operations])
    number_of = {id(op): number for number, op in enumerate(operations)}
    after: list[list[tuple[int, Ints]]] = [[] for _ in operations]
    for earlier, later in sorted(set().union(*edges)):
        after[earlier].append((later, np.array([e.get((earlier, later), -(1 << 40)) for e in edges])))
    for placed in part.queues.values():
        for here, following in zip(placed, placed[1:], strict=False):
            number = number_of[id(here.operation)]
            after[number].append((number_of[id(following.operation)], durations[number]))
    fixed = np.array([op.queue == "matrix" or op.partner is not None for op in operations])
    for number in sorted(range(len(operations)), key=lambda n: -int(issues[n].max())):
        if fixed[number]:
            latest[number] = issues[number]
            continue
        for later, separation in after[number]:
            np.minimum(latest[number], latest[later] - separation, out=latest[number])
    return np.maximum(latest, issues)


def _within(edges: Edges, low: int, high: int) -> Edges:
    """The edges inside a range of operations, numbered from its start."""
    return {(a - low, b - low): separation for (a, b), separation in edges.items() if low <= a < high and low <= b < high}


def _join(parts: dict[Section, list[Operation]], sections: dict[Section, SectionSchedule], columns: Columns, edges: list[Edges],
          marks: list[int]) -> Schedule:
    """Distances between the sections, and the waits that close the loop."""
    buckets = len(edges)
    when = {section: _issues(parts[section], part) for section, part in sections.items()}
    zero = np.zeros(buckets, np.int64)

    def end(section: Section, queue: str) -> Ints:
        placed = sections[section].queues[queue]
        if not placed:
            return zero
        durations = np.array([placed[-1].operation.accesses(b).duration for b in range(buckets)])
        return placed[-1].issue + durations

    def first(section: Section, queue: str) -> Ints:
        start = sections[section].first(queue)
        if start is None:
            raise CompileError(f"the {section.name.lower()} leaves the {queue} queue empty")
        return start

    start, period, after = 0, zero.copy(), zero.copy()
    ahead, body, behind = (when[section] for section in Section)
    for b in range(buckets):
        start = max(start, _apart(edges[b], ahead[:, b], body[:, b], (marks[0], marks[1], marks[2])))
        period[b] = _apart(edges[b], body[:, b], body[:, b], (marks[1], marks[2], marks[3]))
        after[b] = _apart(edges[b], body[:, b], behind[:, b], (marks[2], marks[3], marks[4]))
    for queue in QUEUE_NAMES:  # +1: the LOOP word
        start = max(start, int((end(Section.PROLOGUE, queue) + 1 - first(Section.BODY, queue)).max()))
        period = np.maximum(period, end(Section.BODY, queue) - first(Section.BODY, queue))
    # The matrix queue's wait may be rounded up, which lengthens the period for all; the others' must be exact.
    back: dict[str, Wait | None] = {}
    spans = {queue: end(Section.BODY, queue) - first(Section.BODY, queue) for queue in QUEUE_NAMES}
    if any((period == spans[queue]).any() and (period != spans[queue]).any() for queue in QUEUE_NAMES):
        period = period + 1  # a NOP takes a cycle, in every bucket or in none
    if (period != spans["matrix"]).any():
        _, gap = columns.cover(period - spans["matrix"] - 1, zero, len(QUEUE_NAMES) - 1)
        period = spans["matrix"] + 1 + gap
    for queue in QUEUE_NAMES:
        gap = period - spans[queue] - 1
        if (gap < 0).all():
            back[queue] = None
            continue
        back[queue], said = columns.cover(gap, zero, 0)
        if not np.array_equal(said, gap):
            raise CompileError("the dynamic values have no room for the wait that closes the loop over layers")
    for queue in QUEUE_NAMES:  # +1: the END_PROMPT word
        after = np.maximum(after, period + first(Section.BODY, queue) + 1 - first(Section.EPILOGUE, queue))
    after = period + int((after - period).max())
    return Schedule(sections=sections, columns=columns, body_start=start, period=period, epilogue_start=after, back_waits=back)
