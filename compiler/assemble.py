"""Assembly: a Schedule as the words of three queues, and the cycles they take.

A queue is: prologue, LOOP_OUTER over the layers, one layer (and a NOP that fills the rest of the period), END_PROMPT,
epilogue, END.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import numpy as np

from compiler.columns import Wait
from compiler.ir import CompileError, Ints, Section, Space
from compiler.join import Schedule, prompt_end
from compiler.layout import Layout
from compiler.roll import Word, merge, roll
from compiler.section import QUEUE_NAMES, SectionSchedule
from rtl.config import Config
from rtl.encoding import Insn, encode
from rtl.isa import MATRIX, QUEUES, SCALAR, VECTOR, Op, Queue, stride_bits
from rtl.timing import timing


@dataclass(frozen=True)
class Program:
    """Words of each queue, in order; cycles: (2, buckets), prompt and classified tokens."""

    words: dict[str, list[Word]]
    cycles: Ints


def _words(schedule: Schedule, part: SectionSchedule, queue: str, fetch: int) -> list[Word]:
    result: list[Word] = []
    for placed in part.queues[queue]:
        counts: list[tuple[str, int]] = []
        insn = placed.operation.insn
        for name, count in placed.operation.counts.items():
            column = schedule.columns.add(np.arange(len(placed.issue)) * count.scale)
            insn = Insn(insn.queue, {**insn.fields, name: count.scale - 1} if count.scale > 1 else insn.fields)
            counts.append((name, column))
        result += _waiting(Word(insn, placed.wait, tuple(counts)), fetch)
    return result


def _waiting(word: Word, fetch: int) -> list[Word]:
    """A word after NOPs, of `fetch` cycles each, for all but one of the dynamic values that its wait adds up."""
    more = word.wait.more
    nops = [Word(Insn(word.insn.queue), Wait(0, value)) for value in more]
    return [*nops, replace(word, wait=Wait(word.wait.cycles - fetch * len(more), word.wait.value))]


def _with_wait(words: list[Word], wait: Wait) -> list[Word]:
    return [replace(words[0], wait=wait), *words[1:]]


def _control(queue: Queue, op: Op, **fields: int) -> Insn:
    return Insn(queue, {name: value for name, value in {"op": op, **fields}.items() if value is not Op.NOP and value})


def _settled(part: SectionSchedule, queue: str) -> int:
    """Cycles after the queue's last word until everything it wrote is visible, the worst bucket. Noise is made anew for
    the next token in any case."""
    ends = part.end(queue)
    return max(int(placed.issue[bucket]) + int(touch.cycles.max()) - int(ends[bucket])
               for placed in part.queues[queue] for bucket in range(len(ends))
               for touch in placed.operation.accesses(bucket).writes if touch.space is not Space.NOISE)


def _check_strides(config: Config, loop: Insn) -> None:
    """Raises CompileError where a layer is further from the next than the loop over the layers can step."""
    for item in loop.queue.own:
        most = (1 << stride_bits(config, loop.queue, "outer", item.name)) - 1
        if item.strided and loop.number(item.name) > most:
            raise CompileError(f"a layer takes {loop.number(item.name)} rows ({loop.queue.name} {item.name}); the loop "
                               f"over the layers of {config.name} steps at most {most}")


def assemble(schedule: Schedule, layout: Layout) -> Program:
    """The program of a schedule. Raises CompileError where the loop over the layers cannot step as far as it must."""
    config, layers = layout.geometry.config, layout.geometry.shape.layers
    t = timing(config)
    sections, start, period, after = schedule.sections, schedule.body_start, schedule.period, schedule.epilogue_start
    prologue, body, epilogue = (sections[section] for section in Section)
    strides: dict[str, dict[str, int]] = {
        "matrix": {"row": layout.layer_rows}, "vector": {"param": layout.layer_params, "dst": layout.layer_rows},
        "scalar": {"constant": 1}}
    words: dict[str, list[Word]] = {}
    ends = np.zeros((2, len(period)), np.int64)
    landed = prompt_end(body, period, t)
    for queue, name in zip((MATRIX, VECTOR, SCALAR), QUEUE_NAMES, strict=True):
        first, fetch = int(body.queues[name][0].issue[0]), config.fetch(name)
        loop_wait = start + first - int(prologue.end(name)[0]) - fetch
        loop = _control(queue, Op.LOOP_OUTER, repeat=layers - 1, **(strides[name] if layers > 1 else {}))
        _check_strides(config, loop)
        head = _words(schedule, prologue, name, fetch)
        if head:
            head = _with_wait(head, Wait(int(prologue.queues[name][0].issue[0])))
        inside = roll(config, merge(config, _words(schedule, body, name, fetch)))
        back = schedule.back_waits[name]
        if back is not None:
            inside += _waiting(Word(_control(queue, Op.NOP), back), fetch)
        inside[-1] = replace(inside[-1], end_outer=True)
        gap = int(after[0] + epilogue.queues[name][0].issue[0] - period[0] - first)  # END_PROMPT and the wait around it
        prompt_wait = min(gap - fetch, max(0, landed - first))
        tail = _with_wait(_words(schedule, epilogue, name, fetch), Wait(gap - fetch - prompt_wait))
        final = max(0, _settled(epilogue, name) - t.token_read)
        words[name] = [
            *roll(config, merge(config, head)), Word(loop, Wait(loop_wait)), *inside,
            Word(_control(queue, Op.END_PROMPT), Wait(prompt_wait)),
            *roll(config, merge(config, tail)), Word(_control(queue, Op.END), Wait(final))]
        body_end = 1 + start + (layers - 1) * period + period + first
        ends[0] = np.maximum(ends[0], body_end + prompt_wait)
        epilogue_at = 1 + start + (layers - 1) * period + after
        ends[1] = np.maximum(ends[1], epilogue_at + epilogue.end(name) + final)
    return Program(words, ends + t.token_overhead)


def encode_program(program: Program, layout: Layout) -> dict[str, list[int]]:
    """Encoded words. Raises CompileError where a queue is longer than its memory."""
    config = layout.geometry.config
    result: dict[str, list[int]] = {}
    for queue in QUEUES:
        encoded: list[int] = []
        for word in program.words[queue.name]:
            wait = word.wait
            most = (1 << queue.by_name["wait"].bits(config)) - 1
            while wait.cycles > most:  # too long for one word: a NOP takes its wait and one cycle more, or `fetch`
                here = min(most, wait.cycles - config.fetch(queue.name))
                encoded.append(encode(config, _control(queue, Op.NOP, wait=here)))
                wait = Wait(wait.cycles - here - config.fetch(queue.name), wait.value)
            fields: dict[str, int | enum.Enum] = dict(word.insn.fields)
            extra = {"wait": wait.cycles, "wait_value": wait.value, "end_inner": int(word.end_inner),
                     "end_outer": int(word.end_outer)}
            extra |= {f"{name}_value": column for name, column in word.counts}
            fields |= {name: value for name, value in extra.items() if value}
            encoded.append(encode(config, Insn(queue, fields)))
        if len(encoded) > queue.words(config):
            raise CompileError(f"{len(encoded)} {queue.name} words; {config.name} has room for {queue.words(config)}")
        result[queue.name] = encoded
    return result
