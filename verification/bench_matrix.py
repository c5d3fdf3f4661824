"""Matrix unit: exact sums in their accumulators, each access in the cycle that rtl.timing gives."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np

from rtl.config import Config
from rtl.isa import Plane
from rtl.matrix import Matrix
from rtl.timing import bank_stages, timing
from sim.golden.primitives import Int
from verification.ports import Ports
from verification.runner import bench_parameters
from verification.settings import generator, shallow

ENDS = (-128, 127)
RANDOM_STEPS = 80


PLANES = {
    Plane.BYTES: lambda row: row,
    Plane.LOW: lambda row: 16 * wrapped(row % 16, 4),
    Plane.HIGH: lambda row: 16 * (row // 16)}
"""What a step multiplies by, of the bytes that it reads."""


class Step:
    """A step with its operands: bytes of the banks (lanes, taps), activations (groups, taps). plane: any, if None."""

    def __init__(self, cfg: Config, rng: random.Random, *, slot: int, clear: bool, weights: Int, acts: Int,
                 plane: Plane | None = None) -> None:
        self.weights, self.acts = weights, acts
        self.plane = plane or rng.choice(planes(cfg))
        self.fields = {
            "valid": 1, "row": rng.randrange(cfg.bank_rows), "slot": slot, "clear": int(clear),
            "plane": self.plane.value, "act": [rng.randrange(cfg.act_words) for _ in range(cfg.groups)]}

    def sums(self, cfg: Config) -> Int:
        """(lanes,) what the step adds, exactly."""
        operands = np.repeat(self.acts, cfg.group_lanes, axis=0)  # (lanes, taps)
        return (PLANES[self.plane](self.weights) * operands).sum(axis=1)


def planes(cfg: Config) -> list[Plane]:
    """Those that a machine has."""
    return list(Plane) if cfg.weight_planes else [Plane.BYTES]


def wrapped(x: Int, bits: int) -> Int:
    """Two's complement of so many bits."""
    return (x + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def corners(cfg: Config, rng: random.Random) -> list[Step]:
    """The largest and smallest sums, one multiplier at a time, so that no lane or tap can stand for another, and every
    weight in every plane."""
    weights_shape, acts_shape = (cfg.lanes, cfg.taps), (cfg.groups, cfg.taps)
    steps: list[Step] = []
    for weight in ENDS:
        for act in ENDS:
            for clear in (True, False, False):
                steps.append(Step(cfg, rng, slot=1, clear=clear, weights=np.full(weights_shape, weight),
                                  acts=np.full(acts_shape, act), plane=Plane.BYTES))
    for plane in planes(cfg):
        for first in range(-128, 128, cfg.taps):
            weights = np.resize(np.arange(first, first + cfg.taps), weights_shape)
            steps.append(Step(cfg, rng, slot=0, clear=True, weights=weights, acts=np.ones(acts_shape, np.int64),
                              plane=plane))
    for tap in range(cfg.taps):
        weights, acts = np.zeros(weights_shape, np.int64), np.zeros(acts_shape, np.int64)
        weights[:, tap] = np.arange(1, cfg.lanes + 1)
        acts[:, tap] = tap + 1 + 20 * np.arange(cfg.groups)
        steps.append(Step(cfg, rng, slot=tap % cfg.slots, clear=True, weights=weights, acts=acts, plane=Plane.BYTES))
    return steps


def randoms(cfg: Config, rng: random.Random) -> list[Step]:
    """Anything, often into the slot of the step before."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    return [Step(cfg, rng, slot=rng.choice([0, 0, rng.randrange(cfg.slots)]), clear=rng.random() < 0.2,
                 weights=numbers.integers(-128, 128, (cfg.lanes, cfg.taps)),
                 acts=numbers.integers(-128, 128, (cfg.groups, cfg.taps))) for _ in range(RANDOM_STEPS)]


async def play(dut: Any, cfg: Config, schedule: dict[int, Step], rng: random.Random) -> None:
    """Issue steps in their cycles; operands are right in one cycle and noise in all others."""
    times, ports = timing(cfg), Ports(dut, Matrix(cfg))
    arrive = times.matrix_read + bank_stages(cfg)
    noise = randoms(cfg, rng)[0]
    idle = noise.fields | {"valid": 0}
    accumulators: dict[int, Int] = {}  # what is known: they keep what they held before
    await ports.start()
    for cycle in range(max(schedule) + times.acc_visible + 2):
        step = schedule.get(cycle)
        ports.set(issue=step.fields if step else idle)
        operands = schedule.get(cycle - arrive, noise)
        ports.set(bank_data=operands.weights, act_data=operands.acts)
        if done := schedule.get(cycle - times.acc_visible):
            slot = done.fields["slot"]
            before = np.int64(0) if done.fields["clear"] else accumulators[slot]
            accumulators[slot] = wrapped(before + done.sums(cfg), cfg.acc_bits)
        slot = done.fields["slot"] if done else rng.randrange(cfg.slots)
        ports.set(acc_slot=slot)
        await ports.settle()
        asked = schedule.get(cycle - times.matrix_read + int(cfg.spread))  # memories have the register
        ports.expect("bank_enable", int(asked is not None))
        ports.expect("act_enable", int(asked is not None))
        if asked:
            ports.expect("bank_row", asked.fields["row"])
            ports.expect("act_words", asked.fields["act"])
        if slot in accumulators:
            ports.expect("acc", accumulators[slot], f"slot {slot}")
        await ports.edge()


@cocotb.test()
async def corner_steps_back_to_back(dut: Any) -> None:
    cfg, rng = shallow(bench_parameters()["preset"]), generator(bench_parameters())
    await play(dut, cfg, dict(enumerate(corners(cfg, rng))), rng)


@cocotb.test()
async def random_steps_with_pauses(dut: Any) -> None:
    cfg, rng = shallow(bench_parameters()["preset"]), generator(bench_parameters())
    schedule: dict[int, Step] = {}
    cycle = 0
    for slot in range(cfg.slots):  # every accumulator begins somewhere
        step = randoms(cfg, rng)[0]
        step.fields |= {"slot": slot, "clear": 1}
        schedule[cycle := cycle + 1] = step
    for step in randoms(cfg, rng):
        schedule[cycle := cycle + rng.choice([1, 1, 1, 2, 7])] = step
    await play(dut, cfg, schedule, rng)
