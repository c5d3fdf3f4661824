"""Join: the three sections on one clock, and the loop over layers closed.

A token is the prologue, `layers` rounds of the body, `period` cycles apart, and the epilogue. All three queues go round
in the same period, so each ends its layer with a NOP that fills what its own work leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.columns import Columns, NoValueLeft, Wait
from compiler.ir import Ints, Section
from compiler.section import QUEUE_NAMES, SectionSchedule
from rtl.config import Config
from rtl.timing import Timing, timing


@dataclass
class Schedule:
    """A whole token. All cycles are arrays over buckets unless said otherwise.

    body_start: start of the first layer on the token's clock (where word 0 is current in cycle 1), one number;
    period: cycles a layer; epilogue_start: start of the epilogue after the start of the last layer.
    """

    sections: dict[Section, SectionSchedule]
    columns: Columns
    body_start: int
    period: Ints
    epilogue_start: Ints
    back_waits: dict[str, Wait | None]  # of the NOP that ends each queue's loop over layers; None: no NOP


def first_dynamic(part: SectionSchedule) -> int:
    """First cycle of a section in which a word that uses a dynamic value is the current one, in any bucket."""
    found: list[int] = []
    for queue in part.queues.values():
        for number, placed in enumerate(queue):
            if placed.wait.value or placed.operation.counts:
                before = queue[number - 1] if number else None
                found += [int(cycle) if before is None else int(before.issue[b]) + before.operation.accesses(b).duration
                          for b, cycle in enumerate(placed.issue)]
                break
    return min(found, default=1 << 40)


def prompt_end(body: SectionSchedule, period: Ints, t: Timing) -> int:
    """Cycles from the end of the last layer's period to the earliest end of a prompt token: all is visible then."""
    return max(
        int(placed.issue[bucket]) + int(touch.cycles.max()) - int(period[bucket]) - t.token_overhead
        for queue in QUEUE_NAMES for placed in body.queues[queue] for bucket in range(len(period))
        for touch in placed.operation.accesses(bucket).writes)


def join(sections: dict[Section, SectionSchedule], columns: Columns, config: Config, first_body: int, period: Ints,
         epilogue_start: Ints) -> Schedule:
    """The sections as close as their dependences and queues allow.

    first_body, period, epilogue_start: least distances of the sections' starts by their dependences, see `Schedule`.
    """
    prologue, body, epilogue = (sections[section] for section in Section)
    zero, t, fetch = np.zeros(len(period), np.int64), timing(config), config.fetch
    body_start = max(0, first_body, t.values_ready - 1 - first_dynamic(body))  # -1: word 0 is current in cycle 1
    period = np.maximum(period, 0)
    spans = {queue: body.end(queue) - body.first(queue) for queue in QUEUE_NAMES}
    for queue in QUEUE_NAMES:  # + that of the LOOP word
        body_start = max(body_start, int((prologue.end(queue) + fetch(queue) - body.first(queue)).max()))
        period = np.maximum(period, spans[queue])
    while any((period != span).any() and (period < span + fetch(queue)).any() for queue, span in spans.items()):
        period = period + 1  # a NOP takes a cycle (or as many as its queue's words), in every bucket or in none
    # The matrix queue's wait may be rounded up, which lengthens the period for all; the others' must be exact.
    if (period != spans["matrix"]).any():
        least = spans["matrix"] + fetch("matrix")
        _, gap = columns.cover(period - least, zero, len(QUEUE_NAMES) - 1, fetch("matrix"))
        period = least + gap
    back_waits: dict[str, Wait | None] = {}
    for queue, span in spans.items():
        gap = period - span - fetch(queue)
        if (period == span).all():
            back_waits[queue] = None
            continue
        back_waits[queue], said = columns.cover(gap, zero, 0, fetch(queue))
        if not np.array_equal(said, gap):
            back_waits[queue], said = columns.cover(gap, zero, 0, fetch(queue), columns.most_exact)
        if not np.array_equal(said, gap):
            raise NoValueLeft("the dynamic values have no room for the wait that closes the loop over layers")
    after = np.maximum(epilogue_start, 0)
    for queue in QUEUE_NAMES:  # + that of the END_PROMPT word
        after = np.maximum(after, period + body.first(queue) + fetch(queue) - epilogue.first(queue))
    # In a prompt token one of these words must be able to wait for what is still under way.
    latest = max(int(epilogue.first(queue).max()) for queue in QUEUE_NAMES)
    longest = max(fetch(queue) for queue in QUEUE_NAMES)
    after = np.maximum(after, period + prompt_end(body, period, t) + longest - latest)
    after = period + int((after - period).max())  # the epilogue's first waits are the same at every position
    return Schedule(sections, columns, body_start, period, after, back_waits)
