"""Sequencer: one queue's program memory and its control; what a RUN word does is the issue logic's business.

```
            +-----------+  next word   +----+  word     +-------+  step, pass or operation
  address ->|  program  |------------->| IR |---------->| issue |------------------------>
            +-----------+              +----+  offsets  +-------+
                  ^                      |                  |
                  +---- loops, waits <---+<----- done ------+
```
"""

from __future__ import annotations

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from rtl.arithmetic import node, sum_is
from rtl.config import Config
from rtl.contents import EMPTY, Contents
from rtl.current import (
    ROUNDS,
    CurrentSignature,
    ValuesSignature,
    bucket_bits,
    dynamic_fields,
    outer_strides,
    strides,
    total_bits,
)
from rtl.encoding import layout, word_bits
from rtl.isa import Op, Queue
from rtl.ports import NEVER_COLLIDES, byte_member
from rtl.protocol import program_space
from rtl.technology import lut_ram


def kept(m: Module, advance, value, name: str) -> Signal:
    """A bit that enters a register with the word that it was made from."""
    held = Signal(name=name)
    with m.If(advance):
        m.d.sync += held.eq(value)
    return held


class _Loop:
    """Registers of one loop level. `left` belongs to the word that is fetched, the offsets to the current one."""

    def __init__(self, name: str, offsets: data.StructLayout, address_bits: int, count_bits: int) -> None:
        self.stride = Signal(offsets, name=f"{name}_stride")
        self.offset = Signal(offsets, name=f"{name}_offset")
        self.first = Signal(address_bits, name=f"{name}_first")  # where to read when it goes back
        self.left = Signal(count_bits, name=f"{name}_left")  # rounds after the one that is being fetched
        self.more = Signal(name=f"{name}_more")  # left is not 0
        self.back = Signal(name=f"{name}_back")  # the current word ends a round, and another follows

    def fetch(self, m: Module, advance, opens, now, address, wanted):
        """Statements for the coming word, and whether it goes back at its end, and where to.

        advance: it becomes the current one. opens: it is the body's first; the current word says how many rounds
        follow. address: where to read when the loop goes back to it. wanted: it is the body's last.
        """
        left, first = Mux(opens, now.repeat, self.left), Mux(opens, address, self.first)
        back = node(m, wanted & Mux(opens, ~now.zero.repeat, self.more), f"{self.back.name}_next")
        # `back` comes late: each case by itself, then the choice.
        more = Mux(opens, ~now.zero.repeat, self.more)
        still_more = Mux(opens, ~now.one.repeat, self.left != 1)
        with m.If(advance):
            with m.If(opens | back):
                m.d.sync += [self.left.eq(Mux(back, left - 1, left)), self.more.eq(Mux(back, still_more, more))]
            m.d.sync += [self.first.eq(first), self.back.eq(back)]
        return back, first

    def head(self, m: Module, opens, coming):
        """The body's first word, kept from when it was the coming one: it is that as long as `opens` is there."""
        kept_word = Signal(coming.shape(), name=f"{self.first.name}_word")
        with m.If(opens):
            m.d.sync += kept_word.eq(coming)
        return kept_word

    def open(self, m: Module, word) -> None:
        """Statements for a LOOP word that completes."""
        names = self.stride.shape().members
        m.d.sync += [self.stride[name].eq(word[name]) for name in names]

    def end(self, m: Module) -> None:
        """Statements for the end of a round."""
        for name in self.offset.shape().members:
            m.d.sync += self.offset[name].eq(Mux(self.back, self.offset[name] + self.stride[name], 0))


