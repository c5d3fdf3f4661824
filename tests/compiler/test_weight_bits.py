"""Weights of four bits: who gets them, that training's grid is kept, and how they share the banks' bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.float_model import FloatModel, Traits
from compiler.fold import fold, residual_basis
from compiler.layout import Memory, lay_out
from compiler.library import open_model
from compiler.model_tensors import flatten_model, restore_model
from compiler.place import banks
from compiler.quantise import quantise
from compiler.quantised import Linear, Shape
from compiler.random_model import random_float_model
from compiler.weight_bits import FOUR_BIT_MAX, FOUR_BIT_UNIT, OF_FOUR_BITS, trained_bits
from rtl.config import PRESETS, preset
from rtl.isa import Plane
from sim.device import CycleDevice, GoldenDevice, Record

SHAPE = Shape(dim=24, hidden=70, layers=2, heads=3, kv_heads=1, head_dim=8, vocab=40, context=20)
MIXTURE = Traits(experts=2, experts_used=2)
PACKED = [name for name, config in PRESETS.items() if config.weight_planes]


def bits_of(model: FloatModel) -> int:
    return trained_bits(fold(model, residual_basis(model.shape.dim)))


def test_a_model_shows_what_it_was_trained_for() -> None:
    for name, bits in (("fables75k-w4", 4), ("fables96k-w4", 4), ("fables80k", 8)):
        model, _, _ = open_model(name)
        assert bits_of(model) == bits == quantise(model).weight_bits
    assert bits_of(random_float_model(SHAPE)) == 8
    trained, _, _ = open_model("fables75k-w4")
    nudged = trained.w2.copy()
    nudged[3, 5, 7] += 0.01 * np.abs(nudged).max()
    assert bits_of(replace(trained, w2=nudged)) == 8
    nothing = {name: np.zeros_like(getattr(trained, name)) for name in OF_FOUR_BITS}
    assert bits_of(replace(trained, **nothing)) == 8


def test_the_integers_are_those_of_training() -> None:
    """Each weight is the whole number that it was in training, whatever the multiplier next to it."""
    model, _, _ = open_model("fables75k-w4")
    folded, quantised = fold(model, residual_basis(model.shape.dim)), quantise(model)
    for trained, made in zip(folded.layers, quantised.layers, strict=True):
        for name in OF_FOUR_BITS:
            weights = getattr(trained, name)
            grid = np.rint(weights / (np.abs(weights).max(axis=1, keepdims=True) / FOUR_BIT_MAX))
            assert np.array_equal(getattr(made, name).weights, grid * FOUR_BIT_UNIT), name


def test_any_model_can_be_rounded_to_four_bits_and_only_to_those() -> None:
    model = random_float_model(SHAPE)
    quantised = quantise(model, weight_bits=4)
    for layer in quantised.layers:
        for name in OF_FOUR_BITS:
            weights = getattr(layer, name).weights
            assert not (weights % FOUR_BIT_UNIT).any() and np.abs(weights).max() == FOUR_BIT_MAX * FOUR_BIT_UNIT
    assert (quantised.classifier.weights % FOUR_BIT_UNIT).any()
    with pytest.raises(InputError, match="weights of 5 bits are impossible; they can have 4 or 8"):
        quantise(model, weight_bits=5)


def test_an_image_keeps_the_bits_and_refuses_what_contradicts_them() -> None:
    model = quantise(random_float_model(SHAPE), weight_bits=4)
    description, tensors = flatten_model(model)
    assert restore_model(description, tensors).weight_bits == 4
    with pytest.raises(ValueError, match="weights have 5 bits"):
        restore_model(description | {"weight_bits": 5}, tensors)
    wrong = tensors | {"layer1.wo.weights": tensors["layer1.wo.weights"] + np.int8(1)}
    with pytest.raises(ValueError, match="layer 1 has weights that are no multiples of 16"):
        restore_model(description, wrong)


def test_halves_are_taken_evenly() -> None:
    memory = Memory("rows", 100)
    memory.take("whole", 10)
    found = memory.take_halves({"small": 3, "large": 9, "middle": 5})
    assert found == {"large": (10, Plane.LOW), "middle": (10, Plane.HIGH), "small": (15, Plane.HIGH)}
    assert memory.used == memory.most == 19 and memory.take("next", 1) == 19


def weights_in(memory: np.ndarray, plane: Plane) -> np.ndarray:
    """As the matrix unit takes them from the banks' bytes."""
    numbers = memory.astype(np.int64)
    return {Plane.BYTES: numbers, Plane.LOW: ((numbers & 15) ^ 8) * 16 - 128, Plane.HIGH: numbers >> 4 << 4}[plane]


