"""The mesh with two products a multiplier, for FPGAs whose multipliers are wide and few."""

from __future__ import annotations

from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from rtl.arithmetic import node, register
from rtl.config import log2
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
    bits of x * a, which a few adders make beside, tell them apart; those of two taps are added in the same cycle.
    Only sums are put together: the parts of all taps are added on their own. (Two products of 8 bits with
    one operand in common: Xilinx WP486, whose multipliers are wide enough for both products side by side.)

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
        entered = [self.added_up(m, list(self.activations[group]), matrix_tree_stages(cfg), f"act_{group}_sum")
                   for group in range(cfg.groups)]

        for lane in range(0, cfg.lanes, 2):
            row, group = lane // cfg.tile_lanes, lane // cfg.group_lanes
            left: Parts | None = None
            for column in range(tap_tiles):
                late = row + column
                taps = range(column * cfg.tile_taps, (column + 1) * cfg.tile_taps)
                pairs = [taps[at:at + 2] for at in range(0, len(taps), 2)]
                left = self.added(m, [self.products(m, lane, pair, down[group], late) for pair in pairs], left,
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

    def added_up(self, m: Module, terms: list[Value], stages: int, name: str) -> Value:
        """The sum of a power of two of terms, so many cycles later; as much of it in each cycle."""
        levels = log2(len(terms))
        for stage in range(stages):
            for _ in range(levels * (stage + 1) // stages - levels * stage // stages):
                terms = [one + other for one, other in zip(terms[::2], terms[1::2], strict=True)]
            terms = register(m, terms, f"{name}_late{stage + 1}")
        return terms[0]

    def products(self, m: Module, lane: int, taps: range, down: list[list[Value]], late: int) -> Parts:
        """The sums of the products of two lanes with the activations of one or two taps that come `late` cycles after
        their weights; two cycles later. down: the activations by tap, and cycles since."""
        products = [self.product(m, lane, tap, down[tap], late) for tap in taps]
        return self.added(m, products, None, f"partial_{lane}_{taps[0]}")

    def product(self, m: Module, lane: int, tap: int, activation: list[Value], late: int) -> Parts:
        """The product of two lanes' weights with an activation, told apart, a cycle later."""
        a, b = (delays(m, self.weights[one][tap], late, f"weight_{one}_{tap}") for one in (lane, lane + 1))
        pairs = [
            node(m, Cat(lower[:TURNED], ~lower[TURNED], Const(0, LOW - len(lower)), upper).as_signed(),
                 f"weights_{lane}_{tap}_late{since}") for since, (upper, lower) in enumerate(zip(a, b, strict=True))]
        both = Signal(signed(len(pairs[0]) + len(activation[0])), name=f"product_{lane}_{tap}")
        m.d.sync += both.eq(
            self.of_adders(m, pairs, activation, late, f"partial_{lane}_{tap}") if self.in_logic(lane, tap)
            else pairs[late] * activation[late])
        now = activation[late]
        rows = [Mux(a[late][bit], Cat(Const(0, bit), now[:COVERED - bit]), 0) for bit in range(COVERED)]
        sums = [(first + second)[:COVERED] for first, second in zip(rows[::2], rows[1::2], strict=True)]
        covering = register(m, (sums[0] + sums[1] + sums[2])[:COVERED], f"partial_{lane}_{tap}")
        return Parts(high=both[LOW:].as_signed(), upper=(both[LOW:LOW + COVERED] - covering)[:COVERED].as_signed(),
                     low=both[:LOW])

    def added(self, m: Module, terms: list[Parts], left: Parts | None, name: str) -> Parts:
        """The sums of the terms and of what comes from the left, a cycle later."""
        sums = [tree(list(column)) for column in zip(*terms, strict=True)]
        if left is not None:
            sums = [total + before for total, before in zip(sums, left, strict=True)]
        return Parts(*(register(m, total, f"{name}_{part}") for total, part in zip(sums, Parts._fields, strict=True)))
