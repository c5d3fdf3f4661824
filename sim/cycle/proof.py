"""The proof of a schedule: an image's words, expanded at every bucket, against every rule.

It knows the image, rtl.isa and rtl.timing, and nothing of the scheduler. What a position decides (cache rows, RoPE
rows) is looked at for every position; all else is the same throughout a bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from compiler.image import Image
from rtl.isa import QUEUES
from sim.cycle.access import Accesses, Flags, Space, act_pieces, collect
from sim.cycle.cache import Caches, attention_reads, fresh_rows, own_rows
from sim.cycle.check import Loaded, check_position, check_timeline
from sim.cycle.dataflow import Flow, flow
from sim.cycle.loaded import check_shapes, loaded_memories
from sim.cycle.program import IllegalProgram, decode_program
from sim.cycle.rules import aligned_rounds, nothing_lost, same_control, same_flow, whole_values
from sim.cycle.timeline import Timeline, expand
from sim.cycle.usage import Side, border, once_a_cycle, port_uses

T = TypeVar("T")
KINDS = ("prompt", "classified")


class Refuted(Exception):
    """A rule does not hold.

    Members:
        rule: its name. where: kind of token and positions, or "" where the image as a whole is meant.
        cause: the violation, with its cycle and its words.
    """

    def __init__(self, rule: str, where: str, cause: IllegalProgram) -> None:
        self.rule, self.where, self.cause = rule, where, cause
        super().__init__(f"{where}: {cause}" if where else str(cause))


@dataclass(kw_only=True)
class Proof:
    """What was proven: positions of prompt and classified tokens, pairs of tokens in a row, and how much was looked at.

    port_uses, reads, writes: of all buckets, each counted once for the positions that share it. in_flight: port uses
    after the next token's start. cycles: of all positions' tokens, both kinds, as the image predicts them.
    """

    positions: int
    buckets: int = 0
    pairs: int = 0
    cycles: int = 0
    port_uses: int = 0
    reads: int = 0
    writes: int = 0
    cache_reads: int = 0
    in_flight: int = 0


def _judge(rule: str, where: str, run: Callable[[], T]) -> T:
    try:
        return run()
    except IllegalProgram as error:
        raise Refuted(rule, where, error) from None


def prove(image: Image) -> Proof:
    """Prove an image's program at all positions. Raises Refuted for the first rule that does not hold."""
    return _Prover(image).prove()


