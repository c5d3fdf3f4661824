"""Placing: the memories read back by address give the model's integers, and zero everywhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from compiler.errors import InputError
from compiler.lower import shift_constants
from compiler.place import ONE_HOT, activations, banks, check_accumulators, constants, params
from compiler.quantised import Linear
from rtl.config import PRESETS, preset

Make = Callable[[str, str], Any]
CASES = [(shape, name) for name in PRESETS for shape in ("even", "odd", "mha", "mqa")]


def linears(made: Any) -> list[tuple[int, str, Linear]]:
    """(layer, matrix of the layout, what it holds)."""
    found = [(0, "classifier", made.model.classifier)]
    for number, layer in enumerate(made.model.layers):
        found += [(number, "wq", layer.wq), (number, "wk", layer.wk), (number, "wv", layer.wv),
                  (number, "wo", layer.wo), (number, "gate", layer.w1), (number, "up", layer.w3)]
        found += [(number, f"down{chunk}", layer.w2) for chunk in range(len(made.layout.hidden_chunks))]
    return found


@pytest.mark.parametrize(("shape", "name"), CASES)
def test_banks_hold_the_weights(passes: Make, shape: str, name: str):
    """Element by element, as the matrix unit reads them: lane n of block b, tap t of step s."""
    made = passes(shape, name)
    layout, lanes, taps = made.layout, made.config.lanes, made.config.taps
    memory = banks(made.model, layout)
    seen = np.zeros(memory.shape, bool)
    for layer, key, linear in linears(made):
        matrix = layout.matrices[key]
        for block in range(matrix.blocks):
            for step in range(matrix.steps):
                row = layer * layout.layer_rows + matrix.row + block * matrix.row_pitch + step
                outputs = matrix.outputs[block * lanes:(block + 1) * lanes]
                inputs = matrix.inputs[step * taps:(step + 1) * taps]
                expected = np.where((outputs >= 0)[:, None] & (inputs >= 0), linear.weights[np.ix_(outputs, inputs)], 0)
                assert np.array_equal(memory[row], expected), (key, layer, block, step)
                assert not seen[row].any()
                seen[row] = True
    for token in range(made.model.shape.vocab):
        for channel in range(made.model.shape.dim):
            column = token * layout.geometry.embed_columns + channel // lanes
            at = (layout.embed_row + column // taps, channel % lanes, column % taps)
            assert memory[at] == made.model.embed[token, channel]
            seen[at] = True
    assert not memory[~seen].any()


def test_weights_are_all_placed(passes: Make):
    """Every weight of a chunked matrix is in exactly one chunk."""
    made = passes("mha", "tiny")
    assert len(made.layout.hidden_chunks) == 2
    inputs = np.concatenate([made.layout.matrices[f"down{chunk}"].inputs for chunk in range(2)])
    assert sorted(inputs[inputs >= 0].tolist()) == list(range(70))


@pytest.mark.parametrize(("shape", "name"), CASES)
def test_parameters_hold_multipliers_and_rotations(passes: Make, shape: str, name: str):
    made = passes(shape, name)
    layout, model, lanes = made.layout, made.model, made.config.lanes
    g, memory = layout.geometry, params(made.model, layout)
    for layer, key, linear in linears(made):
        matrix = layout.matrices[key]
        start = matrix.param + layer * layout.layer_params
        flat = memory[start:start + matrix.blocks].ravel()
        real = matrix.outputs >= 0
        assert np.array_equal(flat[real], linear.multiplier[matrix.outputs[real]]), key
        assert not flat[~real].any()
    signed = memory.view(np.int8)
    for position in (0, g.context - 1):
        for channel in range(g.rope_period * lanes):
            row = layout.rope_param + position * g.rope_period + channel // lanes
            within = channel % g.padded_head
            table = (model.rope_cos, model.rope_sin)[within % 2]
            wanted = table[position, within // 2] if within < model.shape.head_dim else 0
            assert signed[row, channel % lanes] == wanted


@pytest.mark.parametrize("name", PRESETS)
def test_one_hot_words(passes: Make, name: str):
    made = passes("odd", name)
    taps = made.config.taps
    flat = activations(made.layout).ravel()
    start = made.layout.onehot_act * made.config.lanes
    assert np.array_equal(flat[start:start + taps * taps].reshape(taps, taps), ONE_HOT * np.eye(taps))
    assert flat.sum() == ONE_HOT * taps


def test_constants_are_the_shifts(passes: Make):
    made = passes("even", "tiny")
    model, layers = made.model, made.model.shape.layers
    expected = [model.layers[0].attention_x_shift, *(layer.ffn_x_shift for layer in model.layers),
                model.layers[1].attention_x_shift, model.final_x_shift]
    assert shift_constants(model)[:1 + 2 * layers] == expected
    assert constants(model, made.layout)[:1 + 2 * layers].tolist() == expected


# ------------------------------------------------------------------------------------------------ accumulators


@pytest.mark.parametrize(("bits", "name"), [(18, "scores|layer 0 w1"), (19, "layer 0 w1")])
def test_an_accumulator_that_could_overflow_is_named(passes: Make, bits: int, name: str):
    made = passes("mha", "tiny")
    layers = tuple(replace(layer, w1=replace(layer.w1, weights=np.full_like(layer.w1.weights, 127)))
                   for layer in made.model.layers)
    model = replace(made.model, layers=layers)
    config = replace(preset("tiny"), acc_bits=bits)
    layout = replace(made.layout, geometry=replace(made.layout.geometry, config=config, context=1))
    with pytest.raises(InputError, match=rf"({name}).* could reach \d+ in an accumulator of {bits} bits"):
        check_accumulators(model, layout)


def test_the_bound_of_a_row_is_exact(passes: Make):
    """The largest sum of a row's magnitudes times 128 must fit, and one more bit of it must not."""
    made = passes("even", "tiny")
    weights = np.zeros_like(made.model.classifier.weights)
    weights[3, :8] = -128
    model = replace(made.model, classifier=replace(made.model.classifier, weights=weights))
    for bits, fits in ((19, True), (18, False)):  # 8 * 128 * 128 = 2 ** 17
        config = replace(preset("tiny"), acc_bits=bits)
        layout = replace(made.layout, geometry=replace(made.layout.geometry, config=config, context=1))
        small = replace(model, layers=())
        if fits:
            check_accumulators(small, layout)
        else:
            with pytest.raises(InputError, match="classifier could reach 131072"):
                check_accumulators(small, layout)
