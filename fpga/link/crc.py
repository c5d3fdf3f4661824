"""CRC-32 in gateware, a bit a cycle: 32 flip-flops and about as many LUTs."""

from __future__ import annotations

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

POLYNOMIAL = 0xEDB88320  # least significant bit first: the reflected 04C11DB7
BITS = 32


class Crc(wiring.Component):
    """The CRC of zlib.crc32, least significant bit of each byte first.

    Members
    -------
    start : In(1). Begin anew; nothing is shifted in this cycle.
    shift : In(1). One bit: with `update` the CRC takes in `bit`; without, the CRC itself is shifted out.
    next_bit : Out(1). The CRC's next bit on the line: valid between shifts, after the last update.

    Latency: a cycle. Reset: begins anew.
    """

    def __init__(self) -> None:
        super().__init__({"start": In(1), "shift": In(1), "update": In(1), "bit": In(1), "next_bit": Out(1)})
        self.state = Signal(BITS, init=(1 << BITS) - 1)

    def elaborate(self, platform) -> Module:
        m = Module()
        state, feedback = self.state, Signal()
        m.d.comb += [self.next_bit.eq(~state[0]), feedback.eq((state[0] ^ self.bit) & self.update)]
        with m.If(self.start):
            m.d.sync += state.eq(state.init)
        with m.Elif(self.shift):
            m.d.sync += state.eq(Cat(state[1:], 0) ^ Mux(feedback, POLYNOMIAL, 0))
        return m
