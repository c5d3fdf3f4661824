"""The reductions of a serial vector unit: a lane a cycle into one register."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from rtl.arithmetic import node, register
from rtl.config import Config
from rtl.isa import VECTOR, Reduce
from rtl.ports import NEVER_COLLIDES, each_sequence, field_bits
from rtl.reduce import PEAK_BITS


class SerialReduce(wiring.Component):
    """The reduce registers, and behind them those of ARGMAX, one a sequence.

    Parameters
    ----------
    cfg: uses reduces, sequences, token_bits.

    Members
    -------
    kind: isa.Reduce of this lane, NONE where there is none. first: forget what the register holds. target: register.
    sequence: whose ARGMAX it is.
    result: int16, `f`. term: int32, what SUM adds unless `short`: then it is the result. masked: has the identity.
    read_index: reduce register to read; read_value: its 32 bits a cycle later, with all writes of earlier cycles.
    token: ARGMAX's winner of each sequence: the elements are counted from the one with `first`.

    Latency: rtl.timing.reduce_stages from the operands to the cycle that writes the register.
    Throughput: a lane a cycle, also into one register. Reset: nothing is on its way; registers stay.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        shapes = field_bits(cfg, VECTOR, "reduce", "target", "sequence")
        super().__init__({
            "kind": In(shapes["reduce"]), "first": In(1), "target": In(shapes["target"]),
            "sequence": In(shapes["sequence"]), "result": In(signed(16)), "term": In(signed(32)), "short": In(1),
            "masked": In(1), "read_index": In(shapes["target"]), "read_value": Out(32),
            "token": Out(each_sequence(cfg.token_bits, cfg))})

    def elaborate(self, platform):
        cfg, m = self.cfg, Module()
        row_bits = bits_for(cfg.reduces + cfg.sequences - 1)

        # Operand: what is compared is 17 bits wide, so that -(-32768) fits; a masked lane has the identity.
        argmax, adds = self.kind == Reduce.ARGMAX.value, node(m, self.kind == Reduce.SUM.value, "adds")
        absolute = self.kind == Reduce.MAXABS.value
        negative = node(m, -self.result, "negative")
        size = Mux(absolute & self.result[15], negative, self.result)[:PEAK_BITS].as_signed()
        lowest = self.masked & ~adds & ~absolute
        peak = node(m, (size | (lowest.replicate(PEAK_BITS) & (0b11 << 15)))[:PEAK_BITS].as_signed(), "peak")
        operand = Mux(adds & ~self.short, self.term, peak)[:32].as_signed()
        row = node(m, Mux(argmax, cfg.reduces + self.sequence, self.target)[:row_bits], "row")

        # Combine with what the register holds: the row that was written last is kept here too.
        value, kind = register(m, operand, "value"), register(m, self.kind, "kind")
        first = register(m, self.first, "begin")
        at, sequence = register(m, row, "at"), register(m, self.sequence, "whose")
        m.submodules.registers = registers = Memory(
            shape=signed(32), depth=cfg.reduces + cfg.sequences, init=[], attrs=NEVER_COLLIDES)
        writer, reader, other = registers.write_port(), registers.read_port(), registers.read_port()
        written, written_at = Signal(signed(32), reset_less=True), Signal(row_bits, reset_less=True)
        held = node(m, Mux(written_at == at, written, reader.data).as_signed(), "held")
        wins = node(m, value > held, "wins")
        sums = kind == Reduce.SUM.value
        total = node(m, (held + value)[:32].as_signed(), "total")
        m.d.comb += [
            reader.addr.eq(row), writer.addr.eq(at), writer.data.eq(Mux(sums & ~first, total, value)),
            writer.en.eq((kind != Reduce.NONE.value) & (first | sums | wins)),
            other.addr.eq(self.read_index), self.read_value.eq(other.data)]
        with m.If(writer.en):
            m.d.sync += [written.eq(writer.data), written_at.eq(at)]

        # ARGMAX: the number of the element that was last written.
        for each in range(cfg.sequences):
            index, following = (Signal(cfg.token_bits, name=f"{name}_{each}") for name in ("index", "following"))
            m.d.comb += index.eq(Mux(first, 0, following))
            with m.If((kind == Reduce.ARGMAX.value) & (sequence == each if cfg.sequences > 1 else 1)):
                m.d.sync += following.eq(index + 1)
                with m.If(writer.en):
                    m.d.sync += self.token[each].eq(index)
        return m
