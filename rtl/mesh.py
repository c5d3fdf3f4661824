"""The systolic mesh of int8 multipliers."""

from __future__ import annotations

from amaranth.hdl import Module, Shape, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.arithmetic import node, partial_products, register
from rtl.config import Config
from rtl.ice40 import product_pair
from rtl.ports import bank_rows_layout, row_layout
from rtl.technology import Technology, technology


def sum_shape(terms: int) -> Shape:
    """The narrowest shape of a sum of that many products of two int8."""
    return Shape.cast(range(-128 * 127 * terms, 128 * 128 * terms + 1))


def delays(m: Module, value, most: int, name: str) -> list:
    """The value 0, 1, ... `most` cycles later."""
    line = [value]
    for late in range(1, most + 1):
        line.append(register(m, line[-1], f"{name}_late{late}"))
    return line


def tree(values: list):
    """Sum of a power of two of values, in a balanced tree."""
    while len(values) > 1:
        values = [a + b for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]


class Mesh(wiring.Component):
    """lanes x taps multipliers: sums[lane] = sum over tap of weights[lane, tap] * activations[group of lane, tap].

    Sums move right, through a register for each tile of `tile_taps`; activations move down, through a register for each
    tile of `tile_lanes`. Operands are skewed on entry and sums on leaving, so that all lanes enter and leave together.

    Parameters
    ----------
    cfg: uses lanes, taps, groups, tile_lanes, tile_taps, logic_products.

    Members
    -------
    weights: (lanes, taps) int8. activations: (groups, taps) int8, of the same cycle.
    sums: (lanes), exact.

    Latency: 1 (the product register) + rtl.timing.matrix_tree_stages. Throughput: one of each a cycle. Reset: to zero,
    on iCE40 not the products.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__({
            "weights": In(bank_rows_layout(cfg)),
            "activations": In(data.ArrayLayout(row_layout(8, cfg.taps), cfg.groups)),
            "sums": Out(data.ArrayLayout(sum_shape(cfg.taps), cfg.lanes))})

    def elaborate(self, platform):
        cfg, m = self.cfg, Module()
        lane_tiles, tap_tiles = cfg.lanes // cfg.tile_lanes, cfg.taps // cfg.tile_taps

        down = self.entered(m)
        factors = []  # and products, of the multipliers
        for lane in range(cfg.lanes):
            row, group = lane // cfg.tile_lanes, lane // cfg.group_lanes
            crossing = None
            for column in range(tap_tiles):
                late = row + column
                # Multiply.
                products = []
                for tap in range(column * cfg.tile_taps, (column + 1) * cfg.tile_taps):
                    product = Signal(sum_shape(1), name=f"product_{lane}_{tap}")
                    logic = self.in_logic(lane, tap)
                    weight = delays(m, self.weights[lane][tap], max(0, late - logic), f"weight_{lane}_{tap}")
                    if not logic:
                        factors.append((weight[late], down[group][tap][late], product))
                    else:
                        m.d.sync += product.eq(self.of_adders(
                            m, weight, down[group][tap], late, f"partial_{lane}_{tap}"))
                    products.append(product)
                # Add what comes from the left.
                total = Signal(sum_shape((column + 1) * cfg.tile_taps), name=f"sum_{lane}_{column}")
                m.d.sync += total.eq(tree(products) if crossing is None else tree(products) + crossing)
                crossing = total
            # Leave together with the last lane tile.
            wait = lane_tiles - 1 - row
            m.d.comb += self.sums[lane].eq(delays(m, crossing, wait, f"leave_{lane}")[wait])

        if technology(platform) is Technology.ICE40:
            for number, (one, other) in enumerate(zip(factors[::2], factors[1::2], strict=False)):
                product_pair(m, f"products_{number}", one[:2], other[:2], (one[2], other[2]))
            factors = factors[len(factors) // 2 * 2:]
        m.d.sync += [product.eq(weight * activation) for weight, activation, product in factors]
        return m

    def entered(self, m: Module) -> list[list[list]]:
        """Activations by group, tap, and cycles since. Tap tile j enters j cycles late, then moves down a lane tile a
        cycle."""
        return [[
            delays(m, self.activations[group][tap], tap // self.cfg.tile_taps + self.last_tile(group),
                   f"act_{group}_{tap}")
            for tap in range(self.cfg.taps)] for group in range(self.cfg.groups)]

    def of_adders(self, m: Module, weight: list, activation: list, late: int, name: str):
        """A product of operands `late` cycles ago; if that is a cycle at least, its terms are made before the last.
        Both operands 0, 1, ... cycles later."""
        early = max(0, late - 1)
        terms = partial_products(weight[early], activation[early])
        if late:
            terms = register(m, [node(m, term, f"{name}_term") for term in terms], name)
        return tree(terms)

    def in_logic(self, lane: int, tap: int) -> bool:
        """Whether a product is made of adders: those of the last taps, so that all lanes need as many DSPs."""
        return self.cfg.lanes * (self.cfg.taps - tap) - lane <= self.cfg.logic_products

    def last_tile(self, group: int) -> int:
        """The last lane tile that a group's activations reach."""
        return ((group + 1) * self.cfg.group_lanes - 1) // self.cfg.tile_lanes
