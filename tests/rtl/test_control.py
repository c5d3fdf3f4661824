"""The control unit alone: when dynamic values are there, when tokens start and end, and the offsets of a position."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

import rtl.control
from rtl.config import PRESETS, Config
from rtl.control import Control, Values
from rtl.issue_matrix import column_bits
from rtl.protocol import register_names
from rtl.timing import timing
from tests.rtl.bench import MACHINES, run


async def write(ctx, port, address: int, data: int) -> None:
    """One word through a load port, by the byte where the machine has it so."""
    if hasattr(port, "byte"):
        ctx.set(port.byte, 1)
        ctx.set(port.address, address)
        ctx.set(port.data, data >> 8)
        ctx.set(port.en, 1)
        await ctx.tick()
        ctx.set(port.byte, 0)
        data &= 0xFF
    ctx.set(port.address, address)
    ctx.set(port.data, data)
    ctx.set(port.en, 1)
    await ctx.tick()
    ctx.set(port.en, 0)


def keep(ctx, row, kept: dict[int, int]) -> None:
    """What a queue's copy of the dynamic values becomes in this cycle."""
    if ctx.get(row.en):
        value = ctx.get(row.found.value)
        assert ctx.get(row.found.some) == int(value > 0)
        kept[ctx.get(row.index)] = value


