"""Rules of the dataflow: values are whole, read, in time, and every bucket moves them in the same way.

Each raises IllegalProgram with its own words. What a rule needs from more than one token is an argument: the flow that
others are compared with is the classified token's of the last bucket, which contains all of them.
"""

from __future__ import annotations

import numpy as np

from rtl.config import Config
from sim.cycle.access import Flags, Space
from sim.cycle.dataflow import Edges, Flow
from sim.cycle.program import IllegalProgram
from sim.cycle.timeline import Ints


def same_control(reference: Flow, other: Flow, *, prompt: bool = False) -> None:
    """In every bucket each queue runs the same words in the same order; a prompt token the first of a classified's.

    Only the rounds of a word may differ, and only where they are a dynamic value's. (A loop whose count is one would be
    legal for the machine. The compiler makes none, and this proof refuses it.)

    prompt: `other` is a prompt token, the reference a classified one.
    """
    for mine, theirs in zip(other.queues, reference.queues, strict=True):
        for number, run in enumerate(mine.runs):
            if number >= len(theirs.runs) or theirs.runs[number].word.index != run.word.index:
                raise IllegalProgram(run.cycle, "{} runs here, but not at the same place in other buckets", run.word)
        if not prompt and len(mine.runs) < len(theirs.runs):
            raise IllegalProgram(None, "{} runs in other buckets, and here its queue has ended", theirs.runs[
                len(mine.runs)].word)


def whole_values(flow: Flow) -> None:
    """A sum is complete when it is read: the write that follows the one seen, if any, starts afresh."""
    for space in (Space.ACC, Space.REDUCE, Space.INDEX):
        e = flow.edges[space]
        after = e.following[e.seen]
        bad = np.flatnonzero(after >= 0)
        bad = bad[e.writes.partial[after[bad]]]
        if len(bad):
            i = int(bad[np.argmin(e.reads.time[bad])])
            w = int(after[i])
            raise IllegalProgram(
                int(e.reads.time[i]), f"{{}} reads {space.value} {e.reads.cell[i]} before its sum is complete: {{}} "
                f"adds to it in cycle {e.writes.time[w]}", e.reads.word(i), e.writes.word(w))


def unread(e: Edges) -> Flags:
    """(writes,) Whether nothing of an access is read before it is overwritten or the token ends; sums are one value."""
    used = np.zeros(len(e.writes.cell), bool)
    used[e.seen[e.seen >= 0]] = True
    more = np.flatnonzero(e.following[:-1] >= 0)
    used[more] |= e.writes.partial[e.following[more]]  # the sum goes on
    return ~np.isin(e.writes.access, e.writes.access[used])


def nothing_lost(flow: Flow, classified: Flow) -> None:
    """Every value that is written is read before it is overwritten: one that is not was overwritten while needed.

    The exceptions: of an access only some cells need be read (the rest is padding up to a vector); what a prompt token
    writes may be left unread if a classified token of the same bucket reads it (the classifier's input); ARGMAX's
    winner is the control unit's; K and V stores have rules of their own (`sim.cycle.cache`).
    """
    for space, e in flow.edges.items():
        lost = unread(e)
        if flow is not classified and lost.any():
            other = classified.edges[space]
            fine = ~unread(other)
            known = {(int(other.writer.queue[i]), int(other.writer.run[i]), int(other.writer.event[i]))
                     for i in np.flatnonzero(fine)}
            for i in np.flatnonzero(lost):
                lost[i] = (int(e.writer.queue[i]), int(e.writer.run[i]), int(e.writer.event[i])) not in known
        if lost.any():
            i = int(np.flatnonzero(lost)[np.argmin(e.writes.time[lost])])
            then = int(e.following[i])
            what = "and nothing ever reads it" if then < 0 else (
                f"and before anything has read it, {{}} overwrites it in cycle {e.writes.time[then]}")
            words = [e.writes.word(i)] + ([e.writes.word(then)] if then >= 0 else [])
            raise IllegalProgram(
                int(e.writes.time[i]), f"{{}} writes {space.value} {e.writes.cell[i]}, {what}", *words)


def _disagree(cycle: int, e: Edges, read: int, should: str) -> IllegalProgram:
    word = e.producer(read)
    sees = "what was there before the token" if word is None else f"{e.writer.text(int(e.seen[read]))} of {{}}"
    return IllegalProgram(
        cycle, f"{e.reader.text(read)} of {{}} takes {e.space.value} {e.reads.cell[read]} from {sees}, {should}",
        e.reads.word(read), *([word] if word else []))


