"""A queue's words as its sequencer walks them: waits, loops, dynamic values, and the cycle of each RUN word.

The rules are those of rtl/isa.py. A token starts in cycle 0; word 0 of each queue is the current one in cycle 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from rtl.config import Config
from rtl.encoding import EncodingError, Insn, decode, disassemble
from rtl.isa import Addend, Factor1, Factor2, Mask, Op, Queue, ScalarFunction, Source, Store, stride_bits

MOST_CYCLES = 1 << 26
"""A token that takes longer than this is a mistake in a loop count, not a program."""


@dataclass(frozen=True)
class Word:
    """A decoded word. `fields` holds every field of its queue as a plain number."""

    queue: Queue
    index: int
    insn: Insn
    fields: dict[str, int]

    @cached_property
    def op(self) -> Op:
        return Op(self.fields["op"])

    def __str__(self) -> str:
        return f"{self.queue.name} word {self.index} ({disassemble(self.insn)})"


class IllegalProgram(Exception):
    """A program does what the machine cannot do.

    Members:
        cycle: cycle of the token in which it happens; None where no cycle is meant.
        words: the words that take part, the offender first.
    """

    def __init__(self, cycle: int | None, text: str, *words: Word) -> None:
        self.cycle = cycle
        self.words = words
        when = "" if cycle is None else f"cycle {cycle}: "
        super().__init__(f"{when}{text.format(*words)}")


@dataclass(frozen=True)
class Run:
    """One execution of a RUN word.

    Members:
        cycle: of its first round. rounds: how many. outputs: of a matrix word, each with `rounds` steps.
        controls: cycles of the words since the RUN word before that are none, without their waits.
        values_from: first cycle that the dynamic values used since then allow; 0 where none is used.
        address: strided fields with the loops' offsets, modulo the field's width; "bank" is `dst` of K and V stores.
    """

    word: Word
    cycle: int
    rounds: int
    outputs: int
    controls: int
    values_from: int
    address: dict[str, int]


@dataclass(frozen=True)
class Walk:
    """A queue's way through a token: its RUN words, the cycle of its end, and the words between the last and that."""

    runs: list[Run]
    end: int
    controls: int


@dataclass
class _Loop:
    word: Word
    start: int
    left: int
    offsets: dict[str, int] = field(default_factory=dict[str, int])

    def again(self) -> bool:
        """End of a round: whether there is another one."""
        self.left -= 1
        for name in self.offsets:
            self.offsets[name] += self.word.fields[name]
        return self.left > 0


# Addresses that the outer loop moves; "bank" stands for dst of K and V stores.
_OUTER = {"matrix": {"row"}, "vector": {"param", "bank"}, "scalar": {"constant"}}
_OUTER_STRIDES = {"matrix": {"row"}, "vector": {"param", "dst"}, "scalar": {"constant"}}
_LOOPS = {Op.LOOP_OUTER: "end_outer", Op.LOOP_INNER: "end_inner"}


def _strided(queue: Queue) -> list[str]:
    return [item.name for item in queue.own if item.strided]


def decode_program(cfg: Config, queue: Queue, program: Sequence[int]) -> list[Word]:
    """The words of a queue. Raises IllegalProgram for one that is no legal instruction, wherever it stands."""
    if len(program) > queue.words(cfg):
        raise IllegalProgram(
            None, f"{queue.name} program has {len(program)} words; {cfg.name} holds {queue.words(cfg)}")
    words: list[Word] = []
    for index, bits in enumerate(program):
        try:
            insn = decode(cfg, queue, bits)
        except EncodingError as error:
            raise IllegalProgram(None, f"{queue.name} word {index} is no instruction: {error}") from None
        word = Word(queue, index, insn, {item.name: insn.number(item.name) for item in queue.fields})
        _check_word(cfg, word)
        words.append(word)
    return words


