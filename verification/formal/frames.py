"""The board's end of the link: it never hangs, and what it takes is a frame whose CRC was right.

Both are proved for ever, by induction: the claims beside the promise say what holds in every state, so that one step
from any such state leads to another. A ring of 32 bytes; lengths that do not fit in it are left out. What the rings
hold is not looked at: which bytes may leave them is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Array, Cat, Const, Fragment, Module, Mux, Signal, Value

from fpga.link.crc import BITS, POLYNOMIAL
from fpga.link.endpoint import Endpoint, Field
from fpga.link.frames import (
    CRC_BYTES,
    ESCAPE,
    FLIP,
    FROM_BOARD,
    HEADER_BYTES,
    IDENTITY_BYTES,
    KIND_SHIFT,
    NUMBERS,
    START,
    Kind,
)
from verification.formal.prover import Property, claim, given

RING_BITS = 5
APART = 12
"""Cycles from one byte of the UART to the next, at least."""
BYTE = 16
"""Of the rank, for each byte of an answer: more than its cycles."""
MOST = (HEADER_BYTES + (1 << RING_BITS) + CRC_BYTES) * BYTE
"""Of the rank of an answer."""


class _Endpoint:
    """An Endpoint whose bytes may be anything, and what holds of its states."""

    def __init__(self, m: Module) -> None:
        self.dut = dut = Endpoint(bytes(range(IDENTITY_BYTES)), ring_bits=RING_BITS)
        m.submodules.dut = Fragment.get(dut, None)  # now: `inside` is known from then on
        self.inside: Any = dut.inside
        self.free = [dut.received, dut.received_valid, dut.sent.ready, dut.rx.ready, dut.tx.valid, dut.tx.payload]
        self.since = Signal(range(APART))  # the last byte came; at most APART - 1
        m.d.sync += self.since.eq(Mux(dut.received_valid, 0, Mux(self.since == APART - 1, APART - 1, self.since + 1)))
        m.d.comb += given(~dut.received_valid | (self.since == APART - 1))

        # A byte that comes in is through before the next one; an answer is being sent in no other state.
        self.field = Value.cast(self.inside.field)
        at, sending = self.at, self.inside.sending
        m.d.comb += [
            claim(~at("RECEIVE") | ~sending), claim(~at("ACCEPT") | ~sending),
            claim(~at("BEGIN") | (sending == self.field_is(Field.CONTROL))),
            claim(sending | self.field_is(Field.NONE) | ~(at("ACCEPT") | at("BEGIN"))),
            claim(~(at("FETCH") | at("LOAD") | at("SEND")) | sending),
            claim(~(at("SHIFT") | at("ADVANCE") | sending) | ~self.field_is(Field.NONE)),
            claim(self.field <= Field.CRC.value),
            claim(at("SHIFT") | (self.inside.shifts == 0)),
            claim(~at("SHIFT") | sending | (self.since == self.inside.shifts)),
            claim(~at("ADVANCE") | sending | (self.since == 8)), claim(~at("ACCEPT") | (self.since == 9)),
            claim(~self.field_is(Field.PAYLOAD) | (self.inside.left != 0))]

    def at(self, state: str) -> Value:
        return self.inside.states.ongoing(state)

    def field_is(self, which: Field) -> Value:
        return self.field == which.value


def answers(m: Module) -> Sequence[Value]:
    """A number, the rank, falls in every cycle in which the endpoint does not listen, but for those in which the UART
    is not ready for its byte. So it listens again after as many other cycles as the rank says, at most."""
    one = _Endpoint(m)
    at, inside, sent = one.at, one.inside, one.dut.sent
    field_is, left, special = one.field_is, inside.left, inside.special
    rest = {Field.CONTROL: HEADER_BYTES - 1 + (1 << RING_BITS) + CRC_BYTES,
            Field.LENGTH: HEADER_BYTES - 2 + (1 << RING_BITS) + CRC_BYTES, Field.ROOM: left + CRC_BYTES,
            Field.PAYLOAD: left + CRC_BYTES - 1}
    bytes_left = Signal(range(MOST))
    m.d.comb += bytes_left.eq(Cat(left - 1)[:2])
    for which, count in rest.items():
        with m.If(field_is(which)):
            m.d.comb += bytes_left.eq(count)
    rank = Signal(range(2 * MOST))
    m.d.comb += rank.eq(0)
    for state, place in (("FETCH", Const(12)), ("LOAD", Const(11)), ("SHIFT", 10 - inside.shifts),
                         ("SEND", Mux(special & ~inside.escaped, 2, 1)), ("ADVANCE", Const(0))):
        with m.If(at(state)):
            m.d.comb += rank.eq(bytes_left * BYTE + 1 + place)
    listening = MOST + 3
    with m.If(at("BEGIN")):
        m.d.comb += rank.eq(MOST + 1)
    with m.If(at("ACCEPT")):
        m.d.comb += rank.eq(MOST + 2)
    with m.If(~inside.sending & (at("SHIFT") | at("ADVANCE"))):
        m.d.comb += rank.eq(listening + Mux(at("SHIFT"), 10 - inside.shifts, 0))

    before, waits, busy = Signal.like(rank), Signal(), Signal()
    m.d.sync += [before.eq(rank), waits.eq(sent.valid & ~sent.ready), busy.eq(~at("RECEIVE"))]
    m.d.comb += [
        claim(at("RECEIVE") == (rank == 0)), claim(~busy | (rank < before) | (waits & (rank == before)))]
    # And while it listens, a START is understood.
    started = Signal()
    m.d.sync += started.eq(at("RECEIVE") & one.dut.received_valid & (one.dut.received == START))
    m.d.comb += claim(~started | (at("RECEIVE") & field_is(Field.CONTROL)))
    return one.free


def shifted(crc: Value, bits: Value) -> list[Value]:
    """The CRC's register after 0, 1, ... of these bits."""
    states = [crc]
    for bit in bits:
        states.append((states[-1] >> 1) ^ Mux(states[-1][0] ^ bit, Const(POLYNOMIAL, BITS), Const(0, BITS)))
    return states


