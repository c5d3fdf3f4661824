"""Host port: the byte protocol of rtl/protocol.py, the only place with valid and ready.

```
rx -> [byte] -> requests -> [buffer: header or word] -> memories, programs, registers
tx <- [outgoing: answer, word or record] <------------- memories, control
```
"""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.arithmetic import node, register
from rtl.bank_errors import COUNTER_BITS as ERROR_BITS
from rtl.config import Config
from rtl.control import COUNTER_BITS, record_layout
from rtl.isa import QUEUES
from rtl.ports import byte_member, each_sequence, host_read_cycles, host_signature, host_words
from rtl.protocol import (
    ERROR,
    READABLE,
    VERSION,
    Request,
    Space,
    record_bytes,
    register_words,
    status_bytes,
    step_bytes,
    word_bytes,
)
from rtl.timing import SPREAD

DATA = (Space.BANK, Space.VECTOR, Space.ACT, Space.PARAM, Space.CONSTANT)
"""Spaces with a port as in rtl.ports.host_signature; the others are only written."""


def header_bytes(cfg: Config) -> dict[Request, int]:
    """Bytes that follow these requests."""
    return {Request.WRITE: 9, Request.READ: 9, Request.STEP: step_bytes(cfg), Request.RUN: 2}


def space_words(cfg: Config, space: Space) -> int:
    """Words of a space."""
    if space in DATA:
        return host_words(cfg, space)
    if space is Space.VALUES:
        return cfg.values * cfg.buckets
    return register_words(cfg) if space is Space.REGISTER else QUEUES[space - Space.MATRIX_PROGRAM].words(cfg)


def load_signature(cfg: Config, space: Space) -> wiring.Signature:
    """The host's way into what it only writes, seen from the host: `en` writes the word at `address` in this cycle."""
    return wiring.Signature({
        "address": Out(max(1, (space_words(cfg, space) - 1).bit_length())), "en": Out(1),
        "data": Out(8 if cfg.small_control else 8 * word_bytes(cfg, space))} | byte_member(cfg, space))


