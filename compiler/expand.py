"""Expand: encoded words back into the work that they stand for, with its cycle.

Nothing here knows how the words were made: it walks them as the sequencers do (the rules of rtl/isa.py). An *event* is
one output of a matmul, one pass of the vector unit, or one scalar operation: a row of numbers of which the first is the
cycle. Merged words and loops disappear, so programs can be compared by what they do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from compiler.ir import CompileError, Ints
from rtl.config import Config
from rtl.encoding import Insn
from rtl.isa import (
    MATRIX,
    SCALAR,
    VECTOR,
    Addend,
    Factor1,
    Factor2,
    Mask,
    Op,
    Queue,
    Reduce,
    ScalarFunction,
    Source,
    Store,
)

Offsets = Mapping[str, int]

# Fields that say when, how often or with what steps: they end up in an event's cycle and addresses.
_FORM = {
    "op", "wait", "wait_value", "repeat", "repeat_value", "end_inner", "end_outer", "outer", "outer_value", "row_step",
    "act_step", "pace", "inc_slot", "inc_src", "inc_param", "inc_dst", "first"}
_MOST_RUNS = 1 << 20
"""A queue that runs more words in a token than this has a loop that never ends."""


@dataclass(frozen=True)
class Run:
    """One execution of a RUN word: its cycle, its index in the queue, and what the loops add to its addresses."""

    cycle: int
    index: int
    rounds: int
    outputs: int
    inner: Offsets
    outer: Offsets


@dataclass
class _Loop:
    start: int
    left: int
    strides: dict[str, int]
    offsets: dict[str, int] = field(default_factory=dict[str, int])

    def again(self) -> bool:
        """End of a round: whether there is another."""
        self.left -= 1
        self.offsets = {name: self.offsets.get(name, 0) + step for name, step in self.strides.items()}
        return self.left > 0


def walk(config: Config, words: Sequence[Insn], values: Sequence[int], ready: int) -> tuple[list[Run], int, int]:
    """RUN words in the order of issue, and the cycles in which a prompt token and a classified token end.

    values: dynamic values of the bucket. ready: first cycle in which a word that uses one may be the current one.
    Raises CompileError where the control of the queue goes wrong.
    """
    dynamic = [{name: word.number(f"{name}_value") for name in ("wait", "repeat", "outer")
                if f"{name}_value" in word.queue.by_name} for word in words]
    static = [{name: word.number(name) for name in counts} for word, counts in zip(words, dynamic, strict=True)]
    ends = [[level for level in ("inner", "outer") if word.number(f"end_{level}")] for word in words]
    runs: list[Run] = []
    loops: dict[str, _Loop | None] = {"inner": None, "outer": None}
    cycle, at, prompt_end = 1, 0, -1
    while at < len(words) and len(runs) < _MOST_RUNS:
        word = words[at]
        queue, op = word.queue, word["op"]
        if cycle < ready and any(dynamic[at].values()):
            raise CompileError(f"{queue.name} word {at} uses a dynamic value in cycle {cycle}, before cycle {ready}")
        count = {name: static[at][name] + values[number] for name, number in dynamic[at].items()}
        cycle += count["wait"]
        rounds, outputs = count["repeat"] + 1, count.get("outer", 0) + 1
        if op in (Op.END, Op.END_PROMPT):
            if any(loops.values()):
                raise CompileError(f"{queue.name} word {at} ends the queue inside a loop")
            prompt_end = cycle if prompt_end < 0 else prompt_end
            if op is Op.END:
                return runs, prompt_end, cycle
        if op is Op.RUN:
            inner, outer = (loop.offsets if loop else {} for loop in loops.values())
            runs.append(Run(cycle, at, rounds, outputs, inner, outer))
            cycle += duration(config, word, rounds, outputs)
        else:
            cycle += config.fetch(queue.name)
        at += 1
        if op in (Op.LOOP_INNER, Op.LOOP_OUTER):
            level = "inner" if op is Op.LOOP_INNER else "outer"
            if loops["inner"] or loops[level]:
                raise CompileError(f"{queue.name} word {at - 1} opens a loop inside one that it cannot be in")
            loops[level] = _Loop(at, rounds, {item.name: word.number(item.name) for item in queue.own if item.strided})
            continue
        for level in ends[at - 1]:
            loop = loops[level]
            if loop is None or (level == "outer" and loops["inner"]):
                raise CompileError(f"{queue.name} word {at - 1} ends an {level} loop that is not the open one")
            if loop.again():
                at = loop.start
                break
            loops[level] = None
    raise CompileError("a queue never ends")


def duration(config: Config, insn: Insn, rounds: int, outputs: int) -> int:
    """Cycles that a RUN word occupies its queue."""
    if insn.queue is MATRIX:
        return max(rounds * outputs, config.matrix_fetch)
    return (rounds - 1) * (insn.number("pace") + 1) + config.beats if insn.queue is VECTOR else config.fetch("scalar")


class Events:
    """Events of words; equal rows mean equal work, also between words that were made differently."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._meanings: dict[tuple[object, ...], int] = {}
        self._known: dict[tuple[int, int, int], tuple[Insn, _Pattern]] = {}  # the Insn stays, so its id does

    def of(self, insn: Insn, rounds: int, outputs: int, inner: Offsets, outer: Offsets) -> Ints:
        """(events, columns) of a RUN word issued in cycle 0. inner, outer: what the loops add to its addresses."""
        key = (id(insn), rounds, outputs)
        if key not in self._known:
            self._known[key] = (insn, self._pattern(insn, rounds, outputs))
        return self._known[key][1].moved(inner, outer)

    def _pattern(self, insn: Insn, rounds: int, outputs: int) -> _Pattern:
        number = np.arange(outputs if insn.queue is MATRIX else rounds, dtype=np.int64)
        if insn.queue is MATRIX:
            columns = [number * rounds, np.full(outputs, rounds)]
            steps = {"row": insn.number("row_step"), "act": insn.number("act_step"), "slot": 1}
            advance = number
        elif insn.queue is VECTOR:
            pairs = insn.number("rotate") + 1
            first = np.where(number == 0, insn.number("first"), 0)
            counted = number if insn["mask"] in (Mask.POSITION, Mask.CHOSEN) else number % pairs
            columns = [number * (insn.number("pace") + 1), first, counted]
            steps = {name: insn.number(f"inc_{name}") for name in ("slot", "src", "param", "dst")}
            advance = number // pairs
        else:
            columns, steps, advance = [number], {}, number
        fixed = len(columns)
        inner, outer, masks = list[str](), list[str](), list[int]()
        for item in insn.queue.own:
            if item.strided:
                used = matters(insn, item.name)
                moved = insn.number(item.name) + advance * steps.get(item.name, 0)
                columns.append(moved if used else np.zeros_like(number))
                inner.append(item.name if used else "")
                outer.append(item.name if used and _moves_with_layer(insn, item.name) else "")
                masks.append((1 << item.bits(self.config)) - 1)
        columns.append(np.full(len(number), self._meaning(insn)))
        return _Pattern(np.stack(columns, axis=1), fixed, inner, outer, np.array(masks, np.int64))

    def _meaning(self, insn: Insn) -> int:
        """A number for all that the word does beside its addresses and counts."""
        strided = {item.name for item in insn.queue.fields if item.strided}
        key = (insn.queue.name, *((item.name, insn.number(item.name)) for item in insn.queue.fields
                                  if item.name not in _FORM and item.name not in strided))
        return self._meanings.setdefault(key, len(self._meanings))


