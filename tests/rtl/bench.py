"""Running one unit in Amaranth's simulator, a cycle at a time."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable

from amaranth.sim import Simulator

from rtl.config import PRESETS, Config
from rtl.protocol import Space, word_bytes


def shallow(config: Config) -> Config:
    """A config with memories shallow enough for Python. Nothing that decides a latency is changed. Rows of banks that
    are no power of two stay none: such a bank is two memories."""
    bank_rows = 64 if config.bank_rows.bit_count() == 1 else 48
    return dataclasses.replace(
        config, external_banks=False, bank_rows=min(config.bank_rows, bank_rows),
        vector_rows=min(config.vector_rows, 64), act_rows=min(config.act_rows, 64),
        param_rows=min(config.param_rows, 64))


SMALL = {name: shallow(config) for name, config in PRESETS.items()}

FOUR = dataclasses.replace(PRESETS["tiny"], name="four", sequences=4)
"""As many sequences as there can be; no preset has them."""

SERIAL = dataclasses.replace(
    PRESETS["tiny"], name="serial", groups=1, experts=0, choices=0, acc_register=True, values=4, linear_values=True,
    small_control=True, noise_rate=0, top_k=False, matrix_fetch=2, scalar_fetch=4, serial_vector=True,
    small_scalar=True,
    vector_cuts=("round", "add", "clamp", "function", "narrow"),
    narrow=(("matrix.row_step", 5), ("matrix.act_step", 3), ("matrix.group_step", 0)))
"""What the icebreaker has and the other presets have not, with more lanes and sequences."""

MACHINES = PRESETS | {FOUR.name: FOUR, SERIAL.name: SERIAL}


def run(dut, body: Callable) -> None:
    """Simulate `body`, an async function of the simulator's context."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(body)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        simulator.run()


async def load_word(ctx, cfg: Config, load, space: Space, address: int, word: int) -> None:
    """A word through a port that the host only writes; at once or by the byte, as the machine has it."""
    ctx.set(load.address, address)
    ctx.set(load.en, 1)
    for number, byte in enumerate(word.to_bytes(word_bytes(cfg, space), "little")):
        if cfg.small_control:
            ctx.set(load.byte, number)
        ctx.set(load.data, byte if cfg.small_control else word)
        if cfg.small_control or number == 0:
            await ctx.tick()
    ctx.set(load.en, 0)


def pack(values: list[int], bits: int) -> int:
    """A vector as one number, element 0 lowest."""
    return sum((value & (1 << bits) - 1) << index * bits for index, value in enumerate(values))


def unpack(word: int, bits: int, count: int, *, signed: bool = True) -> list[int]:
    """The elements of a vector."""
    values = [word >> index * bits & (1 << bits) - 1 for index in range(count)]
    return [value - (value >> bits - 1 << bits) if signed else value for value in values]


def small(config: Config, **changes) -> Config:
    """A config with some sizes changed."""
    return dataclasses.replace(config, **changes)
