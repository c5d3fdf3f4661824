"""The noise generator: the golden model's numbers, each row in the cycle in which its pass is in `select`."""

from __future__ import annotations

import dataclasses
import random

import pytest

from rtl.config import PRESETS, Config, ConfigError
from rtl.contents import Contents
from rtl.isa import Addend
from rtl.noise import ENTRY_BITS, FRACTION_BITS, OFFSET, PART_BITS, ZEROS_MOST, far_entry, gumbel, near_entry
from rtl.protocol import Space, register_names
from rtl.timing import NOISE_ROWS, timing, vector_cycle
from sim.golden import noise as golden
from tests.rtl.bench import MACHINES, run
from verification.noise_unit import NoiseUnit, register_words, soonest

NARROW = dataclasses.replace(PRESETS["tiny"], name="narrow", lanes=2, groups=1, tile_lanes=1, noise_rate=2, sequences=1)
"""A whole row at once."""
SAMPLING = {name: cfg for name, cfg in (MACHINES | {"narrow": NARROW}).items() if cfg.noise_rate}


async def load(ctx, dut: NoiseUnit, words: list[int]) -> None:
    """Through the load port."""
    for address, word in enumerate(words):
        ctx.set(dut.load.address, address)
        ctx.set(dut.load.data, word)
        ctx.set(dut.load.en, 1)
        await ctx.tick()
    ctx.set(dut.load.en, 0)


async def token(ctx, dut: NoiseUnit, restart: int = 0, wait: int | None = None) -> None:
    """A token begins, in the sequences of `restart`, a bit each, that at position 0; up to the cycle `wait`, by default
    the first that may take a row."""
    ctx.set(dut.restart, restart)
    await ctx.tick()
    ctx.set(dut.restart, 0)
    ctx.set(dut.go, 1)
    await ctx.tick()  # cycle 0
    ctx.set(dut.go, 0)
    for _ in range((timing(dut.cfg).noise_ready if wait is None else wait) - 1):
        await ctx.tick()


async def play(ctx, dut: NoiseUnit, schedule: dict[int, int]) -> list[tuple[int, list[int]]]:
    """Passes by their cycle, each of a sequence; sequence and row of each. Other passes come between."""
    cfg, rng, found = dut.cfg, random.Random(1), []
    late = vector_cycle(cfg, "select")
    for cycle in range(max(schedule) + late + 1):
        sequence = schedule.get(cycle)
        ctx.set(dut.issue.valid, sequence is not None or rng.random() < 0.5)
        ctx.set(dut.issue.addend, Addend.NOISE.value if sequence is not None else rng.randrange(3))
        if cfg.sequences > 1:
            ctx.set(dut.issue.sequence, sequence if sequence is not None else rng.randrange(cfg.sequences))
        if (seen := schedule.get(cycle - late)) is not None:
            found.append((seen, [ctx.get(dut.row[lane]) for lane in range(cfg.lanes)]))
        await ctx.tick()
    ctx.set(dut.issue.valid, 0)
    return found


def model(cfg: Config, seeds: list[int], mantissa: int, shift: int) -> list[golden.Noise]:
    made = [golden.Noise(seed, mantissa=mantissa, shift=shift) for seed in seeds]
    for one in made:
        one.begin()
    return made


@pytest.mark.parametrize("name", SAMPLING)
def test_rows_are_the_golden_models_at_every_legal_pace(name: str):
    """Bursts of all rows, then passes as close as they may be, of all sequences at once; then again from the seed."""
    cfg = SAMPLING[name]
    rng = random.Random(name)
    seeds = [rng.getrandbits(64) for _ in range(cfg.sequences)]
    dut, t = NoiseUnit(cfg), timing(cfg)
    schedule: dict[int, int] = {}
    for sequence in range(cfg.sequences):
        taken: list[int] = []
        for number in range(3 * NOISE_ROWS):
            taken.append(soonest(taken, NOISE_ROWS, t.noise_apart, set(schedule)))
            if number >= 2 * NOISE_ROWS:
                taken[-1] += rng.randrange(9)
                while taken[-1] in schedule:
                    taken[-1] += 1
        schedule |= dict.fromkeys(taken, sequence)
    assert len(schedule) == 3 * NOISE_ROWS * cfg.sequences

    async def body(ctx):
        for mantissa, shift in ((200, 7), (0, 4)) if name == "tiny" else ((255, 5),):
            await load(ctx, dut, register_words(seeds, mantissa, shift))
            await token(ctx, dut, (1 << cfg.sequences) - 1)
            expected = model(cfg, seeds, mantissa, shift)
            for sequence, row in await play(ctx, dut, schedule):
                assert row == expected[sequence].draw(cfg.lanes).tolist()
            await token(ctx, dut)  # one whose rows nobody takes
            # One sequence begins anew, the others go on.
            await token(ctx, dut, 1)
            for sequence, one in enumerate(expected):
                for _ in range(2):
                    one.begin()
                if sequence == 0:
                    one.restart()
                    one.begin()
            for sequence, row in await play(ctx, dut, schedule):
                assert row == expected[sequence].draw(cfg.lanes).tolist()

    run(dut, body)