def frames(m: Module) -> Sequence[Value]:
    """Beside the endpoint docs/link.md is read byte by byte. Bytes are the core's only where that says that a frame
    with a right CRC is complete and is new DATA for an open board, and then as many as its length says; nothing else
    is answered than complete frames with a right CRC."""
    one = _Endpoint(m)
    dut, at, inside, since = one.dut, one.at, one.inside, one.since
    # The naive receiver: it takes what it heard 8 cycles ago, when the endpoint has shifted it through.
    within, escaped, heard, fresh = Signal(), Signal(), Signal(8), Signal()
    crc, good, complete = Signal(BITS, init=(1 << BITS) - 1), Signal(init=1), Signal()
    control, length, done = Signal(8), Signal(RING_BITS), Signal(RING_BITS + 2)
    payload_end = HEADER_BYTES + length
    last = payload_end + CRC_BYTES - 1
    m.d.sync += complete.eq(0)
    with m.If(at("RECEIVE") & dut.received_valid):
        with m.If(dut.received == START):
            m.d.sync += [within.eq(1), escaped.eq(0), crc.eq(crc.init), good.eq(1), done.eq(0)]
        with m.Elif(dut.received == ESCAPE):
            m.d.sync += escaped.eq(1)
        with m.Elif(within):
            m.d.sync += [heard.eq(dut.received ^ Mux(escaped, FLIP, 0)), escaped.eq(0), fresh.eq(1)]
    right = Array((~crc).word_select(place, 8) for place in range(CRC_BYTES))[(done - payload_end)[:2]]
    is_crc = (done >= HEADER_BYTES) & (done >= payload_end)
    with m.If(fresh & (since == 8)):
        m.d.sync += [fresh.eq(0), done.eq(done + 1)]
        with m.If(done == 0):
            m.d.sync += control.eq(heard)
        with m.If(done == 1):
            m.d.sync += length.eq(heard)
            m.d.comb += given(heard < 1 << RING_BITS)
        with m.If(is_crc):
            m.d.sync += good.eq(good & (heard == right))
        with m.Else():
            m.d.sync += crc.eq(shifted(crc, heard)[-1])
        with m.If(is_crc & (done == last)):
            m.d.sync += [within.eq(0), complete.eq(good & (heard == right))]

    # Both are at the same place, and the endpoint has shifted so many bits of the byte.
    field_is, left, number = one.field_is, inside.left, inside.shifts
    receives = ~inside.sending & ~at("BEGIN")
    places = {Field.CONTROL: done == 0, Field.LENGTH: done == 1, Field.ROOM: done == 2,
              Field.PAYLOAD: (done >= HEADER_BYTES) & (done < payload_end), Field.CRC: is_crc & (done <= last)}
    shifting = receives & at("SHIFT")
    bits = Mux(shifting, number, Mux(at("ADVANCE"), 8, 0))
    read = (done - payload_end)[:2]  # bytes of the CRC
    taken = Array(shifted(crc, heard))[bits]
    mask = ((Const(1, 9) << bits) - 1)[:8]
    m.d.comb += [
        claim(within == (receives & ~field_is(Field.NONE))), claim(receives | ~escaped),
        claim(at("SEND") | at("RECEIVE") | ~inside.escaped),
        *(claim(~(receives & field_is(which)) | here) for which, here in places.items()),
        claim(~receives | (inside.escaped == escaped)), claim(fresh == (receives & (at("SHIFT") | at("ADVANCE")))),
        claim(~(within & (field_is(Field.ROOM) | field_is(Field.PAYLOAD))) | (
            left == Mux(field_is(Field.ROOM), length, payload_end - done))),
        claim(~(within & field_is(Field.CRC)) | (left[:2] == (0 - read)[:2])),
        claim(~shifting | (inside.byte == (Cat(heard, heard) >> number)[:8])),
        claim(~(receives & at("ADVANCE")) | (inside.byte == heard)),
        claim(~within | (done < 1) | (inside.control == control)),
        claim(~(within & ~field_is(Field.CRC)) | ((inside.crc.state == taken) & ~inside.bad & good)),
        claim(~(within & field_is(Field.CRC)) | (inside.crc.state == crc >> 8 * read + bits)),
        claim(~(within & field_is(Field.CRC)) | (inside.bad == (~good | ((heard ^ right) & mask).any()))),
        claim(at("ACCEPT") == complete)]

    # The promise.
    kind, from_host = control[KIND_SHIFT:-1], ~control[FROM_BOARD.bit_length() - 1]
    fits, counted = Signal(init=1), Signal(RING_BITS)  # of the payload: what was stored
    last_number = Signal(NUMBERS.bit_length() - 1)
    new = (complete & (kind == Kind.DATA) & from_host & dut.open & fits
           & (control[:len(last_number)] != last_number))
    with m.If(at("RECEIVE") & dut.received_valid & (dut.received == START)):
        m.d.sync += [fits.eq(1), counted.eq(0)]
    with m.If(fresh & (since == 8) & field_is(Field.PAYLOAD)):
        m.d.sync += [fits.eq(fits & inside.store), counted.eq(counted + inside.store)]
    resets = complete & (kind == Kind.RESET) & from_host
    with m.If(new | resets):
        m.d.sync += last_number.eq(control)
    was, more, emptied = Signal(RING_BITS), Signal(RING_BITS), Signal(init=1)
    m.d.sync += [was.eq(inside.core_in), more.eq(Mux(new, length, 0)), emptied.eq(dut.reset_core)]
    began, may = Signal(), Signal()
    known = from_host & ((kind == Kind.HELLO) | (kind == Kind.RESET) | ((kind == Kind.DATA) & dut.open))
    m.d.sync += [began.eq(at("BEGIN")), may.eq(complete & known)]
    m.d.comb += [
        claim(emptied | (inside.core_in == (was + more)[:RING_BITS])),
        claim(~at("BEGIN") | may | began), claim(inside.last_number == last_number),
        claim(inside.overflow == ~fits), claim(~(within | complete) | dut.reset_core | emptied | ~fits | (
            (inside.arriving - inside.core_in)[:RING_BITS] == counted)),
        claim(~(within | complete) | ~fits | (counted == Mux(
            done < HEADER_BYTES, 0, Mux(done < payload_end, done - HEADER_BYTES, length))))]
    return one.free


PROPERTIES = (
    Property(unit="link", name="the endpoint listens again", build=answers, depth=2,
             intent="every answer ends, nothing else keeps the endpoint from listening"),
    Property(unit="link", name="frames for the core", build=frames, depth=2,
             intent="the core gets bytes of new frames with a right CRC alone"))
