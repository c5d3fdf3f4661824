"""Sequencer: every instruction of every short program issues on its cycle.

Beside a queue's sequencer runs what docs/isa.md says, word for word and without a pipeline: one word is the current
one, its wait counts down, then it does what it does, and where the program goes on is looked up at once. Program,
dynamic values and the kind of token may be anything; both must be at the same word, at the same offsets, idle and not,
in every cycle. So loops run exactly as often as they say and end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from amaranth.hdl import Array, Module, Mux, Signal, Value

from rtl.config import Config, preset
from rtl.current import strides
from rtl.encoding import layout
from rtl.isa import SCALAR, Op
from rtl.issue_scalar import ScalarIssue
from rtl.sequencer import Sequencer
from verification.formal.prover import Property, claim, constant, given

WORDS = 4
NARROW = 2
"""Bits of a wait, of a repeat and of a dynamic value."""

START = WORDS + 4
"""Cycle of `go`: the program and the dynamic values are there, and word 0 was read."""

CYCLES = 7
"""Cycles of the token that are looked at."""

TESTED = ("op", "wait", "wait_value", "repeat", "repeat_value", "end_inner", "end_outer", "constant")
"""Fields that may be anything; the others only go along, and are 0."""


class _Level:
    """One loop of the naive interpreter."""

    def __init__(self, cfg: Config, name: str) -> None:
        self.begin = Signal(range(WORDS), name=f"{name}_begin")
        self.rounds = Signal(NARROW + 1, name=f"{name}_rounds")  # after this one
        self.stride = Signal(layout(cfg, SCALAR)["constant"].shape, name=f"{name}_naive_stride")
        self.offset = Signal(self.stride.shape(), name=f"{name}_naive_offset")


def sequencer(m: Module, *, cfg: Config) -> Sequence[Value]:
    """The scalar queue, whose words take a cycle each; the others differ in their issue logic."""
    m.submodules.dut = dut = Sequencer(cfg, SCALAR)
    m.submodules.issue = issue = ScalarIssue(cfg)
    for name in dut.current.signature.members:
        if name != "last":
            m.d.comb += getattr(issue.current, name).eq(getattr(dut.current, name))

    # What may be anything: a program, a row of dynamic values, and whether the token has a classifier.
    program = [Signal(layout(cfg, SCALAR), name=f"word_{number}") for number in range(WORDS)]
    value, classify = Signal(NARROW, name="value"), dut.classify
    free = [*(word.as_value() for word in program), value, classify]
    for signal in free:
        constant(m, signal)
    for word in program:
        for name in strides(cfg, SCALAR).members | word.shape().members:
            if name not in TESTED:
                m.d.comb += given(word[name] == 0)
        m.d.comb += given(word.op <= max(one.value for one in Op))

    # Loading, then go.
    clock = Signal(range(START + CYCLES + 8))
    m.d.sync += clock.eq(clock + 1)
    words = Array(word.as_value() for word in program)
    m.d.comb += [
        dut.load.address.eq(clock), dut.load.data.eq(words[clock[:(WORDS - 1).bit_length()]]),
        dut.load.en.eq(clock < WORDS), dut.go.eq(clock == START),
        dut.values.index.eq(clock[0]), dut.values.found.value.eq(Mux(clock[0], value, 0)),
        dut.values.found.some.eq(clock[0] & (value != 0)), dut.values.en.eq(clock < 2)]

    # The naive interpreter.
    pc, running, waited = Signal(range(WORDS)), Signal(), Signal(NARROW + 1)
    inner, outer = _Level(cfg, "inner"), _Level(cfg, "outer")
    word = Signal(layout(cfg, SCALAR))
    m.d.comb += word.as_value().eq(words[pc])

    def dynamic(number: Value) -> Value:
        return Mux(number == 1, value, 0)

    due = running & (waited == word.wait + dynamic(word.wait_value))
    ends = (word.op == Op.END.value) | ((word.op == Op.END_PROMPT.value) & ~classify)
    idle = ~running | (due & ends)
    rounds = word.repeat + dynamic(word.repeat_value)
    with m.If(dut.go):
        m.d.sync += [running.eq(1), pc.eq(0), waited.eq(0)]
    with m.Elif(due & ends):
        m.d.sync += running.eq(0)
    with m.Elif(due):
        m.d.sync += [waited.eq(0), pc.eq(pc + 1)]
        for level, op in ((inner, Op.LOOP_INNER), (outer, Op.LOOP_OUTER)):
            with m.If(word.op == op.value):
                m.d.sync += [level.begin.eq(pc + 1), level.rounds.eq(rounds), level.stride.eq(word.constant)]
        goes_back = word.end_inner & (inner.rounds != 0)
        with m.If(goes_back):
            m.d.sync += [pc.eq(inner.begin), inner.rounds.eq(inner.rounds - 1),
                         inner.offset.eq(inner.offset + inner.stride)]
        with m.Else():
            with m.If(word.end_inner):
                m.d.sync += inner.offset.eq(0)
            with m.If(word.end_outer & (outer.rounds != 0)):
                m.d.sync += [pc.eq(outer.begin), outer.rounds.eq(outer.rounds - 1),
                             outer.offset.eq(outer.offset + outer.stride)]
            with m.Elif(word.end_outer):
                m.d.sync += outer.offset.eq(0)
    with m.Elif(running):
        m.d.sync += waited.eq(waited + 1)

    # Programs that are none are left out: a loop is opened by a word of its own, is not open yet, and a LOOP word ends
    # no body; RUN words of this queue run once; and no program runs off its end.
    opened = {level: Signal(name=f"{name}_open") for name, level in (("inner", inner), ("outer", outer))}
    for level, op, end in ((inner, Op.LOOP_INNER, word.end_inner), (outer, Op.LOOP_OUTER, word.end_outer)):
        with m.If(dut.go):
            m.d.sync += opened[level].eq(0)
        with m.Elif(due & (word.op == op.value)):
            m.d.sync += opened[level].eq(1)
        with m.Elif(due & end & (level.rounds == 0)):
            m.d.sync += opened[level].eq(0)
        m.d.comb += [
            given(~(running & (word.op == op.value)) | (~opened[level] & ~word.end_inner & ~word.end_outer)),
            given(~(running & end) | opened[level])]
    m.d.comb += [
        given(~(running & (word.op == Op.LOOP_OUTER.value)) | ~opened[inner]),
        given(~(running & word.end_outer) | ~opened[inner] | word.end_inner),
        given(~(running & ends) | (~opened[inner] & ~opened[outer] & ~word.end_inner & ~word.end_outer)),
        given(~(running & (word.op == Op.RUN.value)) | (rounds == 0)),
        given(~(running & (pc == WORDS - 1)) | ends | (word.end_inner & (inner.rounds != 0))
               | (word.end_outer & (outer.rounds != 0)))]

    # The same in every cycle from `go` on.
    runs = due & (word.op == Op.RUN.value)
    started = Signal()
    with m.If(dut.go):
        m.d.sync += started.eq(1)
    m.d.comb += [
        claim(~started | (dut.idle == idle)),
        claim(~started | (issue.operation.valid == runs)),
        claim(~started | ~runs | (issue.operation.constant == (
            word.constant + inner.offset + outer.offset)[:len(word.constant)]))]
    return free


def _small(name: str) -> Config:
    """The sequencer of a preset with narrow counts and a program of a few words."""
    return replace(preset(name), wait_bits=NARROW, repeat_bits=NARROW, value_bits=NARROW, values=2, scalar_words=WORDS,
                   constants=4, scalars=2, reduces=2)


PROPERTIES = tuple(
    Property(unit="sequencer", name=f"as of {name}", build=partial(sequencer, cfg=_small(name)), bounded=True,
             depth=START + CYCLES,
             intent="every word of every short program issues on its cycle, loops end as they say")
    for name in ("tiny", "ulx3s"))
