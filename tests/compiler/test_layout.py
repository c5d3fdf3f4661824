"""Layout: every channel has one place, regions do not overlap, and what does not fit is said in bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from compiler.errors import InputError
from compiler.fit import check_fit, misfits
from compiler.geometry import Geometry, pad_to
from compiler.layout import Memory, lay_out
from compiler.quantise import quantise
from compiler.quantised import QuantisedModel, Shape
from compiler.random_model import random_float_model
from rtl.config import PRESETS, preset

SHAPES = [
    Shape(dim=heads * head, hidden=hidden, layers=2, heads=heads, kv_heads=kv, head_dim=head, vocab=31, context=40)
    for heads, kv, head, hidden in ((4, 2, 4, 24), (2, 1, 6, 18), (3, 3, 10, 70), (6, 3, 14, 33), (5, 1, 2, 1))]
MODELS = Callable[[str], QuantisedModel]


def geometry(shape: Shape, name: str) -> Geometry:
    return Geometry(shape=shape, config=preset(name), context=shape.context)


def channels(index: Any) -> list[int]:
    return sorted(index[index >= 0].tolist())


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_channel_is_placed_once(shape: Shape, name: str):
    g = geometry(shape, name)
    lanes, taps = g.config.lanes, g.config.taps
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    for index, count, multiple in ((g.head_map(shape.heads), query, lanes), (g.head_map(shape.kv_heads), key, lanes),
                                   (g.value_map(), key, lanes), (g.attention_map(), query, g.config.act_width)):
        assert channels(index) == list(range(count))
        assert len(index) % multiple == 0
    # A head begins a word, where its scores are made of, and RoPE's pairs stay neighbours.
    heads = g.head_map(shape.heads)
    for head in range(shape.heads):
        at = head * g.padded_head
        assert at % taps == 0
        assert heads[at:at + shape.head_dim].tolist() == list(range(head * shape.head_dim, (head + 1) * shape.head_dim))
    # A lane group of v belongs to one head.
    for group in g.value_map().reshape(-1, g.config.group_lanes):
        assert len({channel // shape.head_dim for channel in channels(group)}) <= 1
    # A.V of each query head comes out where its KV head's values lie.
    attention, values = g.attention_map(), g.value_map()
    for rep in range(shape.queries_per_kv):
        part = attention[rep * len(values):(rep + 1) * len(values)]
        real = values >= 0
        assert (part[~real] == -1).all()
        head, within = np.divmod(part[real], shape.head_dim)
        assert np.array_equal(head // shape.queries_per_kv * shape.head_dim + within, values[real])


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sizes_hold_what_they_must(shape: Shape, name: str):
    g = geometry(shape, name)
    cfg = g.config
    assert g.padded_context >= shape.context > g.padded_context - cfg.bucket_positions
    assert g.embed_columns * cfg.lanes >= shape.dim
    assert g.embed_columns % cfg.taps == 0 or cfg.taps % g.embed_columns == 0  # a token never straddles a row
    assert g.rope_period * cfg.lanes % g.padded_head == 0
    assert g.value_blocks * cfg.groups >= shape.kv_heads * g.units_per_head


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("shape", ["even", "odd", "mha", "mqa"])
def test_regions_and_matrices_do_not_overlap(model: MODELS, shape: str, name: str):
    layout = lay_out(model(shape), preset(name), 9)
    for memory in layout.memories:
        ends = [region.start + region.size for region in memory.regions]
        assert [region.start for region in memory.regions] == [0, *ends[:-1]]
        assert memory.most == max(ends, default=0)
    rows: list[int] = []
    for matrix in layout.matrices.values():
        assert len(matrix.outputs) == matrix.blocks * layout.geometry.config.lanes
        assert len(matrix.inputs) == matrix.steps * layout.geometry.config.taps
        for block in range(matrix.blocks):
            start = matrix.row + block * matrix.row_pitch
            rows += range(start, start + matrix.steps)
    g = layout.geometry
    rows += range(layout.key_row, layout.key_row + g.shape.kv_heads * g.key_rows)
    rows += range(layout.value_row, layout.value_row + g.value_blocks * g.value_rows)
    assert len(rows) == len(set(rows))


def test_padding():
    assert pad_to(np.arange(5), 4).tolist() == [0, 1, 2, 3, 4, -1, -1, -1]
    assert pad_to(np.arange(4), 4).tolist() == [0, 1, 2, 3]


def test_a_memory_tells_what_was_asked_for_even_if_it_has_less():
    memory = Memory("rows", 10)
    assert (memory.take("a", 6), memory.take("b", 7)) == (0, 6)
    assert memory.most == 13


# ---------------------------------------------------------------------------------------------------- capacity


@pytest.mark.parametrize(("memory", "depth", "words", "row_bytes"), [
    ("bank_rows", 100, "bank rows", 16), ("param_rows", 90, "parameter rows", 4), ("vector_rows", 20, "vector rows", 8),
    ("act_rows", 30, "activation vectors", 4), ("constants", 4, "constants", 1)])
def test_what_does_not_fit_is_said_in_bytes(model: MODELS, memory: str, depth: int, words: str, row_bytes: int):
    config = replace(preset("tiny"), **{memory: depth})
    layout = lay_out(model("even"), config, 20)
    used = next(one.most for one in layout.memories if one.name == words)
    assert used > depth
    assert misfits(model("even"), layout) == [
        f"{(used - depth) * row_bytes} bytes too many in {words} ({used} of {depth})"]


def test_the_error_names_the_presets_that_hold_the_model(model: MODELS):
    config = replace(preset("tiny"), name="small", bank_rows=100)
    chips = -(-lay_out(model("even"), config, 20).bank.used // 100)
    assert chips > 1
    with pytest.raises(InputError, match=rf"context 20 does not fit small: \d+ bytes .*; its weights and caches fill "
                                         rf"{chips} such chips; presets that hold it, the smallest first: tiny, "
                                         r"tangnano20k, icebreaker, ulx3s, ulx3s-fast, large$"):
        check_fit(model("even"), config, 20)


def test_the_error_says_when_no_preset_is_large_enough(model: MODELS):
    shape = replace(model("even").shape, vocab=1 << 17)
    with pytest.raises(InputError, match=r"vocabulary 131072 exceeds 256 tokens; its weights and caches "
                                         r"fill 129 such chips; no preset holds it"):
        check_fit(replace(model("even"), shape=shape), preset("tiny"), 20)


@pytest.mark.parametrize(("change", "message"), [
    ({"position_bits": 4}, "context 20 exceeds 16 positions"),
    ({"token_bits": 4}, "vocabulary 20 exceeds 16 tokens"),
    ({"scalars": 8}, "2 query heads work at once"),
    ({"reduces": 2}, "registers hold 0")])
def test_what_else_does_not_fit(model: MODELS, change: dict[str, int], message: str):
    found = misfits(model("even"), lay_out(model("even"), replace(preset("tiny"), **change), 20))
    assert any(message in one for one in found), found


def test_chunks_of_the_hidden_vector_are_whole_vectors(model: MODELS):
    odd = replace(model("mha"), hidden_chunks=(30, 70))
    assert "not at multiples of 4" in misfits(odd, lay_out(odd, preset("tiny"), 9))[0]


def test_an_epsilon_wider_than_its_immediate_is_refused(model: MODELS):
    """The icebreaker has 8 bits for it, the others 16."""
    wide = replace(model("mha"), norm_bias=256)
    assert any("epsilon is 256" in text for text in misfits(wide, lay_out(wide, preset("icebreaker"), 20)))
    assert not any("epsilon" in text for text in misfits(wide, lay_out(wide, preset("ulx3s"), 20)))
    fits = replace(wide, norm_bias=255)
    assert not any("epsilon" in text for text in misfits(fits, lay_out(fits, preset("icebreaker"), 20)))


def test_heads_that_share_a_block_need_two_lane_groups_to_be_normalised():
    shape = Shape(dim=16, hidden=16, layers=1, heads=4, kv_heads=2, head_dim=4, vocab=31, context=9)
    plain, normed = (quantise(random_float_model(shape, head_norms=norms)) for norms in (False, True))
    config = replace(preset("tiny"), lanes=8, groups=1, tile_lanes=8)
    message = "heads of 4 lanes share a block of 8, and 1 lane groups cannot normalise each by its own factor"
    assert message in misfits(normed, lay_out(normed, config, 9))
    for model, other in ((plain, config), (normed, replace(config, groups=2))):
        assert not any("share a block" in text for text in misfits(model, lay_out(model, other, 9)))
