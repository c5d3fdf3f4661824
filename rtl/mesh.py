"""The systolic mesh of int8 multipliers."""

from __future__ import annotations

from amaranth.hdl import Module, Shape, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.config import Config
from rtl.ports import bank_rows_layout, row_layout


def sum_shape(terms: int) -> Shape:
    """The narrowest shape of a sum of that many products of two int8."""
    return Shape.cast(range(-128 * 127 * terms, 128 * 128 * terms + 1))


class Mesh(wiring.Component):
    """lanes x taps multipliers: sums[lane] = sum over tap of weights[lane, tap] * activations[group of lane, tap].

    Sums move right, through a register for each tile of `tile_taps`; activations move down, through a register for each
    tile of `tile_lanes`. Operands are skewed on entry and sums on leaving, so that all lanes enter and leave together.

    Parameters
    ----------
    cfg: uses lanes, taps, groups, tile_lanes, tile_taps.

    Members
    -------
    weights: (lanes, taps) int8. activations: (groups, taps) int8, of the same cycle.
    sums: (lanes), exact.

    Latency: 1 (the product register) + rtl.timing.matrix_tree_stages. Throughput: one of each a cycle. Reset: to zero.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__({
            "weights": In(bank_rows_layout(cfg)),
            "activations": In(data.ArrayLayout(row_layout(8, cfg.taps), cfg.groups)),
            "sums": Out(data.ArrayLayout(sum_shape(cfg.taps), cfg.lanes))})

    def elaborate(self, platform):
        return Module()
