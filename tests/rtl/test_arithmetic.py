"""Pieces that units share, each against what it says in Python."""

from __future__ import annotations

import itertools
import random

import pytest
from amaranth.hdl import Module, Signal, signed

from rtl.arithmetic import leading_place, partial_products, sum_is
from rtl.mesh import tree
from tests.rtl.bench import run


@pytest.mark.parametrize("wanted", [0, 1, 2, 5, 11])
def test_a_sum_is_known_without_being_made(wanted: int) -> None:
    m, a, b, found = Module(), Signal(4), Signal(3), Signal()
    m.d.comb += found.eq(sum_is(m, a, b, wanted))
    m.d.sync += Signal().eq(0)  # the bench drives a clock

    async def body(ctx):
        for x, y in itertools.product(range(16), range(8)):
            ctx.set(a, x)
            ctx.set(b, y)
            assert ctx.get(found) == (x + y == wanted), (x, y)

    run(m, body)


def test_place_of_the_highest_bit() -> None:
    m, x, place = Module(), Signal(8), Signal(3)
    m.d.comb += place.eq(leading_place(m, x))
    m.d.sync += Signal().eq(0)

    async def body(ctx):
        for value in range(256):
            ctx.set(x, value)
            assert ctx.get(place) == max(0, value.bit_length() - 1)

    run(m, body)


def test_partial_products_add_up_to_the_product() -> None:
    m, a, b, product = Module(), Signal(signed(8)), Signal(signed(8)), Signal(signed(16))
    m.d.comb += product.eq(tree(partial_products(a, b)))
    m.d.sync += Signal().eq(0)
    ends = (-128, -127, -1, 0, 1, 126, 127)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    pairs = list(itertools.product(ends, ends))
    pairs += [(rng.randrange(-128, 128), rng.randrange(-128, 128)) for _ in range(500)]

    async def body(ctx):
        for x, y in pairs:
            ctx.set(a, x)
            ctx.set(b, y)
            assert ctx.get(product) == x * y, (x, y)

    run(m, body)
