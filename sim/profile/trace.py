"""Traces: what each unit issues in which cycle, as a file for ui.perfetto.dev (Chrome's trace event format).

`image_events` reads it off the image, `sim.profile.watch` off the gateware; both end up as the same `Issue`s, and the
same `Issue`s are the same bytes. One track a unit, a microsecond a cycle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from compiler.image import Image
from rtl.isa import MATRIX, VECTOR, ScalarFunction
from sim.cycle.timeline import Operation, Output, Pass, Timeline
from sim.profile.tasks import UNITS

TOKEN = 1
"""The token that a traced run is given at every position: a gather's address depends on it."""


class Issue(NamedTuple):
    """A unit's work from its issue on.

    Members:
        unit: whose. cycle: of the token. cycles: steps of an output, 1 for a pass and for an operation.
        facts: the addresses, with everything that the token and the position add to them.
    """

    unit: str
    cycle: int
    cycles: int
    facts: Mapping[str, int | str]


def image_events(image: Image, timeline: Timeline, position: int) -> list[Issue]:
    """What an image says that the units issue, unit by unit in the order of time."""
    return [*(_output(image, one) for one in timeline.outputs),
            *(_pass(image, one, position) for one in timeline.passes),
            *(_operation(one) for one in timeline.operations)]


def _output(image: Image, one: Output) -> Issue:
    cfg = image.config
    row, acts = int(one.rows[0]), [int(act) for act in one.acts[0]]
    if one.gather:
        column_row, tap = divmod(TOKEN << image.registers.embed_shift, cfg.taps)
        row, acts = row + column_row, [act + tap for act in acts]
    masks = {name: (1 << MATRIX.by_name[name].bits(cfg)) - 1 for name in ("row", "act")}
    return Issue("matrix", one.cycle, len(one.rows), output_facts(
        row & masks["row"], [act & masks["act"] for act in acts], one.slot, one.clear))


def output_facts(row: int, acts: Sequence[int], slot: int, clear: bool) -> dict[str, int | str]:
    """Of an output: the first step's bank row and activation word of each lane group, the accumulator."""
    return {"row": row, **{f"act{group}": act for group, act in enumerate(acts)}, "slot": slot, "clear": int(clear)}


PASS_FACTS = ("slot", "src", "param", "dst", "scalar", "target", "first", "odd")
OPERATION_FACTS = ("reduce", "dst", "constant")


def _pass(image: Image, one: Pass, position: int) -> Issue:
    f, cfg = one.word.fields, image.config
    rope = position * image.registers.rope_step if f["rope"] else 0
    in_bank = one.mode.store.name in ("KEYS", "VALUES")
    values = (one.slot, one.src, one.param + rope & (1 << VECTOR.by_name["param"].bits(cfg)) - 1,
              one.bank if in_bank else one.dst, one.scalars[0], one.target, int(one.first), int(one.swapped))
    return Issue("vector", one.cycle, 1, dict(zip(PASS_FACTS, values, strict=True)))


def _operation(one: Operation) -> Issue:
    return Issue("scalar", one.cycle, 1, operation_facts(one.function, (one.reduce, one.dst, one.constant)))


def operation_facts(function: ScalarFunction, values: Sequence[int]) -> dict[str, int | str]:
    """Of a scalar operation: what it is, and its addresses."""
    return {"function": function.name, **dict(zip(OPERATION_FACTS, values, strict=True))}


def difference(expected: Sequence[Issue], found: Sequence[Issue]) -> str | None:
    """The first difference between two runs, unit by unit; None where there is none."""
    for unit in UNITS:
        mine, other = ([one for one in events if one.unit == unit] for events in (expected, found))
        for a, b in zip(mine, other, strict=False):
            if a != b:
                return f"{unit}: {_text(b)}, expected {_text(a)}"
        if len(mine) != len(other):
            return f"{unit}: {len(other)} issues, expected {len(mine)}"
    return None


def _text(one: Issue) -> str:
    return f"cycle {one.cycle}, {one.cycles} long, {' '.join(f'{name}={value}' for name, value in one.facts.items())}"


def trace_bytes(image: Image, events: Sequence[Issue], position: int, *, classify: bool) -> bytes:
    """The file. Names come from the image, event by event in the order of each unit's issue."""
    blocks = position // image.config.bucket_positions + 1
    lines: list[dict[str, Any]] = [{"name": "process_name", "ph": "M", "pid": 0, "args": {
        "name": f"{image.config.name}, position {position}{'' if classify else ', prompt token'}"}}]
    for track, unit in enumerate(UNITS):
        arguments = {"pid": 0, "tid": track}
        lines.append({"name": "thread_name", "ph": "M", **arguments, "args": {"name": unit}})
        lines.append({"name": "thread_sort_index", "ph": "M", **arguments, "args": {"sort_index": track}})
        names = [(label.name, layer) for label, layer in image.labels.events(unit, blocks, classify=classify)] if (
            image.labels is not None) else []
        for number, one in enumerate(one for one in events if one.unit == unit):
            name, layer = names[number] if number < len(names) else (unit, None)
            lines.append({"name": name, "ph": "X", "ts": one.cycle, "dur": one.cycles, **arguments,
                          "args": {**({} if layer is None else {"layer": layer}), **one.facts}})
    text = ",\n".join(json.dumps(line) for line in lines)
    return f'{{"displayTimeUnit": "ns", "traceEvents": [\n{text}\n]}}\n'.encode()
