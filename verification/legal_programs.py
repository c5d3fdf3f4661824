"""Random legal programs over the whole instruction set, as tight as the machine's latencies allow.

One unit (a word, or a loop, see verification/legal_words.py) after another is put at the earliest cycle at which the
cycle simulator's checks take the program; what no wait makes legal is drawn anew. So most words stand one cycle after a
hazard, a full port or a value that is not there yet.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from compiler.image import Image
from rtl.encoding import EncodingError, Insn, decode, encode
from rtl.isa import (
    MATRIX,
    QUEUES,
    SCALAR,
    VECTOR,
    Addend,
    Factor2,
    Function,
    Mask,
    Op,
    Queue,
    Reduce,
    ScalarFunction,
    Source,
    Store,
)
from rtl.timing import timing
from sim.cycle.access import Space, collect
from sim.cycle.check import Loaded, check_position, check_timeline
from sim.cycle.loaded import store_rows
from sim.cycle.moved import check_moved
from sim.cycle.program import IllegalProgram, Word, decode_program
from sim.cycle.timeline import Pass, Timeline, expand
from verification.legal_machine import Machine
from verification.legal_words import Words

WAITS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233)
"""Tried in this order; between the first legal one and the one before it the earliest is looked for."""
DRAWS = 6
"""Units that are drawn before a place in the program is given up."""
UNITS = (3, 9)
"""Units of each half of a program, for each queue."""
CHOOSING = 0.3
"""Share of index registers that a half sets from the start."""
COUNTED, ROUNDS, WORDS_KEPT = 8, 2, 16
"""Of a program that counts: waits and loops in each half; outputs of many rounds; words that are left for
what ends it."""
NOISY = 2
"""Rows of noise of each sequence that a program keeps."""
DRAIN = 600
"""Cycles, at least, that are left for everything to land while a program is made."""
REASONS = (
    rf"reads ({'|'.join(space.value for space in Space)}) \d+,? (while|which was never)",
    r"(write out of order|both write):? (.*)s$", "dynamic value", "row of noise", "one port", "adds to", "lands after",
    "moves on")
"""Why a word cannot come a cycle earlier."""
END = {queue.name: Insn(queue, {"op": Op.END}) for queue in QUEUES}


class Maker:
    """Makes one program.

    Parameters
    ----------
    made : what it runs with. rng : of all that is drawn.

    Members
    -------
    insns : the words so far, by queue. tight : how often a word stands one cycle after one at which it was illegal;
        reasons : the same by what the check said of that cycle. drawn, refused : units drawn, and those that no wait
        made legal.
    """

    def __init__(self, made: Machine, rng: random.Random) -> None:
        self.made, self.cfg, self.rng = made, made.image.config, rng
        self.insns: dict[str, list[Insn]] = {queue.name: [] for queue in QUEUES}
        self.tight, self.drawn, self.refused = 0, 0, 0
        self.reasons: Counter[str] = Counter()
        self._why = ""  # what was wrong with the last program that was not legal
        self._decoded: dict[tuple[int, int], tuple[Insn, Word]] = {}
        cells = self.cfg.act_rows * self.cfg.act_width // min(self.cfg.lanes, self.cfg.taps)
        self._loaded = Loaded(
            bank_rows=made.weights, param_rows=self.cfg.param_rows, act=np.ones(cells, bool),
            cache=np.zeros(self.cfg.bank_rows, bool))
        self.words = Words(made, rng)
        self._drain = {queue.name: self._pause(queue, DRAIN, Op.END) for queue in QUEUES}
        self._furthest = SCALAR  # the queue that ends last so far

    def program(self) -> Image:
        """The image with a whole program: a half for every token, END_PROMPT, a half for classified ones, ARGMAX."""
        self._half()
        self._ends(Op.END_PROMPT)
        self._half()
        for index in self._some(Space.INDEX, 4):
            self._place(MATRIX, lambda index=index: [self.words.of_expert(index)])
        for kind in (Reduce.MAX, Reduce.MAXABS, Reduce.SUM):
            self._place(VECTOR, lambda kind=kind: [self.words.run(VECTOR, reduce=kind, rotate=0)])
        for sequence, dst in enumerate(self.rng.sample(self.made.memory, NOISY * self.cfg.sequences)):
            if self.cfg.noise_rate:
                self._place(VECTOR, lambda s=sequence % self.cfg.sequences, dst=dst: [self.words.noise(s, dst)])
        self._argmax()
        self._flush()
        self._ends(Op.END)
        return self._image()

    def counting(self, queue: Queue) -> Image:
        """The image with a queue's waits and loops, for every bit of the sums of counts and dynamic values. The other
        queues do next to nothing, so that this one alone decides how long a token takes."""
        self._place(MATRIX, lambda: [self.words.run(MATRIX, clear=1, gather=0, choice=0)])
        for op in (Op.END_PROMPT, Op.END):
            if op is Op.END:
                self._argmax()
                for _ in range(ROUNDS if queue is MATRIX else 0):
                    self._place(MATRIX, lambda: [self.words.over_and_over(wide=True)])
            words = self.insns[queue.name]
            if op is Op.END_PROMPT:
                words.insert(0, Insn(queue, {"op": Op.NOP, "wait": timing(self.cfg).values_ready}))
            for _ in range(min(COUNTED, (queue.words(self.cfg) - len(words) - WORDS_KEPT) // 4)):
                words += self.words.counting(queue)
            self._ends(op, tight=False)
        return self._image()

    # ------------------------------------------------------------------------------------------------------- places

    def _half(self) -> None:
        self._place(MATRIX, lambda: [self.words.run(MATRIX, clear=1, gather=0, choice=0)])
        indices = [divmod(index, self.cfg.choices) for index in range(self.cfg.sequences * self.cfg.choices)]
        for sequence, choice in indices:
            if self.rng.random() < CHOOSING:
                self._place(VECTOR, lambda s=sequence, c=choice + 1: [self.words.argmax(s, c)])
        for _ in range(self.rng.randint(*UNITS) * len(QUEUES)):
            queue = self.rng.choice((MATRIX, VECTOR, VECTOR, SCALAR))
            if len(self.insns[queue.name]) < queue.words(self.cfg) - 12:
                self._place(queue, lambda queue=queue: self.words.unit(queue))

    def _argmax(self) -> None:
        """A token of each sequence."""
        for sequence in range(self.cfg.sequences):
            if not any(self._place(VECTOR, lambda s=sequence: [self.words.argmax(s)]) for _ in range(DRAWS)):
                raise IllegalProgram(None, "no place for ARGMAX")

    def _image(self) -> Image:
        return replace(self.made.image, programs={
            queue.name: [encode(self.cfg, insn) for insn in self.insns[queue.name]] for queue in QUEUES})

    def _place(self, queue: Queue, draw: Any) -> bool:
        """Put a unit behind the last one of its queue, as early as it may be; False where none of those drawn fits."""
        for _ in range(DRAWS):
            self.drawn += 1
            unit = draw()
            most = (1 << queue.by_name["wait"].bits(self.cfg)) - 1
            waits = [wait for wait in WAITS if wait <= most]
            if not self._legal(queue, unit, waits[-1]):  # then hardly any other wait helps
                self.refused += 1
                continue
            for before, wait in zip([-1, *waits], waits, strict=False):
                if not self._legal(queue, unit, wait):
                    continue
                earlier = wait
                while earlier - 1 > before and self._legal(queue, unit, earlier - 1):
                    earlier -= 1
                if earlier:
                    self.tight += 1
                    self.reasons[_kind(self._why)] += 1
                self.insns[queue.name] += _waiting(unit, earlier)
                return True
        return False

    def _ends(self, op: Op, *, tight: bool = True) -> None:
        """The words that end the queues; that of the furthest waits until all has landed, and not a cycle longer, if it
        is to be tight."""
        def trial(cycles: int) -> dict[str, list[Insn]]:
            return {**self.insns, last.name: [*self.insns[last.name], *self._pause(last, cycles, op)]}

        last = self._furthest
        for queue in QUEUES:
            if queue is not last:
                self.insns[queue.name].append(Insn(queue, {"op": op}))
        low, high = -1, DRAIN  # what is legal stays legal with a longer pause
        if (problem := self._problem(trial(high), classify=op is Op.END)) is not None:
            raise IllegalProgram(None, f"no place for {op.name}: {problem}")
        while tight and high - low > 1:
            middle = (low + high) // 2
            if self._problem(trial(middle), classify=op is Op.END) is None:
                high = middle
            else:
                low = middle
        self.insns = trial(high)
        self.tight += tight and high > 0

    def _pause(self, queue: Queue, cycles: int, op: Op) -> list[Insn]:
        """So many cycles, at least, and the word that ends the queue."""
        most = 1 << queue.by_name["wait"].bits(self.cfg)
        nops, rest = divmod(cycles, most)
        return [*[Insn(queue, {"op": Op.NOP, "wait": most - 1})] * nops, Insn(queue, {"op": op, "wait": rest})]

    def _legal(self, queue: Queue, unit: Sequence[Insn], wait: int) -> bool:
        trial = {**self.insns, queue.name: [*self.insns[queue.name], *_waiting(unit, wait)]}
        for other in QUEUES:
            drains = other in (queue, self._furthest)
            trial[other.name] = [*trial[other.name], *(self._drain[other.name] if drains else [END[other.name]])]
        problem = self._problem(trial, classify=True, whole=False)
        self._why = problem or self._why
        return problem is None

    def _problem(self, insns: dict[str, list[Insn]], *, classify: bool, whole: bool = True) -> str | None:
        """Why programs are not legal, at the positions 0 and one other. whole: with ARGMAX, where a token has one."""
        cfg, registers = self.cfg, self.made.image.registers
        try:
            words = {queue.name: [self._word(queue, *item) for item in enumerate(insns[queue.name])]
                     for queue in QUEUES}
            loaded = self._loaded
            for number, values in enumerate(self.made.rows):
                timeline = expand(cfg, words, values, classify=classify)
                accesses = collect(cfg, timeline)
                if not number:
                    loaded = self._with_caches(words["vector"], accesses.stores)
                check_timeline(cfg, timeline, accesses, loaded, classify=classify and whole)
                for position in (0, cfg.lanes + 1):
                    positions = [position] * cfg.sequences
                    check_position(cfg, timeline, accesses, loaded, positions=positions,
                                   key_step=registers.key_step, rope_step=registers.rope_step)
                    for token in (0, self.made.tokens - 1):
                        check_moved(cfg, timeline, accesses, positions=positions, tokens=[token] * cfg.sequences,
                                    key_step=registers.key_step, embed_shift=registers.embed_shift,
                                    expert_rows=registers.expert_rows)
                self._furthest_moved(timeline)
                self.words.known = {
                    space: sorted(set(touches.cell.tolist())) for space, touches in accesses.writes.items()}
                ends = {name: runs[-1].cycle if runs else 0 for name, runs in timeline.runs.items()}
                self._furthest = max(QUEUES, key=lambda queue: ends[queue.name])
        except (IllegalProgram, EncodingError) as error:
            return str(error)
        return None

    def _with_caches(self, words: Sequence[Word], stores: Sequence[Pass]) -> Loaded:
        """As the simulator counts it: caches are where the stores of a token without classifier lead."""
        prompt = next((word.index for word in words if word.op is Op.END_PROMPT), len(words))
        cache = np.zeros(self.cfg.bank_rows, bool)
        for one in stores:
            if one.word.index < prompt:
                rows = store_rows(self.made.image, one)
                cache[rows[rows < self.cfg.bank_rows]] = True
        last = int(np.flatnonzero(cache)[-1]) + 1 if cache.any() else 0
        return replace(self._loaded, bank_rows=max(self.made.weights, last), cache=cache)

    def _furthest_moved(self, timeline: Timeline) -> None:
        """Raises IllegalProgram where a token's column or an expert's rows are not loaded."""
        cfg, registers = self.cfg, self.made.image.registers
        last = (self.made.tokens - 1 << registers.embed_shift) // cfg.taps
        for output in timeline.outputs:
            if output.gather or output.choice:
                row = int(output.rows.max()) + (last if output.gather else (cfg.experts - 1) * registers.expert_rows)
                act = int(output.acts.max()) + (cfg.taps - 1 if output.gather else 0)
                if row >= self.made.weights or act >= cfg.act_words:
                    raise IllegalProgram(output.cycle, f"{{}} may read bank row {row}, activation word {act}",
                                         output.word)

    def _word(self, queue: Queue, index: int, insn: Insn) -> Word:
        key = id(insn), index
        if key not in self._decoded:
            (word,) = decode_program(self.cfg, queue, [encode(self.cfg, insn)])
            self._decoded[key] = insn, replace(word, index=index)  # kept alive, so that its id stays its own
        return self._decoded[key][1]

    def _flush(self) -> None:
        """What the host cannot read, into what it can."""
        rows: Iterator[int] = iter(self.rng.sample(self.made.memory, len(self.made.memory)))
        whole: dict[str, Any] = {"function": Function.IDENTITY, "write": 1, "store": Store.NONE, "rotate": 0,
                                 "repeat": 0, "mask": Mask.NONE, "below": 0,
                                 "repeat_value": 0, "reduce": Reduce.NONE}
        for slot, s0 in ((slot, s0) for slot in self._some(Space.ACC, 3) for s0 in (0, 8)):
            dst = next(rows)
            self._place(VECTOR, lambda slot=slot, s0=s0, dst=dst: [Insn(VECTOR, {
                "op": Op.RUN, "source": Source.ACC, "slot": slot, "s0": s0, "write": 1, "dst": dst,
                "pace": self.cfg.beats - 1})])
        reduces = self._some(Space.REDUCE, min(4, self.cfg.scalars))
        kept = self.rng.sample(range(self.cfg.scalars), len(reduces))
        for reduce, scalar in zip(reduces, kept, strict=True):
            self._place(SCALAR, lambda reduce=reduce, scalar=scalar: [Insn(SCALAR, {
                "op": Op.RUN, "function": ScalarFunction.NEGATE, "reduce": reduce, "dst": scalar})])
        for scalar in dict.fromkeys([*self._some(Space.SCALAR, 5), *kept]):
            if scalar not in self.words.known.get(Space.SCALAR, []):
                continue
            dst, product = next(rows), next(rows)
            self._place(VECTOR, lambda scalar=scalar, dst=dst: [self.words.run(
                VECTOR, addend=Addend.SCALAR, scalar=scalar, dst=dst, **whole)])
            source = self.rng.choice(self.words.known.get(Space.MEMORY, [dst]))
            self._place(VECTOR, lambda scalar=scalar, dst=product, source=source: [Insn(VECTOR, {
                "op": Op.RUN, "source": Source.MEM, "src": source, "factor2": Factor2.SCALAR, "scalar": scalar,
                "write": 1, "dst": dst, "pace": self.cfg.beats - 1})])

    def _some(self, space: Space, most: int) -> list[int]:
        """Cells that the program writes."""
        known = self.words.known.get(space, [])
        return self.rng.sample(known, min(most, len(known)))


def _kind(problem: str) -> str:
    """What a check said, without its words and numbers."""
    for pattern in REASONS:
        if found := re.search(pattern, problem):
            return " ".join(found.groups() or [pattern])
    return "other"


def _waiting(unit: Sequence[Insn], wait: int) -> list[Insn]:
    """The unit, its first word after a wait."""
    return [Insn(unit[0].queue, {**unit[0].fields, "wait": wait}), *unit[1:]]


def insns_of(image: Image) -> dict[str, list[Insn]]:
    """The words of an image's programs."""
    return {queue.name: [decode(image.config, queue, word) for word in image.programs[queue.name]] for queue in QUEUES}
