"""What the hardware would not forgive: hazards, ports, memory that nobody wrote, work that outlives its token.

Two kinds of check. `check_timeline` holds for every position of a bucket, `check_position` looks at what the position
moves: the K and V stores and RoPE's parameter rows. Both speak in cycles from the token's start.

Reading a cell while a write to it is on its way is an error where the reader was issued after the writer: it expects a
value that is not there yet. An accumulator may be read then as long as its old value is whole (rtl.timing's "write
after read"); other spaces may too, if they are named in `overlap`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rtl.config import Config
from rtl.isa import Addend
from rtl.timing import NOISE_ROWS, Timing, timing
from sim.cycle.access import Accesses, Flags, Space, Touches, store_writes, uses_params
from sim.cycle.program import IllegalProgram
from sim.cycle.timeline import Ints, Pass, Timeline

OVERLAP: Final = frozenset({Space.ACC})
_FAR: Final = 1 << 40  # more than any cycle


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What the image put into the memories. Zeros behind the last thing that is not zero count as never loaded.

    Members:
        bank_rows, param_rows: how many rows. act: (cells,) whether the activation row of each cell is loaded.
        cache: (bank_rows,) rows that a K or V store of the program can reach at some position of the context.
    """

    bank_rows: int
    param_rows: int
    act: Flags
    cache: Flags


def _key(cell: Ints, time: Ints) -> Ints:
    return cell * _FAR + time


def _hazards(reads: Touches, writes: Touches, *, overlap: bool) -> Flags:
    """For each read: whether a write to its cell is visible by then. Raises where the read expects one that is not."""
    order = np.argsort(_key(writes.cell, writes.time), kind="stable")
    keys = _key(writes.cell, writes.time)[order]
    at = np.searchsorted(keys, _key(reads.cell, reads.time), side="right")  # the first write that is not visible yet
    if len(order) == 0:
        return np.zeros(len(reads.cell), bool)
    coming = order[np.minimum(at, len(order) - 1)]
    pending = (at < len(order)) & (writes.cell[coming] == reads.cell) & (writes.issue[coming] < reads.issue)
    if overlap:
        same_queue = np.array([reads.word(i).queue is writes.word(int(w)).queue for i, w in enumerate(coming)], bool)
        pending &= writes.partial[coming] | same_queue
    if pending.any():
        # The earliest one is the cause, the others follow from it.
        i = int(np.flatnonzero(pending)[np.argmin(reads.time[pending])])
        w = int(coming[i])
        raise IllegalProgram(
            int(reads.time[i]), f"{{}} reads {reads.space.value} {reads.cell[i]} while the write of {{}}, issued in "
            f"cycle {writes.issue[w]}, cannot be seen before cycle {writes.time[w]}", reads.word(i), writes.word(w))
    before = order[np.maximum(at - 1, 0)]
    return (at > 0) & (writes.cell[before] == reads.cell)


def _ports(writes: Touches) -> None:
    """One write a cycle, landing in the order of issue."""
    _, first = np.unique(writes.access, return_index=True)
    first = first[np.argsort(writes.issue[first], kind="stable")]
    time = writes.time[first]
    if len(bad := np.flatnonzero(np.diff(time) <= 0)):
        a, b = int(first[bad[0]]), int(first[bad[0] + 1])
        what = "both write" if writes.time[a] == writes.time[b] else "write out of order:"
        raise IllegalProgram(
            int(writes.time[b]) - 1, f"{{}} and {{}} {what} {writes.space.value}s", writes.word(b), writes.word(a))


def _starts(writes: Touches) -> None:
    """An accumulation builds on something."""
    _, first = np.unique(writes.cell, return_index=True)
    if len(bad := first[writes.partial[first]]):
        i = int(bad.min())
        raise IllegalProgram(
            int(writes.issue[i]), f"{{}} adds to {writes.space.value} {writes.cell[i]}, which nothing has started",
            writes.word(i))


def _never_written(reads: Touches, known: Flags) -> None:
    """Raises for an access none of whose cells is known."""
    if known.all():
        return
    fine = np.isin(reads.access, reads.access[known])
    if not fine.all():
        i = int(np.flatnonzero(~fine)[np.argmin(reads.time[~fine])])
        how = "written or loaded" if reads.space in (Space.BANK, Space.ACT) else "written"
        raise IllegalProgram(
            int(reads.time[i]), f"{{}} reads {reads.space.value} {reads.cell[i]}, which was never {how}", reads.word(i))


def deadlines(times: Timing, timeline: Timeline) -> dict[Space, int]:
    """Cycle in which each space is next read by somebody else: the next token's first word, or the control unit."""
    first = timeline.cycles + 1
    return {
        Space.BANK: first + times.matrix_read, Space.ACT: first + times.matrix_read, Space.ACC: first + times.acc_read,
        Space.MEMORY: first + times.vector_read, Space.SCALAR: first + min(times.vector_read, times.scalar_read),
        Space.REDUCE: first + times.scalar_read, Space.INDEX: first + times.choice_read,
        Space.TOKEN: timeline.cycles - times.token_overhead + times.token_read}  # the winner becomes the next token


