"""UART: 8 data bits, no parity, 1 stop bit, a whole number of clocks a bit."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from rtl.config import ConfigError

MIN_DIVISOR = 4
BAUD_TOLERANCE = 0.02
"""Part by which a bit may be longer or shorter than the other side's: at the stop bit's middle, 9.5 bits after the
edge that both count from, that is a fifth of a bit."""


def divisor(clk_hz: float, baud: float) -> int:
    """Clocks a bit. Raises ConfigError where there are too few, or where no whole number comes close."""
    clocks = round(clk_hz / baud)
    if clocks < MIN_DIVISOR:
        raise ConfigError(f"{baud:.0f} baud need a clock of {MIN_DIVISOR * baud / 1e6:g} MHz or more, "
                          f"not {clk_hz / 1e6:g} MHz")
    if abs(clk_hz / clocks / baud - 1) > BAUD_TOLERANCE:
        raise ConfigError(f"{clk_hz / 1e6:g} MHz / {clocks} is {clk_hz / clocks:.0f} baud, more than "
                          f"{BAUD_TOLERANCE:.0%} from {baud:.0f}")
    return clocks


class UartRx(wiring.Component):
    """Bytes from a pin.

    Each bit is sampled once, in its middle, counted from the start bit's edge; a start bit that is over by its middle
    was a glitch. A byte without a stop bit is dropped, and none begins before the line was high again.

    Parameters
    ----------
    divisor : clocks a bit, at least `MIN_DIVISOR`.

    Members
    -------
    rx : In(1). The pin, of any clock.
    data : Out(8). valid : Out(1). Valid for one cycle, in the middle of the stop bit; data stays for most of a bit.

    Reset: waits for a start bit.
    """

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor
        super().__init__({"rx": In(1, init=1), "data": Out(8), "valid": Out(1)})  # pyright: ignore[reportCallIssue]

    def elaborate(self, platform) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, line, init=1)
        timer, sample = Signal(range(self.divisor)), Signal()
        # A one travels in front of the bits: when it is at the bottom there are eight above it.
        bits = Signal(9)
        m.d.comb += [sample.eq(timer == 0), self.data.eq(bits[1:])]
        m.d.sync += timer.eq(timer - 1)
        with m.If(sample):
            m.d.sync += timer.eq(self.divisor - 1)

        with m.FSM(name="receiver"):
            with m.State("IDLE"):
                # The edge came between the last cycle and this one; the next cycle is the first that counts.
                m.d.sync += timer.eq((self.divisor - 3) // 2)
                with m.If(~line):
                    m.next = "START"
            with m.State("START"):
                m.d.sync += bits.eq(1 << 8)
                with m.If(sample):
                    m.next = "BITS"
                    with m.If(line):
                        m.next = "IDLE"
            with m.State("BITS"), m.If(sample):
                with m.If(~bits[0]):
                    m.d.sync += bits.eq(Cat(bits[1:], line))
                with m.Else():
                    m.d.comb += self.valid.eq(line)
                    m.next = "IDLE"
                    with m.If(~line):
                        m.next = "BREAK"
            with m.State("BREAK"), m.If(line):
                m.next = "IDLE"
        return m


class UartTx(wiring.Component):
    """Bytes to a pin.

    Parameters
    ----------
    divisor : clocks a bit, at least `MIN_DIVISOR`.

    Members
    -------
    bytes : In(stream of bytes).
    tx : Out(1). The pin; high between bytes.

    Latency: the start bit follows a byte a cycle later. Throughput: ten bits a byte.
    Reset: the line is high; a byte on its way is lost.
    """

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor
        super().__init__({"bytes": In(stream.Signature(8)), "tx": Out(1, init=1)})  # pyright: ignore[reportCallIssue]

    def elaborate(self, platform) -> Module:
        m = Module()
        timer, last = Signal(range(self.divisor)), Signal()
        # Start bit, data, stop bit; when only the stop bit is left nothing is above it, and it stays as the idle level.
        bits = Signal(10, init=1)
        m.d.comb += [self.tx.eq(bits[0]), last.eq(bits[1:] == 0), self.bytes.ready.eq(last & (timer == 0))]
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(~last | self.bytes.valid):
            m.d.sync += timer.eq(self.divisor - 1)
            m.d.sync += bits.eq(bits >> 1)
            with m.If(last):
                m.d.sync += bits.eq(Cat(Const(0, 1), self.bytes.payload, Const(1, 1)))
        return m
