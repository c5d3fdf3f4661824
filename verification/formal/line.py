"""The serial line: the CRC is the polynomial's, and the receiver hears what the transmitter says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from fpga.link.crc import BITS, Crc
from fpga.link.uart import UartRx, UartTx
from verification.formal.prover import Property, claim, constant, given

CRC_BITS = 4  # of a message: sums of more are hard for the solver; tests/fpga/test_crc.py has any length
GENERATOR = 0x04C11DB7


def crc(m: Module, *, bits: int) -> Sequence[Value]:
    """After any message of so many bits the CRC that is shifted out is the remainder of the polynomial division, most
    significant power first, of the message with a register of ones, inverted."""
    m.submodules.dut = dut = Crc()
    message, cycle = Signal(bits, name="message"), Signal(range(bits + BITS + 2))
    constant(m, message)
    m.d.sync += cycle.eq(Mux(cycle == bits + BITS, cycle, cycle + 1))
    takes = cycle < bits
    m.d.comb += [
        dut.shift.eq(1), dut.update.eq(takes), dut.bit.eq(message.bit_select(cycle[:(bits - 1).bit_length()], 1))]
    # Long division, a bit of the message at a time, in a register that is not reflected.
    remainder = Const((1 << BITS) - 1, BITS)
    for place in range(bits):
        top = remainder[BITS - 1] ^ message[place]
        remainder = Cat(Const(0, 1), remainder[:BITS - 1]) ^ Mux(top, Const(GENERATOR, BITS), Const(0, BITS))
    expected = Cat(~remainder[BITS - 1 - place] for place in range(BITS))
    going_out = (cycle >= bits) & (cycle < bits + BITS)
    m.d.comb += claim(~going_out | (dut.next_bit == expected.bit_select((cycle - bits)[:5], 1)))
    return [message]


def byte(m: Module, *, divisor: int) -> Sequence[Value]:
    """One byte on its way: it is heard once, right, and in time; then the line is quiet and the transmitter ready."""
    m.submodules.transmitter = transmitter = UartTx(divisor)
    m.submodules.receiver = receiver = UartRx(divisor)
    payload, begin = Signal(8, name="payload"), Signal(range(8), name="begin")
    constant(m, payload)
    constant(m, begin)
    cycle, heard = Signal(range(byte_cycles(divisor) + 2)), Signal(2)
    m.d.sync += cycle.eq(Mux(cycle == byte_cycles(divisor), cycle, cycle + 1))
    m.d.comb += [
        receiver.rx.eq(transmitter.tx), transmitter.bytes.payload.eq(payload),
        transmitter.bytes.valid.eq(cycle == begin), given(begin < 4),
        claim(~receiver.valid | ((receiver.data == payload) & (heard == 0))),
        claim((cycle != byte_cycles(divisor)) | ((heard == 1) & transmitter.bytes.ready & transmitter.tx))]
    with m.If(receiver.valid):
        m.d.sync += heard.eq(heard + 1)
    return [payload, begin]


def byte_cycles(divisor: int) -> int:
    """Cycles after which a byte that begins in one of the first four is over: ten bits, and the synchroniser."""
    return 4 + 10 * divisor + 6


PROPERTIES = (
    Property(unit="link", name="CRC", build=partial(crc, bits=CRC_BITS), depth=CRC_BITS + BITS + 1, bounded=True,
             intent="what is shifted out is the remainder of the division by the polynomial"),
    *(Property(unit="link", name=f"a byte at {divisor} clocks a bit", build=partial(byte, divisor=divisor),
               depth=byte_cycles(divisor) + 2, bounded=True, intent="it is heard once, right and in time")
      for divisor in (4, 7)))
