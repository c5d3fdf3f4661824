"""The board's end of the link: frames of fpga/link/frames.py from a UART, bytes to and from the core.

```
UART -> [byte] -> CRC -> [ring of bytes for the core ] -> [hold] -> core
UART <- [byte] <- CRC <- [ring of bytes from the core] <----------- core
```
Both rings are halves of one memory.
"""

from types import SimpleNamespace

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.hdl import Const
from amaranth.lib import enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fpga.link.crc import Crc
from fpga.link.frames import CRC_BYTES, ESCAPE, FLIP, FROM_BOARD, IDENTITY_BYTES, KIND_SHIFT, NUMBERS, START, Kind
from rtl.ports import NEVER_COLLIDES

NUMBER_BITS = NUMBERS.bit_length() - 1


class Field(enum.Enum, shape=3):
    """What the next byte of a frame is."""

    NONE = 0  # between frames
    CONTROL = 1
    LENGTH = 2
    ROOM = 3
    PAYLOAD = 4
    CRC = 5


class Endpoint(wiring.Component):
    """Answers the host's frames.

    A ring has a pointer to the next byte that comes in and one to the next that goes out. Bytes for the core come in
    behind a third, `arriving`, and count only when the frame's CRC was right. Bytes from the core stay until the host
    has acknowledged the answer that carried them: it lies between `answer` and `answer_end`.

    Parameters
    ----------
    identity : the answer to HELLO and RESET.
    ring_bits : address bits of each ring; a ring of 2**n bytes holds 2**n - 1. At most 8: lengths are bytes.

    Members
    -------
    received, received_valid : In. A byte from the UART, valid for a cycle; at least 12 cycles between two.
    sent : Out(stream of bytes). To the UART.
    rx : Out(stream of bytes). To the core. tx : In(stream of bytes). From the core.
    reset_core : Out(1). High for many cycles after each RESET.
    open : Out(1). A host has made itself known since power-on.

    Latency: an answer begins 12 cycles after its frame's last byte. Throughput: the UART's.
    Reset: as at power-on.
    """

    def __init__(self, identity: bytes, *, ring_bits: int = 8) -> None:
        assert len(identity) == IDENTITY_BYTES and 5 <= ring_bits <= 8
        self.identity, self.ring_bits = identity, ring_bits
        byte_stream = stream.Signature(8)
        super().__init__({
            "received": In(8), "received_valid": In(1), "sent": Out(byte_stream), "rx": Out(byte_stream),
            "tx": In(byte_stream), "reset_core": Out(1), "open": Out(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.crc = crc = Crc()
        bits = self.ring_bits
        m.submodules.rings = rings = Memory(shape=8, depth=2 << bits, init=[], attrs=NEVER_COLLIDES)
        reader, writer = rings.read_port(), rings.write_port()

        def pointer(name: str) -> Signal:
            return Signal(bits, name=name)

        byte, shifts = Signal(8), Signal(3)
        field, sending, escaped = Signal(Field), Signal(), Signal()
        bad, overflow = Signal(), Signal()
        control, left = Signal(8), Signal(bits)  # left: of the payload, then of the CRC modulo CRC_BYTES
        last_number = Signal(NUMBER_BITS)

        # Ring for the core: [core_out, core_in) is the core's, [core_in, arriving) the frame's that is under way.
        core_in, core_out, arriving = pointer("core_in"), pointer("core_out"), pointer("arriving")
        room, no_room = Signal(bits), Signal()  # no_room: a cycle late; bytes come more slowly
        m.d.comb += room.eq(~(arriving - core_out))
        m.d.sync += no_room.eq(room == 0)
        # Ring from the core: [answer, answer_end) is the last answer's, [answer_end, made) is for the next.
        made, answer, answer_end = pointer("made"), pointer("answer"), pointer("answer_end")
        made_full, length, to_send = Signal(), Signal(bits), Signal(bits)
        before_answer = Signal(bits, init=-1 % (1 << bits))  # answer - 1
        m.d.comb += [
            made_full.eq(made == before_answer), length.eq(answer_end - answer), to_send.eq(answer_end - left)]

        # The write port: the UART's bytes first, they cannot wait.
        store, fetch = Signal(), Signal()
        m.d.comb += [
            self.tx.ready.eq(~store & ~made_full), writer.en.eq(store | (self.tx.valid & ~made_full)),
            writer.addr.eq(Mux(store, arriving, Cat(made, Const(1, 1)))),
            writer.data.eq(Mux(store, byte, self.tx.payload))]
        with m.If(self.tx.valid & self.tx.ready):
            m.d.sync += made.eq(made + 1)

        # The read port: the answer's bytes first; what the core gets is held until it is taken.
        read, reading = Signal(), Signal()
        m.d.comb += [
            read.eq(~fetch & ~reading & (core_out != core_in) & ~self.rx.valid),
            reader.en.eq(fetch | read), reader.addr.eq(Mux(fetch, Cat(to_send, Const(1, 1)), core_out))]
        m.d.sync += reading.eq(read)
        with m.If(read):
            m.d.sync += core_out.eq(core_out + 1)
        with m.If(self.rx.ready):
            m.d.sync += self.rx.valid.eq(0)
        with m.If(reading):
            m.d.sync += [self.rx.valid.eq(1), self.rx.payload.eq(reader.data)]

        # What is special in a byte to be sent; each is 011111xx.
        special = (byte == START) | (byte == ESCAPE)
        kind, number = control[KIND_SHIFT:-1], control[:NUMBER_BITS]
        from_host = ~control[FROM_BOARD.bit_length() - 1]
        reset, hello, data = Signal(), Signal(), Signal()
        new, again = Signal(), Signal()
        m.d.comb += [
            hello.eq((kind == Kind.HELLO) & from_host), reset.eq((kind == Kind.RESET) & from_host),
            data.eq((kind == Kind.DATA) & from_host & self.open),
            again.eq(data & (number == last_number)),
            new.eq(data & (number != last_number) & ~overflow)]
        # The identity is read as `left` counts down from its length.
        count = IDENTITY_BYTES
        letters = Array(Const(self.identity[(count - place) % count], 8) for place in range(count))

        with m.FSM(name="endpoint") as states:
            with m.State("RECEIVE"), m.If(self.received_valid):
                with m.If(self.received == START):
                    m.d.comb += crc.start.eq(1)
                    m.d.sync += [
                        field.eq(Field.CONTROL), escaped.eq(0), bad.eq(0), overflow.eq(0), arriving.eq(core_in)]
                with m.Elif(self.received == ESCAPE):
                    m.d.sync += escaped.eq(1)
                with m.Elif(field != Field.NONE):
                    m.d.sync += [byte.eq(self.received ^ Mux(escaped, FLIP, 0)), escaped.eq(0)]
                    m.next = "SHIFT"

            # Eight cycles: the byte turns once around through the CRC; where it is part of the CRC, the CRC comes out.
            with m.State("SHIFT"):
                m.d.comb += [crc.shift.eq(1), crc.update.eq(field != Field.CRC), crc.bit.eq(byte[0])]
                m.d.sync += [
                    shifts.eq(shifts + 1), byte.eq(Cat(byte[1:], Mux(sending & ~crc.update, crc.next_bit, byte[0])))]
                with m.If(~crc.update & (byte[0] != crc.next_bit)):
                    m.d.sync += bad.eq(1)
                with m.If(shifts == 7):
                    m.next = "ADVANCE"
                    with m.If(sending):
                        m.next = "SEND"

            # A byte is through, in or out.
            with m.State("ADVANCE"):
                m.next = "RECEIVE"
                with m.If(sending):
                    m.next = "FETCH"
                with m.Switch(field):
                    with m.Case(Field.CONTROL):
                        m.d.sync += field.eq(Field.LENGTH)
                        with m.If(~sending):
                            m.d.sync += control.eq(byte)
                    with m.Case(Field.LENGTH):
                        m.d.sync += [left.eq(byte), field.eq(Field.ROOM), self.reset_core.eq(0)]
                    with m.Case(Field.ROOM):
                        m.d.sync += field.eq(Mux(left == 0, Field.CRC, Field.PAYLOAD))
                    with m.Case(Field.PAYLOAD):
                        m.d.comb += store.eq(~sending & ~no_room)
                        m.d.sync += left.eq(left - 1)
                        with m.If(store):
                            m.d.sync += arriving.eq(arriving + 1)
                        with m.If(~sending & no_room):
                            m.d.sync += overflow.eq(1)
                        with m.If(left == 1):
                            m.d.sync += field.eq(Field.CRC)
                    with m.Default():
                        m.d.sync += left.eq(left - 1)
                        with m.If(left % CRC_BYTES == 1):
                            m.d.sync += [field.eq(Field.NONE), sending.eq(0)]
                            m.next = "RECEIVE"
                            with m.If(~sending & ~bad):
                                m.next = "ACCEPT"

            with m.State("ACCEPT"):
                m.next = "RECEIVE"
                with m.If(hello | reset | again | new):
                    m.next = "BEGIN"
                with m.If(new):
                    m.d.sync += [core_in.eq(arriving), answer.eq(answer_end), answer_end.eq(made)]
                    m.d.sync += before_answer.eq(answer_end - 1)
                with m.If(new | reset):
                    m.d.sync += last_number.eq(number)
                with m.If(reset):
                    m.d.sync += [self.open.eq(1), self.reset_core.eq(1)]

            with m.State("BEGIN"):
                m.d.comb += [self.sent.valid.eq(1), self.sent.payload.eq(START), crc.start.eq(1)]
                m.d.sync += [field.eq(Field.CONTROL), sending.eq(1), escaped.eq(0)]
                with m.If(self.sent.ready):
                    m.next = "FETCH"

            with m.State("FETCH"):
                m.d.comb += fetch.eq(1)
                m.next = "LOAD"

            with m.State("LOAD"):
                m.next = "SHIFT"
                with m.Switch(field):
                    with m.Case(Field.CONTROL):
                        m.d.sync += byte.eq(control | FROM_BOARD)
                    with m.Case(Field.LENGTH):
                        m.d.sync += byte.eq(Mux(data, length, IDENTITY_BYTES))
                    with m.Case(Field.ROOM):
                        m.d.sync += byte.eq(room)
                    with m.Default():
                        m.d.sync += byte.eq(Mux(data, reader.data, letters[left[:(count - 1).bit_length()]]))

            with m.State("SEND"):
                m.d.comb += [
                    self.sent.valid.eq(1),
                    self.sent.payload.eq(Mux(special & ~escaped, ESCAPE, byte ^ Mux(escaped, FLIP, 0)))]
                with m.If(self.sent.ready):
                    m.d.sync += escaped.eq(special & ~escaped)
                    with m.If(~special | escaped):
                        m.next = "ADVANCE"

        # A RESET empties everything, whatever was under way.
        with m.If(self.reset_core):
            m.d.sync += [
                one.eq(0) for one in (core_in, core_out, arriving, made, answer, answer_end, reading, self.rx.valid)]
            m.d.sync += before_answer.eq(-1)

        # What proofs look at (verification/formal/frames.py).
        self.inside = SimpleNamespace(
            states=states, crc=crc, byte=byte, shifts=shifts, field=field, sending=sending, escaped=escaped, bad=bad,
            overflow=overflow, special=special, control=control, left=left, last_number=last_number, store=store,
            core_in=core_in, arriving=arriving)
        return m