@pytest.mark.parametrize("name", [name for name, cfg in PRESETS.items() if not cfg.linear_values])
def test_a_buckets_values_are_all_there_in_the_declared_cycle_and_not_before(name: str) -> None:
    cfg = PRESETS[name]
    rng = random.Random(name)
    table = [[rng.randrange(1 << cfg.value_bits) for _ in range(cfg.values)] for _ in range(cfg.buckets)]
    dut = Values(cfg)
    kept: dict[int, int] = {}

    async def body(ctx):
        for _ in range(1 + cfg.spread):  # entry 0, after the reset
            keep(ctx, dut.row, kept)
            await ctx.tick()
        for bucket, row in enumerate(table):
            row[rng.randrange(1, cfg.values)] = 0
            for index, value in enumerate(row):
                await write(ctx, dut.load, bucket * cfg.values + index, value)
        for bucket in {0, cfg.buckets - 1, cfg.buckets // 2}:
            expected = [0, *table[bucket][1:]]  # entry 0 is zero whatever was written
            ctx.set(dut.bucket, bucket)
            ctx.set(dut.go, 1)
            seen = [[], []]  # a word reads them in the cycle before it becomes current, which is after they are written
            for _ in range(timing(cfg).values_ready + 3):
                keep(ctx, dut.row, kept)
                seen.append([kept.get(index) for index in range(cfg.values)])
                await ctx.tick()
                ctx.set(dut.go, 0)
            right = [row == expected for row in seen]
            assert right.index(True) == timing(cfg).values_ready and all(right[right.index(True):])

    run(dut, body)


@dataclass
class Expected:
    """What the control unit must show: a position and a token of each sequence, and the cycles of all tokens."""

    cfg: Config
    steps: dict[str, int]
    bits: dict[str, int]
    positions: list[int]
    tokens: list[int]
    cycles: int = 0
    table: list[int] = field(default_factory=list)
    kept: dict[int, int] = field(default_factory=dict)

    def check_state(self, ctx, dut: Control) -> None:
        """Position and token, and what follows from the position alone."""
        assert each(ctx, dut.position) == self.positions and each(ctx, dut.token) == self.tokens
        ropes = [position * self.steps["rope_step"] for position in self.positions]
        offsets = [position // self.cfg.lanes * self.steps["key_step"] for position in self.positions]
        assert each(ctx, dut.rope) == [value % (1 << self.bits["rope_step"]) for value in ropes]
        assert each(ctx, dut.key_offset) == [value % (1 << self.bits["key_step"]) for value in offsets]
        if self.cfg.windows:
            window = self.steps["window"] or 1 << 16
            assert each(ctx, dut.oldest) == [max(0, position + 1 - window) for position in self.positions]

    def check_column(self, ctx, dut: Control) -> None:
        """The tokens' embedding columns."""
        columns = [token << self.steps["embed_shift"] for token in self.tokens]
        assert each(ctx, dut.column) == [value % (1 << column_bits(self.cfg)) for value in columns]

    def check_values(self, ctx, dut: Control) -> None:
        """Dynamic value 1 is that of the furthest position's bucket."""
        bucket = max(self.positions) // self.cfg.bucket_positions
        assert self.kept[1] == self.table[bucket], f"positions {self.positions}: another bucket's row"

    def check_bucket(self, ctx, dut: Control) -> None:
        """Where dynamic values follow from it, the bucket is that of the furthest position."""
        assert ctx.get(dut.bucket) == max(self.positions) // self.cfg.bucket_positions, self.positions


def each(ctx, values) -> list[int]:
    """A port with a value for each sequence."""
    return [ctx.get(values[sequence]) for sequence in range(len(values))]


async def prepare(ctx, dut: Control, rng: random.Random) -> Expected:
    """Load registers and the first dynamic value of every bucket; set each sequence's token."""
    cfg, steps = dut.cfg, {}
    for address, register in enumerate(register_names(cfg)):
        if register not in dut.register_bits:
            continue
        most = cfg.lanes if register == "window" else 1 << min(16, dut.register_bits[register])
        steps[register] = rng.randrange(most)
        await write(ctx, dut.load_register, address, steps[register])
    if cfg.choices:
        assert ctx.get(dut.expert_rows) == steps["expert_rows"]
    table = rng.sample(range(1 << cfg.value_bits), cfg.buckets)
    for bucket, value in enumerate([] if cfg.linear_values else table):
        await write(ctx, dut.load_values, bucket * cfg.values + 1, value)
    tokens = rng.sample(range(1 << cfg.token_bits), cfg.sequences)
    ctx.set(dut.idle, 1)
    ctx.set(dut.new_token, tokens)
    ctx.set(dut.set_token, 1)
    await ctx.tick()
    ctx.set(dut.set_token, 0)
    return Expected(cfg, steps, dut.register_bits, [0] * cfg.sequences, tokens, table=table)


async def one_token(ctx, dut: Control, expected: Expected, rng: random.Random, *, length: int) -> None:
    """A token from the cycle before its cycle 0, in which this begins, to its record; `length` is the cycle of the last
    END."""
    cfg, times = dut.cfg, timing(dut.cfg)
    classify, winners = rng.randrange(2), [rng.randrange(1 << cfg.token_bits) for _ in range(cfg.sequences)]
    assert ctx.get(dut.start) and not ctx.get(dut.go)  # while the record of the token before is taken
    await ctx.tick()
    assert ctx.get(dut.go) and not ctx.get(dut.start) and not ctx.get(dut.record.valid)
    await ctx.tick()
    ctx.set(dut.idle, 0)
    ctx.set(dut.classify, classify)
    ctx.set(dut.record.ready, 0)
    for cycle in range(1, length + times.token_read):
        ctx.set(dut.idle, cycle >= length)
        assert not any(ctx.get(port) for port in (dut.record.valid, dut.start, dut.go, dut.ready))
        expected.check_state(ctx, dut)
        expected.check_column(ctx, dut)
        if cfg.linear_values:
            expected.check_bucket(ctx, dut)
        else:
            keep(ctx, dut.values, expected.kept)
            if cycle >= times.values_ready - 2:
                expected.check_values(ctx, dut)
        await ctx.tick()
    for _ in range(rng.choice((0, 0, 1, 7))):  # the record is not taken: nothing starts, and no cycle is counted
        assert ctx.get(dut.record.valid) and not ctx.get(dut.go)
        await ctx.tick()
    ctx.set(dut.winner, winners)
    ctx.set(dut.record.ready, 1)
    if classify:
        expected.tokens = winners
    assert ctx.get(dut.record.valid) and ctx.get(dut.record.payload.cycles) == length + times.token_overhead
    assert each(ctx, dut.record.payload.token) == expected.tokens
    expected.cycles += length + times.token_overhead
    assert ctx.get(dut.cycles) == expected.cycles
    expected.positions = [position + 1 for position in expected.positions]


@pytest.mark.parametrize("name", MACHINES)
def test_offsets_follow_position_and_token_and_cycles_count_to_the_next_start(name: str) -> None:
    rng = random.Random(name)
    dut = Control(MACHINES[name])

    async def body(ctx):
        expected = await prepare(ctx, dut, rng)
        ctx.set(dut.want, 1)
        for _ in range(2 * dut.cfg.lanes + 3):
            await one_token(ctx, dut, expected, rng, length=rng.randint(1, 9))
        ctx.set(dut.want, 0)
        await ctx.tick()
        assert ctx.get(dut.ready) and not ctx.get(dut.record.valid)
        expected.check_state(ctx, dut)
        ctx.set(dut.reset, 1)
        await ctx.tick()
        ctx.set(dut.reset, 0)
        expected.positions = expected.tokens = [0] * dut.cfg.sequences
        expected.check_state(ctx, dut)
        assert ctx.get(dut.cycles) == 0

    run(dut, body)


def check_restarts(name: str) -> None:
    """Each sequence begins anew at its own time, so that each is ahead of the others for a while."""
    rng = random.Random(name)
    dut = Control(MACHINES[name])
    cfg, tokens = dut.cfg, 3 * dut.cfg.bucket_positions
    restarts = {tokens * (sequence + 1) // (cfg.sequences + 1): 1 << sequence for sequence in range(cfg.sequences)}
    restarts[tokens - 2] = (1 << cfg.sequences) - 1

    async def body(ctx):
        expected = await prepare(ctx, dut, rng)
        for number in range(tokens):
            if flags := restarts.get(number, 0):
                ctx.set(dut.restart, flags)
                await ctx.tick()
                ctx.set(dut.restart, 0)
                expected.positions = [
                    0 if flags >> sequence & 1 else position for sequence, position in enumerate(expected.positions)]
                expected.check_state(ctx, dut)  # the tokens stay
                assert ctx.get(dut.cycles) == expected.cycles and ctx.get(dut.ready) and not ctx.get(dut.go)
            ctx.set(dut.want, 1)
            # Long enough to see the dynamic values around a change of bucket.
            ends = {0, cfg.bucket_positions - 1} & {position % cfg.bucket_positions for position in expected.positions}
            await one_token(ctx, dut, expected, rng, length=timing(cfg).values_ready + 1 if ends else 2)
            ctx.set(dut.want, 0)
            await ctx.tick()

    run(dut, body)


@pytest.mark.parametrize("name", MACHINES)
def test_a_sequence_that_restarts_leaves_the_others_alone_and_the_bucket_is_the_furthest_ones(name: str) -> None:
    check_restarts(name)


@pytest.mark.parametrize("sequence", [0, -1])
def test_a_bucket_that_follows_one_sequence_alone_would_be_noticed(
    sequence: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtl.control, "furthest", lambda positions: positions[sequence % len(positions)])
    with pytest.raises(AssertionError, match="another bucket's row"):
        check_restarts("tiny")