def _check_word(cfg: Config, word: Word) -> None:
    """What a single word may not say."""
    def need(condition: bool, text: str) -> None:
        if not condition:
            raise IllegalProgram(None, "{}: " + text, word)

    f, op, queue = word.fields, word.op, word.queue.name
    need(not cfg.small_control or queue != "scalar" or (op is not Op.LOOP_INNER and not f["end_inner"]),
         f"the scalar queue of {cfg.name} has no inner loop")
    for name in ("wait_value", "repeat_value", "outer_value"):
        need(f.get(name, 0) < cfg.values, f"{name} names no dynamic value")
    if op is not Op.RUN:
        allowed = {"op", "wait", "wait_value", "end_inner", "end_outer"}
        if op in _LOOPS:
            strides = set(_strided(word.queue))
            allowed = (allowed | {"repeat", "repeat_value"} | strides) - {"end_inner", "end_outer"}
            if op is Op.LOOP_OUTER:
                allowed -= strides - _OUTER_STRIDES[queue]
            level = "outer" if op is Op.LOOP_OUTER else "inner"
            for name in strides & allowed:
                bits = stride_bits(cfg, word.queue, level, name)
                need(f[name] < 1 << bits, f"strides of {name} in {level} loops have {bits} bits on {cfg.name}")
        if op is Op.END:
            allowed -= {"end_inner", "end_outer"}
        for name, value in f.items():
            need(name in allowed or value == 0, f"{op.name} has no use for {name}")
    elif queue == "scalar":
        need(f["repeat"] == 0 and f["repeat_value"] == 0, "a scalar word runs once; repeat must be 0")
    elif queue == "vector":
        need(f["addend"] != Addend.NOISE.value or cfg.noise_rate > 0, f"{cfg.name} has no noise to add")
        need(f["store"] != Store.KEYS.value or f["chunk"] < cfg.chunks, f"chunk must be below {cfg.chunks}")
        if f["rotate"]:
            need(f["source"] == Source.MEM.value, "rotate reads vector memory: source must be MEM")
            need(f["addend"] == Addend.ZERO.value, "rotate adds the held value: addend must be ZERO")
            need(f["factor2"] != Factor2.MEM.value, "rotate reads swapped lanes: factor2 cannot be MEM")
            need(not f["below"], "rotate reads swapped lanes: below must be 0")
            need(not (f["first"] and f["reduce"]), "the first pass of rotate reduces nothing: first must be 0")
            need(f["factor1"] == Factor1.SIGNED.value, "rotate takes cosines and sines: factor1 must be SIGNED")
        need(f["mask"] != Mask.CHOSEN.value or cfg.choices > 0, f"{cfg.name} has no index register to mask by")
    if op is Op.RUN:
        need(f.get("choice", 0) <= cfg.choices, f"choice must be at most {cfg.choices}")
        need(not f.get("choice", 0) or not f.get("gather", 0), "a gather has no choice")
        need(queue != "scalar" or f["function"] != ScalarFunction.VALUE.value or cfg.choices > 0,
             f"{cfg.name} has no index registers, and no VALUE")
        need(queue != "scalar" or f["function"] != ScalarFunction.SEARCH.value or cfg.top_k,
             f"{cfg.name} has no SEARCH")


