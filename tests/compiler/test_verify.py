"""Verification passes on what the compiler makes, and each of its checks can fail: one seeded defect each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from compiler.assemble import Program, encode_program
from compiler.columns import Wait
from compiler.expand import walk
from compiler.ir import CompileError, Operation
from compiler.verify import verify_operations, verify_program
from rtl.config import PRESETS
from rtl.encoding import Insn
from rtl.isa import MATRIX, SCALAR, VECTOR, Op

Make = Callable[[str, str], Any]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("shape", ["even", "odd", "mha", "mqa"])
def test_every_bucket_and_mode_is_as_scheduled(passes: Make, shape: str, name: str):
    made = passes(shape, name)
    verify_operations(made.operations, made.layout)
    verify_program(made.words, made.plan, made.program.cycles, made.layout)


# --------------------------------------------------------------------------------------------- lowered operations


def changed(made: Any, operation: Operation, **fields: Any) -> Operation:
    """An operation with other fields, and the accesses that follow from them."""
    insn = Insn(operation.insn.queue, {**operation.insn.fields, **fields})
    return replace(operation, insn=insn)


def seeded(made: Any, name: str, **fields: Any) -> list[Operation]:
    """The operations with one of them changed; its partner follows."""
    result: list[Operation] = []
    swapped: dict[int, Operation] = {}
    for operation in made.operations:
        new = changed(made, operation, **fields) if operation.name == name else operation
        if operation.partner is not None:
            new = replace(new, partner=swapped[id(operation.partner)])
        swapped[id(operation)] = new
        result.append(new)
    assert any(operation.name == name for operation in result)
    return result


@pytest.mark.parametrize(("name", "fields", "message"), [
    ("wq[0]", {"row": 1}, "wq.* reads embedding"),
    ("gate[0]", {"repeat": 90}, "leave the region of"),
    ("av[0.0]", {"row": 0}, "reads embedding"),
    ("embedding[0]", {"gather": 0}, "only embeddings gather"),
    ("wv[0]", {"dst": 0}, "stores outside the V cache"),
    ("rotate k[0.0]", {"dst": 0}, "stores outside the K cache"),
    ("rotate q[0]", {"param": 0}, "leave the region of embedding"),
    ("wq[0]", {"param": 2000}, "lies in no region"),
    ("up[1]", {"dst": 511}, "vector rows 511 lies in no region"),
    ("hidden[1]", {"dst": 511}, "activation vectors 511 lies in no region"),
    ("next x shift", {"constant": 60}, "constants 60 lies in no region"),
    ("embed[0]", {"out_scalar": 32}, "scalar 32 does not exist"),
    ("top[0]", {"reduce": 34}, "reduce 34 does not exist"),
    ("wk[0]", {"scalar": 12}, "reads scalar 12 before it is written"),
    ("block[0]", {"reduce": 15}, "reads reduce 15 before it is written"),
    ("exp[0]", {"dst": 34}, "leave the region of probabilities"),
    ("score[0]", {"write": 0}, "exp.* reads vector .* before it is written"),
], ids=str)
def test_a_wrong_operation_is_found(passes: Make, name: str, fields: dict[str, Any], message: str):
    made = passes("even", "tiny")
    queue = {"gate[0]": "matrix", "wq[0]": "matrix" if "row" in fields else "vector", "wk[0]": "vector"}.get(name)
    operations = seeded(made, name, **fields) if queue is None else [
        changed(made, one, **fields) if one.name == name and one.queue == queue else one for one in made.operations]
    with pytest.raises(CompileError, match=message):
        verify_operations(operations, made.layout)


def with_partner(made: Any, **changes: Any) -> list[Operation]:
    return [replace(one, **changes) if one.partner is not None else one for one in made.operations]


def test_wrong_partners_are_found(passes: Make):
    made = passes("even", "tiny")
    scores = next(one for one in made.operations if one.partner is not None)
    late = scores.lag + 3 * made.config.slots
    for changes, message in (({"lag": scores.lag - 1}, "too early"), ({"lag": late}, "too late"),
                             ({"partner": scores}, "none before it"), ({"lag": -1}, "elsewhere"),
                             ({"partner": made.operations[0]}, "no matmul"), ({"counts": {}}, "number of passes")):
        with pytest.raises(CompileError, match=message):
            verify_operations(with_partner(made, **changes), made.layout)


def test_an_operation_in_the_wrong_order_is_found(passes: Make):
    made = passes("even", "tiny")
    backwards = sorted(made.operations, key=lambda one: (one.section.value, -made.operations.index(one)))
    with pytest.raises(CompileError, match=r"before it"):
        verify_operations(backwards, made.layout)


# ------------------------------------------------------------------------------------------------------- programs


def broken(made: Any, queue: str, change: Callable[[list[Any]], None]) -> dict[str, list[int]]:
    """The encoded program with the words of one queue changed before they are encoded."""
    words = {name: list(every) for name, every in made.program.words.items()}
    change(words[queue])
    return encode_program(Program(words, made.program.cycles), made.layout)


def field_of(op: Op, number: int, **fields: Any) -> Callable[[list[Any]], None]:
    """Sets fields of the number-th word with that operation."""
    def change(words: list[Any]) -> None:
        at = [i for i, word in enumerate(words) if word.insn["op"] is op][number]
        words[at] = replace(words[at], insn=Insn(words[at].insn.queue, {**words[at].insn.fields, **fields}))
    return change


def waits(number: int, more: int) -> Callable[[list[Any]], None]:
    """Makes a word wait longer."""
    def change(words: list[Any]) -> None:
        old = words[number].wait
        words[number] = replace(words[number], wait=Wait(old.cycles + more, old.value))
    return change


def without(number: int) -> Callable[[list[Any]], None]:
    return lambda words: words.pop(number)


@pytest.mark.parametrize("name", ["tiny", "icebreaker", "ulx3s"])
@pytest.mark.parametrize(("queue", "change", "message"), [
    ("matrix", field_of(Op.RUN, 0, row=3), "row is 3"),
    ("matrix", field_of(Op.LOOP_OUTER, 0, row=1), "row is"),
    ("matrix", field_of(Op.LOOP_OUTER, 0, repeat=0), "promised|scheduled|in the program"),
    ("vector", field_of(Op.LOOP_OUTER, 0, param=1), "param is"),
    ("vector", field_of(Op.RUN, 0, s1=17), "meaning is"),
    ("vector", field_of(Op.RUN, 1, dst=9, write=1), "embed|square|dst"),
    ("scalar", field_of(Op.LOOP_OUTER, 0, constant=2), "constant is"),
    ("scalar", field_of(Op.RUN, 0, dst=1), "dst is 1"),
    ("matrix", waits(1, 1), "cycle is"),
    ("vector", waits(3, 1), "cycle is|takes"),
    ("scalar", waits(-1, 1000), "promised"),
    ("vector", without(1), "not as scheduled"),
])
def test_a_wrong_program_is_found(passes: Make, name: str, queue: str, change: Callable[[list[Any]], None],
                                  message: str):
    made = passes("even", name)
    words = broken(made, queue, change)
    with pytest.raises(CompileError, match=message):
        verify_program(words, made.plan, made.program.cycles, made.layout)


def test_every_bit_of_a_run_word_counts(passes: Make):
    """Any single bit of any word changed, where the machine would do something else, is found."""
    made, missed, tried = passes("odd", "tiny"), list[str](), 0
    rng = np.random.default_rng(5)
    for queue in (MATRIX, VECTOR, SCALAR):
        fields = [item.name for item in queue.fields if not item.enum and item.name not in ("end_inner", "end_outer")]
        for at, word in enumerate(made.program.words[queue.name]):
            name = str(rng.choice(fields))
            if word.insn["op"] is not Op.RUN or word.insn.number(name) == 0 or name in dict(word.counts):
                continue
            tried += 1
            insn = Insn(queue, {**word.insn.fields, name: word.insn.number(name) ^ 1})
            words = {**made.program.words, queue.name: list(made.program.words[queue.name])}
            words[queue.name][at] = replace(word, insn=insn)
            try:
                verify_program(encode_program(Program(words, made.program.cycles), made.layout), made.plan,
                               made.program.cycles, made.layout)
            except CompileError:
                continue
            missed.append(f"{queue.name} word {at}: {name}")
    assert tried > 10
    assert not missed


@pytest.mark.parametrize("what", ["values", "cycles"])
def test_a_wrong_promise_is_found(passes: Make, what: str):
    made = passes("even", "tiny")
    cycles = made.program.cycles + (what == "cycles")
    plan = made.plan
    if what == "values":
        columns = replace_columns(made)
        plan = replace(plan, columns=columns)
    with pytest.raises(CompileError):
        verify_program(made.words, plan, cycles, made.layout)


def replace_columns(made: Any) -> Any:
    class Wrong:
        columns = [made.plan.columns.columns[0], *(column + 1 for column in made.plan.columns.columns[1:])]
    return Wrong()


RUN, END = Insn(SCALAR, {"op": Op.RUN}), Insn(SCALAR, {"op": Op.END})


@pytest.mark.parametrize(("words", "message"), [
    ([RUN], "never ends"),
    ([Insn(SCALAR, {"op": Op.LOOP_INNER, "repeat": 1}), END], "inside a loop"),
    ([Insn(SCALAR, {"op": Op.RUN, "end_inner": 1}), END], "not the open one"),
    ([Insn(SCALAR, {"op": Op.LOOP_INNER}), Insn(SCALAR, {"op": Op.LOOP_OUTER}), END], "opens a loop"),
    ([Insn(SCALAR, {"op": Op.LOOP_INNER}), Insn(SCALAR, {"op": Op.LOOP_INNER}), END], "opens a loop"),
    ([Insn(SCALAR, {"op": Op.RUN, "wait_value": 1}), END], "before cycle 9"),
])
def test_control_that_goes_wrong_is_found(words: list[Insn], message: str):
    with pytest.raises(CompileError, match=message):
        walk(PRESETS["tiny"], words, [0, 0], 9)
