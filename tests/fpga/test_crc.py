"""The CRC in gateware against the published check value and against zlib."""

from __future__ import annotations

import random
import zlib

import pytest

from fpga.link.crc import Crc
from tests.rtl.bench import run

CHECK = 0xCBF43926
"""Of "123456789": the catalogue's check value of CRC-32."""


def in_gateware(texts: list[bytes]) -> list[int]:
    """The CRC of each text, as it is shifted out."""
    found: list[int] = []
    dut = Crc()

    async def body(ctx):
        for text in texts:
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.shift, 1)
            ctx.set(dut.update, 1)
            for byte in text:
                for bit in range(8):
                    ctx.set(dut.bit, byte >> bit & 1)
                    await ctx.tick()
            ctx.set(dut.update, 0)
            ctx.set(dut.bit, 1)  # must not matter
            value = 0
            for bit in range(32):
                value |= ctx.get(dut.next_bit) << bit
                await ctx.tick()
            found.append(value)

    run(dut, body)
    return found


def test_the_check_value_comes_out():
    assert in_gateware([b"123456789"]) == [CHECK]


@pytest.mark.parametrize("seed", range(3))
def test_it_is_that_of_zlib_for_any_bytes_and_lengths(seed: int):
    rng = random.Random(seed)
    texts = [b"", b"\0", b"\xff" * 5, *(rng.randbytes(rng.randrange(1, 40)) for _ in range(10))]
    assert in_gateware(texts) == [zlib.crc32(text) for text in texts]
