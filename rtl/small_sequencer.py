"""The small sequencer: what rtl/sequencer.py does, with the program memory's output as the instruction register.

It takes the same cycles, but more of each of them: which word follows is decided in the cycle in which the word before
completes, and from that word alone. Dynamic values follow from the bucket's number, see `Config.linear_values`.
"""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data
from amaranth.lib.memory import Memory

from rtl.arithmetic import node
from rtl.config import SMALL_SCALAR_CYCLES, log2
from rtl.current import ROUNDS, outer_strides, strides
from rtl.encoding import layout, word_bits
from rtl.isa import Op, stride_bits
from rtl.mesh import delays
from rtl.ports import NEVER_COLLIDES
from rtl.protocol import program_space
from rtl.sequencer import Sequencer
from rtl.timing import timing


class _Loop:
    """Registers of one loop level. `Config.narrow` says how wide its strides are."""

    def __init__(self, unit: Sequencer, name: str, offsets: data.StructLayout, count_bits: int) -> None:
        address_bits = unit.address_bits
        self.stride = Signal(data.StructLayout({
            field: stride_bits(unit.cfg, unit.queue, name, field) for field in offsets.members}), name=f"{name}_stride")
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


LATER = ("op", "repeat", "repeat_value", "end_inner", "end_outer", "row_step", "act_step", "group_step", "clear")
"""Fields that a word of several cycles needs after its first; where words are read in parts, in all but the last."""