class _Prover:
    """One proof in progress."""

    def __init__(self, image: Image) -> None:
        self.image, self.cfg = image, image.config
        _judge("shapes", "", lambda: check_shapes(image))
        self.programs = _judge("words", "", lambda: {
            queue.name: decode_program(image.config, queue, image.programs[queue.name]) for queue in QUEUES})
        self.buckets = -(-image.context // self.cfg.bucket_positions)
        self.made = Proof(positions=image.context, buckets=self.buckets)

    def prove(self) -> Proof:
        reference, prompt = (self._flow(self.buckets - 1, classify=classify) for classify in (True, False))
        _judge("same control", "", lambda: same_control(reference, prompt, prompt=True))
        caches = _judge("own rows", "", lambda: own_rows(self.image, reference.accesses.stores))
        loaded = loaded_memories(self.image, reference.accesses.stores)
        before: dict[str, Side] = {}
        for bucket in range(self.buckets):
            sides: dict[str, Side] = {}
            classified = self._flow(bucket, classify=True)
            for kind in KINDS:
                one = classified if kind == "classified" else self._flow(bucket, classify=False)
                of_kind = reference if kind == "classified" else prompt
                self._token(bucket, kind, one, classified, reference, of_kind, caches, loaded)
                sides[kind] = self._ports(bucket, kind, one)
            self._borders(bucket, before, sides)
            before = sides
        return self.made

    def _where(self, bucket: int, kind: str) -> str:
        first, size = bucket * self.cfg.bucket_positions, self.cfg.bucket_positions
        return f"{kind} token, positions {first} to {min(self.image.context, first + size) - 1}"

    def _flow(self, bucket: int, *, classify: bool) -> Flow:
        values = [int(value) for value in self.image.values[bucket]]

        def make() -> Flow:
            timeline = expand(self.cfg, self.programs, values, classify=classify)
            return flow(self.cfg, timeline, collect(self.cfg, timeline))
        return _judge("expansion", self._where(bucket, KINDS[int(classify)]), make)

    def _token(self, bucket: int, kind: str, one: Flow, classified: Flow, reference: Flow, of_kind: Flow,
               caches: Caches, loaded: Loaded) -> None:
        """All rules about one token. classified: of its bucket. reference, of_kind: of the last bucket."""
        cfg, image, where, made = self.cfg, self.image, self._where(bucket, kind), self.made
        timeline, accesses = one.timeline, one.accesses

        def holds(rule: str, run: Callable[[], T]) -> T:
            return _judge(rule, where, run)

        holds("same control", lambda: same_control(of_kind, one))
        holds("arrival", lambda: check_timeline(cfg, timeline, accesses, loaded, classify=kind == "classified"))
        holds("arrival", lambda: self._positions(bucket, timeline, accesses, loaded))
        holds("loaded memory", lambda: loaded_stays(image, accesses, loaded.act))
        holds("gather", lambda: gathers(image, timeline, caches, loaded))
        holds("experts", lambda: experts(image, timeline, caches, loaded))
        holds("whole values", lambda: whole_values(one))
        holds("cache", lambda: fresh_rows(image, caches, one, bucket=bucket))
        made.cache_reads += holds("cache", lambda: attention_reads(image, caches, one, bucket=bucket))
        holds("nothing lost", lambda: nothing_lost(one, classified))
        holds("same flow", lambda: same_flow(reference, one))
        holds("aligned rounds", lambda: aligned_rounds(cfg, one))
        holds("cycles", lambda: self._cycles(bucket, kind, timeline))  # last: it is the symptom of many mistakes
        made.reads += sum(len(touches.cell) for touches in accesses.reads.values())
        made.writes += sum(len(touches.cell) for touches in accesses.writes.values()) + len(accesses.stores)

    def _cycles(self, bucket: int, kind: str, timeline: Timeline) -> None:
        """The image predicts the cycles that the words take, at each of the bucket's positions."""
        first, size = bucket * self.cfg.bucket_positions, self.cfg.bucket_positions
        predicted = self.image.cycles[KINDS.index(kind), first:min(self.image.context, first + size)]
        if (wrong := np.flatnonzero(predicted != timeline.cycles)).size:
            i = int(wrong[0])
            last = max(timeline.ends, key=lambda name: timeline.ends[name])
            raise IllegalProgram(
                timeline.ends[last], f"the token takes {timeline.cycles} cycles at position {first + i}, the image "
                f"predicts {predicted[i]}; the {last} queue ends last")
        self.made.cycles += int(predicted.sum())

    def _positions(self, bucket: int, timeline: Timeline, accesses: Accesses, loaded: Loaded) -> None:
        first, registers = bucket * self.cfg.bucket_positions, self.image.registers
        for position in range(first, min(self.image.context, first + self.cfg.bucket_positions)):
            for positions in self._together(position):
                check_position(self.cfg, timeline, accesses, loaded, positions=positions, key_step=registers.key_step,
                               rope_step=registers.rope_step)

    def _together(self, furthest: int) -> Iterator[tuple[int, ...]]:
        """Positions of all sequences where the furthest is this one: all alike, and each of them alone ahead.

        That is enough: a store's own row is all that a sequence's position decides, and no two sequences share rows.
        What the machine keeps beyond the image's sequences idles at position 0.
        """
        count, idle = self.image.sequences, (0,) * (self.cfg.sequences - self.image.sequences)
        yield (furthest,) * count + idle
        if count > 1 and furthest:
            for ahead in range(count):
                yield (*(furthest if sequence == ahead else 0 for sequence in range(count)), *idle)

    def _ports(self, bucket: int, kind: str, one: Flow) -> Side:
        ports = port_uses(self.cfg, one.timeline)
        self.made.port_uses += _judge("ports", self._where(bucket, kind), lambda: once_a_cycle(ports))
        return Side(one.timeline, one.accesses, ports)

    def _borders(self, bucket: int, before: dict[str, Side], now: dict[str, Side]) -> None:
        """Every kind of token after every kind, within the bucket and from the one before."""
        for earlier in (before, now):
            for first in earlier:
                for second in now:
                    where = f"{first} token, then {self._where(bucket, second)}"
                    late = _judge("border", where, lambda a=earlier[first], b=now[second]: border(a, b))
                    self.made.in_flight += late
                    self.made.pairs += 1


def loaded_stays(image: Image, accesses: Accesses, act: Flags) -> None:
    """What the image loads into activation memory is never written. (Weights: `own_rows`; nothing else can be.)"""
    writes = accesses.writes[Space.ACT]
    if len(bad := np.flatnonzero(act[writes.cell])):
        i = int(bad[0])
        raise IllegalProgram(int(writes.time[i]), f"{{}} overwrites activation cell {writes.cell[i]}, which the image "
                             "loads", writes.word(i))


def experts(image: Image, timeline: Timeline, caches: Caches, loaded: Loaded) -> None:
    """A word that adds an index register finds, for every expert, rows that the image has loaded and no cache.

    That the router chooses no other is a matter of values: what pads its logits is less than each of them.
    """
    count = image.model.experts if image.model is not None else 1
    offsets = np.arange(max(1, count)) * image.registers.expert_rows
    for output in timeline.outputs:
        if output.choice:
            rows = (output.rows + offsets[:, None]).ravel()
            known = rows < min(loaded.bank_rows, len(image.banks))
            known[known] = caches.owner[rows[known]] < 0
            if not known.all():
                raise IllegalProgram(output.cycle, f"{{}} may read bank row {rows[~known][0]}, which is no expert's",
                                     output.word)


def gathers(image: Image, timeline: Timeline, caches: Caches, loaded: Loaded) -> None:
    """A gather finds, for every token of the vocabulary, a row and an activation word that the image has loaded."""
    cfg = image.config
    vocabulary = image.model.shape.vocab if image.model is not None else 1
    row, tap = np.divmod(np.arange(vocabulary) << image.registers.embed_shift, cfg.taps)
    for output in timeline.outputs:
        if not output.gather:
            continue
        rows = (output.rows[:, None] + row).ravel()
        words = (output.acts.reshape(-1, 1) + tap).ravel()
        known = rows < len(image.banks)
        known[known] = caches.owner[rows[known]] < 0
        if not known.all():
            raise IllegalProgram(output.cycle, f"{{}} gathers bank row {rows[~known][0]}, which nobody has loaded",
                                 output.word)
        for word in np.unique(words):
            if word >= cfg.act_words or not loaded.act[list(act_pieces(cfg, int(word), cfg.taps))].any():
                raise IllegalProgram(output.cycle, f"{{}} gathers activation word {word}, which nobody has loaded",
                                     output.word)