def same_flow(reference: Flow, other: Flow) -> None:
    """Every read takes its value from the same round of the same run of the same word in every bucket.

    A word with more rounds in a later bucket has the rounds of an earlier one first. What only its last round makes (a
    reduction) is also its last round's elsewhere.
    """
    for space, e in other.edges.items():
        r = reference.edges[space]
        order = np.argsort(r.key)
        at = np.minimum(np.searchsorted(r.key[order], e.key), len(order) - 1)
        if len(e.key) == 0:
            continue
        if len(order) == 0 or (r.key[order[at]] != e.key).any():
            i = int(np.argmax(r.key[order[at]] != e.key)) if len(order) else 0
            raise IllegalProgram(int(e.reads.time[i]), "{} reads in a round that later buckets do not have",
                                 e.reads.word(i))
        twin = r.seen[order[at]]
        here, there = e.writer.at(e.seen), r.writer.at(twin)
        good = (here.queue == there.queue) & (here.run == there.run) & (
            (here.event == there.event) | (other.last(here) & reference.last(there)))
        if not good.all():
            i = int(np.flatnonzero(~good)[np.argmin(e.reads.time[~good])])
            word = r.producer(int(order[at[i]]))
            should = "in other buckets from " + (
                "what was there before the token" if word is None else f"{there.text(i)} of {word}")
            raise _disagree(int(e.reads.time[i]), e, i, should)


def aligned_rounds(cfg: Config, flow: Flow) -> None:
    """Rounds that follow one another take from rounds that follow one another, or all from the same one.

    Let a word have R rounds in a bucket and its producer P, both dynamic: then round r takes from round r * P // R. A
    producer with a fixed number of rounds, or one that reduces, gives all rounds the same value. So what is right in
    the first rounds is right in all.
    """
    cells = cfg.taps // min(cfg.lanes, cfg.taps)  # of an activation word
    for space, e in flow.edges.items():
        each = cells if space is Space.ACT else 1
        if len(e.key) == 0:
            continue
        moving = np.zeros(len(e.key), bool)
        count, round_, fixed = (np.zeros(len(e.key), np.int64) for _ in range(3))
        for number, runs in enumerate(flow.queues):
            mine = e.reader.queue == number
            run, event, step = e.reader.run[mine], e.reader.event[mine], e.reader.step[mine]
            moving[mine] = runs.moving[run]
            by_step = ~runs.moving_events[run]  # then the steps of a matrix output are what moves
            count[mine] = np.where(by_step, runs.rounds[run], runs.events[run])
            round_[mine] = np.where(by_step, step, event)
            fixed[mine] = np.where(by_step, event, step)
        if not moving.any():
            continue
        _aligned(flow, e, np.flatnonzero(moving), count, round_, fixed, each)


def _aligned(flow: Flow, e: Edges, reads: Ints, count: Ints, round_: Ints, fixed: Ints, each: int) -> None:
    """The rule for the reads of one space. count: R; round_: r; fixed: what else tells reads of a run apart."""
    group = np.stack([e.reader.queue[reads], e.reader.run[reads], fixed[reads], e.sub[reads]], axis=1)
    _, first, member = np.unique(group, axis=0, return_index=True, return_inverse=True)
    first = reads[first[member.ravel()]]  # the first read of each one's group
    seen, start = e.seen[reads], e.seen[first]
    here, there = e.writer.at(seen), e.writer.at(start)
    made = np.ones(len(reads), np.int64)
    moving = np.zeros(len(reads), bool)
    for number, runs in enumerate(flow.queues):
        mine = here.queue == number
        made[mine], moving[mine] = runs.events[here.run[mine]], runs.moving_events[here.run[mine]]
    place = round_[reads] * each + e.sub[reads] % each
    expected = np.where(moving, place * made // (count[reads] * each), there.event)
    good = (here.queue == there.queue) & (here.run == there.run) & (
        (here.event == expected) | (flow.last(here) & flow.last(there)))
    if not good.all():
        i = int(np.flatnonzero(~good)[0])
        raise _disagree(int(e.reads.time[reads[i]]), e, int(reads[i]), f"out of step: it should be round {expected[i]}")
