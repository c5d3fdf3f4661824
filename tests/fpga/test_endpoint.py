"""The gateware endpoint: frames in at byte level, frames out, and what the core sees between."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest
from amaranth.sim import Simulator

from fpga.link.endpoint import Endpoint
from fpga.link.frames import ESCAPE, NUMBERS, START, Frame, FrameReader, Kind, encode

IDENTITY = bytes([START, ESCAPE, *range(14)])
BYTE_CYCLES = 12  # the fewest between two bytes of the UART
ANSWER_CYCLES = 60


class Bench:
    """An endpoint with a UART and a core that do as they are told.

    Members
    -------
    core : bytes that the core was given. outgoing : bytes that it wants to send. hungry : it takes what it is given.
    """

    def __init__(self, ring_bits: int = 8) -> None:
        self.dut = Endpoint(IDENTITY, ring_bits=ring_bits)
        self.core, self.outgoing, self.hungry = bytearray(), bytearray(), True
        self.resets = 0
        self._wire = bytearray()

    def run(self, body: Callable) -> None:
        """Simulate `body`, an async function of this bench and the simulator's context."""
        dut = self.dut

        async def core(ctx):
            while True:
                ctx.set(dut.rx.ready, self.hungry)
                offered = bool(self.outgoing)
                ctx.set(dut.tx.valid, offered)
                if offered:
                    ctx.set(dut.tx.payload, self.outgoing[0])
                _, _, valid, payload, taken, reset = await ctx.tick().sample(
                    dut.rx.valid & dut.rx.ready, dut.rx.payload, dut.tx.ready, dut.reset_core)
                if valid and not reset:
                    self.core.append(payload)
                if offered and taken and not reset:
                    del self.outgoing[0]
                self.resets += reset

        async def uart(ctx):
            while True:
                ctx.set(dut.sent.ready, 1)
                _, _, valid, payload = await ctx.tick().sample(dut.sent.valid, dut.sent.payload)
                if valid:
                    self._wire.append(payload)
                    ctx.set(dut.sent.ready, 0)
                    await ctx.tick().repeat(BYTE_CYCLES)

        async def bench(ctx):
            await body(self, ctx)

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.add_testbench(core, background=True)
        simulator.add_testbench(uart, background=True)
        simulator.run()

    async def raw(self, ctx, data: bytes) -> list[Frame]:
        """Send bytes; the frames that are answered."""
        self._wire.clear()
        for byte in data:
            ctx.set(self.dut.received, byte)
            ctx.set(self.dut.received_valid, 1)
            await ctx.tick()
            ctx.set(self.dut.received_valid, 0)
            ctx.set(self.dut.received, 0xA5)  # valid for one cycle
            await ctx.tick().repeat(BYTE_CYCLES - 1)
        length = -1
        while len(self._wire) != length:
            length = len(self._wire)
            await ctx.tick().repeat(ANSWER_CYCLES)
        reader = FrameReader(from_board=True)
        frames = reader.feed(bytes(self._wire))
        assert reader.damaged == 0 and not reader.inside
        assert len(frames) == self._wire.count(START)
        return frames

    async def send(self, ctx, kind: int, number: int, payload: bytes = b"") -> Frame | None:
        """Send a frame; its answer."""
        frames = await self.raw(ctx, encode(Frame(kind=kind, number=number, payload=payload)))
        assert len(frames) <= 1
        for frame in frames:
            assert (frame.kind, frame.number) == (kind, number)
        return frames[0] if frames else None

    async def settle(self, ctx, count: int = 16) -> None:
        """Wait until rings and core have moved so many bytes."""
        await ctx.tick().repeat(3 * count + 20)


def simulate(body: Callable, **options: int) -> Bench:
    bench = Bench(**options)
    bench.run(body)
    return bench


def test_hello_and_reset_are_answered_with_the_identity():
    async def body(bench: Bench, ctx):
        for kind in (Kind.HELLO, Kind.RESET):
            answer = await bench.send(ctx, kind, 3)
            assert answer is not None and (answer.payload, answer.room) == (IDENTITY, 255)
            assert bool(bench.resets) == ctx.get(bench.dut.open) == (kind is Kind.RESET)

    simulate(body)


@pytest.mark.parametrize("ring_bits", [5, 7])
def test_data_goes_to_the_core_in_order_and_comes_from_it(ring_bits: int):
    most = (1 << ring_bits) - 1

    async def body(bench: Bench, ctx):
        rng = random.Random(1)
        await bench.send(ctx, Kind.RESET, 14)
        given, made, got, number = bytearray(), bytearray(), bytearray(), 14
        special = bytes([START, ESCAPE])
        for size in (0, 2, most, most, 0, most - 1, *([1] * NUMBERS)):
            payload = (special + rng.randbytes(size))[:size]
            reply = (rng.randbytes(size) + special)[-size:] if size else b""
            bench.outgoing += reply
            await bench.settle(ctx, size)
            number = (number + 1) % NUMBERS
            answer = await bench.send(ctx, Kind.DATA, number, payload)
            assert answer is not None
            given += payload
            made += reply
            got += answer.payload
            await bench.settle(ctx, size)
            assert bench.core == given
        assert got == made
        assert len(made) > 2 * most

    simulate(body, ring_bits=ring_bits)


def test_a_repetition_is_answered_the_same_and_gives_the_core_nothing():
    async def body(bench: Bench, ctx):
        await bench.send(ctx, Kind.RESET, 0)
        bench.outgoing += b"first"
        await bench.settle(ctx)
        first = await bench.send(ctx, Kind.DATA, 1, b"abc")
        bench.outgoing += b"second"
        await bench.settle(ctx)
        again = await bench.send(ctx, Kind.DATA, 1, b"abc")
        assert first is not None and again is not None
        assert first.payload == again.payload == b"first"
        await bench.settle(ctx)
        assert bench.core == b"abc"
        after = await bench.send(ctx, Kind.DATA, 2, b"d")
        assert after is not None and after.payload == b"second"
        await bench.settle(ctx)
        assert bench.core == b"abcd"

    simulate(body)


