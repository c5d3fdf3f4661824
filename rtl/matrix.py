"""The matrix unit: banks' rows and activations into accumulators."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.config import Config
from rtl.isa import MATRIX
from rtl.ports import bank_rows_layout, field_bits, row_layout, step_layout


class Matrix(wiring.Component):
    """Steps of the mesh, and the accumulators that they add to.

    A step reads one row of every bank and one activation word a lane group; their products reach accumulator `slot`.

    Parameters
    ----------
    cfg: uses lanes, taps, groups, slots, acc_bits and what Mesh uses.

    Members
    -------
    issue: the step of this cycle, see rtl.ports.step_layout; `clear`: start from zero.
    bank_row, bank_enable: read port of all banks; bank_data: (lanes, taps) int8.
    act_words: (groups) addresses, act_enable: read ports of activation memory; act_data: (groups, taps) int8.
    acc_slot: accumulator that the vector unit reads; acc: (lanes) its contents, in the same cycle.

    Latency: reads in rtl.timing `matrix_read`, the sum can be read from `acc_visible` on.
    Throughput: a step a cycle, also into one slot. Reset: nothing is on its way; accumulators stay.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        shapes = field_bits(cfg, MATRIX, "row", "act", "slot")
        super().__init__({
            "issue": In(step_layout(cfg)),
            "bank_row": Out(shapes["row"]), "bank_enable": Out(1), "bank_data": In(bank_rows_layout(cfg)),
            "act_words": Out(data.ArrayLayout(shapes["act"], cfg.groups)), "act_enable": Out(1),
            "act_data": In(data.ArrayLayout(row_layout(8, cfg.taps), cfg.groups)),
            "acc_slot": In(shapes["slot"]), "acc": Out(row_layout(cfg.acc_bits, cfg.lanes))})

    def elaborate(self, platform):
        return Module()
