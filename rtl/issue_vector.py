"""Issue logic of the vector queue: a RUN word to a pass every `pace + 1` cycles."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.arithmetic import node
from rtl.config import Config
from rtl.current import CurrentSignature
from rtl.isa import VECTOR, Store
from rtl.mesh import delays
from rtl.ports import each_sequence, of_sequence, pass_layout

MOVING = ("slot", "src", "param", "dst")
"""Addresses with an `inc_` bit."""


class VectorIssue(wiring.Component):
    """Counts a RUN word's passes and the cycles between them, and keeps their addresses.

    Parameters
    ----------
    cfg : the machine.

    Members
    -------
    current : In(CurrentSignature). The word and the loops' offsets.
    rope : In(sequences, parameter row's width). position * rope_step of each; constant during the token.
    issued : Out(pass_layout). Valid in the cycle of each pass: 0, pace + 1, 2 * (pace + 1) ... cycles after the wait.

    Latency
    -------
    None. A word of `rounds` passes takes (rounds - 1) * (pace + 1) + beats cycles, and stands still for as long.

    Reset
    -----
    No pass. The counters need no reset: a word's first pass sets them.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        super().__init__({
            "current": In(CurrentSignature(cfg, VECTOR)),
            "rope": In(each_sequence(VECTOR.by_name["param"].bits(cfg), cfg)),
            "issued": Out(pass_layout(cfg))})

    def elaborate(self, platform) -> Module:
        m = Module()
        cfg, now, issued = self.cfg, self.current, self.issued
        word, inner, outer = now.word, now.inner, now.outer

        # Pace: cycles until the next pass is due.
        pause, pause_over, pause_ends, due, finishing = Signal(len(word.pace)), Signal(), Signal(), Signal(), Signal()
        later = node(m, now.run & pause_over & ~finishing, "later")  # a pass, if this is not the first
        no_pause = node(m, word.pace == 0, "no_pause")
        m.d.comb += [
            due.eq(now.start | later),
            # What depends on `start`, which comes late, is chosen by it at the end; here and below.
            pause_ends.eq(Mux(now.start, no_pause, Mux(later, no_pause, pause == 1)))]
        m.d.sync += [pause.eq(Mux(due, word.pace, pause - 1)), pause_over.eq(pause_ends)]

        # Passes left after this one, and which of a rotate pair this is.
        left, left_now, last = Signal(len(now.repeat)), Signal(len(now.repeat)), Signal()
        last_follows = node(m, Mux(now.start, now.one.repeat, Mux(later, left == 1, last)), "last_follows")
        index, odd, moves, moved = Signal(len(issued.index)), Signal(), Signal(), Signal()
        m.d.comb += [
            left_now.eq(Mux(now.start, now.repeat, left)),
            issued.index.eq(Mux(now.start, 0, index)), issued.odd.eq(word.rotate & ~now.start & odd),
            moves.eq(~word.rotate | issued.odd)]
        m.d.sync += last.eq(last_follows)
        with m.If(due):
            m.d.sync += [
                left.eq(left_now - 1), index.eq(issued.index + 1), odd.eq(~issued.odd),
                moved.eq(moves)]

        # The word stands still until the last beat of its last pass.
        if cfg.beats == 1:
            m.d.sync += now.last.eq(pause_ends & last_follows)
        else:
            ending = node(m, due & Mux(now.start, now.zero.repeat, last), "ending")
            beats = delays(m, ending, cfg.beats - 1, "ending")
            m.d.comb += [now.last.eq(beats[-1]), finishing.eq(Cat(beats[1:]).any())]

        # What the word says, then the addresses: the first pass's from word and loops, each later one's by counting
        # from the one before; both are added at the same time.
        for name in issued.shape().members:
            if name not in ("valid", "index", "odd", *MOVING):
                m.d.comb += issued[name].eq(word[name])
        m.d.comb += [
            issued.valid.eq(due), issued.first.eq(word.first & now.start),
            issued.scalar.eq(word.scalar + inner.scalar), issued.target.eq(word.target + inner.target)]
        in_bank = (word.store == Store.KEYS.value) | (word.store == Store.VALUES.value)
        rope = of_sequence(self.rope, word.sequence)
        further = {"param": Mux(word.rope, rope, outer.param), "dst": Mux(in_bank, outer.dst, 0)}
        for name in MOVING:
            begin = Signal(len(word[name]), name=f"{name}_begin")
            before = Signal(len(word[name]), name=f"{name}_before")
            m.d.comb += [
                begin.eq(word[name] + inner[name] + further.get(name, 0)),
                issued[name].eq(Mux(now.start, begin, before + (word[f"inc_{name}"] & moved)))]
            with m.If(due):
                m.d.sync += before.eq(issued[name])
        return m
