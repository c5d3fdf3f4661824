"""The mesh with two products a multiplier, for FPGAs whose multipliers are wide and few."""

from __future__ import annotations

from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from rtl.arithmetic import node, partial_products, register
from rtl.mesh import Mesh, delays, sum_shape, tree
from rtl.timing import matrix_tree_stages

LOW = 10
"""Bits of the lower product that nothing covers: a multiplier's operand has 18, and 8 of them are the upper weight."""
COVERED = 6
"""Bits of it that the upper product covers."""
TURNED = 7
"""The lower weight's sign bit. It enters inverted, as a number that is 128 more and never negative."""


class Parts(NamedTuple):
    """Two products, or two sums of products, before they are told apart.

    With x the activation, a and b + 128 the weights of the two lanes: high = x * a + upper, upper = the upper bits of
    x * (b + 128), low = its LOW lower ones.
    """

    high: Value
    upper: Value
    low: Value


class PairedMesh(Mesh):
    """A Mesh in which two neighbouring lanes share their multipliers, as they share their activations.

    One multiplier makes x * (a * 2**LOW + b + 128). There the products cover each other in COVERED bits; the lowest
    bits of x * a, which a few adders make beside, tell them apart. Only sums are put together: the parts of all taps
    are added on their own. (Two products of 8 bits with one operand in common: Xilinx WP486, whose multipliers are wide
    enough for both products side by side.)

    Parameters
    ----------
    cfg : as Mesh; with paired_products.

    Members
    -------
    As Mesh.

    Latency
    -------
    As Mesh, and two cycles: the products are told apart, the sums put together.
    """

    def elaborate(self, platform) -> Module:
        cfg, m = self.cfg, Module()
        lane_tiles, tap_tiles = cfg.lanes // cfg.tile_lanes, cfg.taps // cfg.tile_taps
        down = self.entered(m)
        # What the inverted sign bits have added to the sums of a group's lower lanes is 128 times these: as late as the
        # parts' last sums are, after all of the mesh but what puts them together.
        stages = matrix_tree_stages(cfg)
        entered = [delays(m, tree(list(self.activations[group])), stages, f"act_{group}_sum")[stages]
                   for group in range(cfg.groups)]

        for lane in range(0, cfg.lanes, 2):
            row, group = lane // cfg.tile_lanes, lane // cfg.group_lanes
            left: Parts | None = None
            for column in range(tap_tiles):
                late = row + column
                taps = range(column * cfg.tile_taps, (column + 1) * cfg.tile_taps)
                left = self.added(m, [self.products(m, lane, tap, down[group][tap][late], late) for tap in taps], left,
                                  f"sum_{lane}_{column}")
            assert left is not None
            # Leave together with the last lane tile.
            wait = lane_tiles - 1 - row
            high, upper, low = (delays(m, part, wait, f"leave_{lane}_{name}")[wait]
                                for part, name in zip(left, Parts._fields, strict=True))
            lower = low + Cat(Const(0, LOW), upper).as_signed() - Cat(Const(0, TURNED), entered[group]).as_signed()
            for number, value in enumerate((high - upper, lower)):
                whole = Signal(sum_shape(cfg.taps), name=f"sum_{lane + number}_whole")
                m.d.sync += whole.eq(value)
                m.d.comb += self.sums[lane + number].eq(whole)
        return m

    def products(self, m: Module, lane: int, tap: int, activation: Value, late: int) -> Parts:
        """The products of two lanes with an activation that comes `late` cycles after their weights; two cycles later.
        """
        a, b = (delays(m, self.weights[one][tap], late, f"weight_{one}_{tap}")[late] for one in (lane, lane + 1))
        weights = node(m, Cat(b[:TURNED], ~b[TURNED], Const(0, LOW - len(b)), a).as_signed(), f"weights_{lane}_{tap}")
        both = Signal(signed(len(weights) + len(activation)), name=f"product_{lane}_{tap}")
        m.d.sync += both.eq(tree(partial_products(weights, activation)) if self.in_logic(lane, tap)
                            else weights * activation)
        rows = [Mux(a[bit], Cat(Const(0, bit), activation[:COVERED - bit]), 0) for bit in range(COVERED)]
        pairs = [(first + second)[:COVERED] for first, second in zip(rows[::2], rows[1::2], strict=True)]
        covering = register(m, (pairs[0] + pairs[1] + pairs[2])[:COVERED], f"partial_{lane}_{tap}")
        return Parts(
            high=register(m, both[LOW:].as_signed(), f"partial_{lane}_{tap}_high"),
            upper=register(m, (both[LOW:LOW + COVERED] - covering)[:COVERED].as_signed(),
                           f"partial_{lane}_{tap}_upper"),
            low=register(m, both[:LOW], f"partial_{lane}_{tap}_low"))

    def added(self, m: Module, terms: list[Parts], left: Parts | None, name: str) -> Parts:
        """The sums of the terms and of what comes from the left, a cycle later."""
        sums = [tree(list(column)) for column in zip(*terms, strict=True)]
        if left is not None:
            sums = [total + before for total, before in zip(sums, left, strict=True)]
        return Parts(*(register(m, total, f"{name}_{part}") for total, part in zip(sums, Parts._fields, strict=True)))
