"""The index registers' way to the banks: products in their cycles, and what the matrix queue adds."""

from __future__ import annotations

import dataclasses
import random

import pytest
from amaranth import Mux
from amaranth.sim import Simulator

import rtl.experts
from rtl.config import PRESETS, Config, ConfigError, log2
from rtl.experts import Experts
from rtl.isa import MATRIX, VECTOR, Mask, ScalarFunction
from rtl.timing import timing

ABLE = {name: config for name, config in PRESETS.items() if config.choices}
FOUR = dataclasses.replace(PRESETS["tiny"], name="four", sequences=4, experts=2, choices=1)
MACHINES = ABLE | {FOUR.name: FOUR}


def products(cfg: Config, wait: int, seed: int = 1, rounds: int = 40) -> bool:
    """Whether offsets are index times rows, `wait` cycles after all indices have changed."""
    dut, rng, count = Experts(cfg), random.Random(seed), cfg.sequences * cfg.choices
    bits, good = MATRIX.by_name["row"].bits(cfg), True

    async def body(ctx):
        nonlocal good
        rows = rng.getrandbits(bits)
        ctx.set(dut.rows, rows)
        for round_ in range(rounds):
            indices = [rng.randrange(cfg.experts) for _ in range(count)] if round_ else [cfg.experts - 1] * count
            for cell, index in enumerate(indices):
                ctx.set(dut.chosen[cell], index)
            for _ in range(wait):
                await ctx.tick()
            good &= [ctx.get(dut.offset[cell]) for cell in range(count)] == [
                index * rows % (1 << bits) for index in indices]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(body)
    simulator.run()
    return good


@pytest.mark.parametrize("name", MACHINES)
def test_a_product_is_there_when_the_timing_says_and_no_cycle_before(name: str) -> None:
    cfg = MACHINES[name]
    assert -timing(cfg).choice_read == log2(cfg.experts)
    assert products(cfg, -timing(cfg).choice_read)
    assert not products(cfg, -timing(cfg).choice_read - 1)


def test_a_product_that_lacks_a_bit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtl.experts, "Mux", lambda which, some, other: Mux(which, some & ~1, other))
    assert not products(PRESETS["tiny"], 3)


@pytest.mark.parametrize(("sizes", "text"), [
    ({"choices": 3}, "2 at most"), ({"experts": 6}, "power of two"), ({"experts": 0}, "need each other"),
    ({"experts": 512}, "ARGMAX counts to 256")])
def test_sizes_that_cannot_be_built(sizes: dict[str, int], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        dataclasses.replace(PRESETS["tiny"], **sizes)


def test_machines_without_index_registers_have_no_field_for_them() -> None:
    for name, config in PRESETS.items():
        bits = [queue.by_name["choice"].bits(config) for queue in (MATRIX, VECTOR)]
        assert bits == ([2, 2] if name in ABLE else [0, 0])
    assert Mask.CHOSEN.value < 4 and ScalarFunction.VALUE.value < 8
