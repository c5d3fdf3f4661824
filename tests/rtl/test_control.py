"""The control unit alone: when dynamic values are there, when tokens start and end, and the offsets of a position."""

from __future__ import annotations

import random

import pytest

from rtl.config import PRESETS
from rtl.control import REGISTERS, Control, Values
from rtl.issue_matrix import column_bits
from rtl.timing import timing
from tests.rtl.bench import run


async def write(ctx, port, address: int, data: int) -> None:
    """One word through a load port."""
    ctx.set(port.address, address)
    ctx.set(port.data, data)
    ctx.set(port.en, 1)
    await ctx.tick()
    ctx.set(port.en, 0)


@pytest.mark.parametrize("name", PRESETS)
def test_a_buckets_values_are_all_there_in_the_declared_cycle_and_not_before(name: str) -> None:
    cfg = PRESETS[name]
    rng = random.Random(name)
    table = [[rng.randrange(1 << cfg.value_bits) for _ in range(cfg.values)] for _ in range(cfg.buckets)]
    dut = Values(cfg)

    async def body(ctx):
        for bucket, row in enumerate(table):
            row[rng.randrange(1, cfg.values)] = 0
            for index, value in enumerate(row):
                await write(ctx, dut.load, bucket * cfg.values + index, value)
        for bucket in {0, cfg.buckets - 1, cfg.buckets // 2}:
            expected = [0, *table[bucket][1:]]  # entry 0 is zero whatever was written
            ctx.set(dut.bucket, bucket)
            ctx.set(dut.go, 1)
            seen = []
            for _ in range(timing(cfg).values_ready + 3):
                seen.append([ctx.get(dut.row.value[index]) for index in range(cfg.values)])
                if seen[-1] == expected:
                    zeros = [ctx.get(dut.row.zero[index]) for index in range(cfg.values)]
                    assert zeros == [int(value == 0) for value in expected]
                await ctx.tick()
                ctx.set(dut.go, 0)
            right = [row == expected for row in seen]
            assert right.index(True) == timing(cfg).values_ready and all(right[right.index(True):])

    run(dut, body)


@pytest.mark.parametrize("name", PRESETS)
def test_offsets_follow_position_and_token_and_cycles_count_to_the_next_start(name: str) -> None:
    cfg = PRESETS[name]
    rng = random.Random(name)
    dut = Control(cfg)
    steps = {register: rng.randrange(1 << bits) for register, bits in dut.register_bits.items()}

    async def body(ctx):
        for address, register in enumerate(REGISTERS):
            await write(ctx, dut.load_register, address, steps[register] & 0xFFFF)
            steps[register] &= 0xFFFF
        ctx.set(dut.idle, 1)
        ctx.set(dut.new_token, token := 3)
        ctx.set(dut.set_token, 1)
        await ctx.tick()
        ctx.set(dut.set_token, 0)
        ctx.set(dut.want, 1)
        total = 0
        for position in range(2 * cfg.lanes + 3):
            classify, winner, length = rng.randrange(2), rng.randrange(1 << cfg.token_bits), rng.randint(1, 9)
            stall = rng.choice((0, 0, 1, 7))
            assert ctx.get(dut.go)  # cycle 0: back to back with the record of the token before
            await ctx.tick()
            ctx.set(dut.idle, 0)
            ctx.set(dut.classify, classify)
            ctx.set(dut.record.ready, 0)
            for cycle in range(1, length + timing(cfg).token_overhead):
                ctx.set(dut.idle, cycle >= length)  # END of the last queue in cycle `length`
                assert not ctx.get(dut.record.valid) and not ctx.get(dut.go) and not ctx.get(dut.ready)
                assert ctx.get(dut.position) == position
                assert ctx.get(dut.column) == token * steps["embed_step"] % (1 << column_bits(cfg))
                assert ctx.get(dut.rope) == position * steps["rope_step"] % (1 << len(dut.rope))
                block = position // cfg.lanes
                assert ctx.get(dut.key_offset) == block * steps["key_step"] % (1 << len(dut.key_offset))
                await ctx.tick()
            for _ in range(stall):  # the host does not take the record: nothing starts, and no cycle is counted
                assert ctx.get(dut.record.valid) and not ctx.get(dut.go)
                await ctx.tick()
            ctx.set(dut.winner, winner)
            ctx.set(dut.record.ready, 1)
            token = winner if classify else token
            assert ctx.get(dut.record.valid)
            assert ctx.get(dut.record.payload.token) == token
            assert ctx.get(dut.record.payload.cycles) == length + timing(cfg).token_overhead
            total += length + timing(cfg).token_overhead
            assert ctx.get(dut.cycles) == total
        ctx.set(dut.want, 0)
        await ctx.tick()
        assert ctx.get(dut.ready) and not ctx.get(dut.record.valid) and ctx.get(dut.token) == token
        ctx.set(dut.reset, 1)
        await ctx.tick()
        after = [ctx.get(signal) for signal in (dut.position, dut.token, dut.cycles, dut.rope, dut.key_offset)]
        assert after == [0] * 5

    run(dut, body)
