"""Boot: loads the machine from flash at power-on, and tells what is wrong where that cannot be."""

from __future__ import annotations

from amaranth import Array, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga.standalone.flash import FlashPins, FlashReader
from fpga.standalone.flash_data import CRC_BITS, CRC_POLYNOMIAL, SLOT_BITS, crc_at, load_at, total_bytes
from fpga.standalone.tape import TapeSignature
from rtl.config import Config

ERROR = b"\r\nflash data bad"
WAKE_BITS = 12  # cycles until a flash that was asleep can be read, as a power of two: 30 us at up to 136 MHz


class Boot(wiring.Component):
    """Reads everything once, in order: slots of records and lines, requests for the core, a CRC over it all.

    The requests go to the core as they come. If the CRC is right the teller may begin, and reads its tape from the
    slots. If it is wrong an error is printed and everything begins anew, the core's reset included: it may be in the
    middle of a request that was none.

    Parameters
    ----------
    cfg : the machine. offset : where the data are in the flash, see `fpga.standalone.flash_data`.

    Members
    -------
    done : Out(1). Loaded; from now on the teller has the core and the flash. failed : Out(1). Blinks.
    reset_core : Out(1).
    requests : Out(stream of bytes). To the core; its answers are nobody's business.
    text : Out(stream of bytes). The error.
    tape : In(TapeSignature). While `done`.
    pins : Out(FlashPins).

    Latency: 17 cycles a byte. Reset: begins anew.
    """

    def __init__(self, cfg: Config, *, offset: int) -> None:
        self.cfg, self.offset = cfg, offset
        if offset % load_at(cfg):
            raise ValueError(f"the data's place in flash must be a multiple of {load_at(cfg)}, not {offset}")
        super().__init__({
            "done": Out(1), "failed": Out(1), "reset_core": Out(1), "requests": Out(stream.Signature(8)),
            "text": Out(stream.Signature(8)), "tape": In(TapeSignature(cfg.token_bits)), "pins": Out(FlashPins())})

    def elaborate(self, platform) -> Module:
        m = Module()
        cfg, tape = self.cfg, self.tape
        m.submodules.reader = reader = FlashReader()
        wiring.connect(m, reader.pins, wiring.flipped(self.pins))
        slot = Mux(self.done, tape.index, 0)
        m.d.comb += [
            reader.address.eq(self.offset | slot << SLOT_BITS), self.requests.payload.eq(reader.bytes.payload),
            tape.bytes.payload.eq(reader.bytes.payload)]

        crc = Signal(CRC_BITS, init=-1)
        with m.If(reader.bit_valid):
            m.d.sync += crc.eq((crc << 1) ^ Mux(crc[-1] ^ reader.bit, CRC_POLYNOMIAL, 0))

        # Bytes read; before and after, it counts other things.
        at = Signal(range(max(total_bytes(cfg), 1 << WAKE_BITS) + 1))
        letters = Array(Const(letter, 8) for letter in ERROR)
        m.d.comb += self.text.payload.eq(letters[at[:(len(ERROR) - 1).bit_length()]])
        with m.FSM(name="boot"):
            with m.State("WAKE"):
                m.d.comb += [self.reset_core.eq(1), reader.start.eq(1), reader.wake.eq(1)]
                m.d.sync += at.eq(0)
                m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.comb += self.reset_core.eq(1)
                m.d.sync += [at.eq(at + 1), crc.eq(crc.init)]
                with m.If(at[WAKE_BITS]):
                    m.d.comb += reader.start.eq(1)
                    m.d.sync += at.eq(0)
                    m.next = "LOAD"
            with m.State("LOAD"):
                forward, last = Signal(), Signal()
                m.d.comb += [
                    forward.eq(at[load_at(cfg).bit_length() - 1:].any() & (at < crc_at(cfg))),
                    last.eq(at == total_bytes(cfg)),
                    self.requests.valid.eq(reader.bytes.valid & forward & ~last),
                    reader.bytes.ready.eq((self.requests.ready | ~forward) & ~last)]
                with m.If(reader.bytes.valid & reader.bytes.ready):
                    m.d.sync += at.eq(at + 1)
                with m.If(last):
                    m.d.sync += at.eq(0)
                    m.next = "DONE"
                    with m.If(crc != 0):
                        m.next = "ERROR"
            with m.State("ERROR"):
                m.d.comb += self.text.valid.eq(1)
                with m.If(self.text.ready):
                    m.d.sync += at.eq(at + 1)
                    with m.If(at == len(ERROR) - 1):
                        m.d.sync += self.failed.eq(~self.failed)
                        m.next = "WAKE"
            with m.State("DONE"):
                m.d.comb += [
                    self.done.eq(1), reader.start.eq(tape.start), tape.bytes.valid.eq(reader.bytes.valid),
                    reader.bytes.ready.eq(tape.bytes.ready)]
        return m
