"""Small machines, and simulators of programs in assembly for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compiler.image import Image, Registers
from rtl.config import Config
from rtl.encoding import assemble, encode
from rtl.isa import QUEUES
from rtl.timing import timing
from sim.cycle import CycleSimulator

SQUARE = Config(
    name="square", lanes=4, taps=4, groups=2, bank_rows=64, tile_lanes=4, tile_taps=4, slots=4, vector_rows=32,
    act_rows=32, param_rows=32, position_bits=4, token_bits=6, values=4, value_bits=4)
WIDE = replace(SQUARE, name="wide", lanes=8, taps=2, groups=1, tile_lanes=8, tile_taps=2)
NARROW = replace(SQUARE, name="narrow", lanes=2, taps=4, groups=1, tile_lanes=2, single_port=True, bank_register=False)
LOADED = 40
"""Rows of banks, and of parameters and activation memory up to 20, that hold something."""
DRAIN = 24
"""Cycles after which everything has landed, on any of these machines."""


def image(cfg: Config = SQUARE, *, matrix: str = "", vector: str = "", scalar: str = "",
          values: dict[int, int] | None = None, key_step: int = 1, rope_step: int = 1, embed_shift: int = 0) -> Image:
    """An image of programs in assembly. A queue without END gets one that waits until everything has landed.

    values: dynamic values of bucket 0; each further bucket has one more.
    """
    rng = np.random.default_rng(7)
    programs: dict[str, list[int]] = {}
    for queue, text in zip(QUEUES, (matrix, vector, scalar), strict=True):
        lines = [line for line in text.strip().splitlines() if line.strip()]
        if not any(line.split()[0] == "END" for line in lines):
            lines.append(f"END wait={DRAIN}")
        programs[queue.name] = [encode(cfg, assemble(queue, line)) for line in lines]
    banks = np.zeros((cfg.bank_rows, cfg.lanes, cfg.taps), np.int8)
    banks[:LOADED] = rng.integers(-128, 128, banks[:LOADED].shape)
    act = np.zeros((cfg.act_rows, cfg.act_width), np.int8)
    act[:20] = rng.integers(1, 128, act[:20].shape)
    params = np.zeros((cfg.param_rows, cfg.lanes), np.uint8)
    params[:20] = rng.integers(1, 256, params[:20].shape)
    table = np.zeros((cfg.buckets, cfg.values), np.uint16)
    for index, value in (values or {}).items():
        table[:, index] = value + np.arange(cfg.buckets)
    context = cfg.buckets * cfg.bucket_positions
    nothing = np.zeros((2, context), np.int64)
    return Image(
        config=cfg, programs=programs, banks=banks, act=act, params=params,
        constants=np.arange(cfg.constants, dtype=np.uint8), values=table,
        registers=Registers(key_step=key_step, rope_step=rope_step, embed_shift=embed_shift), context=context,
        cycles=nothing, useful_macs=nothing)


def simulator(cfg: Config = SQUARE, **fields: object) -> CycleSimulator:
    """A simulator of such an image."""
    return CycleSimulator(image(cfg, **fields))  # type: ignore[arg-type]


def run(cfg: Config = SQUARE, *, positions: int = 1, **fields: object) -> CycleSimulator:
    """The same after some tokens without classifier."""
    made = simulator(cfg, **fields)
    for _ in range(positions):
        made.step(3, classify=False)
    return made


def t(name: str, cfg: Config = SQUARE) -> int:
    """A number of rtl.timing."""
    return getattr(timing(cfg), name)
