"""The small sequencer: what rtl/sequencer.py does, with the program memory's output as the instruction register.

It takes the same cycles, but more of each of them: which word follows is decided in the cycle in which the word before
completes, and from that word alone. Dynamic values follow from the bucket's number, see `Config.linear_values`.
"""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.memory import Memory

from rtl.arithmetic import node
from rtl.isa import Op, layout, word_bits
from rtl.ports import NEVER_COLLIDES
from rtl.protocol import program_space
from rtl.sequencer import ROUNDS, Sequencer, outer_strides, strides


class _Loop:
    """Registers of one loop level."""

    def __init__(self, name: str, offsets: data.StructLayout, address_bits: int, count_bits: int) -> None:
        self.stride = Signal(offsets, name=f"{name}_stride")
        self.offset = Signal(offsets, name=f"{name}_offset")
        self.first = Signal(address_bits, name=f"{name}_first")  # of the body
        self.left = Signal(count_bits, name=f"{name}_left")  # rounds after this one
        self.back = Signal(name=f"{name}_back")  # the current word ends a round, and another follows

    def open(self, m: Module, word: Any, rounds: Any, following: Any) -> None:
        """Statements for a LOOP word that completes. rounds: after the first; following: address of the next word."""
        m.d.sync += [self.left.eq(rounds), self.first.eq(following)]
        m.d.sync += [self.stride[name].eq(word[name]) for name in self.stride.shape().members]

    def end(self, m: Module) -> None:
        """Statements for the end of a round."""
        m.d.sync += self.left.eq(Mux(self.back, self.left - 1, 0))
        for name in self.offset.shape().members:
            m.d.sync += self.offset[name].eq(Mux(self.back, self.offset[name] + self.stride[name], 0))


def dynamic_value(unit: Sequencer, index: Any) -> Any:
    """The dynamic value of a number: 0, then the bucket's number times 1, 2, 4 and so on."""
    cfg = unit.cfg
    made: Any = Const(0, cfg.value_bits)
    for number in range(1, 1 << len(index)):
        made = Mux(index == number, Cat(Const(0, number - 1), unit.bucket)[:cfg.value_bits], made)
    return made


def small_sequencer(unit: Sequencer) -> Module:
    """The module of a Sequencer whose Config says `small_sequencer`."""
    cfg, queue, now, m = unit.cfg, unit.queue, unit.current, Module()
    m.submodules.words = words = Memory(
        shape=word_bits(cfg, queue), depth=queue.words(cfg), init=unit.contents.of(program_space(queue)),
        attrs=NEVER_COLLIDES)
    read, write = words.read_port(), words.write_port()
    word = Signal(layout(cfg, queue))
    m.d.comb += [
        write.addr.eq(unit.load.address), write.data.eq(unit.load.data), write.en.eq(unit.load.en),
        word.as_value().eq(read.data)]

    # What follows from the word and the bucket.
    for name in now.dynamic.shape().members:
        value = dynamic_value(unit, word[name])
        m.d.comb += [now.dynamic[name].value.eq(value), now.dynamic[name].some.eq(now.dynamic[name].value.any())]
    totals = {}
    for name in now.zero.shape().members:
        total = totals[name] = node(m, word[name] + now.dynamic[f"{name}_value"].value, f"{name}_total")
        m.d.comb += [now.zero[name].eq(total == 0), now.one[name].eq(total == 1)]

    def is_(op: Op) -> Any:
        return word.op == op.value

    single = queue.name != "vector" or cfg.beats == 1  # whether one round is one cycle
    brief = node(m, ~is_(Op.RUN) | (Cat(now.zero[name] for name in ROUNDS[queue.name]).all() & single), "brief")
    is_end = node(m, is_(Op.END) | (is_(Op.END_PROMPT) & ~unit.classify), "is_end")

    # Wait: `fresh` in a word's first cycle, then `waiting`, then (RUN words of several cycles) `going`; idle: none.
    fresh, waiting, going, wait_left = Signal(), Signal(), Signal(), Signal(len(totals["wait"]))
    start, ending, complete = Signal(), Signal(), Signal()
    m.d.comb += [
        start.eq((fresh & now.zero.wait) | (waiting & (wait_left == 1))),
        ending.eq(start & is_end), complete.eq((start & brief & ~is_end) | (going & now.last)),
        unit.idle.eq(~(fresh | waiting | going) | ending),
        now.word.eq(word), now.run.eq(is_(Op.RUN) & (start | going)), now.start.eq(is_(Op.RUN) & start),
        now.repeat.eq(totals["repeat"])]
    m.d.sync += [
        fresh.eq(unit.go | complete), waiting.eq((fresh | waiting) & ~start),
        going.eq((start | going) & ~complete & ~ending), wait_left.eq(Mux(fresh, totals["wait"], wait_left - 1))]

    # Where to go: the address of the next word, and of the one that a loop goes back to.
    address, next_address = Signal(unit.address_bits), Signal(unit.address_bits)
    inner = _Loop("inner", strides(cfg, queue), unit.address_bits, len(now.repeat))
    outer = _Loop("outer", outer_strides(cfg, queue), unit.address_bits, len(now.repeat))
    following = node(m, Mux(inner.back, inner.first, Mux(outer.back, outer.first, next_address)), "following")
    m.d.comb += [
        now.inner.eq(inner.offset), now.outer.eq(outer.offset), next_address.eq(address + 1),
        inner.back.eq(word.end_inner & inner.left.any()),
        outer.back.eq(word.end_outer & outer.left.any() & ~inner.back),
        read.addr.eq(Mux(complete, following, 0)), read.en.eq(unit.go | complete)]
    with m.If(read.en):
        m.d.sync += address.eq(read.addr)
    with m.If(complete):
        with m.If(is_(Op.LOOP_INNER)):
            inner.open(m, word, now.repeat, next_address)
        with m.If(is_(Op.LOOP_OUTER)):
            outer.open(m, word, now.repeat, next_address)
        with m.If(word.end_inner):
            inner.end(m)
        with m.If(word.end_outer & ~inner.back):
            outer.end(m)
    with m.If(unit.idle):  # a token never starts with what a broken program left
        m.d.sync += [each.eq(0) for loop in (inner, outer) for each in (loop.offset.as_value(), loop.left)]
    return m