def _landed(writes: Touches, deadline: int) -> None:
    """Nothing is on its way when somebody outside of the token reads it."""
    if len(writes.time) and writes.time.max() > deadline:
        i = int(np.argmax(writes.time))
        raise IllegalProgram(
            int(writes.time[i]), f"the write of {{}} lands after the token's end, where it may already be read: "
            f"it must be visible in cycle {deadline}", writes.word(i))


def check_timeline(cfg: Config, timeline: Timeline, accesses: Accesses, loaded: Loaded, *, classify: bool,
                   overlap: Collection[Space] = OVERLAP) -> None:
    """Raises IllegalProgram for the first thing that is wrong in each kind of check."""
    limits = deadlines(timing(cfg), timeline)
    for space, reads in accesses.reads.items():
        writes = accesses.writes[space]
        _ports(writes)
        if space is not Space.BANK:
            _starts(writes)
            known = _hazards(reads, writes, overlap=space in overlap)
            if space is Space.ACT:
                known |= loaded.act[reads.cell]
            _never_written(reads, known)
        _landed(writes, limits[space])
    if classify and not len(accesses.writes[Space.TOKEN].cell):
        raise IllegalProgram(timeline.cycles, "the token ends without ARGMAX, so there is no next token")
    rows = accesses.reads[Space.BANK]
    _never_written(rows, (rows.cell < loaded.bank_rows) | loaded.cache[rows.cell])
    for one in timeline.passes:
        if uses_params(one) and not one.word.fields["rope"] and one.param >= loaded.param_rows:
            raise IllegalProgram(one.cycle, f"{{}} reads parameter row {one.param}, which was never loaded", one.word)
    for one in accesses.stores:
        if (cycle := one.cycle + timing(cfg).position_read) >= timeline.cycles:
            raise IllegalProgram(cycle, f"{{}} stores where the position says, and that moves on in cycle "
                                 f"{timeline.cycles}", one.word)
    if cfg.noise_rate:
        _noise_rows(timing(cfg), timeline)
    if cfg.shared_port:
        _shared_port(timing(cfg), timeline, accesses)


def _noise_rows(times: Timing, timeline: Timeline) -> None:
    """Rows of noise are made by the time that they are taken."""
    taken: dict[int, list[Pass]] = {}
    for one in timeline.passes:
        if one.mode.addend is not Addend.NOISE:
            continue
        earlier = taken.setdefault(one.word.fields["sequence"], [])
        if one.cycle < times.noise_ready:
            raise IllegalProgram(one.cycle, f"{{}} takes a row of noise, and those are ready from cycle "
                                 f"{times.noise_ready} on", one.word)
        if len(earlier) >= NOISE_ROWS and one.cycle < (soonest := earlier[-NOISE_ROWS].cycle + times.noise_apart):
            raise IllegalProgram(one.cycle, f"{{}} takes a row of noise that is not there before cycle {soonest}: "
                                 f"{{}} took the one in its place in cycle {earlier[-NOISE_ROWS].cycle}",
                                 one.word, earlier[-NOISE_ROWS].word)
        earlier.append(one)


def _shared_port(times: Timing, timeline: Timeline, accesses: Accesses) -> None:
    """No step reads the banks in the cycle in which a store meets them; every step reads all banks."""
    starts = np.array([output.cycle for output in timeline.outputs], np.int64) + times.matrix_read
    ends = starts + np.array([len(output.rows) for output in timeline.outputs], np.int64)
    for one in accesses.stores:
        cycle = one.cycle + times.bank_write
        if len(clash := np.flatnonzero((starts <= cycle) & (cycle < ends))):
            raise IllegalProgram(cycle, "{} writes a bank while {} reads it, and they share a port",
                                 one.word, timeline.outputs[int(clash[0])].word)


def check_position(cfg: Config, timeline: Timeline, accesses: Accesses, loaded: Loaded, *, positions: Sequence[int],
                   key_step: int, rope_step: int) -> None:
    """The part of the check in which the positions take part, one a sequence."""
    for one in timeline.passes:
        position = positions[one.word.fields["sequence"]]
        if uses_params(one) and one.word.fields["rope"] and one.param + position * rope_step >= loaded.param_rows:
            row = one.param + position * rope_step
            raise IllegalProgram(
                one.cycle, f"{{}} reads parameter row {row} at position {position}, which was never loaded", one.word)
    writes = store_writes(cfg, accesses.stores, positions, key_step)
    _ports(writes)
    _hazards(accesses.reads[Space.BANK], writes, overlap=False)
    _landed(writes, deadlines(timing(cfg), timeline)[Space.BANK])
