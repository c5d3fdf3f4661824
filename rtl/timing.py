"""When each unit touches each memory, in cycles from the issue of a pass: the numbers the compiler schedules with.

Cycle 0 of a pass is the cycle in which its sequencer presents it. A memory written in cycle w can be read from cycle
w + 1 on, its `visible` cycle. The rules that keep a program legal follow from these numbers alone:

- read after write: reader's issue + read >= writer's issue + visible;
- write after read: writer's issue + visible > reader's issue + read.

Nothing here is typed in by hand: each figure counts the registers a unit has. `tests/rtl` measures them on the
gateware.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from rtl.config import VECTOR_STEPS, Config, log2

ADDRESS = 1  # every unit registers its addresses before it reads
SPREAD = 2
"""Registers on a long way, with `Config.spread`: of issued steps and passes, and of what is written into the banks."""
MEMORY = 1  # a synchronous memory answers a cycle after it was asked
NOISE_ROWS = 16
"""Rows of noise that are made in advance, for each sequence; as deep as LUT RAM is anyway."""
NOISE_STAGES = ("count", "table", "sum", "terms", "product", "shift", "round")
"""Registers between a noise generator's state and the rows."""
SCALAR_STAGES = ("address", "read", "normalise", "table")
"""Registers of the scalar unit, without that of `Config.scalar_register`; the write follows the last."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Cycles from issue. `*_visible` is the first cycle in which a read sees the result.

    matrix_read: bank rows and activation words are read; matrix_weights: the multipliers work on them. acc_visible: the
    step's sum is in its accumulator (an accumulator's partial sum is also read by the next step, one cycle later: steps
    can follow each cycle).
    vector_read: vector memory, parameter memory and scalar registers are read; acc_read: the accumulator.
    noise_read: a pass's row of noise is taken.
    choice_read: a matrix word reads the index register of an expert, so long before its issue (it is negative).
    memory_visible, act_visible, reduce_visible: results of a pass; bank_write: the cycle in which a K or V store meets
    the banks: it uses the write port, with `ecc` the read port; bank_visible follows it. position_read: such a store's
    position; the token must not have ended.
    token_visible: ARGMAX's winner.
    scalar_read: reduce and scalar registers and constants are read; scalar_visible: the result can be read.
    values_ready: cycle of the token (0 is the start) from which a word that uses a dynamic value may be the current
    one.
    noise_apart: (with `Config.noise_rate`) a pass that takes a row of noise is issued at least so many cycles after the
        one NOISE_ROWS before it of the same sequence. noise_ready: and not before this cycle of the token.
    token_read: cycles from the last queue's END to reading ARGMAX's winner; token_overhead: to the start of the next
    token.
    """

    matrix_read: int
    matrix_weights: int
    choice_read: int
    acc_visible: int
    vector_read: int
    acc_read: int
    noise_read: int
    memory_visible: int
    act_visible: int
    bank_write: int
    bank_visible: int
    position_read: int
    reduce_visible: int
    token_visible: int
    scalar_read: int
    scalar_visible: int
    values_ready: int
    noise_apart: int
    noise_ready: int
    token_read: int
    token_overhead: int


def address_stages(cfg: Config) -> int:
    """Registers between the issue of a step or a pass and the memories that it reads."""
    return ADDRESS + SPREAD * int(cfg.spread)


def bank_stages(cfg: Config) -> int:
    """Cycles from a read of the banks to what the multipliers get of it; activations take as long."""
    return MEMORY + int(cfg.bank_register) + int(cfg.act_register or cfg.ecc)


def matrix_tree_stages(cfg: Config) -> int:
    """Registers of the mesh behind the products': one for each tile of taps a partial sum crosses, and one for each
    further tile of lanes; paired products are told apart before, and put together behind them."""
    return cfg.taps // cfg.tile_taps + cfg.lanes // cfg.tile_lanes - 1 + 2 * cfg.paired_products


def reduce_stages(cfg: Config) -> int:
    """Registers of the reduction: one for every `reduce_levels` levels of the tree, and one before it if that is 1;
    of a serial one, its operand's."""
    if cfg.serial_vector:
        return 1
    return -(-log2(cfg.lanes) // cfg.reduce_levels) + int(cfg.reduce_levels == 1)


def vector_cycle(cfg: Config, step: str) -> int:
    """Cycle in which the logic of a pipeline step works on a pass."""
    before = VECTOR_STEPS[:VECTOR_STEPS.index(step)]
    return address_stages(cfg) + MEMORY + sum(name in cfg.vector_cuts for name in before)


@cache
def timing(cfg: Config) -> Timing:
    """The Timing of a machine."""
    read = address_stages(cfg)
    product = read + bank_stages(cfg)  # cycle in which the multipliers work
    accumulate = product + 1 + matrix_tree_stages(cfg)  # +1: the product register
    serial, last = cfg.serial_vector, cfg.beats - 1  # a row is written when its last lane is there, which is not kept
    written = int("function" in cfg.vector_cuts and not serial)
    result = vector_cycle(cfg, "function") + written + last  # f can be written
    output = vector_cycle(cfg, "output") + int("output" in cfg.vector_cuts) + last  # o can be written
    stored = output + SPREAD * int(cfg.spread)  # o meets the banks
    landed = stored + 1 + (bank_stages(cfg) if cfg.ecc else 0)  # with ecc the row is read first
    reduced = result + reduce_stages(cfg)  # the tree's result meets the register
    operated = len(SCALAR_STAGES) + int(cfg.scalar_register) + 2 * int(cfg.small_scalar)  # it shares its read ports
    rows = NOISE_ROWS * cfg.noise_refill  # as a token begins, all of them and the stages before
    return Timing(
        noise_read=vector_cycle(cfg, "select"), noise_apart=rows + 1, noise_ready=rows + len(NOISE_STAGES) + 1,
        matrix_read=read, matrix_weights=product, choice_read=-log2(cfg.experts) if cfg.experts else 0,
        acc_visible=accumulate + 1,
        vector_read=read, acc_read=vector_cycle(cfg, "shift") - int(cfg.acc_register),
        memory_visible=result + 1, act_visible=output + 1, bank_write=stored, bank_visible=landed,
        position_read=output,
        reduce_visible=reduced + 1, token_visible=reduced + 1,
        scalar_read=1, scalar_visible=operated + 1 + int(cfg.small_scalar),
        values_ready=1 if cfg.linear_values else cfg.values + 3 + int(cfg.spread), token_read=2, token_overhead=3)
