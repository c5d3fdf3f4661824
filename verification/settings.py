"""What tests and benches share: configs with shallow memories, and seeds."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rtl.config import Config, preset

SEED_VARIABLE = "OPENLPU_BENCH_SEED"
"""Set it to the seed that a failed bench printed, to see the same operands again."""

SHALLOW_ROWS = 64


def shallow(name: str) -> Config:
    """A preset with shallow memories. Nothing that decides a width of data or a latency is changed.

    Banks that are instances of a Verilog module stay as deep as they are: those are quick to build at any depth. Rows
    that are no power of two stay none: such a bank is two memories.
    """
    cfg = preset(name)
    depths = ("vector_rows", "act_rows", "param_rows", *(() if cfg.external_banks else ("bank_rows",)))
    rows = {depth: min(SHALLOW_ROWS, getattr(cfg, depth)) for depth in depths}
    if "bank_rows" in rows and cfg.bank_rows.bit_count() > 1:
        rows["bank_rows"] = SHALLOW_ROWS * 3 // 4
    return replace(cfg, **rows)


def new_seed() -> int:
    """The seed asked for, or a new one; printed, so that pytest shows it where a test fails."""
    wanted = os.environ.get(SEED_VARIABLE)
    seed = int(wanted) if wanted else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}; to repeat: {SEED_VARIABLE}={seed}")
    return seed


def generator(parameters: Mapping[str, Any]) -> random.Random:
    """The random numbers of a bench."""
    return random.Random(parameters["seed"])
