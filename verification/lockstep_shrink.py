"""What differs, made small: fewer tokens, words and loops, fields that are 0; and the listing of what is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rtl.config import Config
from rtl.encoding import Insn, disassemble, encode
from rtl.isa import QUEUES, SCALAR, VECTOR, Op, Queue
from verification.legal_programs import insns_of
from verification.lockstep_trial import Trial

KEPT = ("wait", "wait_value", "end_inner", "end_outer")
"""What is left of a word that is made into a NOP."""
BLOCKS = (16, 8, 4, 2, 1, 1, 1)
"""Words that are taken out together, at first many; the last first, because others read what they write."""


def shrink(trial: Trial, differs: Callable[[Trial], bool]) -> Trial:
    """A smaller trial that differs too: fewer tokens, words that do nothing, fields that are 0."""
    for count in range(1, len(trial.script)):
        shorter = replace(trial, script=trial.script[:count])
        if differs(shorter):
            trial = shorter
            break
    for size in BLOCKS:
        for queue in reversed(QUEUES):
            for start in reversed(range(0, len(trial.image.programs[queue.name]), size)):
                trial = _if(differs, trial, _without(trial, queue, range(start, start + size)))
    for queue in QUEUES:
        for index in reversed(range(len(trial.image.programs[queue.name]))):
            trial = _if(differs, trial, _unlooped(trial, queue, index))
        for index, word in enumerate(insns_of(trial.image)[queue.name]):
            for name in word.fields:
                if name not in ("op", "wait") and word["op"] is Op.RUN and word.number(name):
                    trial = _if(differs, trial, _zeroed(trial, queue, index, name))
        for index in reversed(range(1, len(trial.image.programs[queue.name]))):
            trial = _if(differs, trial, _merged(trial, queue, index))
    return trial


def _if(differs: Callable[[Trial], bool], trial: Trial, smaller: Trial) -> Trial:
    """The smaller one if it still differs, and is smaller."""
    return smaller if smaller.image.programs != trial.image.programs and differs(smaller) else trial


def _without(trial: Trial, queue: Queue, indices: range) -> Trial:
    """Words made into NOPs that wait as long; words that end a queue stay."""
    words = insns_of(trial.image)[queue.name]
    for index in indices:
        if index < len(words) and words[index]["op"] in (Op.RUN, Op.LOOP_INNER, Op.LOOP_OUTER):
            kept = {name: value for name, value in words[index].fields.items() if name in KEPT}
            most = (1 << queue.by_name["wait"].bits(trial.image.config)) - 1
            wait = min(most, words[index].number("wait") + _cycles(trial.image.config, words[index]) - 1)
            words[index] = Insn(queue, {**kept, "wait": wait})
    return _with(trial, queue, words)


def _unlooped(trial: Trial, queue: Queue, index: int) -> Trial:
    """A loop's body once, without the loop."""
    words = insns_of(trial.image)[queue.name]
    end = {Op.LOOP_OUTER: "end_outer", Op.LOOP_INNER: "end_inner"}.get(words[index]["op"])  # type: ignore[arg-type]
    last = next((other for other in range(index, len(words)) if end and words[other][end]), None)
    if end is None or last is None:
        return trial
    words[index] = Insn(queue, {name: value for name, value in words[index].fields.items() if name in KEPT})
    words[last] = Insn(queue, {name: value for name, value in words[last].fields.items() if name != end})
    return _with(trial, queue, words)


def _merged(trial: Trial, queue: Queue, index: int) -> Trial:
    """The word waits instead of the NOP before it."""
    words = insns_of(trial.image)[queue.name]
    nop, word = words[index - 1], words[index]
    wait = nop.number("wait") + trial.image.config.fetch(queue.name) + word.number("wait")
    most = (1 << queue.by_name["wait"].bits(trial.image.config)) - 1
    if nop["op"] is not Op.NOP or nop.fields.keys() - {"wait"} or wait > most:
        return trial
    return _with(trial, queue, [*words[:index - 1], Insn(queue, {**word.fields, "wait": wait}), *words[index + 1:]])


def _cycles(cfg: Config, word: Insn) -> int:
    """That a word takes, without what dynamic values add."""
    if word["op"] is not Op.RUN or word.queue is SCALAR:
        return 1
    if word.queue is VECTOR:
        return word.number("repeat") * (word.number("pace") + 1) + cfg.beats
    return (word.number("repeat") + 1) * (word.number("outer") + 1)


def _zeroed(trial: Trial, queue: Queue, index: int, name: str) -> Trial:
    words = insns_of(trial.image)[queue.name]
    rest = {other: value for other, value in words[index].fields.items() if other != name}
    return _with(trial, queue, [*words[:index], Insn(queue, rest), *words[index + 1:]])


def _with(trial: Trial, queue: Queue, words: Sequence[Insn]) -> Trial:
    encoded = [encode(trial.image.config, word) for word in words]
    return replace(trial, image=replace(trial.image, programs={**trial.image.programs, queue.name: encoded}))


def listing(trial: Trial) -> str:
    """The program and its tokens for people; what does nothing is left out."""
    lines: list[str] = []
    for queue, words in insns_of(trial.image).items():
        lines += [f"{queue} {index:3}: {disassemble(word)}" for index, word in enumerate(words)
                  if word["op"] is not Op.NOP or word.number("wait")]
    return "\n".join([*lines, *(str(one) for one in trial.script)])
