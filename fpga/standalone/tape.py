"""Tape: where the teller reads records and lines from, whatever it is kept in; and the one that is a ROM."""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fpga.standalone.records import Script


class TapeSignature(wiring.Signature):
    """Seen from who reads.

    Members
    -------
    start : Out(1). Begin to read what `index` names, from its first byte; whatever was read before is over.
    index : Out(token_bits + 1). A token's record; with the uppermost bit set, a line.
    bytes : In(stream of bytes). Not valid in the cycle after `start`.
    """

    def __init__(self, token_bits: int) -> None:
        super().__init__({"start": Out(1), "index": Out(token_bits + 1), "bytes": In(stream.Signature(8))})


class Rom(wiring.Component):
    """Records and lines in memories that the FPGA is configured with.

    ```
    index -> [starts] -> address -> [text] -> bytes
    ```

    Parameters
    ----------
    script : what to keep. token_bits : of the machine, enough for the script's tokens.

    Members
    -------
    tape : In(TapeSignature).

    Latency: the first byte three cycles after `start`. Throughput: a byte every two cycles. Reset: nothing is read.
    """

    def __init__(self, script: Script, *, token_bits: int) -> None:
        lines_at = 1 << token_bits
        # What is alike is kept once; a token outside the vocabulary prints nothing.
        text, places = bytearray(b"\0"), {b"\0": 0}
        self.starts = [0] * (lines_at + len(script.lines))
        rows = [*enumerate(script.records), *((lines_at + n, line) for n, line in enumerate(script.lines))]
        for index, row in rows:
            if row not in places:
                places[row] = len(text)
                text += row
            self.starts[index] = places[row]
        self.text = bytes(text)
        super().__init__({"tape": In(TapeSignature(token_bits))})

    def elaborate(self, platform) -> Module:
        m = Module()
        address_bits = len(self.text).bit_length()
        m.submodules.starts = starts = Memory(shape=address_bits, depth=len(self.starts), init=self.starts)
        m.submodules.text = text = Memory(shape=8, depth=len(self.text), init=self.text)
        where, what = starts.read_port(), text.read_port()
        address = Signal(address_bits)
        m.d.comb += [
            where.addr.eq(self.tape.index), where.en.eq(self.tape.start), what.addr.eq(address),
            self.tape.bytes.payload.eq(what.data)]
        # A one moves along: a place was found, its byte is read, the byte is there.
        found, reading, offering = Signal(), Signal(), Signal()
        m.d.comb += [self.tape.bytes.valid.eq(offering), what.en.eq(reading)]
        m.d.sync += [
            found.eq(self.tape.start), reading.eq(~self.tape.start & (found | (offering & self.tape.bytes.ready))),
            offering.eq(~self.tape.start & (reading | (offering & ~self.tape.bytes.ready)))]
        with m.If(found):
            m.d.sync += address.eq(where.data)
        with m.Elif(reading):
            m.d.sync += address.eq(address + 1)
        return m
