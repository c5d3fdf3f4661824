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
    """The dynamic values: columns over the buckets; column 0 is zero. `seeds` are columns known to be wanted."""

    def __init__(self, buckets: int, limit: int, value_bits: int, seeds: list[Ints] | None = None) -> None:
        self.columns: list[Ints] = [np.zeros(buckets, np.int64)]
        self.limit, self.largest = limit, (1 << value_bits) - 1
        self.wanted: dict[tuple[int, ...], int] = {}
        for seed in seeds or []:
            self.exact(seed)

    def exact(self, column: Ints) -> int:
        """The number of a column with exactly these values. Raises CompileError when there is no room."""
        for number, known in enumerate(self.columns):
            if np.array_equal(known, column):
                return number
        if len(self.columns) >= self.limit or column.min() < 0 or column.max() > self.largest:
            raise CompileError("the dynamic values do not hold the counts")
        self.columns.append(column.astype(np.int64))
        return len(self.columns) - 1

    def cover(self, gap: Ints, reserve: int = 0) -> tuple[Wait, Ints]:
        """The least wait that is nowhere shorter than `gap`: exact if a column is known or free, else rounded up."""
        low = int(gap.min())
        shape = gap - low
        if shape.any():
            key = tuple(shape.tolist())
            self.wanted[key] = self.wanted.get(key, 0) + 1
        best: tuple[int, Wait, Ints] | None = None
        for number, column in enumerate(self.columns):
            constant = max(0, int((gap - column).max()))
            covered = column + constant
            cost = int((covered - gap).sum())
            if best is None or cost < best[0]:
                best = (cost, Wait(constant, number), covered)
        assert best is not None
        if best[0] > 0 and len(self.columns) < self.limit - reserve and shape.max() <= self.largest:
            return Wait(low, self.exact(shape)), gap
        return best[1], best[2]


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
_BACK_RESERVE = 3  # columns kept for the waits that close the loop over layers


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

    def settle(number: int, start: Ints, reserve: int) -> Ints:
        """Fix the operation's start, expressible as a wait; returns it."""
        queue = operations[number].queue
        first = not result.queues[queue]
        if ports.single:
            start = np.array([ports.clear_start(operations[number], b, int(start[b])) for b in range(buckets)])
        if first:
            start = np.full(buckets, start.max())  # a section's first waits are the same at every position
        while True:
            wait, gap = columns.cover(start - free[queue], reserve)
            start = free[queue] + gap
            if not ports.single:
                break
            moved = np.array([ports.clear_start(operations[number], b, int(start[b])) for b in range(buckets)])
            if np.array_equal(moved, start):
                break
            start = moved
        result.queues[queue].append(Placed(operations[number], Wait(0) if first else wait, start))
        issue[number] = start
        free[queue] = start + durations[number]
        if ports.single:
            for b in range(buckets):
                ports.book(operations[number], b, int(start[b]))
        return start

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
            settle(number, start, _BACK_RESERVE)
        else:
            lag = operations[mate].lag
            start = np.maximum(start, earliest(mate) - lag)
            while True:  # both waits must be expressible at once
                _, gap = columns.cover(start - free["matrix"], _BACK_RESERVE)
                wanted = free["matrix"] + gap
                _, gap = columns.cover(wanted + lag - free["vector"], _BACK_RESERVE)
                again = free["vector"] + gap - lag
                if np.array_equal(again, start):
                    break
                start = again
            settle(number, start, _BACK_RESERVE)
            settle(mate, start + lag, _BACK_RESERVE)
            if not np.array_equal(issue[mate], issue[number] + lag):
                raise CompileError(f"{operations[mate].name} does not follow its matmul")
            at["vector"] += 1
        at[operations[number].queue] += 1
    return result


def _apart(before: list[Operation], after: list[Operation], edges: Edges, left: dict[int, Ints], right: dict[int, Ints], bucket: int) -> int:
    """Least distance of two sections' starts that the edges between them ask for."""
    need = -(1 << 40)
    for (earlier, later), separation in edges.items():
        if earlier < len(before) <= later:
            need = max(need, int(left[id(before[earlier])][bucket]) + separation - int(right[id(after[later - len(before)])][bucket]))
    return need


def schedule(operations: list[Operation], config: Config, buckets: int) -> Schedule:
    """Place a lowered token. Raises CompileError when dynamic values run out of room for the counts themselves."""
    parts = {section: [op for op in operations if op.section is section] for section in Section}
    reference = min(buckets - 1, max(0, 63 // config.bucket_positions))
    inner = {section: [dependences(ops, b) for b in range(buckets)] for section, ops in parts.items()}
    sequences: dict[Section, list[int]] = {}
    for section, ops in parts.items():
        every: Edges = {}
        for edges in (inner[section][reference], *inner[section]):  # the order must suit edges that other buckets add
            for key, separation in edges.items():
                every.setdefault(key, separation)
        sequences[section] = order(ops, every, reference)
    blocks = np.arange(buckets, dtype=np.int64)
    seeds = [blocks * scale for scale in sorted({count.scale for op in operations for count in op.counts.values()})]
    columns = Columns(buckets, config.values, config.value_bits, seeds)
    for _ in range(2):  # the second time the columns are chosen by what the first wanted
        sections = {section: _place(section, ops, sequences[section], inner[section], config, columns)
                    for section, ops in parts.items()}
        if len(columns.wanted) <= config.values - len(seeds) - 1 - _BACK_RESERVE:
            break
        wanted = sorted(columns.wanted, key=lambda key: (-columns.wanted[key], key))
        chosen = [np.array(key) for key in wanted[:config.values - len(seeds) - 1 - _BACK_RESERVE]]
        columns = Columns(buckets, config.values, config.value_bits, seeds + chosen)
    else:
        sections = {section: _place(section, ops, sequences[section], inner[section], config, columns)
                    for section, ops in parts.items()}
    return _join(parts, sections, columns, config, buckets)


def _join(parts: dict[Section, list[Operation]], sections: dict[Section, SectionSchedule], columns: Columns, config: Config,
          buckets: int) -> Schedule:
    """Distances between the sections, and the waits that close the loop."""
    del config
    when = {section: {id(p.operation): p.issue for queue in part.queues.values() for p in queue} for section, part in sections.items()}
    prologue, body, epilogue = (parts[section] for section in Section)
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
    for b in range(buckets):
        edges = dependences(prologue + body, b)
        start = max(start, _apart(prologue, body, edges, when[Section.PROLOGUE], when[Section.BODY], b))
        edges = dependences(body + body, b)
        period[b] = _apart(body, body, edges, when[Section.BODY], when[Section.BODY], b)
        edges = dependences(body + epilogue, b)
        after[b] = _apart(body, epilogue, edges, when[Section.BODY], when[Section.EPILOGUE], b)
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
            wait, covered = columns.cover(np.maximum(gap - 1, 0))
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
