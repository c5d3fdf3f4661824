"""Reductions over the lanes: MAX, MAXABS, SUM, and the index of the largest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl import isa
from rtl.arithmetic import node, number, pipe, register
from rtl.config import Config, log2
from rtl.isa import VECTOR
from rtl.ports import each_choice, each_sequence, field_bits, row_layout

PEAK_BITS = 17
"""MAX and MAXABS: -32768 to 32768."""


class Reduce(wiring.Component):
    """A tree over the lanes, then the reduce registers and ARGMAX's own.

    Parameters
    ----------
    cfg: uses lanes, reduces, reduce_levels, token_bits.

    Members
    -------
    kind: isa.Reduce of the pass, NONE where there is none. first: forget what the register holds. target: register.
    sequence: whose ARGMAX it is. choice: which index register it writes, 0 for the token.
    results: (lanes) int16, `f`. terms: (lanes) int32, what SUM adds; 0 in masked lanes. masked: a bit a lane.
    read_index: reduce register to read; read_value: its 32 bits a cycle later, with all writes up to then.
    token: ARGMAX's winner of each sequence, block * lanes + lane; blocks count from the pass with `first`.
    chosen: (sequences * choices) winners that index registers keep; choice and chosen are there with `Config.choices`.

    Latency: rtl.timing.reduce_stages from the operands to the cycle that writes the register.
    Throughput: a pass a cycle, also into one register. Reset: nothing is on its way; registers stay.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        shapes = field_bits(cfg, VECTOR, "reduce", "target", "sequence")
        super().__init__({
            "kind": In(shapes["reduce"]), "first": In(1), "target": In(shapes["target"]),
            "sequence": In(shapes["sequence"]),
            "results": In(row_layout(16, cfg.lanes)), "terms": In(row_layout(32, cfg.lanes)), "masked": In(cfg.lanes),
            "read_index": In(shapes["target"]), "read_value": Out(32),
            "token": Out(each_sequence(cfg.token_bits, cfg)),
            **({"choice": In(field_bits(cfg, VECTOR, "choice")["choice"]),
                "chosen": Out(each_choice(log2(cfg.experts), cfg))} if cfg.choices else {})})

    def elaborate(self, platform):
        cfg, m = self.cfg, Module()

        # Operands: a masked lane has the identity.
        absolute, adds = self.kind == isa.Reduce.MAXABS.value, self.kind == isa.Reduce.SUM.value
        values = []
        for lane in range(cfg.lanes):
            result = self.results[lane]
            size = Mux(absolute & result[15], -result, result)
            lowest = Mux(absolute, 0, number(-32768, PEAK_BITS))
            peak = Mux(self.masked[lane], lowest, size)[:PEAK_BITS].as_signed()
            values.append(node(m, Mux(adds, self.terms[lane], peak)[:32].as_signed(), f"operand_{lane}"))
        state = SimpleNamespace(
            kind=self.kind, first=self.first, target=self.target, sequence=self.sequence, values=values,
            indices=[[]] * cfg.lanes)
        if cfg.choices:
            state.choice = self.choice
        state = pipe(m, cfg.reduce_levels == 1, "tree0", **vars(state))

        # Tree: neighbours in pairs, a register after every so many levels. A tie goes to the lower lane.
        levels, early, stage = log2(cfg.lanes), (self.target, self.first), 0
        for level in range(levels):
            values, indices = [], []
            for low in range(0, len(state.values), 2):
                value, wins = combine(
                    m, state.kind == isa.Reduce.SUM.value, state.values[low], state.values[low + 1], PEAK_BITS)
                values.append(value)
                left, right = state.indices[low], state.indices[low + 1]
                indices.append([*(Mux(wins, *bits) for bits in zip(right, left, strict=True)), wins])
            state.values, state.indices = values, indices
            if (level + 1) % cfg.reduce_levels == 0 or level == levels - 1:
                early, stage = (state.target, state.first), stage + 1
                state.adds = state.first | (state.kind == isa.Reduce.SUM.value)
                state = pipe(m, True, f"tree{stage}", **vars(state))
        value, index = state.values[0], state.indices[0]

        # Registers: read a cycle ahead and written a cycle late, so that combining takes one cycle and hardly anything
        # else is in it; a read sees what is on its way.
        m.submodules.registers = registers = Memory(shape=signed(32), depth=cfg.reduces, init=[])
        writer, merged = registers.write_port(), Signal(signed(32))
        makes = node(m, (state.kind != isa.Reduce.NONE.value) & (state.kind != isa.Reduce.ARGMAX.value), "makes")
        written = pipe(m, True, "written", data=merged, en=makes, target=state.target)
        m.d.comb += [writer.addr.eq(written.target), writer.en.eq(written.en), writer.data.eq(written.data)]

        def read(index: Any, ignored: Any, name: str) -> Any:
            """A register a cycle later, or 0; whether it is what is being made now is known before."""
            port = registers.read_port(domain="comb")
            fresh = node(m, makes & (state.target == index), f"{name}_fresh")
            recent = node(m, written.en & (written.target == index), f"{name}_recent")
            m.d.comb += port.addr.eq(index)
            known = Mux(fresh | ignored, 0, Mux(recent, written.data, port.data))
            known, new = register(m, [node(m, known, f"{name}_found"), fresh & ~ignored], f"{name}_known")
            return node(m, (known | Mux(new, written.data, 0))[:32].as_signed(), name)

        # The first is added to 0, whatever the reduction.
        m.d.comb += [
            merged.eq(combine(m, state.adds, read(*early, "current"), value)[0]),
            self.read_value.eq(read(self.read_index, 0, "other"))]

        # ARGMAX.
        for sequence in range(cfg.sequences):
            best, block, next_block = (Signal(shape, name=f"{name}_{sequence}") for name, shape in (
                ("best", signed(16)), ("block", cfg.token_bits), ("next_block", cfg.token_bits)))
            mine = state.sequence == sequence if cfg.sequences > 1 else 1
            m.d.comb += block.eq(Mux(state.first, 0, next_block))
            with m.If((state.kind == isa.Reduce.ARGMAX.value) & mine):
                m.d.sync += next_block.eq(block + 1)
                with m.If(state.first | (value[:16].as_signed() > best)):
                    m.d.sync += best.eq(value)
                    if not cfg.choices:
                        m.d.sync += self.token[sequence].eq(Cat(*index, block))
                        continue
                    with m.If(state.choice == 0):
                        m.d.sync += self.token[sequence].eq(Cat(*index, block))
                    for choice in range(cfg.choices):
                        with m.If(state.choice == 1 + choice):
                            m.d.sync += self.chosen[sequence * cfg.choices + choice].eq(Cat(*index, block))
        return m


def combine(m: Module, adds, a, b, bits=32):
    """a + b, or the larger of their low bits; and whether that is b (not if both are the same)."""
    wins = node(m, b[:bits].as_signed() > a[:bits].as_signed(), "wins")
    return node(m, Mux(adds, a + b, Mux(wins, b, a))[:32].as_signed(), "combined"), wins
