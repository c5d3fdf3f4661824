"""What random programs run with: contents of every memory, and the places that programs may use."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.image import Image, Registers
from compiler.sampling import mixed
from rtl.config import Config
from rtl.isa import QUEUES
from rtl.noise import MANTISSA_BITS, SHIFT_BITS, WORD_BITS

WEIGHT_ROWS, CACHE_ROWS, MEMORY_ROWS, STORED = 96, 16, 24, 24
"""Rows of banks that are loaded; in which K and V stores begin; rows of vector memory and vectors of activation memory
that programs write, at most."""
MOST_STEP = 3
"""Of key_step."""
LONGEST_BITS, VERY_LONG = 10, 0.03
"""Of counts; what runs longer takes too long, and is for a few dynamic values."""
WIDEST, WIDEST_BITS = 0.2, 12
"""Share of wide values that have more bits than LONGEST_BITS, and how many those have."""
WHOLE, WHOLE_BYTES = 0.3, 1 << 17
"""Share of programs for which banks are loaded up to the caches, where they have no more bytes: for the high bits of
addresses."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the programs of a machine run with: its image without programs, and where they may go.

    Members
    -------
    rows: (n, values) the different rows of dynamic values. tokens: how many token numbers are used.
    vectors: of activation memory that ACT stores use, at its beginning, middle or end. gathered: words that a gather
        may read.
    memory: rows of vector memory. caches: first bank row of K and V stores, behind the weights or at the end; all below
        `weights` is loaded.
    """

    image: Image
    rows: tuple[tuple[int, ...], ...]
    tokens: int
    vectors: range
    gathered: range
    memory: range
    weights: int
    caches: int


class Kind(enum.Enum):
    """What a dynamic value is used for, by its number modulo 4.

    Members
    -------
    COUNT, COUNT_TOO : small, added to any count. LONG : a count of what does nothing, or the same over and over.
    WAIT : of any length.
    """

    COUNT = 0
    COUNT_TOO = 1
    LONG = 2
    WAIT = 3


def kind_of(number: int) -> Kind:
    """Of a dynamic value."""
    return Kind(number % len(Kind))


def _value(cfg: Config, rng: random.Random, number: int, *, wide: bool) -> int:
    if wide and kind_of(number) in (Kind.LONG, Kind.WAIT):
        return rng.getrandbits(min(cfg.value_bits, WIDEST_BITS if rng.random() < WIDEST else LONGEST_BITS))
    if kind_of(number) in (Kind.COUNT, Kind.COUNT_TOO):
        return rng.choice((0, 0, 1, 2, 3))
    long = kind_of(number) is Kind.LONG and rng.random() >= VERY_LONG
    bits = min(cfg.value_bits, LONGEST_BITS) if long else cfg.value_bits
    if rng.random() < 0.3:  # below a power of two, so that an immediate can make it one
        return max(0, (1 << rng.randrange(1, bits + 1)) - 1 - rng.getrandbits(rng.randrange(cfg.wait_bits)))
    return rng.getrandbits(rng.randrange(1, bits + 1))


def _expert_rows(cfg: Config, rng: random.Random, weights: int) -> int:
    """Rows of an expert's matrices: any number with which the last one's are loaded, often the largest or a power of
    two, so that the products have their high bits too."""
    most = max(1, (weights - 1) // max(1, cfg.experts - 1))
    return rng.choice((rng.randint(1, most), most, 1 << rng.randrange(most.bit_length())))


def _temperature(rng: random.Random) -> int:
    """Mantissas have any number of bits: with short ones the low bits of products count."""
    return rng.getrandbits(SHIFT_BITS) << MANTISSA_BITS | rng.getrandbits(rng.randint(0, MANTISSA_BITS))


def _seed(rng: random.Random) -> int:
    """A generator's first state. Of every other one the first two words begin with any number of zeros: chance would
    need 2**n of them for n, and so much for an entry of the table."""
    if rng.random() < 0.5:
        return mixed(rng.randrange(1 << 32))
    low, high = (rng.getrandbits(rng.randint(1, WORD_BITS)) for _ in range(2))
    return high << WORD_BITS | low or 1


def contents(cfg: Config, weights: int, noise: np.random.Generator) -> dict[str, Any]:
    """Members of an image: numbers in all memories, on which it does not depend whether a program is legal."""
    act = noise.integers(-128, 128, (cfg.act_rows, cfg.act_width)).astype(np.int8)
    act[:, 0] |= 1  # a row that is all zero counts as never loaded
    params = noise.integers(0, 256, (cfg.param_rows, cfg.lanes)).astype(np.uint8)
    params[-1] |= 1
    banks = noise.integers(-128, 128, (weights, cfg.lanes, cfg.taps)).astype(np.int8)
    banks[-1] |= 1
    constants = noise.integers(0, 64, cfg.constants).astype(np.uint8)
    return {"banks": banks, "act": act, "params": params, "constants": constants}


def machine(cfg: Config, rng: random.Random, *, wide: bool = False) -> Machine:
    """Random contents of all that is loaded. wide : dynamic values for long counts use all their bits, and change."""
    noise = np.random.default_rng(rng.randrange(1 << 32))
    context = min(cfg.buckets * cfg.bucket_positions, 1 << cfg.position_bits)
    weights = min(WEIGHT_ROWS, cfg.bank_rows // 2)
    if rng.random() < WHOLE and cfg.bank_rows * cfg.lanes * cfg.taps <= WHOLE_BYTES:
        weights = max(weights, cfg.bank_rows - cache_rows(cfg, context))
    if cfg.linear_values:
        table = cfg.linear_table()
    else:
        pool = [[0, *(_value(cfg, rng, number, wide=wide) for number in range(1, cfg.values))]
                for _ in range(2 if wide else rng.choice((1, 2)))]
        table = [pool[bucket % len(pool)] for bucket in range(cfg.buckets)]
    shift = rng.choice((0, 1, 2))
    half = cfg.act_words // 2
    registers = Registers(
        key_step=rng.randint(1, MOST_STEP), rope_step=rng.choice((1, 1, 2)), embed_shift=shift,
        expert_rows=_expert_rows(cfg, rng, weights) if cfg.experts else 0,
        window=(0, 1, 2, cfg.lanes, int(noise.integers(context)))[noise.integers(5)] if cfg.windows else 0,
        temperature=_temperature(rng) if cfg.noise_rate else 0,
        seeds=tuple(_seed(rng) for _ in range(cfg.sequences)) if cfg.noise_rate else ())
    cycles = np.zeros((2, context), np.int64)
    image = Image(
        config=cfg, programs={queue.name: [] for queue in QUEUES}, **contents(cfg, weights, noise),
        values=np.array(table, np.uint16), registers=registers, context=context, cycles=cycles, useful_macs=cycles,
        sequences=cfg.sequences)
    width = min(MEMORY_ROWS, cfg.vector_rows)
    first = rng.choice((0, cfg.vector_rows - width))
    stored = min(STORED, cfg.act_vectors)
    vector = rng.choice((0, half * cfg.taps // cfg.lanes, cfg.act_vectors))
    vector = min(vector, cfg.act_vectors - stored)
    return Machine(
        image=image, rows=tuple(dict.fromkeys(tuple(row) for row in table[:4])),
        tokens=max(1, min(1 << cfg.token_bits, weights // 2 * cfg.taps >> shift)),
        vectors=range(vector, vector + stored), gathered=range(half),
        memory=range(first, first + width), weights=weights,
        caches=rng.choice((weights, max(weights, cfg.bank_rows - cache_rows(cfg, context)))))


def cache_rows(cfg: Config, context: int) -> int:
    """Bank rows that K and V stores of such programs can reach, from the first on."""
    return CACHE_ROWS + MOST_STEP * (context // min(cfg.lanes, cfg.taps) + 1) + 2 * CACHE_ROWS
