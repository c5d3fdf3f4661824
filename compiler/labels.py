"""Labels: what each event of a program is called, so that a profile can speak of `wq[3]` and not of a word's number.

An event is one output of a matmul, one pass of the vector unit, or one scalar operation. Merging and rolling change the
words, never the order of a queue's events, so the names of the operations in the order of issue name all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from compiler.typed import integer, integers, obj, of_type, shown
from rtl.isa import QUEUES

SECTIONS = 3
"""Prologue, one layer, epilogue."""
MOST_EVENTS = 1 << 20
"""Of one operation, in an image that is read."""


@dataclass(frozen=True)
class Label:
    """An operation: its name, and how many events it has.

    Members:
        fixed: events at every position. scaled: further ones for each attention block in use.
        lanes, taps: of a matmul, how many of its outputs and of its inputs belong to the model, the rest being padding;
            None: one a position, as in attention. Both are 0 for work that multiplies nothing.
    """

    name: str
    fixed: int
    scaled: int = 0
    lanes: int | None = 0
    taps: int | None = 0

    def events(self, blocks: int) -> int:
        """How many events at a position whose attention blocks in use are so many."""
        return self.fixed + self.scaled * blocks


@dataclass(frozen=True)
class Labels:
    """The labels of a program: for each queue its sections (prologue, one layer, epilogue), in the order of issue."""

    layers: int
    queues: Mapping[str, tuple[tuple[Label, ...], ...]]

    def events(self, queue: str, blocks: int, *, classify: bool) -> Iterator[tuple[Label, int | None]]:
        """A token's events of a queue: label, and the layer (None outside of the layers)."""
        prologue, body, epilogue = self.queues[queue]
        parts: list[tuple[tuple[Label, ...], int | None]] = [
            (prologue, None), *((body, layer) for layer in range(self.layers))]
        if classify:
            parts.append((epilogue, None))
        for part, layer in parts:
            for label in part:
                yield from [(label, layer)] * label.events(blocks)


def labels_to_json(made: Labels) -> dict[str, Any]:
    """Plain JSON values; what `labels_from_json` reads."""
    return {"layers": made.layers, "queues": {
        queue: [[[one.name, one.fixed, one.scaled, one.lanes, one.taps] for one in section] for section in sections]
        for queue, sections in made.queues.items()}}


def labels_from_json(content: Any) -> Labels | None:
    """The labels of an image; None for one without. Raises ValueError, KeyError or TypeError for what is none."""
    if not content:
        return None
    given = obj(obj(content, "labels").get("queues"), "labels: queues")
    queues: dict[str, tuple[tuple[Label, ...], ...]] = {}
    for queue in (item.name for item in QUEUES):
        sections = given[queue]
        if not isinstance(sections, list) or len(cast("list[Any]", sections)) != SECTIONS:
            raise ValueError(f"labels of the {queue} queue are not {SECTIONS} sections")
        what = f"labels of the {queue} queue"
        queues[queue] = tuple(_section(section, what) for section in cast("list[Any]", sections))
    return Labels(integer(content["layers"], "labels: layers", 0, MOST_EVENTS), queues)


def _section(entries: Any, what: str) -> tuple[Label, ...]:
    if not isinstance(entries, list):
        raise ValueError(f"{what}: a section is {shown(entries)}, expected a list")
    found: list[Label] = []
    for entry in cast("list[Any]", entries):
        name, *numbers = entry
        if not of_type(name, str, f"{what}: a name").isprintable() or len(numbers) != 4:
            raise ValueError(f"{what}: an entry is {shown(entry)}")
        fixed, scaled = integers(numbers[:2], what, 0, MOST_EVENTS)
        lanes, taps = (None if one is None else integer(one, what, 0, MOST_EVENTS) for one in numbers[2:])
        found.append(Label(name, fixed, scaled, lanes, taps))
    return tuple(found)
