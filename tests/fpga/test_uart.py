"""The UART, each half against bits made or read in time, not in clocks."""

from __future__ import annotations

import random

import pytest

from fpga.link.uart import BAUD_TOLERANCE, MIN_DIVISOR, UartRx, UartTx, divisor
from rtl.config import ConfigError
from tests.rtl.bench import run

CLOCK_S = 1e-6  # of tests.rtl.bench.run
DIVISORS = (MIN_DIVISOR, 5, 8, 13, 24, 80)
BYTES = bytes([0x00, 0xFF, 0x55, 0xAA, 0x7E, 0x01, 0x80, 0x33])


def received(clocks: int, levels: list[tuple[int, float]], *, phase: float = 0.0) -> bytes:
    """What the receiver makes of levels, each held for so many bits of `clocks` clocks."""
    dut = UartRx(clocks)
    found = bytearray()

    async def body(ctx):
        ticks = 0
        events: list[tuple[float, int]] = []
        at = 5 + phase
        for level, bits in levels:
            events.append((at, level))
            at += bits * clocks
        while ticks < at + 12 * clocks:
            # Whatever changed before this clock's edge is what the pin's register takes.
            while events and events[0][0] <= ticks:
                ctx.set(dut.rx, events.pop(0)[1])
            _, _, valid, data = await ctx.tick().sample(dut.valid, dut.data)
            if valid:
                found.append(data)
            ticks += 1

    run(dut, body)
    return bytes(found)


def framed(data: bytes, *, bit: float = 1.0, stop: float = 1.0) -> list[tuple[int, float]]:
    """Levels of bytes without a pause between them."""
    return [level for byte in data for level in (
        (0, bit), *((byte >> place & 1, bit) for place in range(8)), (1, bit * stop))]


@pytest.mark.parametrize("skew", [-BAUD_TOLERANCE, 0.0, BAUD_TOLERANCE])
@pytest.mark.parametrize("clocks", DIVISORS)
def test_bytes_without_a_pause_arrive_at_any_phase_and_skew(clocks: int, skew: float):
    for phase in (0.0, 0.3, 0.6, 0.99):
        assert received(clocks, framed(BYTES, bit=1 + skew), phase=phase) == BYTES


def test_a_skew_that_is_too_large_is_noticed():
    """Else the test above would pass whatever the receiver did."""
    assert received(24, framed(BYTES, bit=1.08)) != BYTES
    assert received(24, framed(BYTES, bit=0.92)) != BYTES


def test_a_glitch_is_no_start_bit():
    assert received(16, [(0, 0.3), (1, 3.0), *framed(b"\x5a")]) == b"\x5a"


def test_a_byte_without_stop_bit_is_dropped_and_a_break_gives_none():
    assert received(8, [*framed(b"\x12", stop=0)[:-1], (0, 1.0), (1, 2.0), *framed(b"\x34")]) == b"\x34"
    assert received(8, [(0, 100.0), (1, 2.0), *framed(b"\x34")]) == b"\x34"


@pytest.mark.parametrize("clocks", DIVISORS)
def test_the_transmitter_sends_bits_of_exactly_that_length(clocks: int):
    dut = UartTx(clocks)
    rng = random.Random(clocks)
    samples: list[int] = []

    async def source(ctx):
        for byte in BYTES:
            ctx.set(dut.bytes.payload, byte)
            ctx.set(dut.bytes.valid, 1)
            await ctx.tick().until(dut.bytes.ready)
            ctx.set(dut.bytes.valid, 0)
            if byte == 0x55:  # a pause: the line stays high
                await ctx.tick().repeat(rng.randrange(3 * clocks, 5 * clocks))

    async def body(ctx):
        for _ in range((10 * len(BYTES) + 12) * clocks):
            samples.append(ctx.get(dut.tx))
            await ctx.tick()

    from amaranth.sim import Simulator
    simulator = Simulator(dut)
    simulator.add_clock(CLOCK_S)
    simulator.add_testbench(body)
    simulator.add_testbench(source, background=True)
    simulator.run()
    at, found = 0, bytearray()
    while 0 in samples[at:]:
        at += samples[at:].index(0)
        bits = [samples[at + place * clocks:at + (place + 1) * clocks] for place in range(10)]
        assert all(len(set(bit)) == 1 for bit in bits[:-1]) and bits[-1] == [1] * clocks
        found.append(sum(bit[0] << place for place, bit in enumerate(bits[1:9])))
        at += 10 * clocks
    assert found == BYTES


def test_clocks_that_make_no_baud_rate_are_refused():
    assert divisor(27e6, 1e6) == 27 and divisor(80e6, 3e6) == 27
    with pytest.raises(ConfigError, match="need a clock of 12 MHz or more"):
        divisor(10e6, 3e6)
    with pytest.raises(ConfigError, match="more than 2% from"):
        divisor(25e6, 2e6 * 0.93)
