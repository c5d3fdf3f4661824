"""What a queue's sequencer tells its issue logic, and what it is told: layouts and signatures."""

from __future__ import annotations

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from rtl.config import Config, log2
from rtl.encoding import layout
from rtl.isa import Queue

OUTER = {"matrix": ("row",), "vector": ("param", "dst"), "scalar": ("constant",)}
"""Fields of each queue to which the outer loop adds an offset; the inner loop adds one to every strided field."""


ROUNDS = {"matrix": ("repeat", "outer"), "vector": ("repeat",), "scalar": ()}
"""Fields of each queue's RUN words that ask for more than one cycle where their sum with a dynamic value is not 0."""


def strides(cfg: Config, queue: Queue) -> data.StructLayout:
    """Offsets of the inner loop: one for every strided field."""
    return data.StructLayout({item.name: item.bits(cfg) for item in queue.fields if item.strided})


def outer_strides(cfg: Config, queue: Queue) -> data.StructLayout:
    """Offsets of the outer loop."""
    return data.StructLayout({name: queue.by_name[name].bits(cfg) for name in OUTER[queue.name]})


def total_bits(cfg: Config, queue: Queue, name: str) -> int:
    """Width of an immediate (`wait`, `repeat` or `outer`) plus a dynamic value."""
    return max(queue.by_name[name].bits(cfg), cfg.value_bits) + 1


def dynamic_layout(cfg: Config) -> data.StructLayout:
    """A dynamic value, and whether it is more than 0: that a word neither waits nor repeats must be known at once."""
    return data.StructLayout({"value": cfg.value_bits, "some": 1})


def dynamic_fields(cfg: Config, queue: Queue) -> data.StructLayout:
    """The dynamic values that a word names, by the name of the field."""
    return data.StructLayout({
        item.name: dynamic_layout(cfg) for item in queue.fields if item.name.endswith("_value")})


def sums_layout(cfg: Config, queue: Queue) -> data.StructLayout:
    """A bit for each field to which a dynamic value is added."""
    return data.StructLayout({name.removesuffix("_value"): 1 for name in dynamic_fields(cfg, queue).members})


def bucket_bits(cfg: Config) -> int:
    """Width of a bucket's number."""
    return max(1, log2(cfg.buckets))


class ValuesSignature(wiring.Signature):
    """The dynamic values of the token in progress on their way to the queues, seen from the control unit.

    Each queue keeps a copy for every field that names one. Entry 0 is written once, after a reset, and is 0.

    Members
    -------
    index, found : Out. Value number `index`. en : Out(1). To be kept.
    """

    def __init__(self, cfg: Config) -> None:
        super().__init__({
            "index": Out(bits_for(cfg.values - 1)), "found": Out(dynamic_layout(cfg)), "en": Out(1)})


class CurrentSignature(wiring.Signature):
    """The word that a queue is at, seen from the sequencer.

    Members
    -------
    word : Out(layout). The word itself, as in the program. dynamic : Out(struct). The dynamic values that it names.
    run : Out(1). It is a RUN word whose wait is over.
    start : Out(1). This is the first such cycle.
    repeat : Out. `repeat + values[repeat_value]`; valid while the word is current.
    zero, one : Out(struct). Whether a field's sum with its dynamic value is 0, or 1; earlier than the sum.
    inner, outer : Out(struct). Offsets of the two loops.
    last : In(1). The issue logic's answer: this cycle of a RUN word, not its first, is its last. Early in the cycle:
        what follows from it moves the whole queue.
    """

    def __init__(self, cfg: Config, queue: Queue) -> None:
        super().__init__({
            "word": Out(layout(cfg, queue)), "dynamic": Out(dynamic_fields(cfg, queue)), "run": Out(1), "start": Out(1),
            "repeat": Out(total_bits(cfg, queue, "repeat")),
            "zero": Out(sums_layout(cfg, queue)), "one": Out(sums_layout(cfg, queue)),
            "inner": Out(strides(cfg, queue)), "outer": Out(outer_strides(cfg, queue)), "last": In(1)})