class Sequencer(wiring.Component):
    """One queue: fetches words, waits, loops, and says when a RUN word runs.

    The instruction register (IR) holds the current word and the program memory's output the next. When the current
    word completes, the IR takes the next one at the end of that cycle, and the address presented in that same cycle is
    the one after it. So where a loop goes is decided as its last word moves into the IR, and words of one cycle follow
    one another without a gap, also around a loop of a single word right after its LOOP word.

    When a word completes is known late in a cycle, so it only enables registers: that address is the same whether or
    not it does, and all that can be decided as a word moves into the IR is kept beside it.

    Parameters
    ----------
    cfg, queue : the machine and which of its queues.
    contents : uses the queue's program.

    Members
    -------
    go : In(1). A token starts; only while `idle`. The program's first word is current in the next cycle.
    classify : In(1). The token has a classifier: END_PROMPT is a NOP. Constant while the queue is busy.
    values : In(ValuesSignature). What is kept in one cycle counts for words that become current two cycles later.
    bucket : In. Instead of `values`, with `linear_values`: the bucket's number; steady during a token.
    current : Out(CurrentSignature), to the issue logic.
    idle : Out(1). At END (from the cycle in which END is current, after its wait), or after reset.
    load : In(address, data, en). Writes the program; only while idle. With `small_control` a byte at a time, see `byte`
        in `rtl.ports.host_signature`.

    Latency
    -------
    A word takes `wait + values[wait_value]` cycles and then one, or for RUN until the issue logic says `done`. Word 0
    is read again in the cycle after END, and after each cycle that writes: what is written in one cycle is executed
    when `go` comes two cycles later.

    Reset
    -----
    Idle, whatever it was doing. The program memory keeps its contents; without `contents` it is all NOP when
    configured.
    """

    def __init__(self, cfg: Config, queue: Queue, contents: Contents = EMPTY) -> None:
        self.cfg, self.queue, self.contents = cfg, queue, contents
        self.address_bits = max(1, bits_for(queue.words(cfg) - 1))
        tells = {"bucket": In(bucket_bits(cfg))} if cfg.linear_values else {"values": In(ValuesSignature(cfg))}
        super().__init__({
            "go": In(1), "classify": In(1), **tells,
            "current": Out(CurrentSignature(cfg, queue)), "idle": Out(1),
            "load": In(wiring.Signature({
                "address": Out(self.address_bits), "data": Out(8 if cfg.small_control else word_bits(cfg, queue)),
                "en": Out(1)} | byte_member(cfg, program_space(queue))))})

    def elaborate(self, platform) -> Module:
        if self.cfg.small_control:
            from rtl.small_sequencer import small_sequencer  # which is made of this unit's parts
            return small_sequencer(self)
        m = Module()
        cfg, queue, now = self.cfg, self.queue, self.current
        in_luts = f"{queue.name}_program" in cfg.lut_memories
        m.submodules.words = words = Memory(
            shape=word_bits(cfg, queue), depth=queue.words(cfg), init=self.contents.of(program_space(queue)),
            attrs=NEVER_COLLIDES | (lut_ram(platform) if in_luts else {}))
        read, write = words.read_port(domain="comb" if in_luts else "sync"), words.write_port()
        word = Signal(layout(cfg, queue))  # the IR
        coming = Signal(layout(cfg, queue))
        next_address = Signal(self.address_bits)  # of the word after the coming one
        m.d.comb += [
            write.addr.eq(self.load.address), write.data.eq(self.load.data), write.en.eq(self.load.en)]

        # Dynamic values: read as the word that names them moves into the IR. Nothing uses one while it is written.
        dynamic, advance = Signal(dynamic_fields(cfg, queue)), Signal()
        some_coming = {}  # whether those of the coming word are more than 0, where that can be known
        for name in dynamic.shape().members:
            m.submodules[name] = values = Memory(
                shape=len(dynamic[name].as_value()), depth=cfg.values, init=[],
                attrs=NEVER_COLLIDES | lut_ram(platform))
            keep, find = values.write_port(), values.read_port(domain="comb" if in_luts else "sync")
            m.d.comb += [
                keep.addr.eq(self.values.index), keep.data.eq(self.values.found), keep.en.eq(self.values.en),
                find.addr.eq(coming[name])]
            if in_luts:
                some_coming[name] = dynamic.shape()[name].shape(find.data).some
                with m.If(advance):
                    m.d.sync += dynamic[name].eq(find.data)
            else:
                some_coming[name] = Const(0)
                m.d.comb += [find.en.eq(advance), dynamic[name].eq(find.data)]

        def some(name: str) -> Value:
            """Of the current word, where it was not known before."""
            return Const(0) if in_luts else dynamic[f"{name}_value"].some

        # What follows from the word alone.
        is_run, opens_inner, opens_outer = (
            kept(m, advance, coming.op == op.value, f"is_{op.name.lower()}")
            for op in (Op.RUN, Op.LOOP_INNER, Op.LOOP_OUTER))
        ends = (coming.op == Op.END.value) | ((coming.op == Op.END_PROMPT.value) & ~self.classify)
        is_end = kept(m, advance, ends, "is_end")
        rounds = ROUNDS[queue.name]
        single = queue.name != "vector" or cfg.beats == 1  # whether one round is one cycle
        more = Cat((coming[name] != 0) | some_coming[f"{name}_value"] for name in rounds).any()
        brief = ~ends & ((coming.op != Op.RUN.value) | (~more & single))
        is_brief = kept(m, advance, brief, "is_brief")  # a single cycle, if its dynamic values are 0
        longer = is_run & Cat(some(name) for name in rounds).any()
        for name in now.zero.shape().members:
            none = kept(m, advance, (coming[name] == 0) & ~some_coming[f"{name}_value"], f"no_{name}")
            m.d.comb += [
                now.zero[name].eq(none & ~some(name)),
                now.one[name].eq(sum_is(m, word[name], dynamic[f"{name}_value"].value, 1))]

        # Wait: `fresh` in a word's first cycle, then `waiting`, then (RUN words of several cycles) `going`; idle: none.
        fresh, waiting, going = Signal(), Signal(), Signal()
        wait, wait_left, wait_zero = Signal(bits := total_bits(cfg, queue, "wait")), Signal(bits), now.zero.wait
        due = Signal()  # the wait ends in this cycle
        start, ending, complete = Signal(), Signal(), Signal()
        m.d.comb += [
            wait.eq(word.wait + dynamic.wait_value.value),
            start.eq((fresh & wait_zero) | due),
            ending.eq(start & is_end),
            complete.eq((start & is_brief & ~longer) | (going & now.last)),
            advance.eq(self.go | complete),
            self.idle.eq(~(fresh | waiting | going) | ending)]
        m.d.sync += [
            fresh.eq(advance),
            waiting.eq((fresh & ~wait_zero) | (waiting & ~start)),
            going.eq((start | going) & ~complete & ~ending),
            due.eq((fresh & now.one.wait) | (waiting & (wait_left == 2))),
            wait_left.eq(Mux(fresh, wait, wait_left - 1))]

        # The current word, for the issue logic.
        m.d.comb += [
            now.word.eq(word), now.dynamic.eq(dynamic),
            now.run.eq(is_run & (start | going)), now.start.eq(is_run & start),
            now.repeat.eq(word.repeat + dynamic.repeat_value.value)]

        # Fetch, and where to go after the word that becomes current.
        inner = _Loop("inner", strides(cfg, queue), self.address_bits, len(now.repeat))
        outer = _Loop("outer", outer_strides(cfg, queue), self.address_bits, len(now.repeat))
        reload, address = Signal(init=1), Signal(self.address_bits)
        m.d.comb += [now.inner.eq(inner.offset), now.outer.eq(outer.offset)]
        m.d.sync += reload.eq(ending | write.en)
        # None of these depends on `advance`, but for the registers' enables.
        mark = next_address if in_luts else address
        back, first = inner.fetch(m, advance, opens_inner, now, mark, coming.end_inner)
        outer_back, outer_first = outer.fetch(m, advance, opens_outer, now, mark, coming.end_outer & ~back)

        with m.If(advance):
            m.d.sync += word.eq(coming)
        if in_luts:
            # LUT RAM takes most of a cycle once its address is there, and whether a loop goes back is known late. So
            # the next word is read in any case, a loop's first word is kept, and it marks the second one. What follows
            # is the next word, the coming one again, or a kept one.
            m.d.comb += read.addr.eq(next_address)
            again = (back & opens_inner) | (outer_back & opens_outer)
            to_inner, to_outer = back & ~opens_inner, outer_back & ~opens_outer
            source = node(m, Cat(again | to_outer, to_inner | to_outer), "source")
            following = Array([
                read.data, coming, *(loop.head(m, opens, coming)
                                     for loop, opens in ((inner, opens_inner), (outer, opens_outer)))])
            addresses = Array([next_address + 1, next_address, inner.first, outer.first])
            with m.If(advance | reload):
                m.d.sync += [coming.eq(following[source]), next_address.eq(addresses[source])]
        else:
            # Block RAM keeps the address itself.
            following = node(m, Mux(back, first, Mux(outer_back, outer_first, next_address)), "following")
            m.d.comb += [read.addr.eq(following), read.en.eq(advance | reload), coming.as_value().eq(read.data)]
            with m.If(advance | reload):
                m.d.sync += [address.eq(following), next_address.eq(following + 1)]
        with m.If(ending | write.en):
            m.d.sync += next_address.eq(0)

        # What a word that completes does to the offsets; a token never starts with those of a broken program.
        with m.If(complete):
            with m.If(opens_inner):
                inner.open(m, word)
            with m.If(opens_outer):
                outer.open(m, word)
            with m.If(word.end_inner):
                inner.end(m)
            with m.If(word.end_outer & ~inner.back):
                outer.end(m)
        with m.If(self.idle):
            m.d.sync += [
                inner.offset.as_value().eq(0), outer.offset.as_value().eq(0), inner.more.eq(0), outer.more.eq(0)]
        return m