def walk(
    cfg: Config, words: Sequence[Word], values: Sequence[int], *, classify: bool, values_ready: int
) -> Walk:
    """RUN words in the order of their issue, and the cycle in which the queue ends.

    Parameters
    ----------
    values: dynamic values of the position's bucket. classify: whether END_PROMPT is a NOP.
    values_ready: first cycle in which a word that uses one of them may be the current one.
    """
    masks = {item.name: (1 << item.bits(cfg)) - 1 for item in words[0].queue.own if item.strided} if words else {}
    runs: list[Run] = []
    outer: _Loop | None = None
    inner: _Loop | None = None
    cycle, index = 1, 0
    controls, values_from = 0, 0
    while True:
        if index >= len(words):
            raise IllegalProgram(cycle, f"the program runs off its end after {len(words)} words without END",
                                 *words[-1:])
        word = words[index]
        f, op, fetch = word.fields, word.op, cfg.fetch(word.queue.name)
        if f["wait_value"] or f["repeat_value"] or f.get("outer_value", 0):
            if cycle < values_ready:
                raise IllegalProgram(
                    cycle, f"{{}} uses a dynamic value, and those are ready from cycle {values_ready} on", word)
            values_from = max(values_from, values_ready)
        start = cycle + f["wait"] + values[f["wait_value"]]
        rounds = f["repeat"] + values[f["repeat_value"]] + 1
        cycle, index = start + fetch, index + 1
        if cycle > MOST_CYCLES:
            raise IllegalProgram(cycle, "{} is still running: a wait or a loop count must be wrong", word)
        if op is Op.END or (op is Op.END_PROMPT and not classify):
            if open_loop := inner or outer:
                raise IllegalProgram(start, "{} ends the queue inside the loop of {}", word, open_loop.word)
            return Walk(runs, start, controls)
        if op is not Op.RUN:
            controls += fetch
            values_from += fetch * (values_from > 0)
        if op is Op.LOOP_OUTER:
            if open_loop := inner or outer:
                raise IllegalProgram(start, "{} opens an outer loop inside the loop of {}", word, open_loop.word)
            outer = _Loop(word, index, rounds, dict.fromkeys(_OUTER_STRIDES[word.queue.name], 0))
            continue
        if op is Op.LOOP_INNER:
            if inner:
                raise IllegalProgram(start, "{} opens an inner loop inside that of {}", word, inner.word)
            inner = _Loop(word, index, rounds, dict.fromkeys(_strided(word.queue), 0))
            continue
        if op is Op.RUN:
            run = replace(_run(cfg, word, start, rounds, values, inner, outer, masks),
                          controls=controls, values_from=values_from)
            runs.append(run)
            controls, values_from = 0, 0
            length = run.outputs * rounds if word.queue.name == "matrix" else 1
            if word.queue.name == "vector":
                length = (rounds - 1) * (f["pace"] + 1) + cfg.beats
            cycle = start + max(fetch, length)
        if f["end_inner"]:
            if inner is None:
                raise IllegalProgram(start, "{} ends an inner loop that is not open", word)
            if inner.again():
                index = inner.start
                continue
            inner = None
        if f["end_outer"]:
            if outer is None:
                raise IllegalProgram(start, "{} ends an outer loop that is not open", word)
            if inner is not None:
                raise IllegalProgram(start, "{} ends the outer loop inside the inner loop of {}", word, inner.word)
            if outer.again():
                index = outer.start
            else:
                outer = None


def _run(cfg: Config, word: Word, cycle: int, rounds: int, values: Sequence[int],
         inner: _Loop | None, outer: _Loop | None, masks: Mapping[str, int]) -> Run:
    """A RUN word with its addresses. masks: of the strided fields' widths."""
    f = word.fields
    if "pace" in f and rounds > 1 and f["pace"] + 1 < cfg.beats:
        raise IllegalProgram(cycle, f"{{}} begins a pass every {f['pace'] + 1} cycles; each takes {cfg.beats}", word)
    if f.get("rotate") and rounds % 2:
        raise IllegalProgram(cycle, f"{{}} has {rounds} passes; those of rotate come in pairs", word)
    address: dict[str, int] = {}
    for name in [*masks, "bank"] if "rope" in f else masks:
        stride = "dst" if name == "bank" else name
        total = f[stride] + (inner.offsets[stride] if inner else 0)
        if outer and name in _OUTER[word.queue.name] and not (name == "param" and f["rope"]):
            total += outer.offsets[stride]
        address[name] = total & masks[stride]
    outputs = f["outer"] + values[f["outer_value"]] + 1 if "outer" in f else 1
    return Run(word, cycle, rounds, outputs, 0, 0, address)
