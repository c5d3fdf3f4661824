"""The small host port: what rtl/host.py does, a byte at a time, with longer paths and hardly any store.

A header's bytes go where they belong at once, a word's bytes to the memory that they are for, and each byte of an
answer is chosen as it is sent. A record is sent before the next token may start, so a token waits a few cycles for it.
"""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value

from rtl.arithmetic import node
from rtl.host import DATA, Host, header_bytes, space_words
from rtl.ports import host_read_cycles
from rtl.protocol import ERROR, READABLE, Request, Space, record_bytes, status_bytes, step_bytes, word_bytes


def split_bytes(value: Any, count: int) -> list[Any]:
    """The bytes of a value, lowest first, zeros above it."""
    value = Value.cast(value)
    return [Cat(value, Const(0, max(1, 8 * count - len(value))))[8 * n:8 * n + 8] for n in range(count)]


def small_host(unit: Host) -> Module:
    """The module of a Host whose Config says `small_control`."""
    cfg, m = unit.cfg, Module()
    take, byte = Signal(), unit.rx.payload
    taken = node(m, take & unit.rx.valid, "taken")
    m.d.comb += unit.rx.ready.eq(take)

    # What a request says. A STEP's flags and tokens and a RUN's count lie where a WRITE has its count and address.
    each = range(cfg.sequences)
    request, place = Signal(8), Signal(range(max(16, status_bytes(cfg))))
    space, known = Signal(3 + int(max(Space) > 7)), Signal()
    address = Signal(max((space_words(cfg, item) - 1).bit_length() for item in Space))
    count = Signal(max(16, len(address) + 1))
    tokens = Signal(16 * cfg.sequences)
    flags = Signal(1 + cfg.sequences)
    header = Signal(range(max(header_bytes(cfg).values()) + 1))  # bytes of it

    # Words.
    last, active, writes = Signal(), Signal(), Signal()
    with m.Switch(space):
        for item in Space:
            with m.Case(item.value):
                m.d.comb += last.eq(place == word_bytes(cfg, item) - 1)
    values: dict[Space, Any] = {}
    for item in Space:
        port = getattr(unit, item.name.lower())
        here = node(m, active & (space == item.value), f"{item.name.lower()}_here")
        m.d.comb += [port.address.eq(address), port.byte.eq(place), port.data.eq(byte)]
        m.d.comb += [port.active.eq(here), port.write.eq(writes)] if item in DATA else [port.en.eq(here & writes)]
        if item in READABLE:
            values[item] = port.value

    # Answers.
    reply, waits = Signal(8), Signal(range(host_read_cycles(cfg) + 2))
    status_byte = Array(split_bytes(unit.status(), status_bytes(cfg)))[place]
    record_byte = Array(split_bytes(unit.record.payload, record_bytes(cfg)))[place]
    value = Const(0, 8)
    for item, found in values.items():
        value = Mux(space == item.value, found, value)

    stop, want = Signal(), Signal()
    m.d.comb += [unit.want.eq(want), unit.classify.eq(flags[0])]
    m.d.comb += [unit.new_token[n].eq(tokens[16 * n:16 * n + 16]) for n in each]
    m.d.sync += [unit.set_token.eq(0), unit.restart.eq(0), unit.reset.eq(0)]
    m.d.comb += [known.eq(space < len(Space))]

    with m.FSM(name="protocol"):
        with m.State("REQUEST"):
            m.d.comb += take.eq(1)
            m.d.sync += [request.eq(byte), reply.eq(byte), place.eq(0), waits.eq(0)]
            with m.If(taken):
                unit.begin(m, byte, header, reply)

        with m.State("HEADER"):
            m.d.comb += take.eq(1)
            with m.If(taken):
                m.d.sync += place.eq(place + 1)
                with m.Switch(request):
                    with m.Case(Request.STEP.value):
                        with m.If(place == 0):
                            m.d.sync += flags.eq(byte)
                        for index in range(2 * cfg.sequences):
                            with m.If(place == index + 1):
                                m.d.sync += tokens[8 * index:8 * index + 8].eq(byte)
                        m.d.sync += count.eq(1)
                    with m.Case(Request.RUN.value):
                        m.d.sync += flags[0].eq(1)
                        for index in range(2):
                            with m.If(place == index):
                                m.d.sync += count[8 * index:8 * index + 8].eq(byte)
                        m.d.sync += count[16:].eq(0)
                    with m.Default():
                        with m.If(place == 0):
                            m.d.sync += space.eq(byte)
                            with m.If(byte >= 1 << len(space)):
                                m.d.sync += space.eq(-1)
                        for field, first in ((address, 1), (count, 5)):
                            for index in range(-(-len(field) // 8)):
                                with m.If(place == first + index):
                                    m.d.sync += field[8 * index:8 * index + 8].eq(byte)
                with m.If(place == header):
                    m.d.sync += place.eq(0)
                    m.next = "BEGIN"

        with m.State("BEGIN"):
            m.d.sync += reply.eq(request)
            with m.Switch(request):
                with m.Case(Request.STEP.value):
                    m.d.sync += [unit.set_token.eq(1), unit.restart.eq(flags[1:]), want.eq(1)]
                    m.next = "TOKENS"
                with m.Case(Request.RUN.value):
                    m.d.sync += want.eq(count.any())
                    m.next = "TOKENS"
                with m.Default():
                    with m.If((request == Request.WRITE.value) & known):
                        m.next = "REPLY"
                        with m.If(count.any()):
                            m.next = "WRITE"
                    with m.Elif((request == Request.READ.value) & (space <= max(READABLE))):
                        m.next = "REQUEST"
                        with m.If(count.any()):
                            m.next = "READ"
                    with m.Else():
                        m.d.sync += reply.eq(ERROR)
                        m.next = "REPLY"

        with m.State("WRITE"):
            m.d.comb += [active.eq(1), take.eq(1), writes.eq(unit.rx.valid)]
            with m.If(taken):
                m.d.sync += place.eq(Mux(last, 0, place + 1))
                with m.If(last):
                    m.d.sync += [address.eq(address + 1), count.eq(count - 1)]
                    with m.If(count == 1):
                        m.next = "REPLY"

        with m.State("READ"):
            m.d.comb += [active.eq(1), unit.tx.payload.eq(value)]
            if cfg.ecc:
                m.d.comb += unit.bank.read.eq(unit.bank.active & (waits == 0))
            with m.If(waits != host_read_cycles(cfg)):
                m.d.sync += waits.eq(waits + 1)
            with m.Else():
                m.d.comb += unit.tx.valid.eq(1)
                with m.If(unit.tx.ready):
                    m.d.sync += [waits.eq(0), place.eq(Mux(last, 0, place + 1))]
                    with m.If(last):
                        m.d.sync += [address.eq(address + 1), count.eq(count - 1)]
                        with m.If(count == 1):
                            m.next = "REQUEST"

        # Only a STOP is taken now; it ends a RUN after the token in progress.
        with m.State("TOKENS"):
            m.d.comb += [
                take.eq((byte == Request.STOP.value) & ~stop), unit.tx.payload.eq(record_byte),
                unit.tx.valid.eq(unit.record.valid)]
            m.d.sync += reply.eq(Request.STOP.value)
            with m.If(unit.start):
                m.d.sync += [count.eq(count - 1), want.eq(count != 1)]
            with m.If(unit.record.valid & unit.tx.ready):
                m.d.sync += place.eq(place + 1)
                with m.If(place == record_bytes(cfg) - 1):
                    m.d.comb += unit.record.ready.eq(1)
                    m.d.sync += place.eq(0)
            with m.If(taken):
                m.d.sync += [stop.eq(1), want.eq(0)]
            if cfg.ecc:
                with m.If(unit.failed):
                    m.d.sync += want.eq(0)
            with m.If(~want & unit.ready & ~taken):
                m.d.sync += stop.eq(0)
                m.next = "REQUEST"
                with m.If(stop):
                    m.next = "REPLY"

        with m.State("REPLY"):
            m.d.comb += [unit.tx.valid.eq(1), unit.tx.payload.eq(reply)]
            is_status = node(m, request == Request.STATUS.value, "is_status")
            with m.If(is_status):
                m.d.comb += unit.tx.payload.eq(status_byte)
            with m.If(unit.tx.ready):
                m.d.sync += place.eq(place + 1)
                with m.If(~is_status | (place == status_bytes(cfg) - 1)):
                    m.next = "REQUEST"
    assert len(flags) <= 8 and step_bytes(cfg) == 1 + 2 * cfg.sequences
    return m
