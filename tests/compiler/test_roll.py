"""Rolling: words merged and rolled into loops stand for the same work, in the same cycles."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.columns import Wait
from compiler.expand import Events, walk
from compiler.ir import Ints
from compiler.roll import Word, merge, roll
from rtl.config import preset
from rtl.encoding import Insn, decode, encode
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

CONFIG = preset("tiny")
VALUES = [0, 3, 5, *[0] * (CONFIG.values - 3)]


def word(queue: Queue, wait: int = 0, value: int = 0, counts: tuple[tuple[str, int], ...] = (),
         **fields: Any) -> Word:
    kept = {name: field for name, field in fields.items() if field != 0}
    return Word(Insn(queue, {"op": Op.RUN, **kept}), Wait(wait, value), counts)


def events(words: list[Word], meanings: Events) -> Ints:
    """All events of a queue, through the encoder and the decoder; an END behind them tells where it ends."""
    queue = words[0].insn.queue
    insns: list[Insn] = []
    for one in [*words, Word(Insn(queue, {"op": Op.END}))]:
        extra = {"wait": one.wait.cycles, "wait_value": one.wait.value, "end_inner": int(one.end_inner)}
        extra |= {f"{name}_value": column for name, column in one.counts}
        fields = {**one.insn.fields, **{name: value for name, value in extra.items() if value}}
        insns.append(decode(CONFIG, queue, encode(CONFIG, Insn(queue, fields))))
    runs, _, end = walk(CONFIG, insns, VALUES, 0)
    parts = [_at(run.cycle, meanings.of(insns[run.index], run.rounds, run.outputs, run.inner, run.outer))
             for run in runs]
    return np.concatenate([*parts, np.full((1, parts[0].shape[1]), end)])


def _at(cycle: int, found: Ints) -> Ints:
    moved = found.copy()
    moved[:, 0] += cycle
    return moved


def check(words: list[Word]) -> tuple[list[Word], list[Word]]:
    """Merged, and merged and rolled; both must do what the words do."""
    meanings = Events(CONFIG)
    expected = events(words, meanings)
    merged = merge(CONFIG, words)
    rolled = roll(CONFIG, merged)
    for made in (merged, rolled, roll(CONFIG, words)):
        assert np.array_equal(events(made, meanings), expected)
    return merged, rolled


def random_word(queue: Queue, rng: random.Random) -> Word:
    """A word of one of few kinds, so that neighbours are often alike."""
    if queue is MATRIX:
        return word(MATRIX, row=rng.randrange(40), act=rng.randrange(9), slot=rng.randrange(4), repeat=rng.randrange(2),
                    clear=1)
    if queue is SCALAR:
        function = rng.choice((ScalarFunction.RSQRT, ScalarFunction.CONST, ScalarFunction.COMBINE))
        return word(SCALAR, function=function, reduce=rng.randrange(3), dst=rng.randrange(4), constant=rng.randrange(3))
    kind = rng.randrange(4)
    common: dict[str, Any] = {"slot": rng.randrange(4), "src": rng.randrange(8), "dst": rng.randrange(8)}
    if kind == 0:
        return word(VECTOR, **common, factor1=Factor1.UNSIGNED, param=rng.randrange(8), store=Store.ACT)
    if kind == 1:
        return word(VECTOR, **common, source=Source.MEM, factor2=Factor2.SQUARE, reduce=Reduce.SUM,
                    target=rng.randrange(2), first=rng.randrange(2))
    if kind == 2:
        return word(VECTOR, **common, source=Source.MEM, rotate=1, repeat=1, write=1)
    return word(VECTOR, **common, addend=Addend.SCALAR, scalar=rng.randrange(2), write=1,
                mask=rng.choice((Mask.NONE, Mask.POSITION)))


def random_words(queue: Queue, rng: random.Random) -> list[Word]:
    """Runs that repeat with constant steps, now and then disturbed."""
    result: list[Word] = []
    while len(result) < 30:
        body = [replace(random_word(queue, rng), wait=Wait(rng.choice((0, 0, 1, 2, 4))))
                for _ in range(rng.randint(1, 4))]
        steps = {item.name: rng.choice((0, 0, 1, 2)) for item in queue.own if item.strided}
        lead = Wait(rng.choice((0, 1, 3, 7)), rng.choice((0, 0, 1)))
        for number in range(rng.randint(1, 7)):
            for at, one in enumerate(body):
                fields = {name: one.insn.number(name) + number * step for name, step in steps.items()}
                fields = {name: value % (1 << queue.by_name[name].bits(CONFIG)) for name, value in fields.items()}
                kept = {name: value for name, value in {**one.insn.fields, **fields}.items() if value != 0}
                wait = lead if number == at == 0 else one.wait
                result.append(replace(one, insn=Insn(queue, kept), wait=wait))
        if rng.random() < 0.2:
            result[-1] = replace(result[-1], wait=Wait(rng.randrange(9)))
    return result


@pytest.mark.parametrize("queue", [MATRIX, VECTOR, SCALAR], ids=lambda queue: queue.name)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_rolled_words_expand_to_the_same(queue: Queue, seed: int):
    check(random_words(queue, random.Random(seed)))


def test_matmuls_with_constant_steps_become_outputs_of_one():
    merged, _ = check([word(MATRIX, 2 if n == 0 else 0, row=10 + 3 * n, act=5, slot=n % 4, repeat=2, clear=1)
                       for n in range(6)])
    assert len(merged) == 1
    assert (merged[0].insn.number("outer"), merged[0].insn.number("row_step"), merged[0].insn["act_step"]) == (5, 3, 0)
    assert merged[0].wait == Wait(2)


def test_vector_words_with_equal_waits_become_passes():
    merged, _ = check([word(VECTOR, 7 if n == 0 else 3, slot=n % 4, dst=n, param=9, factor1=Factor1.UNSIGNED, write=1)
                       for n in range(5)])
    assert len(merged) == 1
    insn = merged[0].insn
    assert [insn.number(name) for name in ("repeat", "pace", "inc_slot", "inc_dst", "inc_param")] == [4, 3, 1, 1, 0]


@pytest.mark.parametrize("change", [{"first": 1}, {"s2": 1}, {"dst": 7}, {"wait": 4}, {"mask": Mask.TAIL}], ids=str)
def test_what_differs_is_not_merged(change: dict[str, Any]):
    words = [word(VECTOR, 3, source=Source.MEM, src=n, dst=n, write=1) for n in range(3)]
    fields: dict[str, Any] = {**words[2].insn.fields, "wait": 3} | change
    words[2] = word(VECTOR, **fields)
    assert [one.insn.number("repeat") for one in check(words)[0]] == [1, 0]


def test_masked_passes_are_not_merged():
    """A mask counts the passes of its word."""
    words = [word(VECTOR, 3, source=Source.MEM, src=n, dst=n, write=1, mask=Mask.POSITION) for n in range(3)]
    assert check(words)[0] == words


@pytest.mark.parametrize(("lead", "expected"), [
    (5, ["LOOP_INNER", "RUN", "RUN"]),  # the LOOP word takes a cycle of the lead
    (4, ["LOOP_INNER", "RUN", "RUN"]),
    (2, ["LOOP_INNER", "RUN", "RUN", "NOP", "RUN", "RUN"]),  # too little: a NOP in the body
    (1, ["LOOP_INNER", "RUN", "RUN", "NOP", "RUN", "RUN"]),
    (0, ["RUN", "LOOP_INNER", "RUN", "RUN", "NOP", "RUN"]),  # none: the loop starts a word later
])
def test_a_loop_starts_when_its_first_word_did(lead: int, expected: list[str]):
    words: list[Word] = []
    for n in range(6):
        words.append(word(SCALAR, lead if n == 0 else 3, function=ScalarFunction.RSQRT, reduce=n, dst=n))
        words.append(word(SCALAR, 1, function=ScalarFunction.COMBINE, a=1, b=2, dst=n + 7))
    _, rolled = check(words)
    assert [Op(one.insn["op"]).name for one in rolled] == expected


def test_dynamic_counts_stay_with_their_words():
    words = [word(VECTOR, 5 + (n == 0), counts=(("repeat", 1),), source=Source.MEM, src=n, dst=n, write=1)
             for n in range(4)]
    merged, rolled = check(words)
    assert merged == words
    assert len(rolled) == 2
    assert rolled[1].counts == (("repeat", 1),)


def test_words_with_dynamic_waits_are_not_rolled():
    words = [word(SCALAR, 5, 1, function=ScalarFunction.COMBINE, dst=n) for n in range(4)]
    assert check(words)[1] == words


def test_expansion_sees_a_wrong_stride():
    """The comparison above can fail."""
    words = [word(MATRIX, 2, row=3 * n, slot=n % 4, clear=1, repeat=1) for n in range(5)]
    rolled = roll(CONFIG, words)
    assert rolled[0].insn["op"] is Op.LOOP_INNER
    meanings = Events(CONFIG)
    wrong = [replace(rolled[0], insn=Insn(MATRIX, {**rolled[0].insn.fields, "row": 4})), *rolled[1:]]
    assert np.array_equal(events(rolled, meanings), events(words, meanings))
    assert not np.array_equal(events(wrong, meanings), events(words, meanings))
