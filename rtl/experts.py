"""Experts: the index registers' way to the banks, an expert's number times the rows of one."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.config import Config, log2
from rtl.isa import MATRIX
from rtl.ports import each_choice


class Experts(wiring.Component):
    """Multiplies what ARGMAX has chosen, a bit of the index a cycle: no multiplier, and no long path.

    Parameters
    ----------
    cfg : uses experts, choices, sequences; there are choices.

    Members
    -------
    chosen : In(sequences * choices, index). The index registers.
    rows : In(row's width). Bank rows from an expert's matrices to the next one's; changes only between tokens.
    offset : Out(sequences * choices, row's width). chosen * rows, modulo the width.

    Latency
    -------
    As many cycles as an index has bits, for which it must stand still: `rtl.timing` choice_read.

    Reset
    -----
    Offsets are 0 until then.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        row = MATRIX.by_name["row"].bits(cfg)
        super().__init__({
            "chosen": In(each_choice(log2(cfg.experts), cfg)), "rows": In(row), "offset": Out(each_choice(row, cfg))})

    def elaborate(self, platform) -> Module:
        m = Module()
        for number in range(self.cfg.sequences * self.cfg.choices):
            total = 0
            for bit in range(log2(self.cfg.experts)):
                step = Signal(len(self.rows), name=f"product_{number}_{bit}")
                m.d.sync += step.eq(total + Mux(self.chosen[number][bit], self.rows << bit, 0))
                total = step
            m.d.comb += self.offset[number].eq(total)
        return m
