"""The mesh and the matrix unit: exact sums, in the cycles that rtl.timing gives."""

from __future__ import annotations

import random

import pytest

from rtl.config import PRESETS, Config
from rtl.matrix import Matrix
from rtl.mesh import Mesh
from rtl.paired_mesh import PairedMesh
from rtl.timing import bank_stages, matrix_tree_stages, timing
from tests.rtl.bench import pack, run, small, unpack


def int8s(rng: random.Random, count: int) -> list[int]:
    """Operands: anything, or all at one end of the range."""
    end = rng.choice([None, None, None, -128, 127])
    return [rng.randint(-128, 127) if end is None else end for _ in range(count)]


def dot(cfg: Config, weights: list[int], activations: list[int]) -> list[int]:
    """One sum a lane."""
    return [sum(weights[lane * cfg.taps + tap] * activations[lane // cfg.group_lanes * cfg.taps + tap]
                for tap in range(cfg.taps)) for lane in range(cfg.lanes)]


MESHES = [
    (4, 4, 1, 1, 1), (4, 4, 2, 1, 1), (4, 4, 2, 4, 4), (2, 8, 1, 1, 2), (8, 2, 2, 2, 1), (8, 4, 2, 4, 2),
    (8, 4, 2, 8, 1), (2, 2, 1, 2, 2)]


@pytest.mark.parametrize(("lanes", "taps", "groups", "tile_lanes", "tile_taps"), MESHES)
def test_mesh_sums_arrive_together_after_the_declared_registers(lanes, taps, groups, tile_lanes, tile_taps):
    cfg = small(PRESETS["tiny"], lanes=lanes, taps=taps, groups=groups, tile_lanes=tile_lanes, tile_taps=tile_taps)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    check_mesh(cfg, 20, random.Random(seed))


PAIRED = [mesh for mesh in MESHES if mesh[3] > 1] + [(8, 16, 2, 4, 8), (16, 4, 1, 4, 1)]


@pytest.mark.parametrize("in_logic", [0, 5])
@pytest.mark.parametrize(("lanes", "taps", "groups", "tile_lanes", "tile_taps"), PAIRED)
def test_two_products_of_one_multiplier_are_told_apart(lanes, taps, groups, tile_lanes, tile_taps, in_logic):
    cfg = small(PRESETS["tiny"], lanes=lanes, taps=taps, groups=groups, tile_lanes=tile_lanes, tile_taps=tile_taps,
                paired_products=True, logic_products=min(in_logic, lanes * taps))
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    check_mesh(cfg, 40, random.Random(seed), PairedMesh)


def test_every_product_of_two_pairs_of_weights_is_right():
    """All pairs of a weight and an activation, in either lane of a pair, beside corners of the other."""
    cfg = small(PRESETS["tiny"], lanes=2, taps=2, groups=1, tile_lanes=2, tile_taps=2, paired_products=True)
    seen = [(one, other) for one in range(-128, 128) for other in (-128, -1, 0, 1, 127)]
    operands = [([one, 0, other, 0], [x, 0]) for one, other in (*seen, *((b, a) for a, b in seen))
                for x in (-128, -127, -33, -1, 0, 1, 31, 64, 127)]
    check_operands(cfg, operands, PairedMesh)


def test_a_sign_that_is_not_turned_is_found(monkeypatch: pytest.MonkeyPatch):
    """The seeded bug: the lower weight as it is."""
    cfg = small(PRESETS["tiny"], lanes=4, taps=4, groups=1, tile_lanes=2, tile_taps=2, paired_products=True)
    monkeypatch.setattr("rtl.paired_mesh.TURNED", 6)
    with pytest.raises(AssertionError):
        check_mesh(cfg, 20, random.Random(1), PairedMesh)


def check_mesh(cfg: Config, rounds: int, rng: random.Random, mesh: type[Mesh] = Mesh) -> None:
    """New operands each cycle, but one: nothing of a neighbour may get in."""
    operands = [(int8s(rng, cfg.lanes * cfg.taps), int8s(rng, cfg.groups * cfg.taps)) for _ in range(rounds)]
    operands[3] = ([-128] * (cfg.lanes * cfg.taps), [-128] * (cfg.groups * cfg.taps))  # the largest sum
    operands[4] = ([-128] * (cfg.lanes * cfg.taps), [127] * (cfg.groups * cfg.taps))  # the smallest
    check_operands(cfg, operands, mesh)


def check_operands(cfg: Config, operands: list[tuple[list[int], list[int]]], mesh: type[Mesh]) -> None:
    """Sums of operands that come one after another."""
    dut, rounds, latency = mesh(cfg), len(operands), 1 + matrix_tree_stages(cfg)
    bits = len(dut.sums[0])

    async def body(ctx):
        for cycle in range(rounds + latency):
            weights, activations = operands[min(cycle, rounds - 1)]
            ctx.set(dut.weights.as_value(), pack(weights, 8))
            ctx.set(dut.activations.as_value(), pack(activations, 8))
            if cycle >= latency:
                found = unpack(ctx.get(dut.sums.as_value()), bits, cfg.lanes)
                assert found == dot(cfg, *operands[cycle - latency])
            await ctx.tick()

    run(dut, body)


@pytest.mark.parametrize("name", PRESETS)
def test_steps_reach_their_accumulators_in_the_declared_cycles(name):
    """Random steps, also back to back into one slot; operands are right in their one cycle only."""
    cfg, seed = PRESETS[name], random.randrange(2**32)
    print(f"seed {seed}")
    rng, times = random.Random(seed), timing(PRESETS[name])
    arrive = times.matrix_read + bank_stages(cfg)
    steps, cycle = {}, 0
    for index in range(30):
        cycle += rng.choice([1, 1, 1, 2, 7])
        steps[cycle] = {
            "valid": 1, "row": rng.randrange(cfg.bank_rows), "slot": rng.choice([0, 0, rng.randrange(cfg.slots)]),
            "act": [rng.randrange(cfg.act_words) for _ in range(cfg.groups)],
            "clear": int(index == 0 or rng.random() < 0.3)}
    operands = {when: (int8s(rng, cfg.lanes * cfg.taps), int8s(rng, cfg.groups * cfg.taps)) for when in steps}
    junk = (int8s(rng, cfg.lanes * cfg.taps), int8s(rng, cfg.groups * cfg.taps))
    dut = Matrix(cfg)

    async def body(ctx):
        accumulators = [[0] * cfg.lanes for _ in range(cfg.slots)]
        for cycle in range(max(steps) + times.acc_visible + 2):
            ctx.set(dut.issue, steps.get(cycle, {
                "valid": 0, "row": 1, "slot": 0, "act": [0] * cfg.groups, "clear": 1}))
            asked = steps.get(cycle - times.matrix_read + int(cfg.spread))  # memories have the register
            assert ctx.get(dut.bank_enable) == ctx.get(dut.act_enable) == (asked is not None)
            if asked:
                assert ctx.get(dut.bank_row) == asked["row"]
                assert [ctx.get(word) for word in dut.act_words] == asked["act"]
            weights, activations = operands.get(cycle - arrive, junk)
            ctx.set(dut.bank_data.as_value(), pack(weights, 8))
            ctx.set(dut.act_data.as_value(), pack(activations, 8))
            done = steps.get(cycle - times.acc_visible)
            if done:
                kept = accumulators[done["slot"]]
                sums = dot(cfg, *operands[cycle - times.acc_visible])
                accumulators[done["slot"]] = [
                    (0 if done["clear"] else old) + new for old, new in zip(kept, sums, strict=True)]
            slot = rng.randrange(cfg.slots) if not done else done["slot"]
            ctx.set(dut.acc_slot, slot)
            assert unpack(ctx.get(dut.acc.as_value()), cfg.acc_bits, cfg.lanes) == accumulators[slot]
            await ctx.tick()

    run(dut, body)