@dataclass(frozen=True)
class _Pattern:
    """Events of a word without its loops' offsets. inner, outer: which offset each address takes, "" for none."""

    events: Ints
    first: int  # column of the first address
    inner: list[str]
    outer: list[str]
    masks: Ints

    def moved(self, inner: Offsets, outer: Offsets) -> Ints:
        offsets = [inner.get(a, 0) + outer.get(b, 0) for a, b in zip(self.inner, self.outer, strict=True)]
        events = self.events.copy()
        addresses = events[:, self.first:-1]
        addresses += np.array(offsets, np.int64)
        addresses &= self.masks
        return events


def _moves_with_layer(insn: Insn, name: str) -> bool:
    """Whether the outer loop's offset is added to an address (rtl/isa.py)."""
    match name:
        case "row":
            return True
        case "param":
            return not insn.number("rope")
        case "dst":
            return insn.queue is VECTOR and insn["store"] in (Store.KEYS, Store.VALUES)
        case "constant":
            return True
        case _:
            return False


def matters(insn: Insn, name: str) -> bool:
    """Whether the word uses an address at all."""
    if insn.queue is SCALAR:
        constant, combine = (insn["function"] is one for one in (ScalarFunction.CONST, ScalarFunction.COMBINE))
        return {"reduce": not constant and not combine, "constant": constant, "dst": True}[name]
    if insn.queue is MATRIX:
        return True
    below = bool(insn.number("below"))
    return {
        "slot": insn["source"] is Source.ACC,
        "src": insn["source"] is Source.MEM or insn["factor2"] is Factor2.MEM or insn["addend"] is Addend.MEM or below,
        "param": insn["factor1"] is not Factor1.ONE,
        "dst": bool(insn.number("write")) or insn["store"] is not Store.NONE,
        "scalar": (insn["factor2"] is Factor2.SCALAR or insn["addend"] is Addend.SCALAR or bool(insn.number("early"))
                   or below),
        "target": insn["reduce"] in (Reduce.MAX, Reduce.MAXABS, Reduce.SUM)}[name]


def column_names(queue: Queue) -> list[str]:
    """What the columns of a queue's events are."""
    first = {"matrix": ["cycle", "steps"], "vector": ["cycle", "first", "pass"], "scalar": ["cycle"]}[queue.name]
    return [*first, *(item.name for item in queue.own if item.strided), "meaning"]