class Host(wiring.Component):
    """Requests in, answers out.

    Parameters
    ----------
    cfg : the machine.

    Members
    -------
    rx : In(stream of bytes). tx : Out(stream of bytes).
    bank, vector, act, param, constant : Out(host_signature); matrix_program, vector_program, scalar_program, values,
        register : Out(load_signature). Memories, while no token runs.
    want, classify, set_token, new_token, restart, reset : Out, to the control unit.
    start, ready, position, token, cycles : In, from it.
    record : In(stream). A token's record.
    failed, corrected_count, uncorrectable_count : In, with `Config.ecc`: from rtl.bank_errors.

    Latency
    -------
    A byte a cycle is taken while a WRITE's words come, and sent of an answer. A READ takes a few cycles more a word.
    A WRITE to, or a READ from, a space that does not exist or cannot be read is answered with FF and nothing else.
    Bits of an address or a count beyond the largest memory are ignored.

    Reset
    -----
    Between requests; bytes not yet sent are lost.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        members = {space.name.lower(): Out(
            host_signature(cfg, space) if space in DATA else load_signature(cfg, space)) for space in Space}
        super().__init__(members | {
            "rx": In(stream.Signature(8)), "tx": Out(stream.Signature(8)),
            "record": In(stream.Signature(record_layout(cfg))),
            "want": Out(1), "classify": Out(1), "set_token": Out(1),
            "new_token": Out(each_sequence(cfg.token_bits, cfg)), "restart": Out(cfg.sequences), "reset": Out(1),
            "start": In(1), "ready": In(1), "position": In(each_sequence(cfg.position_bits, cfg)),
            "token": In(each_sequence(cfg.token_bits, cfg)), "cycles": In(COUNTER_BITS),
            **({"failed": In(1), "corrected_count": In(ERROR_BITS), "uncorrectable_count": In(ERROR_BITS)}
               if cfg.ecc else {})})

    def elaborate(self, platform) -> Module:
        if self.cfg.small_control:
            from rtl.small_host import small_host  # which has this unit's ports
            return small_host(self)
        m = Module()
        cfg = self.cfg

        # One byte of store at the door: `rx.ready` never depends on the byte, and one that is no STOP can stay there.
        byte, byte_valid, is_stop, take = Signal(8), Signal(), Signal(), Signal()
        m.d.comb += self.rx.ready.eq(~byte_valid | take)
        with m.If(self.rx.ready):
            m.d.sync += [
                byte.eq(self.rx.payload), byte_valid.eq(self.rx.valid),
                is_stop.eq(self.rx.payload == Request.STOP.value)]
        taken = Signal()
        m.d.comb += taken.eq(take & byte_valid)

        # Bytes enter the buffer at its top: a header or a word of n bytes ends in the uppermost n.
        size = max(max(header_bytes(cfg).values()), *(word_bytes(cfg, space) for space in Space))
        buffer, request = Signal(8 * size), Signal(8)
        space, address = Signal(4), Signal((max(space_words(cfg, item) for item in Space) - 1).bit_length())
        count, no_count, one_count = Signal(len(address) + 1), Signal(), Signal()  # words; whether 0, whether 1
        bytes_left = Signal(range(size + 1))  # of a header, still to come; of a word, those that have come
        sizes = Signal(range(size + 1))  # bytes of a word, less one
        write, active = Signal(), Signal()
        with m.Switch(space):
            for item in Space:
                with m.Case(item.value):
                    m.d.comb += sizes.eq(word_bytes(cfg, item) - 1)
        # Where block RAM has a register of its own, so have the words on their way to a memory, and the many words of
        # which one is sent. With `spread` there are further ones on the way: nothing but the first is before them.
        registered = cfg.bank_register
        way = int(registered) * (1 + SPREAD * cfg.spread)

        def sent(value: Value, name: str) -> Value:
            for stage in range(way):
                value = register(m, value, f"{name}_{stage}")
            return value

        sent_address, sent_word = sent(address, "address_sent"), sent(buffer, "word_sent")
        for item in Space:
            port, bits, name = getattr(self, item.name.lower()), 8 * word_bytes(cfg, item), item.name.lower()
            here = node(m, active & (space == item.value), f"{name}_here")
            writes = node(m, here & write, f"{name}_write")
            here, writes = sent(here, f"{name}_active"), sent(writes, f"{name}_writes")
            m.d.comb += [port.address.eq(sent_address), port.data.eq(sent_word[-bits:])]
            m.d.comb += [port.active.eq(here), port.write.eq(writes)] if item in DATA else [port.en.eq(writes)]

        # Bytes leave `outgoing` from the bottom.
        out_size = max(status_bytes(cfg), record_bytes(cfg), *(word_bytes(cfg, item) for item in READABLE))
        outgoing, out_left = Signal(8 * out_size), Signal(range(out_size + 1))
        free = Signal()
        m.d.comb += [free.eq(out_left == 0), self.tx.valid.eq(~free), self.tx.payload.eq(outgoing[:8])]
        with m.If(self.tx.valid & self.tx.ready):
            m.d.sync += [outgoing.eq(outgoing >> 8), out_left.eq(out_left - 1)]

        def answer(value, length):
            """Statements that send `length` bytes; only while `free`."""
            return [outgoing.eq(value), out_left.eq(length)]

        reads = Signal()
        if cfg.ecc:
            here = node(m, reads & (space == Space.BANK.value), "bank_reads")
            m.d.comb += self.bank.read.eq(sent(here, "bank_read"))

        each = range(cfg.sequences)
        values = {item: getattr(self, item.name.lower()).value for item in READABLE}
        if registered:
            values = {item: register(m, value, f"{item.name.lower()}_value") for item, value in values.items()}
        read_cycles = host_read_cycles(cfg) + way + int(registered)
        reply, tokens, waits = Signal(8), Signal(16), Signal(range(read_cycles + 1))
        step = buffer[-8 * step_bytes(cfg):]
        flags = step[:8]
        want = Signal()  # tokens is not 0
        m.d.comb += self.want.eq(want)
        m.d.comb += [self.new_token[n].eq(step[8 + 16 * n:24 + 16 * n]) for n in each]
        # What the control unit is told has a register, and passes in the next cycle; a STEP's bytes stay that long.
        m.d.sync += [self.set_token.eq(0), self.restart.eq(0), self.reset.eq(0)]

        next_word = [
            address.eq(address + 1), count.eq(count - 1), no_count.eq(one_count), one_count.eq(count == 2)]

        with m.FSM(name="protocol"):
            with m.State("REQUEST"):
                m.d.comb += take.eq(1)
                m.d.sync += [request.eq(byte), reply.eq(byte)]
                with m.If(taken):
                    self.begin(m, byte, bytes_left, reply)

            with m.State("HEADER"):
                m.d.comb += take.eq(1)
                with m.If(taken):
                    m.d.sync += bytes_left.eq(bytes_left - 1)
                    with m.If(bytes_left == 0):
                        m.next = "BEGIN"

            with m.State("BEGIN"):
                m.d.sync += [
                    space.eq(buffer[-72:-64]), address.eq(buffer[-64:-32]), count.eq(buffer[-32:]),
                    no_count.eq(buffer[-32:][:len(count)] == 0), one_count.eq(buffer[-32:][:len(count)] == 1),
                    reply.eq(Request.WRITE.value), write.eq(0), bytes_left.eq(0)]
                known, readable = buffer[-72:-64] < len(Space), buffer[-72:-64] <= max(READABLE)
                with m.Switch(request):
                    with m.Case(Request.STEP.value):
                        m.d.sync += [self.set_token.eq(1), self.restart.eq(flags[1:])]
                        m.d.sync += [tokens.eq(1), want.eq(1), self.classify.eq(flags[0])]
                        m.next = "TOKENS"
                    with m.Case(Request.RUN.value):
                        m.d.sync += [tokens.eq(buffer[-16:]), want.eq(buffer[-16:].any()), self.classify.eq(1)]
                        m.next = "TOKENS"
                    with m.Default():
                        m.next = "REPLY"
                        with m.If((request == Request.WRITE.value) & known):
                            m.next = "WRITE"
                        with m.Elif((request == Request.READ.value) & readable):
                            m.next = "READ"
                        with m.Else():
                            m.d.sync += reply.eq(ERROR)

            # A word is written in the cycle after its last byte was taken, while the next one's first byte enters.
            with m.State("WRITE"):
                last = Signal()
                m.d.comb += [
                    active.eq(1), take.eq(~no_count & ~(write & one_count)), last.eq(bytes_left == sizes)]
                m.d.sync += write.eq(taken & last)
                with m.If(taken):
                    m.d.sync += bytes_left.eq(Mux(last, 0, bytes_left + 1))
                with m.If(write):
                    m.d.sync += next_word
                with m.If(no_count):
                    m.next = "REPLY"

            with m.State("READ"):
                m.d.comb += active.eq(1)
                if cfg.ecc:
                    m.d.comb += reads.eq((waits == 0) & ~no_count)
                m.d.sync += waits.eq(waits + 1)
                with m.If(no_count):
                    m.d.sync += waits.eq(0)
                    m.next = "REQUEST"
                with m.Elif((waits >= read_cycles) & free):
                    with m.Switch(space):
                        for item in READABLE:
                            with m.Case(item.value):
                                m.d.sync += answer(values[item], word_bytes(cfg, item))
                    m.d.sync += [waits.eq(0), *next_word]
                with m.Elif(waits == read_cycles):
                    m.d.sync += waits.eq(waits)

            # Only a STOP is taken now; it ends a RUN after the token in progress.
            with m.State("TOKENS"):
                stop = Signal()
                m.d.comb += [take.eq(is_stop & ~stop), self.record.ready.eq(free)]
                m.d.sync += reply.eq(Request.STOP.value)
                with m.If(self.start):
                    m.d.sync += [tokens.eq(tokens - 1), want.eq(tokens != 1)]
                with m.If(taken):
                    m.d.sync += [stop.eq(1), tokens.eq(0), want.eq(0)]
                if cfg.ecc:
                    with m.If(self.failed):
                        m.d.sync += [tokens.eq(0), want.eq(0)]
                with m.If(self.record.valid & free):
                    m.d.sync += answer(self.record.payload, record_bytes(cfg))
                with m.If(~want & self.ready & ~taken):
                    m.d.sync += stop.eq(0)
                    m.next = "REQUEST"
                    with m.If(stop):
                        m.next = "REPLY"

            with m.State("REPLY"), m.If(free):
                m.d.sync += answer(reply, 1)
                with m.If(request == Request.STATUS.value):
                    m.d.sync += answer(self.status(), status_bytes(cfg))
                m.next = "REQUEST"

        with m.If(taken):
            m.d.sync += buffer.eq(Cat(buffer[8:], byte))
        return m

    def begin(self, m: Module, byte: Value, left: Signal, reply: Signal) -> None:
        """Statements for a request's first byte, in the protocol's first state. left: of its header, less one."""
        m.next = "REPLY"
        with m.Switch(byte):
            for item, length in header_bytes(self.cfg).items():
                with m.Case(item.value):
                    m.d.sync += left.eq(length - 1)
                    m.next = "HEADER"
            with m.Case(Request.RESET.value):
                m.d.sync += self.reset.eq(1)
            with m.Case(Request.STATUS.value, Request.STOP.value):
                pass
            with m.Default():
                m.d.sync += reply.eq(ERROR)

    def status(self) -> Value:
        """What STATUS answers, rtl.protocol.status_bytes of it."""
        each = range(self.cfg.sequences)
        return Cat(
            Const(VERSION, 8), *(_pad(self.position[n], 16) for n in each), *(_pad(self.token[n], 16) for n in each),
            self.cycles, *([self.corrected_count, self.uncorrectable_count] if self.cfg.ecc else []))


def _pad(value, bits: int):
    """A value with zeros above it."""
    return Cat(value, Const(0, bits - len(value)))
