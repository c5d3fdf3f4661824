"""Rolling: a queue's straight list of timed words, made short again.

Two steps, neither of which moves anything in time: neighbouring words that differ only by constant address steps
become one word with rounds of its own (`merge`), and repeated runs of words become inner loops (`roll`).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from compiler.columns import Wait
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
    Reduce,
    ScalarFunction,
    Source,
    Store,
    stride_bits,
)

Value = int | enum.Enum
NO_WAIT = Wait(0)
_LONGEST_BODY = 48


@dataclass(frozen=True)
class Word:
    """A word and its wait; `counts` names its dynamic count fields and the columns they use."""

    insn: Insn
    wait: Wait = NO_WAIT
    counts: tuple[tuple[str, int], ...] = ()
    end_inner: bool = False
    end_outer: bool = False


def used_strides(insn: Insn) -> frozenset[str]:
    """The strided fields that matter to a RUN word; in the others any offset is harmless."""
    if insn["op"] is not Op.RUN:
        return frozenset()
    if insn.queue is MATRIX:
        return frozenset({"row", "act", "slot"})
    if insn.queue is SCALAR:
        match insn["function"]:
            case ScalarFunction.CONST:
                return frozenset({"constant", "dst"})
            case ScalarFunction.COMBINE:
                return frozenset({"dst"})
            case _:
                return frozenset({"reduce", "dst"})
    used: set[str] = set()
    below = insn.number("below")
    if insn["source"] is Source.ACC:
        used.add("slot")
    if insn["source"] is Source.MEM or insn["factor2"] is Factor2.MEM or insn["addend"] is Addend.MEM or below:
        used.add("src")
    if insn["factor1"] is not Factor1.ONE:
        used.add("param")
    if insn.number("write") or insn["store"] is not Store.NONE:
        used.add("dst")
    if insn["factor2"] is Factor2.SCALAR or insn["addend"] is Addend.SCALAR or insn.number("early") or below:
        used.add("scalar")
    if insn["reduce"] not in (Reduce.NONE, Reduce.ARGMAX):
        used.add("target")
    return frozenset(used)


def _rest(word: Word) -> tuple[object, ...]:
    """All that must be the same in two words of which one is a shifted copy of the other."""
    strided = {item.name for item in word.insn.queue.fields if item.strided}
    fields = tuple((name, value) for name, value in sorted(word.insn.fields.items()) if name not in strided)
    return (fields, word.counts, used_strides(word.insn))


def _modulus(cfg: Config, word: Word, name: str) -> int:
    return 1 << word.insn.queue.by_name[name].bits(cfg)


def _set(insn: Insn, **changes: Value) -> Insn:
    fields = {**insn.fields, **changes}
    return Insn(insn.queue, {n: v for n, v in fields.items() if (v.value if isinstance(v, enum.Enum) else v)})


def merge(cfg: Config, words: list[Word]) -> list[Word]:
    """Neighbours made into one word: matrix outputs (`outer`) and vector passes (`repeat`, with `pace` between)."""
    result: list[Word] = []
    at = 0
    while at < len(words):
        run = _matrix_run(cfg, words, at) or _vector_run(cfg, words, at)
        if run is None:
            result.append(words[at])
            at += 1
            continue
        word, length = run
        result.append(word)
        at += length
    return result


def _matrix_run(cfg: Config, words: list[Word], at: int) -> tuple[Word, int] | None:
    first = words[at].insn
    if first.queue is not MATRIX or first["op"] is not Op.RUN or words[at].counts or first.number("outer"):
        return None
    if first.number("repeat") + 1 < cfg.matrix_fetch:  # as words, they take longer
        return None
    if at + 1 >= len(words):
        return None

    def step(name: str, a: Insn, b: Insn) -> int:
        return (b.number(name) - a.number(name)) % (1 << MATRIX.by_name[name].bits(cfg))

    most = 1 << MATRIX.by_name["outer"].bits(cfg)
    length, rows, acts = 1, step("row", first, words[at + 1].insn), step("act", first, words[at + 1].insn)
    while at + length < len(words):
        before, here = words[at + length - 1], words[at + length]
        if here.insn["op"] is not Op.RUN or here.wait != NO_WAIT or here.counts or _rest(here) != _rest(before):
            break
        if (step("row", before.insn, here.insn), step("act", before.insn, here.insn)) != (rows, acts):
            break
        if step("slot", before.insn, here.insn) != 1 % cfg.slots or length >= most:
            break
        length += 1
    steps = (("row_step", rows), ("act_step", acts))
    if length == 1 or any(moved >> MATRIX.by_name[name].bits(cfg) for name, moved in steps):
        return None
    return replace(words[at], insn=_set(first, outer=length - 1, row_step=rows, act_step=acts)), length


_STEPS = (("slot", "inc_slot"), ("src", "inc_src"), ("param", "inc_param"), ("dst", "inc_dst"))


def _vector_run(cfg: Config, words: list[Word], at: int) -> tuple[Word, int] | None:
    first = words[at].insn
    if first.queue is not VECTOR or first["op"] is not Op.RUN or words[at].counts or first.number("repeat"):
        return None
    if first["mask"] is not Mask.NONE or at + 1 >= len(words):  # a mask counts the passes of its word
        return None
    plain = replace(words[at], insn=_set(first, first=0))
    pace = words[at + 1].wait
    if pace.value or pace.cycles + cfg.beats > 1 << VECTOR.by_name["pace"].bits(cfg):
        return None
    steps: dict[str, int] | None = None
    length, most = 1, 1 << VECTOR.by_name["repeat"].bits(cfg)
    while at + length < len(words) and length < most:
        before, here = words[at + length - 1].insn, words[at + length]
        if here.wait != pace or here.counts or here.insn["op"] is not Op.RUN or _rest(here) != _rest(plain):
            break
        used = used_strides(here.insn)
        moved = {name: here.insn.number(name) - before.number(name) for name in used}
        if "slot" in moved:
            moved["slot"] %= cfg.slots
        allowed = {name for name, _ in _STEPS}
        if any(move not in (0, 1) or (move and name not in allowed) for name, move in moved.items()):
            break
        if steps is not None and moved != steps:
            break
        steps = moved
        length += 1
    if length == 1 or steps is None:
        return None
    increments = {inc: steps[name] for name, inc in _STEPS if name in steps}
    rolled = _set(first, repeat=length - 1, pace=pace.cycles + cfg.beats - 1, **increments)
    return replace(words[at], insn=rolled), length


@dataclass(frozen=True)
class _Loop:
    """`count` rounds of `length` words. late: cycles that the LOOP word lacks; saved: words that it saves."""

    length: int
    count: int
    strides: dict[str, int]
    late: int
    saved: int


def roll(cfg: Config, words: list[Word]) -> list[Word]:
    """Repeated runs made into inner loops, at each word the one that saves most.

    The LOOP word takes a cycle (or as many as `Config.fetch` has it). Where the wait before the first round has none to
    spare, the body gives up `late` cycles of its wait to a NOP at its end, and the word after the loop waits that much
    less.
    """
    words, result = list(words), list[Word]()
    if cfg.small_control and words and words[0].insn.queue is SCALAR:
        return words  # its sequencer has no inner loop
    at = 0
    while at < len(words):
        loop = _best_loop(cfg, words, at)
        if loop is None:
            result.append(words[at])
            at += 1
            continue
        lead, steady = words[at].wait, words[at + loop.length].wait
        queue, body_wait = words[at].insn.queue, steady.cycles - loop.late
        fetch = cfg.fetch(queue.name)
        head = _set(Insn(queue), op=Op.LOOP_INNER, repeat=loop.count - 1, **loop.strides)
        result.append(Word(head, Wait(lead.cycles - body_wait - fetch, lead.value)))
        body = [replace(words[at], wait=Wait(body_wait)), *words[at + 1:at + loop.length]]
        at += loop.count * loop.length
        if loop.late:
            body.append(Word(Insn(queue), Wait(loop.late - fetch)))
            words[at] = replace(words[at], wait=Wait(words[at].wait.cycles - loop.late, words[at].wait.value))
        body[-1] = replace(body[-1], end_inner=True)
        result += body
    return result


def _best_loop(cfg: Config, words: list[Word], at: int) -> _Loop | None:
    """The loop from `at` on that saves most words; None where none saves any."""
    best: _Loop | None = None
    for length in range(1, min(_LONGEST_BODY, (len(words) - at) // 2) + 1):
        lead, steady, fetch = words[at].wait, words[at + length].wait, cfg.fetch(words[at].insn.queue.name)
        late = steady.cycles + fetch - lead.cycles
        late = max(late, fetch) if late > 0 else 0
        if steady.value or late > steady.cycles:
            continue
        count, strides = _rounds(cfg, words, at, length)
        end = at + count * length
        if late and (end == len(words) or words[end].wait.cycles < late):
            count -= 1  # the word after the loop cannot wait less; that of the last round can
        saved = count * length - length - 1 - (late > 0)
        if count > 1 and saved > 0 and (best is None or saved > best.saved):
            best = _Loop(length, count, strides, late, saved)
    return best


def _rounds(cfg: Config, words: list[Word], at: int, length: int) -> tuple[int, dict[str, int]]:
    """How often the run of `length` words at `at` repeats with constant strides (1: not again), and the strides."""
    if any(word.insn["op"] is not Op.RUN for word in words[at:at + length]):
        return 1, {}
    strides: dict[str, int] = {}
    count, most = 1, 1 << words[at].insn.queue.by_name["repeat"].bits(cfg)
    while at + (count + 1) * length <= len(words) and count < most:
        moved: dict[str, int] = {}
        for offset in range(length):
            before, here = words[at + (count - 1) * length + offset], words[at + count * length + offset]
            wait = words[at + (offset or length)].wait  # the first round's lead may differ
            if _rest(before) != _rest(here) or here.wait != wait:
                return count, strides
            for name in used_strides(here.insn):
                step = (here.insn.number(name) - before.insn.number(name)) % _modulus(cfg, here, name)
                if moved.setdefault(name, step) != step or step >> stride_bits(cfg, here.insn.queue, "inner", name):
                    return count, strides
        if count > 1 and moved != strides:
            return count, strides
        strides = moved
        count += 1
    return count, strides