class _Program:
    """A queue's program memory, written by the byte, and what of it is read.

    A word is read in `Config.parts` parts. The memory's output is the last one, the others are shifted into a register.
    As soon as a word has started, the first parts of the next one are read, and the last one as it becomes current.
    """

    def __init__(self, m: Module, unit: Sequencer) -> None:
        cfg, queue = unit.cfg, unit.queue
        self.parts = parts = cfg.parts(queue.name)
        bits = word_bits(cfg, queue)
        part_bytes = -(-bits // (8 * parts))
        if parts > 1:  # a power of two, so that a byte's number says which part it is in
            part_bytes = 1 << (part_bytes - 1).bit_length()
        width, depth = 8 * part_bytes, queue.words(cfg) * parts
        whole = list(unit.contents.of(program_space(queue)))
        rows = [word >> width * part & (1 << width) - 1 for word in whole for part in range(parts)]
        m.submodules.words = words = Memory(shape=unsigned(width), depth=depth, init=rows, attrs=NEVER_COLLIDES)
        self.read, write = words.read_port(), words.write_port(granularity=8)
        load = unit.load
        low = log2(parts)
        place = load.byte if parts == 1 else load.byte[:log2(part_bytes)]
        m.d.comb += [
            write.addr.eq(load.address if parts == 1 else Cat(load.byte[log2(part_bytes):][:low], load.address)),
            write.data.eq(load.data.replicate(part_bytes)),
            write.en.eq(Cat(load.en & (place == byte) for byte in range(part_bytes)))]
        self.word = Signal(layout(cfg, queue))
        self.begins, self.turns, self.target = Signal(), Signal(), Signal(unit.address_bits)
        self.ready: Any = Const(1)  # all parts but the last are there, or one is the memory's output
        if parts == 1:
            m.d.comb += [
                self.read.en.eq(self.turns), self.read.addr.eq(self.target),
                self.word.as_value().eq(self.read.data)]
            return
        offset = 0
        for item in queue.fields:
            offset += item.bits(cfg)
            assert queue.name == "scalar" or item.name not in LATER or offset <= width * (parts - 1), item.name
        assert parts - 1 <= timing(cfg).token_overhead, "all but the last part of word 0 are read before a token starts"
        earlier, found, again = Signal(width * (parts - 1)), Signal(range(parts)), Signal(init=1)
        more = node(m, found.any() & (found != parts - 1), "more")
        starts = node(m, self.begins | again, "starts")
        self.ready = node(m, (found == parts - 1) & ~again, "ready")
        part = Mux(starts, 0, Mux(self.turns, parts - 1, found))[:low]
        m.d.comb += [
            self.read.addr.eq(Cat(part, self.target)), self.read.en.eq(starts | self.turns | more),
            self.word.as_value().eq(Cat(earlier, self.read.data))]
        m.d.sync += again.eq(load.en)
        with m.If(starts):
            m.d.sync += found.eq(1)
        with m.Elif(self.turns):
            m.d.sync += found.eq(0)
        with m.Elif(more):
            m.d.sync += found.eq(found + 1)
        with m.If(self.turns | more):
            m.d.sync += earlier.eq(Cat(earlier, self.read.data)[width:])


def small_sequencer(unit: Sequencer) -> Module:
    """The module of a Sequencer whose Config says `small_control`."""
    cfg, queue, now, m = unit.cfg, unit.queue, unit.current, Module()
    program = _Program(m, unit)
    word, parts = program.word, program.parts

    # What follows from the word and the bucket.
    for name in now.dynamic.shape().members:
        value = dynamic_value(unit, word[name])
        m.d.comb += [now.dynamic[name].value.eq(value), now.dynamic[name].some.eq(now.dynamic[name].value.any())]
    totals, later = {}, node(m, unit.bucket.any(), "later")
    for name in now.zero.shape().members:
        total = totals[name] = node(m, word[name] + now.dynamic[f"{name}_value"].value, f"{name}_total")
        # Known before the sum: every dynamic value but number 0 is above 0 in every bucket but the first.
        some = word[name].any() | (word[f"{name}_value"].any() & later)
        m.d.comb += [now.zero[name].eq(~some), now.one[name].eq(total == 1)]

    def is_(op: Op) -> Any:
        return word.op == op.value

    single = queue.name != "vector" or cfg.beats == 1  # whether one round is one cycle
    brief = node(m, ~is_(Op.RUN) | (Cat(now.zero[name] for name in ROUNDS[queue.name]).all() & single), "brief")
    is_end = node(m, is_(Op.END) | (is_(Op.END_PROMPT) & ~unit.classify), "is_end")

    # Wait: `fresh` in a word's first cycle, then `waiting`, then (RUN words of several cycles) `going`, or `over` until
    # the next one is read; idle: none.
    fresh, waiting, going, over, wait_left = Signal(), Signal(), Signal(), Signal(), Signal(len(totals["wait"]))
    start, ending, complete = Signal(), Signal(), Signal()
    done = node(m, (start & brief & ~is_end) | over | (going & now.last), "done")
    m.d.comb += [
        start.eq((fresh & now.zero.wait) | (waiting & (wait_left == 1))),
        ending.eq(start & is_end), complete.eq(done & program.ready),
        unit.idle.eq(~(fresh | waiting | going | over) | ending),
        now.word.eq(word), now.run.eq(is_(Op.RUN) & (start | going)), now.start.eq(is_(Op.RUN) & start),
        now.repeat.eq(totals["repeat"])]
    m.d.sync += [
        fresh.eq(unit.go | complete), waiting.eq((fresh | waiting) & ~start), over.eq(done & ~complete),
        going.eq((start | going) & ~done & ~ending), wait_left.eq(Mux(fresh, totals["wait"], wait_left - 1))]

    # Where to go: the address of the next word, and of the one that a loop goes back to. Decided as a word completes;
    # where words are read in parts, as it starts, and from then on `address` is the next one's.
    address, next_address = Signal(unit.address_bits), Signal(unit.address_bits)
    # The scalar queue has no inner loop.
    inner_strides = data.StructLayout({}) if queue.name == "scalar" else strides(cfg, queue)
    inner = _Loop(unit, "inner", inner_strides, len(now.repeat))
    outer = _Loop(unit, "outer", outer_strides(cfg, queue), len(now.repeat))
    following = node(m, Mux(inner.back, inner.first, Mux(outer.back, outer.first, next_address)), "following")
    decides = complete if parts == 1 else node(m, start & ~is_end, "decides")
    # An operation needs its word for a while. After END the first parts of word 0 are there before a token starts.
    begins = start
    if queue.name == "scalar":
        begins = delays(m, decides, SMALL_SCALAR_CYCLES, "decides")[-1] | ending
    m.d.comb += [
        now.inner.eq(inner.offset if queue.name != "scalar" else 0), now.outer.eq(outer.offset),
        next_address.eq(address + 1),
        inner.back.eq(word.end_inner & inner.left.any() if queue.name != "scalar" else 0),
        outer.back.eq(word.end_outer & outer.left.any() & ~inner.back),
        program.begins.eq(begins), program.turns.eq(unit.go | complete),
        program.target.eq(Mux(decides, following, Mux(ending, 0, address)))]
    with m.If(decides):
        m.d.sync += address.eq(following)
        if queue.name != "scalar":
            with m.If(is_(Op.LOOP_INNER)):
                inner.open(m, word, now.repeat, next_address)
            with m.If(word.end_inner):
                inner.end(m)
        with m.If(is_(Op.LOOP_OUTER)):
            outer.open(m, word, now.repeat, next_address)
        with m.If(word.end_outer & ~inner.back):
            outer.end(m)
    with m.If(unit.idle):  # a token never starts with what a broken program left
        m.d.sync += address.eq(0)
        m.d.sync += [each.eq(0) for loop in (inner, outer) for each in (loop.offset.as_value(), loop.left)]
    return m
