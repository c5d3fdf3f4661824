"""Schedule: the issue cycle of every operation, at every position bucket at once.

Each section (prologue, one layer, epilogue) is placed on its own clock; all cycles are arrays over the buckets. A wait that differs between
buckets needs one of the machine's dynamic values, which are few: `Columns` hands them out, and where none is left, rounds a wait up
to what can be said. What is placed later sees what was placed earlier, so rounding up is always legal.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from compiler.dependence import Edges, dependences
from compiler.ir import CompileError, Ints, Operation, Section
from compiler.order import order
from rtl.config import Config
from rtl.timing import timing


@dataclass(frozen=True)
class Wait:
    """Idle cycles: an immediate plus a dynamic value (0: none)."""

    cycles: int
    value: int = 0


class Columns:
    """The dynamic values: columns over the buckets; column 0 is zero.

    A free set takes every column that is asked for (to learn what a schedule would like); a fixed one covers a gap
    with what it has. `wanted` counts the gaps that were asked for, by shape, weighted by the caller.
    """

    def __init__(self, buckets: int, value_bits: int, columns: list[Ints], *, free: bool) -> None:
        self.columns: list[Ints] = [np.zeros(buckets, np.int64)]
        self.largest, self.free = (1 << value_bits) - 1, free
        self.wanted: dict[tuple[int, ...], int] = {}
        for column in columns:
            self.add(column)

    def add(self, column: Ints) -> int:
        """The number of a column with exactly these values. Raises CompileError when they are too large."""
        for number, known in enumerate(self.columns):
            if np.array_equal(known, column):
                return number
        if column.min() < 0 or column.max() > self.largest:
            raise CompileError("a dynamic value does not fit its bits")
        self.columns.append(column.astype(np.int64))
        return len(self.columns) - 1

    def number(self, column: Ints) -> int:
        """The number of a column that is there. Raises CompileError when it is not."""
        for number, known in enumerate(self.columns):
            if np.array_equal(known, column):
                return number
        raise CompileError("a count has no dynamic value")

    def cover(self, gap: Ints, weight: int = 1) -> tuple[Wait, Ints]:
        """The least wait that is nowhere shorter than `gap`, and how long it is."""
        low = int(gap.min())
        shape = gap - low
        if not shape.any():
            return Wait(low), gap
        key = tuple(shape.tolist())
        self.wanted[key] = self.wanted.get(key, 0) + weight
        if self.free:
            return Wait(low, self.add(shape)), gap
        stack = np.array(self.columns)
        constants = np.maximum(0, (gap - stack).max(axis=1))
        costs = (stack + constants[:, None]).sum(axis=1)
        best = int(costs.argmin())
        return Wait(int(constants[best]), best), stack[best] + constants[best]


def choose_columns(wanted: dict[tuple[int, ...], int], given: list[Ints], room: int, largest: int) -> list[Ints]:
    """`given` and up to `room` more columns that cover the wanted gaps most cheaply: greedy, each time the one that saves most."""
    shapes = np.array(sorted(wanted))
    weights = np.array([wanted[key] for key in sorted(wanted)])
    candidates = shapes[shapes.max(axis=1) <= largest] if len(shapes) else shapes

    def costs(columns: Ints) -> Ints:
        """(shapes, columns): cycles lost when a column covers a shape."""
        constants = np.maximum(0, (shapes[:, None] - columns[None]).max(axis=2))
        return (columns[None] - shapes[:, None]).sum(axis=2) + constants * shapes.shape[1]

    chosen = list(given)
    if not len(candidates):
        return chosen
    lost = costs(np.array([np.zeros(shapes.shape[1], np.int64), *given])).min(axis=1)
    table = costs(candidates)
    for _ in range(room):
        saved = (np.maximum(0, lost[:, None] - table) * weights[:, None]).sum(axis=0)
        best = int(saved.argmax())
        if saved[best] <= 0:
            break
        chosen.append(candidates[best])
        lost = np.minimum(lost, table[:, best])
    return chosen


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
_WEIGHT = {"matrix": 8, "vector": 2, "scalar": 1}  # what a lost cycle costs: the matrix queue is the one to keep busy
_ROUNDS = 4  # tries at choosing the columns


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
           columns: Columns) -> SectionSchedule:
    """Issue cycles of a section, each as early as what came before allows."""
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
                wait, gap = columns.cover(start - free[queue], _WEIGHT[queue])
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


def _apart(edges: Edges, left: Ints, right: Ints, marks: tuple[int, int, int]) -> int:
    """Least distance of two neighbouring sections' starts; left and right: issues in one bucket, from marks[0] and marks[1] on."""
    low, middle, high = marks
    need = -(1 << 40)
    for (earlier, later), separation in edges.items():
        if low <= earlier < middle <= later < high:
            need = max(need, int(left[earlier - low]) + separation - int(right[later - middle]))
    return need


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

    def attempt(columns: Columns) -> Schedule:
        sections = {section: _place(section, ops, sequences[section], inner[section], config, columns) for section, ops in parts.items()}
        return _join(parts, sections, columns, edges, marks)

    trial = attempt(Columns(buckets, 32, given, free=True))
    wanted, best = dict(trial.columns.wanted), None
    for _ in range(_ROUNDS):
        chosen = choose_columns(wanted, given, config.values - 1 - len(given), largest)
        trial = attempt(Columns(buckets, config.value_bits, chosen, free=False))
        if best is None or trial.period.sum() < best.period.sum():
            best = trial
        for key, weight in trial.columns.wanted.items():
            wanted[key] = wanted.get(key, 0) + weight
    assert best is not None
    return best


def _within(edges: Edges, low: int, high: int) -> Edges:
    """The edges inside a range of operations, numbered from its start."""
    return {(a - low, b - low): separation for (a, b), separation in edges.items() if low <= a < high and low <= b < high}


def _join(parts: dict[Section, list[Operation]], sections: dict[Section, SectionSchedule], columns: Columns, edges: list[Edges],
          marks: list[int]) -> Schedule:
    """Distances between the sections, and the waits that close the loop."""
    buckets = len(edges)
    when: dict[Section, Ints] = {}
    for section, part in sections.items():
        issue = {id(p.operation): p.issue for queue in part.queues.values() for p in queue}
        when[section] = np.array([issue[id(op)] for op in parts[section]])
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
    back: dict[str, Wait | None] = {}
    while True:
        again = False
        for queue in QUEUE_NAMES:
            gap = period + first(Section.BODY, queue) - end(Section.BODY, queue)
            if not gap.any():
                back[queue] = None
                continue
            wait, covered = columns.cover(np.maximum(gap - 1, 0), _WEIGHT["matrix"])
            back[queue] = wait
            if not np.array_equal(covered + 1, gap):
                period = period + (covered + 1 - gap)
                again = True
        if not again:
            break
    for queue in QUEUE_NAMES:  # +1: the END_PROMPT word
        after = np.maximum(after, period + first(Section.BODY, queue) + 1 - first(Section.EPILOGUE, queue))
    after = period + int((after - period).max())
    return Schedule(sections=sections, columns=columns, body_start=start, period=period, epilogue_start=after, back_waits=back)
