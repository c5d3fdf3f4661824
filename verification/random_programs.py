"""Random programs that the cycle simulator takes: waits, loops of both levels, dynamic values, END_PROMPT."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from rtl.config import Config
from rtl.encoding import Insn, encode
from rtl.isa import Addend, Factor2, Op, Queue, Source, Store, members, stride_bits
from rtl.timing import timing
from sim.cycle.program import IllegalProgram, decode_program
from sim.cycle.timeline import Timeline, expand

OUTER_STRIDES = {"matrix": ("row",), "vector": ("param", "dst"), "scalar": ("constant",)}
"""Fields that a LOOP_OUTER word of each queue may have."""
SMALL_ADDRESS = 7  # of a field at most, so that loops and steps stay within every memory
SMALL_STRIDE = 3


class ProgramMaker:
    """Makes the programs of one machine."""

    def __init__(self, cfg: Config, rng: random.Random) -> None:
        self.cfg, self.rng = cfg, rng

    def values(self) -> list[int]:
        """A row of dynamic values."""
        if self.cfg.linear_values:
            return self.cfg.linear_table()[self.rng.randrange(4)]
        return [0] + [self.rng.choice((0, 0, 1, 2, 3)) for _ in range(self.cfg.values - 1)]

    def program(self, queue: Queue) -> list[int]:
        """A program as the sequencer reads it. Its first word waits until dynamic values are ready."""
        insns = [
            Insn(queue, {"wait": timing(self.cfg).values_ready}),
            *self._part(queue), *self._part(queue), *self._part(queue), self._word(queue, Op.END_PROMPT),
            *self._part(queue), self._plain(queue), self._word(queue, Op.END)]
        return [encode(self.cfg, insn) for insn in insns]

    def _word(self, queue: Queue, op: Op, **fields: Any) -> Insn:
        rng = self.rng
        found: dict[str, Any] = {"op": op, "wait": rng.choice((0, 0, 0, 1, 2, 5))}
        if rng.random() < 0.2:
            found["wait_value"] = rng.randrange(self.cfg.values)
        return Insn(queue, found | fields)

    def _plain(self, queue: Queue) -> Insn:
        """A word for the body of a loop."""
        rng, cfg = self.rng, self.cfg
        if rng.random() < 0.2:
            return self._word(queue, Op.NOP)
        fields: dict[str, Any] = {}
        for item in queue.own:
            bits = item.bits(cfg)
            low = -(1 << bits - 1) if item.signed else 0
            fields[item.name] = rng.choice(members(cfg, item)) if item.enum else rng.randint(low, low + (1 << bits) - 1)
            if item.strided or item.name in ("row_step", "act_step", "group_step"):
                fields[item.name] = rng.randint(0, min(SMALL_ADDRESS, (1 << bits) - 1))
        if queue.name != "scalar":
            fields["repeat"] = rng.choice((0, 0, 1, 4))
            if rng.random() < 0.3:
                fields["repeat_value"] = self._value(queue)
        if queue.name == "matrix":
            fields |= {"outer": rng.randrange(3),
                       "choice": 0 if fields["gather"] else min(fields["choice"], cfg.choices)}
        if queue.name == "vector":
            fields |= {"pace": max(rng.choice((0, 0, 1, 3)), cfg.beats - 1), "chunk": fields["chunk"] % cfg.chunks,
                       "choice": min(fields["choice"], cfg.choices)}
            if fields["rotate"]:
                fields |= {"source": Source.MEM, "addend": Addend.ZERO, "first": 0, "repeat": 3, "repeat_value": 0,
                           "factor2": Factor2.SCALAR}
        return self._word(queue, Op.RUN, **fields)

    def _loop(self, queue: Queue, op: Op) -> Insn:
        names = OUTER_STRIDES[queue.name] if op is Op.LOOP_OUTER else [
            item.name for item in queue.own if item.strided]
        level = "outer" if op is Op.LOOP_OUTER else "inner"
        most = {name: (1 << stride_bits(self.cfg, queue, level, name)) - 1 for name in names}
        strides = {name: self.rng.randint(0, min(SMALL_STRIDE, most[name])) for name in names}
        return self._word(queue, op, repeat=self.rng.choice((0, 1, 2)),
                          repeat_value=self.rng.choice((0, 0, self._value(queue))), **strides)

    def _value(self, queue: Queue) -> int:
        """A dynamic value that `repeat_value` can name."""
        return self.rng.randrange(min(self.cfg.values, 1 << queue.by_name["repeat_value"].bits(self.cfg)))

    def _inner(self, queue: Queue, **ends: int) -> list[Insn]:
        body = [self._plain(queue) for _ in range(self.rng.choice((1, 1, 2, 3)))]
        if self.cfg.small_control and queue.name == "scalar":  # without inner loops
            return ended(body, **ends)
        return [self._loop(queue, Op.LOOP_INNER), *ended(body, end_inner=1, **ends)]

    def _part(self, queue: Queue) -> list[Insn]:
        """A word, an inner loop, or an outer loop of one of several shapes."""
        outer = self._loop(queue, Op.LOOP_OUTER)
        bodies = (
            lambda: [self._plain(queue)],
            lambda: self._inner(queue),
            lambda: [outer, *ended([self._plain(queue), self._plain(queue)], end_outer=1)],
            lambda: [outer, *self._inner(queue, end_outer=1)],
            lambda: [outer, self._plain(queue), *self._inner(queue), *self._inner(queue, end_outer=1)],
            lambda: [outer, *self._inner(queue), *ended([self._plain(queue)], end_outer=1)])
        return self.rng.choice(bodies)()


def ended(words: Sequence[Insn], **ends: int) -> list[Insn]:
    """The words, the last of them with the bits that end loops."""
    return [*words[:-1], Insn(words[-1].queue, {**words[-1].fields, **ends})]


def timeline(cfg: Config, programs: dict[str, list[int]], values: list[int], queues: tuple[Queue, ...], *,
             classify: bool) -> Timeline | None:
    """What the cycle simulator makes of programs; None where it rejects them."""
    try:
        words = {queue.name: decode_program(cfg, queue, programs[queue.name]) for queue in queues}
        return expand(cfg, words, values, classify=classify)
    except IllegalProgram:
        return None


def is_bank_store(store: int) -> bool:
    """Whether a pass writes to the banks."""
    return store in (Store.KEYS.value, Store.VALUES.value)