def damaged() -> Iterable[tuple[str, bytes]]:
    """Frames that must be as if they had never been sent."""
    line = encode(Frame(kind=Kind.DATA, number=1, payload=b"bad"))
    for at in range(1, len(line)):
        yield f"bit of byte {at}", line[:at] + bytes([line[at] ^ 1 << at % 8]) + line[at + 1:]
        yield f"without byte {at}", line[:at] + line[at + 1:]
        yield f"byte {at} twice", line[:at] + line[at:at + 1] + line[at:]
    yield "without START", line[1:]
    yield "of a board", encode(Frame(kind=Kind.DATA, number=1, payload=b"bad", from_board=True))
    yield "of no kind", encode(Frame(kind=3, number=1, payload=b"bad"))
    yield "of another kind", encode(Frame(kind=0, number=1, payload=b"bad"))


def test_nothing_of_a_damaged_frame_reaches_the_core():
    async def body(bench: Bench, ctx):
        await bench.send(ctx, Kind.RESET, 0)
        count = 0
        for name, line in damaged():
            # A byte that was doubled or lost at the very end leaves a good frame, with something behind it.
            if line.startswith(encode(Frame(kind=Kind.DATA, number=1, payload=b"bad"))):
                continue
            assert await bench.raw(ctx, line) == [], name
            count += 1
        assert count > 30
        answer = await bench.send(ctx, Kind.DATA, 1, b"good")
        assert answer is not None
        await bench.settle(ctx)
        assert bench.core == b"good"

    simulate(body)


def test_a_start_begins_a_frame_wherever_it_comes():
    async def body(bench: Bench, ctx):
        await bench.send(ctx, Kind.RESET, 0)
        line = encode(Frame(kind=Kind.DATA, number=1, payload=b"x"))
        cut = [encode(Frame(kind=Kind.DATA, number=1, payload=bytes(20)))[:size] for size in (1, 2, 3, 10)]
        for number, before in enumerate([*cut, bytes([START, ESCAPE]), bytes([ESCAPE]), b"\0\xff"], 1):
            line = encode(Frame(kind=Kind.DATA, number=number, payload=b"x"))
            assert len(await bench.raw(ctx, before + line)) == 1, before
        await bench.settle(ctx)
        assert bench.core == b"x" * 7

    simulate(body)


def test_data_before_a_reset_is_not_answered():
    async def body(bench: Bench, ctx):
        for number in range(3):
            assert await bench.send(ctx, Kind.DATA, number, b"?") is None
        await bench.settle(ctx)
        assert bench.core == b""

    simulate(body)


@pytest.mark.parametrize("ring_bits", [5, 8])
def test_more_than_there_is_room_for_is_refused_whole_and_what_waits_stays(ring_bits: int):
    most = (1 << ring_bits) - 1

    async def body(bench: Bench, ctx):
        bench.hungry = False
        await bench.send(ctx, Kind.RESET, 0)
        first = bytes(range(most - 3))
        answer = await bench.send(ctx, Kind.DATA, 1, first)
        assert answer is not None
        await bench.settle(ctx)
        # One byte has left the ring already, to be offered to the core.
        again = await bench.send(ctx, Kind.DATA, 1, first)  # has no room either, but needs none
        assert again is not None
        full = await bench.send(ctx, Kind.DATA, 2)
        assert full is not None and full.room == 4
        assert await bench.send(ctx, Kind.DATA, 3, b"12345") is None
        assert await bench.send(ctx, Kind.DATA, 3, b"1234") is not None
        empty = await bench.send(ctx, Kind.DATA, 4)
        assert empty is not None and empty.room == 0
        bench.hungry = True
        await bench.settle(ctx, most)
        assert bench.core == first + b"1234"
        empty = await bench.send(ctx, Kind.DATA, 5)
        assert empty is not None and empty.room == most

    simulate(body, ring_bits=ring_bits)


def test_a_core_that_is_not_asked_waits_and_loses_nothing():
    async def body(bench: Bench, ctx):
        await bench.send(ctx, Kind.RESET, 0)
        words = random.Random(2).randbytes(100)
        bench.outgoing += words
        await bench.settle(ctx, 31)
        got = bytearray()
        for number in range(1, 9):  # full of what is not acknowledged yet, a ring takes nothing new
            answer = await bench.send(ctx, Kind.DATA, number)
            assert answer is not None
            got += answer.payload
            await bench.settle(ctx, 31)
        assert got == words

    simulate(body, ring_bits=5)


def test_a_reset_empties_both_streams_and_a_new_host_goes_on_from_there():
    async def body(bench: Bench, ctx):
        bench.hungry = False
        await bench.send(ctx, Kind.RESET, 7)
        await bench.send(ctx, Kind.DATA, 8, b"never taken")
        bench.outgoing += b"never asked for"
        await bench.settle(ctx)
        bench.outgoing.clear()
        await bench.raw(ctx, encode(Frame(kind=Kind.DATA, number=9, payload=b"killed here"))[:8])
        answer = await bench.send(ctx, Kind.RESET, 2)
        assert answer is not None and (answer.payload, answer.room) == (IDENTITY, 255)
        bench.hungry = True
        await bench.settle(ctx)
        assert bench.core == b""
        answer = await bench.send(ctx, Kind.DATA, 3, b"new")
        assert answer is not None and answer.payload == b""
        await bench.settle(ctx)
        assert bench.core == b"new"

    simulate(body)