@pytest.mark.parametrize("traits", [Traits(), MIXTURE], ids=["dense", "experts"])
@pytest.mark.parametrize("name", PACKED)
def test_both_halves_of_the_bytes_hold_the_weights(name: str, traits: Traits) -> None:
    """Element by element; no half of a byte is of two matrices; and it takes less room than bytes do."""
    config = replace(preset(name), bank_rows=4096)
    model = quantise(random_float_model(SHAPE, traits=traits), weight_bits=4)
    layout = lay_out(model, config, 9)
    memory, lanes, taps = banks(model, layout), config.lanes, config.taps
    assert layout.bank.used < lay_out(replace(model, weight_bits=8), config, 9).bank.used
    taken: set[tuple[int, Plane]] = set()

    def check(key: str, linear: Linear, base: int) -> None:
        matrix = layout.matrices[key]
        for block in range(matrix.blocks):
            outputs = matrix.outputs[block * lanes:(block + 1) * lanes]
            for step in range(matrix.steps):
                inputs = matrix.inputs[step * taps:(step + 1) * taps]
                row = base + matrix.row + block * matrix.row_pitch + step
                expected = np.where((outputs >= 0)[:, None] & (inputs >= 0), linear.weights[np.ix_(outputs, inputs)], 0)
                assert np.array_equal(weights_in(memory[row], matrix.plane), expected), (key, block, step)
                halves = {(row, plane) for plane in ((Plane.LOW, Plane.HIGH) if matrix.plane is Plane.BYTES
                                                     else (matrix.plane,))}
                assert not halves & taken
                taken.update(halves)

    check("classifier", model.classifier, 0)
    for number, layer in enumerate(model.layers):
        base = number * layout.layer_rows
        for key, linear in (("wq", layer.wq), ("wk", layer.wk), ("wv", layer.wv), ("wo", layer.wo)):
            assert layout.matrices[key].plane is not Plane.BYTES
            check(key, linear, base)
        parts = {"gate": layer.w1, "up": layer.w3} | {
            f"down{chunk}": layer.w2 for chunk in range(len(layout.hidden_chunks))}
        for key, linear in parts.items():
            for expert in range(max(1, model.experts)):
                one = replace(linear, weights=linear.weights[expert]) if model.experts else linear
                check(key, one, base + expert * layout.expert_rows)
        if layer.router is not None:
            check("router", layer.router, base)


@pytest.mark.parametrize("name", PRESETS)
def test_cycles_are_those_of_bytes_and_golden_and_cycle_agree(name: str) -> None:
    """On a machine without planes the weights take a byte each, and nothing else differs."""
    floats = random_float_model(SHAPE, traits=MIXTURE if PRESETS[name].choices else Traits())
    model = quantise(floats, weight_bits=4)
    image = replace(compile_model(model, preset(name), context=9), model=model)
    assert np.array_equal(image.cycles, compile_model(quantise(floats), preset(name), context=9).cycles)
    golden, cycle = GoldenDevice(image), CycleDevice(image, poison=1)
    token = 1
    for position in range(image.context):
        expected, got = golden.step(token, classify=True), cycle.step(token, classify=True)
        assert got == Record(expected.token, int(image.cycles[1, position])), position
        token = expected.token
