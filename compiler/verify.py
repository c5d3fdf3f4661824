"""Verify: what a pass promises to the next, checked on its result. A failure is a defect of the compiler.

`verify_operations` looks at the lowered operations, `verify_program` at the encoded words: expanded again, they must do
what the schedule says, in its cycles. The cycle simulator checks the same programs once more, from the instruction set
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from compiler.accesses import rounds
from compiler.expand import Events, Offsets, column_names, matters, walk
from compiler.ir import CompileError, Ints, Operation, Section, Space
from compiler.join import Schedule
from compiler.layout import Layout, Memory
from rtl.config import Config
from rtl.encoding import decode
from rtl.isa import MATRIX, QUEUES, VECTOR, Addend, Plane, Queue, ScalarFunction, Store
from rtl.timing import NOISE_ROWS, timing


def _need(condition: bool, operation: Operation, text: str) -> None:
    if not condition:
        raise CompileError(f"{operation.section.name.lower()} {operation.name}: {text}")


# ------------------------------------------------------------------------------------------- lowered operations


def verify_operations(operations: Sequence[Operation], layout: Layout) -> None:
    """Addresses lie in the right regions, nothing is read before it is written, partners keep pace.

    Raises CompileError naming the operation.
    """
    last = layout.geometry.attention_blocks - 1
    for operation in operations:
        _verify_words(operation, layout, last)
    _verify_partners(operations, layout, last)
    for bucket in sorted({0, last}):
        _verify_written(operations, layout, bucket)


def _region(operation: Operation, memory: Memory, cells: Ints, plane: Plane = Plane.BYTES) -> str:
    """The name of the region that holds all the cells."""
    low, high = int(cells.min()), int(cells.max())
    around = [region for region in memory.regions
              if region.plane is plane and region.start <= low < region.start + region.size]
    _need(bool(around), operation, f"{memory.name} {low} lies in no region")
    whole = [region.name for region in around if high < region.start + region.size]  # some lie over others
    _need(bool(whole), operation, f"{memory.name} {low} to {high} leave the region of {around[0].name}")
    return whole[0]


def _verify_words(operation: Operation, layout: Layout, last: int) -> None:
    """Every address in the largest bucket, by region."""
    g, insn = layout.geometry, operation.insn
    cfg, layers = g.config, g.shape.layers if operation.section is Section.BODY else 1
    accesses = operation.accesses(last)
    touches = accesses.reads + accesses.writes
    limits = {Space.ACC: cfg.slots, Space.SCALAR: cfg.scalars, Space.REDUCE: cfg.reduces + cfg.sequences,
              Space.NOISE: cfg.sequences * NOISE_ROWS, Space.INDEX: cfg.sequences * cfg.choices}
    each = cfg.lanes // min(cfg.lanes, cfg.taps)  # activation cells of a vector
    for space, cells, _ in touches:
        if space in limits:
            _need(int(cells.min()) >= 0 and int(cells.max()) < limits[space], operation,
                  f"{space.name.lower()} {int(cells.max())} does not exist")
        elif space is Space.ACT:
            _region(operation, layout.act, cells // each)
        elif space is Space.VECTOR:
            _region(operation, layout.vector, cells)
        elif operation.queue == "vector":
            wanted = "K cache" if insn["store"] is Store.KEYS else "V cache"
            _need(_region(operation, layout.bank, cells) == wanted, operation, f"stores outside the {wanted}")
    if operation.queue == "matrix":
        steps, outputs = (np.arange(rounds(insn, name, operation.counts, last)) for name in ("repeat", "outer"))
        rows = insn.number("row") + (outputs[:, None] * insn.number("row_step") + steps).ravel()
        plane = insn["plane"]
        assert isinstance(plane, Plane)
        name = _region(operation, layout.bank, rows, plane)
        cached = any(space is Space.BANK for space, _, _ in touches)
        _need(cached == (name in ("K cache", "V cache")), operation, f"reads {name} with the hazards of another region")
        _need(bool(insn.number("gather")) == (name == "embedding"), operation, f"reads {name}; only embeddings gather")
        chosen = name == "gate and up" or name.startswith("down")
        _need(bool(insn.number("choice")) == (chosen and layout.experts > 0), operation,
              f"reads {name} {'without' if chosen else 'with'} the choice of an expert")
        furthest = (layers - 1) * layout.layer_rows + (layout.experts - 1) * layout.expert_rows * chosen
        _need(int(rows.max()) + furthest < cfg.bank_rows, operation, "leaves the banks")
    if operation.queue == "vector" and matters(insn, "param"):
        passes = rounds(insn, "repeat", operation.counts, last)
        span = insn.number("param") + np.arange(passes) // (insn.number("rotate") + 1) * insn.number("inc_param")
        if insn.number("rope"):
            span = np.append(span, span + (g.context - 1) * g.rope_period)
        name = _region(operation, layout.param, span)
        _need(bool(insn.number("rope")) == (name == "RoPE"), operation, f"takes parameters of {name}")
        furthest = int(span.max()) + (0 if insn.number("rope") else (layers - 1) * layout.layer_params)
        _need(furthest < cfg.param_rows, operation, "leaves the parameter memory")
    if operation.queue == "scalar" and insn["function"] is ScalarFunction.CONST:
        _region(operation, layout.constant, insn.number("constant") + np.arange(layers))


def _verify_partners(operations: Sequence[Operation], layout: Layout, last: int) -> None:
    """A partner takes each block after its last step and before the accumulator is used again."""
    cfg = layout.geometry.config
    t = timing(cfg)
    earlier: dict[int, Operation] = {}
    taken: set[int] = set()
    for operation in operations:
        partner = operation.partner
        if partner is not None:
            _need(id(partner) in earlier and id(partner) not in taken, operation, "its partner is none before it")
            _need(partner.queue == "matrix" and operation.queue == "vector", operation, "its partner is no matmul")
            _need(partner.section is operation.section and operation.lag >= 0, operation, "its partner is elsewhere")
            taken.add(id(partner))
            for bucket in (0, last):
                steps = rounds(partner.insn, "repeat", partner.counts, bucket)
                blocks = np.arange(rounds(partner.insn, "outer", partner.counts, bucket))
                _need(len(blocks) == rounds(operation.insn, "repeat", operation.counts, bucket), operation,
                      "has another number of passes than its partner has outputs")
                read = operation.lag + blocks * (operation.insn.number("pace") + 1) + t.acc_read
                done = (blocks + 1) * steps - 1 + t.acc_visible
                reused = (blocks + cfg.slots) * steps + t.acc_visible
                reused[len(blocks) - cfg.slots:] = 1 << 40
                _need(bool((done <= read).all() and (read < reused).all()), operation,
                      "reads an accumulator too early or too late")
        earlier[id(operation)] = operation


def _verify_written(operations: Sequence[Operation], layout: Layout, bucket: int) -> None:
    """Every cell that is read was written before, in this token, or is loaded, or is in the caches of earlier ones."""
    g = layout.geometry
    cfg = g.config
    unit = min(cfg.lanes, cfg.taps)
    sizes = {Space.BANK: cfg.bank_rows, Space.ACT: cfg.act_rows * cfg.act_width // unit, Space.VECTOR: cfg.vector_rows,
             Space.ACC: cfg.slots, Space.SCALAR: cfg.scalars, Space.REDUCE: cfg.reduces + cfg.sequences,
             Space.NOISE: cfg.sequences * NOISE_ROWS, Space.INDEX: cfg.sequences * cfg.choices}
    written: dict[Space, npt.NDArray[np.bool_]] = {space: np.zeros(size, bool) for space, size in sizes.items()}
    onehot = layout.onehot_act * cfg.lanes // unit
    written[Space.ACT][onehot:onehot + cfg.taps * cfg.taps // unit] = True
    written[Space.NOISE][:] = True  # made as the token begins, see `_QueueCheck`
    for operation in operations:  # the positions before this one wrote their part of the caches
        for before in range(bucket):
            for space, cells, _ in operation.accesses(before).writes:
                if space is Space.BANK:
                    written[space][cells] = True
    word = cfg.taps // unit  # activation cells that a matmul reads at once; the last word may be half padding
    for operation in operations:
        accesses = operation.accesses(bucket)
        for space, cells, _ in accesses.reads:
            known = written[space]
            if space is Space.ACT:
                known = np.repeat(known.reshape(-1, word).any(axis=1), word)
            if not known[cells].all():
                first = int(cells[~known[cells]][0])
                _need(False, operation, f"reads {space.name.lower()} {first} before it is written")
        for space, cells, _ in accesses.writes:
            written[space][cells] = True


# ------------------------------------------------------------------------------------------- encoded programs


def verify_program(words: Mapping[str, Sequence[int]], schedule: Schedule, cycles: Ints, layout: Layout,
                   buckets: Iterable[int] | None = None) -> None:
    """The encoded words do exactly what the schedule says, in its cycles, and end when they promise.

    words: of each queue. cycles: (2, buckets) what is promised, see `Image.cycles`. buckets: those to look at; all
    without. Raises CompileError naming the bucket, the operation and what differs.
    """
    cfg = layout.geometry.config
    table = np.zeros((len(schedule.period), cfg.values), np.int64)
    for number, column in enumerate(schedule.columns.columns):
        table[:, number] = column
    chosen = list(range(len(table)) if buckets is None else buckets)
    ends = np.zeros((2, len(table)), np.int64)
    for queue in QUEUES:
        one = _QueueCheck(cfg, queue, words[queue.name], schedule, layout)
        for bucket in chosen:
            ends[:, bucket] = np.maximum(ends[:, bucket], one.check(bucket, table[bucket].tolist()))
    for bucket in chosen:
        took = ends[:, bucket] + timing(cfg).token_overhead
        if not np.array_equal(took, cycles[:, bucket]):
            raise CompileError(f"bucket {bucket}: the program takes {took.tolist()} cycles (prompt, classified); "
                               f"promised were {cycles[:, bucket].tolist()}")


class _QueueCheck:
    """One queue of a program against its part of the schedule; what does not change with the bucket is kept."""

    def __init__(self, config: Config, queue: Queue, words: Sequence[int], schedule: Schedule, layout: Layout) -> None:
        self.config, self.queue, self.schedule, self.layout = config, queue, schedule, layout
        self.words = [decode(config, queue, word) for word in words]
        self.events = Events(config)
        self._known: dict[tuple[object, ...], Ints] = {}

    def check(self, bucket: int, values: Sequence[int]) -> tuple[int, int]:
        """The queue's ends (prompt, classified)."""
        runs, prompt_end, end = walk(self.config, self.words, values, timing(self.config).values_ready)
        found: list[tuple[int, Ints]] = []
        for run in runs:
            key = (run.index, run.rounds, run.outputs, *run.inner.values(), -1, *run.outer.values())
            if key not in self._known:
                insn = self.words[run.index]
                self._known[key] = self.events.of(insn, run.rounds, run.outputs, run.inner, run.outer)
            found.append((run.cycle, self._known[key]))
        expected = self._expected(bucket)
        for operation, cycle, _ in expected:
            if self.queue is VECTOR and operation.insn["addend"] is Addend.NOISE:
                _need(cycle >= timing(self.config).noise_ready, operation, "takes noise before there is some")
        self._compare(bucket, expected, _timed([(cycle, events) for _, cycle, events in expected]), _timed(found))
        return prompt_end, end

    def _expected(self, bucket: int) -> list[tuple[Operation, int, Ints]]:
        """Each operation of the schedule with its cycle, in the order of issue."""
        plan, layers = self.schedule, self.layout.geometry.shape.layers
        period, after = int(plan.period[bucket]), int(plan.epilogue_start[bucket])
        starts = [(Section.PROLOGUE, 0, 0)]
        starts += [(Section.BODY, plan.body_start + layer * period, layer) for layer in range(layers)]
        starts += [(Section.EPILOGUE, plan.body_start + (layers - 1) * period + after, 0)]
        result: list[tuple[Operation, int, Ints]] = []
        for section, start, layer in starts:
            for placed in plan.sections[section].queues[self.queue.name]:
                cycle = 1 + start + int(placed.issue[bucket])  # word 0 is current in cycle 1
                result.append((placed.operation, cycle, self._work(placed.operation, layer, bucket)))
        return result

    def _work(self, operation: Operation, layer: int, bucket: int) -> Ints:
        key = (id(operation), layer, bucket if operation.counts else 0)
        if key not in self._known:
            insn, counts = operation.insn, operation.counts
            outputs = rounds(insn, "outer", counts, bucket) if self.queue is MATRIX else 1
            self._known[key] = self.events.of(
                insn, rounds(insn, "repeat", counts, bucket), outputs, {}, self._layer_offsets(layer))
        return self._known[key]

    def _layer_offsets(self, layer: int) -> Offsets:
        rows, params = layer * self.layout.layer_rows, layer * self.layout.layer_params
        match self.queue.name:
            case "matrix":
                return {"row": rows}
            case "vector":
                return {"param": params, "dst": rows}
            case _:
                return {"constant": layer}

    def _compare(self, bucket: int, work: list[tuple[Operation, int, Ints]], expected: Ints, found: Ints) -> None:
        common = min(len(expected), len(found))
        differs = np.flatnonzero((expected[:common] != found[:common]).any(axis=1))
        where = f"bucket {bucket}, {self.queue.name} queue"
        if len(differs):
            at = int(differs[0])
            names = [operation.name for operation, _, events in work for _ in range(len(events))]
            what = [f"{name} is {int(is_)}, not {int(should)}" for name, is_, should
                    in zip(column_names(self.queue), found[at], expected[at], strict=True) if is_ != should]
            raise CompileError(f"{where}: {names[at]} is not as scheduled: {', '.join(what)}")
        if len(expected) != len(found):
            raise CompileError(f"{where}: {len(found)} events in the program, {len(expected)} in the schedule")


def _timed(parts: list[tuple[int, Ints]]) -> Ints:
    """Events of several words, each moved to its cycle."""
    events = np.concatenate([events for _, events in parts])
    events[:, 0] += np.repeat([cycle for cycle, _ in parts], [len(events) for _, events in parts])
    return events
