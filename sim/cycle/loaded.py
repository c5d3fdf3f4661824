"""What an image puts into the memories: its shapes, the rows that hold something, and the rows of the caches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from compiler.image import Image
from rtl.config import Config
from rtl.isa import Store
from sim.cycle.access import Flags, store_row
from sim.cycle.check import Loaded
from sim.cycle.program import IllegalProgram
from sim.cycle.timeline import Ints, Pass


def store_rows(image: Image, one: Pass) -> Ints:
    """Bank rows that a K or V store reaches, by block of positions (`lanes` of K, `taps` of V); some may not exist.

    The last attention block counts whole: it is read whole.
    """
    cfg = image.config
    end = -(-image.context // cfg.bucket_positions) * cfg.bucket_positions
    block = cfg.lanes if one.mode.store is Store.KEYS else cfg.taps
    return store_row(cfg, one, np.arange(0, end, block, dtype=np.int64), image.registers.key_step)


def loaded_memories(image: Image, stores: Sequence[Pass]) -> Loaded:
    """What is loaded, and which rows are cache: where the K and V stores of a token lead at any position."""
    cfg = image.config
    cache = np.zeros(cfg.bank_rows, bool)
    for one in stores:
        rows = store_rows(image, one)
        cache[rows[rows < cfg.bank_rows]] = True
    # Weights may end in rows of padding zeros, but what lies between two used rows is used.
    return Loaded(
        bank_rows=max(_used_rows(image.banks), _used_rows(cache)), param_rows=_used_rows(image.params),
        act=_act_cells(cfg, image.act), cache=cache)


def _used_rows(memory: npt.NDArray[np.generic]) -> int:
    """Rows up to the last one that is not all zero."""
    used = np.flatnonzero(memory.reshape(len(memory), -1).any(axis=1))
    return int(used[-1]) + 1 if len(used) else 0


def _act_cells(cfg: Config, act: npt.NDArray[np.int8]) -> Flags:
    """Whether each activation cell lies in a row with anything in it."""
    rows = np.zeros(cfg.act_rows, bool)
    rows[: len(act)] = act.any(axis=1)
    return np.repeat(rows, cfg.act_width // min(cfg.lanes, cfg.taps))


def check_shapes(image: Image) -> None:
    """The image's memories are those of its machine."""
    cfg = image.config

    def need(condition: bool, text: str) -> None:
        if not condition:
            raise IllegalProgram(None, f"image for {cfg.name}: {text}")

    for name, memory, rows, row in (("banks", image.banks, cfg.bank_rows, (cfg.lanes, cfg.taps)),
                                    ("act", image.act, cfg.act_rows, (cfg.act_width,)),
                                    ("params", image.params, cfg.param_rows, (cfg.lanes,))):
        need(memory.shape[1:] == row and len(memory) <= rows, f"{name} is {memory.shape}; at most {(rows, *row)}")
    need(len(image.constants) <= cfg.constants, f"{len(image.constants)} constants; there are {cfg.constants}")
    need(int(image.cycles.max(initial=0)) < 1 << cfg.cycle_bits, f"a token's cycles exceed {cfg.cycle_bits} bits")
    need(image.values.shape[1:] == (cfg.values,), f"dynamic values are {image.values.shape}")
    if cfg.linear_values:
        need(image.values.tolist() == cfg.linear_table()[:len(image.values)], "dynamic values are not those that "
             f"{cfg.name} makes of the bucket's number")
    need(not image.values[:, 0].any(), "dynamic value 0 is not zero")
    need(int(image.values.max(initial=0)) < 1 << cfg.value_bits, f"a dynamic value exceeds {cfg.value_bits} bits")
    need(image.context <= len(image.values) * cfg.bucket_positions and image.context <= 1 << cfg.position_bits,
         f"{image.context} positions are more than its values or its position counter hold")
