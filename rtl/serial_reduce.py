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
    kind: isa.Reduce of this lane, NONE where there is none. opens: it is a pass's first lane, with or without a kind;
        not in two cycles one after another. first: forget what the register holds, with the first lane.
    target: register. sequence: whose ARGMAX it is.
    result: int16, `f`. negative: it is 0 or less, known before it; without, it is 0 or more. masked: has the identity.
    term: int32, what SUM adds unless `short`: then it is the result.
    read_index: reduce register to read; read_value: its 32 bits a cycle later, with all writes of earlier cycles, if
        read_found: first lanes need the only read port themselves.
    token: ARGMAX's winner of each sequence: the elements are counted from the one with `first`.

    Latency: rtl.timing.reduce_stages from the operands to the cycle that writes the register.
    Throughput: a lane a cycle, also into one register. Reset: nothing is on its way; registers stay.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        shapes = field_bits(cfg, VECTOR, "reduce", "target", "sequence")
        super().__init__({
            "kind": In(shapes["reduce"]), "opens": In(1), "first": In(1), "target": In(shapes["target"]),
            "sequence": In(shapes["sequence"]), "result": In(signed(16)), "negative": In(1),
            "term": In(signed(32)), "short": In(1),
            "masked": In(1), "read_index": In(shapes["target"]), "read_value": Out(32), "read_found": Out(1),
            "token": Out(each_sequence(cfg.token_bits, cfg))})

    def elaborate(self, platform):
        cfg, m = self.cfg, Module()
        row_bits = bits_for(cfg.reduces + cfg.sequences - 1)

        # Operand: what is compared is 17 bits wide, so that -(-32768) fits; a masked lane has the identity. It is
        # inverted, so that the one adder subtracts; unless its size counts and it is negative, then it is added.
        argmax, adds = self.kind == Reduce.ARGMAX.value, node(m, self.kind == Reduce.SUM.value, "adds")
        absolute = self.kind == Reduce.MAXABS.value
        negative = node(m, absolute & self.negative, "turns")
        lowest = self.masked & ~adds & ~absolute
        peak = node(m, (self.result | (lowest.replicate(PEAK_BITS) & (0b11 << 15)))[:PEAK_BITS].as_signed(), "peak")
        long, inverts = node(m, adds & ~self.short, "long"), node(m, ~adds & ~negative, "inverts")
        operand = Mux(long, self.term, (peak ^ inverts.replicate(PEAK_BITS))[:PEAK_BITS].as_signed())[:32].as_signed()
        row = node(m, Mux(argmax, cfg.reduces + self.sequence, self.target)[:row_bits], "row")

        # Combine with what the register holds. The row that was written last is kept here too: later lanes take it from
        # there, and so does the first one of the next pass if it is the same.
        value, kind, first = register(m, operand, "value"), register(m, self.kind, "kind"), Signal()
        at, sequence = register(m, row, "at"), register(m, self.sequence, "whose")
        sums, opened = register(m, adds, "sums"), register(m, self.opens, "opened")
        subtracts, turned = register(m, inverts, "subtracts"), register(m, negative, "turned")
        m.d.comb += first.eq(register(m, self.first, "begin") & opened)
        m.submodules.registers = registers = Memory(
            shape=signed(32), depth=cfg.reduces + cfg.sequences, init=[], attrs=NEVER_COLLIDES)
        writer, reader = registers.write_port(), registers.read_port()
        written, written_at = Signal(signed(32), reset_less=True), Signal(row_bits, reset_less=True)
        last_at = node(m, Mux(kind != Reduce.NONE.value, at, written_at), "last_at")  # that will be written_at
        kept = register(m, ~self.opens | (last_at == row), "kept")
        held = node(m, Mux(kept, written, reader.data).as_signed(), "held")
        total = node(m, (held + value + subtracts)[:33], "total")
        wins = node(m, first | total[32], "wins")  # what it holds is less than the operand
        below = node(m, (value[:PEAK_BITS] + turned.replicate(PEAK_BITS))[:PEAK_BITS].as_signed(), "below")
        operand_again = Mux(sums, value, ~below)  # -x = ~(x - 1)
        made = Mux(sums & ~first, total[:32], Mux(sums | wins, operand_again, held))
        m.d.comb += [
            reader.addr.eq(Mux(self.opens, row, self.read_index)), self.read_value.eq(reader.data),
            writer.addr.eq(at), writer.data.eq(made), writer.en.eq(kind != Reduce.NONE.value)]
        m.d.sync += self.read_found.eq(~self.opens)
        with m.If(writer.en):
            m.d.sync += [written.eq(writer.data), written_at.eq(at)]

        # ARGMAX: the number of the element that was last written.
        for each in range(cfg.sequences):
            index, following = (Signal(cfg.token_bits, name=f"{name}_{each}") for name in ("index", "following"))
            m.d.comb += index.eq(Mux(first, 0, following))
            with m.If((kind == Reduce.ARGMAX.value) & (sequence == each if cfg.sequences > 1 else 1)):
                m.d.sync += following.eq(index + 1)
                with m.If(wins):
                    m.d.sync += self.token[each].eq(index)
        return m
