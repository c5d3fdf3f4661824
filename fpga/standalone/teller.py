"""Teller: one story after another, from the core's tokens to bytes for a terminal."""

from __future__ import annotations

from amaranth import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga.standalone import records
from fpga.standalone.tape import TapeSignature
from rtl.config import Config
from rtl.protocol import Request, record_bytes, step_bytes

SPACE = 0x20


class Teller(wiring.Component):
    """Does what a host does that generates: opening, then each winner is the next token, until the story is over.

    ```
    tape: line -> token -> tape: text -> terminal
                   ^  +--> core: STEP -> record --+
                   +------------------------------+
    ```

    The text of a token is printed before the token runs. An opening's tokens come from lines; after its last line the
    record's winners are the tokens, until one is STOP or `left` of them were made. Then follow a pause and the next
    line. All sequences of the machine but the first stand still.

    Parameters
    ----------
    cfg : the machine. pause_bits : a pause is so many cycles, as a power of two.

    Members
    -------
    go : In(1). Begin, and stay at work.
    hurry : In(1). Ends a pause.
    tape : Out(TapeSignature).
    requests : Out(stream of bytes). answers : In(stream of bytes). To and from the core; an answer that nobody waits
        for is dropped.
    text : Out(stream of bytes). To the terminal.

    Reset: at the first line.
    """

    def __init__(self, cfg: Config, *, pause_bits: int) -> None:
        self.cfg, self.pause_bits = cfg, pause_bits
        super().__init__({
            "go": In(1), "hurry": In(1), "tape": Out(TapeSignature(cfg.token_bits)),
            "requests": Out(stream.Signature(8)), "answers": In(stream.Signature(8)), "text": Out(stream.Signature(8))})

    def elaborate(self, platform) -> Module:
        m = Module()
        cfg, tape, byte = self.cfg, self.tape, self.tape.bytes.payload
        token, line = Signal(cfg.token_bits), Signal(cfg.token_bits)
        classify, restart = Signal(), Signal()
        generating = Signal()  # tokens are the core's own, no longer an opening's
        left = Signal(cfg.position_bits + 1)  # tokens that may still be generated
        length, trim, stops, skips = Signal(records.LENGTH_BITS), Signal(), Signal(), Signal()
        request, answer = [Request.STEP, *range(step_bytes(cfg))], range(record_bytes(cfg))
        number = Signal(range(max(len(request), len(answer), records.LINE_BYTES)))
        pause = Signal(self.pause_bits + 1)
        low, high = (token[:8], token[8:16])
        next_number = number + 1

        def into(part: int) -> list:
            """Statements that take a byte into the low or high part of the token."""
            return [(high if part else low).eq(byte)]

        idle = sum(2 << sequence for sequence in range(1, cfg.sequences))  # they restart with each step
        m.d.comb += [self.answers.ready.eq(1), self.text.payload.eq(byte), tape.index.eq(token)]
        with m.Switch(number):
            with m.Case(0):
                m.d.comb += self.requests.payload.eq(Request.STEP.value)
            with m.Case(1):
                m.d.comb += self.requests.payload.eq(Cat(classify, restart & ~generating) | idle)
            with m.Case(2):
                m.d.comb += self.requests.payload.eq(low)
            with m.Case(3):
                m.d.comb += self.requests.payload.eq(high)

        with m.FSM(name="teller"):
            with m.State("NEXT"):
                m.d.comb += [tape.index.eq(Cat(line, 1)), tape.start.eq(self.go)]
                m.d.sync += [line.eq(line + 1), number.eq(0), generating.eq(0)]
                with m.If(~self.go):
                    m.d.sync += line.eq(line)
                with m.Else():
                    m.next = "LINE"

            with m.State("LINE"):
                m.d.comb += tape.bytes.ready.eq(1)
                with m.If(tape.bytes.valid):
                    m.d.sync += number.eq(next_number)
                    with m.Switch(number):
                        with m.Case(0):
                            m.d.sync += [classify.eq(byte[records.CLASSIFY_BIT]), restart.eq(byte[records.RESTART_BIT])]
                            with m.If(byte[records.LAST_BIT]):
                                m.d.sync += line.eq(0)
                        with m.Case(1):
                            m.d.sync += into(0)
                        with m.Case(2):
                            m.d.sync += into(1)
                        with m.Case(3):
                            m.d.sync += left[:8].eq(byte)
                        with m.Case(4):
                            m.d.sync += left[8:].eq(byte)
                            m.next = "TEXT"

            with m.State("TEXT"):
                m.d.comb += tape.start.eq(1)
                m.next = "HEADER"

            with m.State("HEADER"):
                m.d.comb += tape.bytes.ready.eq(1)
                with m.If(tape.bytes.valid):
                    m.d.sync += [
                        length.eq(byte), skips.eq(trim), trim.eq(byte[records.TRIM_BIT]),
                        stops.eq(byte[records.STOP_BIT])]
                    m.next = "PRINT"

            with m.State("PRINT"):
                m.d.sync += number.eq(0)
                over = Signal()
                skip = Signal()
                m.d.comb += [
                    over.eq((length == 0) | (generating & stops)), skip.eq(skips & (byte == SPACE)),
                    self.text.valid.eq(tape.bytes.valid & ~over & ~skip),
                    tape.bytes.ready.eq(~over & (self.text.ready | skip))]
                with m.If(tape.bytes.valid & tape.bytes.ready):
                    m.d.sync += [length.eq(length - 1), skips.eq(0)]
                with m.If(over):
                    m.next = "STEP"
                    with m.If(generating & (stops | (left == 0))):
                        m.next = "PAUSE"

            with m.State("STEP"):
                m.d.comb += self.requests.valid.eq(1)
                with m.If(self.requests.ready):
                    m.d.sync += number.eq(next_number)
                    with m.If(number == len(request) - 1):
                        m.d.sync += number.eq(0)
                        m.next = "RECORD"

            with m.State("RECORD"), m.If(self.answers.valid):
                m.d.sync += number.eq(next_number)
                with m.If(classify & (number == 0)):
                    m.d.sync += low.eq(self.answers.payload)
                with m.If(classify & (number == 1)):
                    m.d.sync += high.eq(self.answers.payload)
                with m.If(number == len(answer) - 1):
                    m.next = "NEXT"
                    with m.If(classify):
                        m.d.sync += [generating.eq(1), left.eq(left - 1)]
                        m.next = "TEXT"

            with m.State("PAUSE"):
                m.d.sync += pause.eq(pause + 1)
                with m.If(pause[-1] | self.hurry):
                    m.d.sync += pause.eq(0)
                    m.next = "NEXT"
        return m