@pytest.mark.parametrize("name", ["tiny", "ulx3s"])
def test_a_row_that_is_taken_too_early_is_wrong(name: str):
    """So the rules that sim.cycle.check enforces are there for a reason, in the token and as it begins."""
    cfg = SAMPLING[name]
    dut = NoiseUnit(cfg)

    async def body(ctx):
        await load(ctx, dut, register_words([3 ** 40] * cfg.sequences, 255, 4))
        await token(ctx, dut, 1)
        expected = model(cfg, [3 ** 40], 255, 4)[0]
        found = [row for _, row in await play(ctx, dut, dict.fromkeys(range(2 * NOISE_ROWS), 0))]
        good = [row == expected.draw(cfg.lanes).tolist() for row in found]
        assert all(good[:NOISE_ROWS]) and not all(good)
        await load(ctx, dut, register_words([5 ** 27] * cfg.sequences, 255, 7))
        await token(ctx, dut, 1, wait=NOISE_ROWS)
        expected = model(cfg, [5 ** 27], 255, 7)[0]
        found = [row for _, row in await play(ctx, dut, dict.fromkeys(range(NOISE_ROWS), 0))]
        assert found != [expected.draw(cfg.lanes).tolist() for _ in found]

    run(dut, body)


def test_a_seed_counts_from_the_next_restart_on():
    cfg = PRESETS["tiny"]
    dut = NoiseUnit(cfg, Contents(words={Space.REGISTER: register_words([11 ** 18, 5], 255, 4)}))

    async def body(ctx):
        await token(ctx, dut)  # after a reset
        await load(ctx, dut, register_words([1, 2], 255, 4))
        found = await play(ctx, dut, {0: 0, 1: 1, 2: 0})
        first, second = model(cfg, [11 ** 18, 5], 255, 4)
        assert found == [(0, first.draw(4).tolist()), (1, second.draw(4).tolist()), (0, first.draw(4).tolist())]
        await token(ctx, dut, 3)
        (_, row), = await play(ctx, dut, {0: 0})
        assert row == model(cfg, [1], 255, 4)[0].draw(4).tolist()

    run(dut, body)


def test_the_tables_are_the_golden_models():
    """Written twice: with Decimal here, with numpy there."""
    for zeros in range(ZEROS_MOST + 1):
        for part in range(1 << PART_BITS):
            entry = near_entry(min(zeros, 3), part) + far_entry(max(0, zeros - 3))
            assert entry == golden.TABLE[zeros, part]
            assert -1 << ENTRY_BITS - 1 <= entry < 1 << ENTRY_BITS - 1
            error = entry / 2 ** FRACTION_BITS + OFFSET - float(gumbel(zeros, part))
            assert abs(error) < 0.018, (zeros, part)


def test_registers_have_names():
    assert register_names(PRESETS["icebreaker"]) == ("key_step", "rope_step", "embed_shift")
    names = register_names(PRESETS["tiny"])
    assert names[-3:] == ("seed_1_3", "expert_rows", "window")
    assert names[3:5] == ("temperature", "seed_0_0") and len(names) == 14


@pytest.mark.parametrize(("fields", "complaint"), [
    ({"noise_rate": 3}, "noise_rate is 3"), ({"noise_rate": 8}, "at most lanes"),
    ({"noise_rate": 1, "name": "icebreaker"}, "noise_rate must be 0")])
def test_rates_that_cannot_be(fields: dict, complaint: str):
    base = PRESETS[str(fields.get("name", "tiny"))]
    with pytest.raises(ConfigError, match=complaint):
        dataclasses.replace(base, **fields)
