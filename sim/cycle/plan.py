"""The order in which a token's work touches the state: reads in their cycle, results when they appear.

Steps of one output are one product as long as nothing that they read changes meanwhile.
"""

from __future__ import annotations

import enum
import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from rtl.config import Config
from rtl.isa import Reduce, Store
from rtl.timing import timing
from sim.cycle.access import act_pieces
from sim.cycle.timeline import Ints, Operation, Output, Pass, Timeline

LARGEST_PRODUCT = 128 * 128


class Event(enum.IntEnum):
    """What happens. In one cycle results appear before anything is read, so they come first."""

    ADD = 0  # a chunk's products are in the accumulator
    MEMORY = 1
    ACT = 2
    BANK = 3
    REDUCE = 4
    SCALAR = 5
    MULTIPLY = 6  # a chunk reads banks and activations
    FETCH = 7  # a pass reads memory and scalars before its accumulator
    PASS = 8
    OPERATION = 9
    CHOOSE = 10  # a word reads the index register that moves its rows


@dataclass(slots=True, eq=False)
class Choice:
    """One run of a matrix word that adds an index register, and what it found there."""

    output: Output
    index: int = 0


@dataclass(slots=True, eq=False)
class Chunk:
    """Consecutive steps of one output.

    Members:
        rows, acts: what they read, as an index; acts one for all lanes, or one a lane group.
        clear: starts from zero. checked: the sums might not fit the accumulator.
        choice: of its word. delta: the products' sums while they are on their way; one row a step if `checked`.
    """

    output: Output
    cycle: int  # of the first step
    rows: slice | Ints
    acts: list[slice | Ints]
    clear: bool
    checked: bool
    choice: Choice | None = None
    delta: Any = None


@dataclass(slots=True, eq=False)
class Job:
    """A pass or a scalar operation, with what it has read and made so far."""

    one: Pass | Operation
    fetched: Any = None
    wide: Any = None  # f, (lanes,)
    narrow: Any = None  # o, (lanes,)
    reduced: Any = None


Plan = list[tuple[Event, Chunk | Job | Choice]]


def _index(cells: Ints) -> slice | Ints:
    """Consecutive numbers as a slice, which numpy reads without copying."""
    first, last = int(cells[0]), int(cells[-1])
    return slice(first, last + 1) if last - first == len(cells) - 1 else cells


class _Commits:
    """When activation cells and banks change."""

    def __init__(self, cfg: Config, timeline: Timeline) -> None:
        self.cfg, times = cfg, timing(cfg)
        self.act: defaultdict[int, list[int]] = defaultdict(list)
        self.bank: list[int] = []
        self.any_act: set[int] = set()
        for one in timeline.passes:
            if one.held:
                continue
            if one.mode.store is Store.ACT:
                for cell in act_pieces(cfg, one.dst, cfg.lanes):
                    self.act[cell].append(one.cycle + times.act_visible)
                self.any_act.add(one.cycle + times.act_visible)
            elif one.mode.store is not Store.NONE:
                self.bank.append(one.cycle + times.bank_visible)

    def ends(self, output: Output) -> list[int]:
        """Steps before which an output must be cut: one reads what changes before the output's last read."""
        first = output.cycle + timing(self.cfg).matrix_read
        last = first + len(output.rows) - 1
        # A store can reach any row of the caches, and there are few of them: cut wherever one lands.
        cuts = {cycle - first for cycle in self.bank if first < cycle <= last}
        if output.gather:  # which words it reads is the token's matter
            cuts |= {cycle - first for cycle in self.any_act if first < cycle <= last}
        else:
            for step, words in enumerate(output.acts.tolist()):
                for word in set(words):
                    for cell in act_pieces(self.cfg, word, self.cfg.taps):
                        cuts |= {cycle - first for cycle in self.act.get(cell, ()) if first + step < cycle <= last}
        return sorted(cuts)


def _chunks(cfg: Config, timeline: Timeline) -> list[Chunk]:
    commits, chunks = _Commits(cfg, timeline), list[Chunk]()
    bounds = [0] * cfg.slots  # largest magnitude that an accumulator may hold
    for output in timeline.outputs:
        steps = len(output.rows)
        groups = output.acts.T if (output.acts[:, :1] != output.acts).any() else output.acts[:, :1].T
        edges = [0, *commits.ends(output), steps]
        if output.clear:
            bounds[output.slot] = 0
        for start, end in itertools.pairwise(edges):
            bounds[output.slot] += (end - start) * cfg.taps * LARGEST_PRODUCT
            chunks.append(Chunk(
                output, output.cycle + start, _index(output.rows[start:end]),
                [_index(acts[start:end]) for acts in groups], clear=output.clear and start == 0,
                checked=bounds[output.slot] >= 1 << cfg.acc_bits - 1))
    return chunks


def make_plan(cfg: Config, timeline: Timeline) -> Plan:
    """All events of a token in order."""
    times = timing(cfg)
    events: list[tuple[int, Event, int, Chunk | Job | Choice]] = []

    def at(cycle: int, event: Event, item: Chunk | Job | Choice) -> None:
        events.append((cycle, event, len(events), item))

    choice: Choice | None = None
    for chunk in _chunks(cfg, timeline):
        if chunk.output.choice:
            if choice is None or choice.output.begun != chunk.output.begun:
                choice = Choice(chunk.output)
                at(chunk.output.begun + times.choice_read, Event.CHOOSE, choice)
            chunk.choice = choice
        rows = chunk.rows
        last = chunk.cycle + (rows.stop - rows.start if isinstance(rows, slice) else len(rows)) - 1
        at(last + times.matrix_read, Event.MULTIPLY, chunk)
        at(last + times.acc_visible, Event.ADD, chunk)
    for one in timeline.passes:
        mode, job, cycle = one.mode, Job(one), one.cycle
        accumulator = mode.source.name == "ACC"
        if accumulator and (mode.reads_memory or mode.reads_scalar or one.word.fields["out_scaled"]):
            at(cycle + times.vector_read, Event.FETCH, job)
        at(cycle + (times.acc_read if accumulator else times.vector_read), Event.PASS, job)
        if one.held:
            continue
        if one.word.fields["write"]:
            at(cycle + times.memory_visible, Event.MEMORY, job)
        if mode.store is Store.ACT:
            at(cycle + times.act_visible, Event.ACT, job)
        elif mode.store is not Store.NONE:
            at(cycle + times.bank_visible, Event.BANK, job)
        if mode.reduce is not Reduce.NONE:
            done = times.token_visible if mode.reduce is Reduce.ARGMAX else times.reduce_visible
            at(cycle + done, Event.REDUCE, job)
    for operation in timeline.operations:
        job = Job(operation)
        at(operation.cycle + times.scalar_read, Event.OPERATION, job)
        at(operation.cycle + times.scalar_visible, Event.SCALAR, job)
    events.sort(key=lambda entry: entry[:3])
    return [(event, item) for _, event, _, item in events]
