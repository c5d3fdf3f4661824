"""Sizes that cannot be built are refused with their name; derived sizes and timing follow from the rest."""

from __future__ import annotations

import dataclasses

import pytest

from rtl.config import PRESETS, VECTOR_STEPS, ConfigError, preset
from rtl.protocol import Space, word_bytes
from rtl.timing import matrix_tree_stages, reduce_stages, timing, vector_cycle

TINY = PRESETS["tiny"]


@pytest.mark.parametrize(("field", "value"), [
    ("lanes", 3), ("taps", 0), ("lanes", 1), ("groups", 4), ("tile_lanes", 8), ("tile_taps", 8), ("slots", 1),
    ("slots", 3), ("values", 1), ("acc_bits", 17), ("acc_bits", 33), ("vector_cuts", ("round",)),
    ("vector_cuts", ("add", "subtract")), ("bank_rows", 1), ("param_rows", 0), ("position_bits", 1),
    ("sequences", 0), ("sequences", 3), ("sequences", 8)])
def test_sizes_that_cannot_be_built_are_named(field, value):
    with pytest.raises(ConfigError, match=field if field not in ("tile_lanes", "tile_taps") else "tile"):
        dataclasses.replace(TINY, **{field: value})


@pytest.mark.parametrize(("changes", "message"), [
    ({"vector_cuts": (*PRESETS["icebreaker"].vector_cuts, "align")}, "vector_cuts .* none of .*'align'"),
    ({"vector_cuts": (*PRESETS["icebreaker"].vector_cuts, "settle")}, "vector_cuts .* none of .*'settle'"),
    ({"linear_values": False}, "small_control and linear_values need each other"),
    ({"lut_memories": ("memory",)}, "small_control has no lut_memories")])
def test_small_units_refuse_what_they_would_build_wrong(changes, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(PRESETS["icebreaker"], **changes)


def test_linear_values_are_for_small_control():
    with pytest.raises(ConfigError, match="small_control and linear_values need each other"):
        dataclasses.replace(TINY, linear_values=True, values=4)


def test_presets_by_name():
    assert all(preset(name) is config and config.name == name for name, config in PRESETS.items())
    with pytest.raises(ConfigError, match="unknown preset 'huge'; known presets: tiny, icebreaker"):
        preset("huge")


@pytest.mark.parametrize("cfg", PRESETS.values(), ids=PRESETS)
def test_derived_sizes_agree(cfg):
    assert cfg.act_words * cfg.taps == cfg.act_vectors * cfg.lanes == cfg.act_rows * cfg.act_width
    assert cfg.peak_macs * cfg.bank_rows == cfg.bank_bytes
    assert cfg.buckets * cfg.bucket_positions == 1 << cfg.position_bits
    assert cfg.group_lanes * cfg.groups == cfg.lanes
    assert cfg.chunks == max(cfg.lanes, cfg.taps) // min(cfg.lanes, cfg.taps)
    assert word_bytes(cfg, Space.BANK) == cfg.taps
    assert [word_bytes(cfg, space) for space in (Space.VECTOR, Space.ACT, Space.PARAM, Space.CONSTANT)] == [2, 1, 1, 1]


@pytest.mark.parametrize("cfg", PRESETS.values(), ids=PRESETS)
def test_timing_counts_registers(cfg):
    times = timing(cfg)
    spread = 2 * int(cfg.spread)
    assert times.bank_visible == times.bank_write + 1 == times.act_visible + spread
    assert times.matrix_read == times.vector_read == 1 + spread
    late = int(cfg.bank_register) + int(cfg.act_register)  # operands
    assert times.acc_visible == 4 + spread + late + matrix_tree_stages(cfg)
    assert times.memory_visible == 2 + spread + len(set(cfg.vector_cuts) - {"narrow", "output"}) + 1
    assert times.reduce_visible == times.memory_visible + reduce_stages(cfg)
    # What makes NEVER_COLLIDES true: a write that is issued with a read, or after it, lands in a later cycle.
    assert times.memory_visible - 1 > times.vector_read
    assert min(times.act_visible, times.bank_visible) - 1 > times.matrix_read
    cycles = [vector_cycle(cfg, step) for step in VECTOR_STEPS]
    assert cycles == sorted(cycles) and cycles[0] == times.acc_read + int(cfg.acc_register)
