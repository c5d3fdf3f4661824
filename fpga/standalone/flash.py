"""SPI flash: a reader of bytes in sequence, and the tape that lies in it."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

READ, RELEASE = 0x03, 0xAB  # read from an address on; release from deep power-down
COMMAND_BITS = 32
ADDRESS_BITS = 24
GAP_CYCLES = 4  # between two commands: 100 ns at 40 MHz, which is the longest that any flash asks for


class FlashPins(wiring.Signature):
    """Seen from the FPGA.

    Members
    -------
    select : Out(1), high while a command is under way. clock : Out(1). out : Out(1), to the flash. into : In(1).
    """

    def __init__(self) -> None:
        super().__init__({"select": Out(1), "clock": Out(1), "out": Out(1), "into": In(1)})


class FlashReader(wiring.Component):
    """Reads bytes in sequence: SPI mode 0, at half the clock's frequency, with the command that every flash has.

    Members
    -------
    start : In(1). Read from `address` on; whatever was under way is over. wake : In(1), with start: release the flash
        from deep power-down instead; then nothing is read.
    bytes : Out(stream of bytes). Not valid in the cycle after `start`.
    bit, bit_valid : Out(1). Each bit of these bytes as it comes, the uppermost first.
    idle : Out(1). Nothing is under way.
    pins : Out(FlashPins).

    Latency: the first byte after 80 cycles and a gap. Throughput: a byte in 17 cycles.
    Reset: idle, the flash is not selected.
    """

    def __init__(self) -> None:
        super().__init__({
            "start": In(1), "wake": In(1), "address": In(ADDRESS_BITS), "bytes": Out(stream.Signature(8)),
            "bit": Out(1), "bit_valid": Out(1), "idle": Out(1), "pins": Out(FlashPins())})

    def elaborate(self, platform) -> Module:
        m = Module()
        # The command leaves at the top while what the flash says enters at the bottom.
        shift, left, wake = Signal(COMMAND_BITS), Signal(range(COMMAND_BITS + 8 + 1)), Signal()
        select, clock, gap = Signal(), Signal(), Signal(range(GAP_CYCLES))
        m.d.comb += [
            self.pins.select.eq(select), self.pins.clock.eq(clock), self.pins.out.eq(shift[-1]),
            self.bytes.payload.eq(shift[:8]), self.bit.eq(self.pins.into)]

        def restart() -> None:
            """Whatever the state."""
            with m.If(self.start):
                m.d.sync += [
                    wake.eq(self.wake), gap.eq(0), left.eq(Mux(self.wake, 8, COMMAND_BITS + 8)),
                    shift.eq(Cat(self.address, Mux(self.wake, Const(RELEASE, 8), Const(READ, 8))))]
                m.next = "GAP"

        with m.FSM(name="flash"):
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                m.d.sync += [select.eq(0), clock.eq(0)]
                restart()
            with m.State("GAP"):
                m.d.sync += [gap.eq(gap + 1), select.eq(0), clock.eq(0)]
                with m.If(gap == GAP_CYCLES - 1):
                    m.d.sync += select.eq(1)
                    m.next = "SHIFT"
                restart()
            with m.State("SHIFT"):
                # Both sides change their data as the clock falls. Ours takes in what was there before.
                m.d.sync += clock.eq(~clock)
                with m.If(clock):
                    m.d.comb += self.bit_valid.eq(left <= 8)
                    m.d.sync += [shift.eq(Cat(self.pins.into, shift[:-1])), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "OFFER"
                restart()
            with m.State("OFFER"):
                m.d.comb += self.bytes.valid.eq(~wake)
                m.d.sync += left.eq(8)
                with m.If(self.bytes.ready):
                    m.next = "SHIFT"
                with m.If(wake):
                    m.next = "IDLE"
                restart()
        return m
