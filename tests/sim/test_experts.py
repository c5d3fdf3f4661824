"""Mixture of experts: golden against the floats, all devices alike, and cycles that no choice changes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.float_model import FloatModel, Traits
from compiler.image import Image
from compiler.importers.huggingface import load_folder
from compiler.model_tensors import flatten_model, restore_model
from compiler.quantise import quantise
from compiler.quantised import QuantisedModel, Shape
from compiler.random_model import random_float_model
from rtl.config import PRESETS, preset
from rtl.encoding import Insn, decode, encode
from rtl.isa import MATRIX, VECTOR, Mask, Op
from sim.commands.check import compare
from sim.cycle.program import IllegalProgram
from sim.cycle.proof import Refuted, prove
from sim.cycle.simulator import CycleSimulator
from sim.device import CycleDevice, Device, GoldenDevice, open_device
from sim.golden import Golden
from sim.golden.model import shares
from sim.reference import Reference, chosen_experts
from tests.compiler.importers.folders import CASES, write_folder

SHAPE = Shape(dim=16, hidden=24, layers=2, heads=4, kv_heads=2, head_dim=4, vocab=20, context=8)
ABLE = [name for name, config in PRESETS.items() if config.choices]


def float_model(experts: int, used: int, seed: int = 3, shape: Shape = SHAPE) -> FloatModel:
    return random_float_model(shape, seed, traits=Traits(experts=experts, experts_used=used))


def model_of(experts: int, used: int, seed: int = 3) -> QuantisedModel:
    return quantise(float_model(experts, used, seed))


def image_of(model: QuantisedModel, name: str = "tiny", sequences: int = 1) -> Image:
    return replace(compile_model(model, preset(name), sequences=sequences), model=model)


def one_layer(experts: int = 4, used: int = 2) -> Image:
    return image_of(quantise(float_model(experts, used, shape=replace(SHAPE, layers=1))))


# ------------------------------------------------------------------------------------------- against the floats


def error(model: FloatModel, integers: QuantisedModel) -> float:
    """Of the logits, relative to their size; the tokens are the floats'."""
    reference, golden, found, expected, token = Reference(model), Golden(integers), list[Any](), list[Any](), 1
    for _ in range(model.shape.context):
        expected.append(reference.step(token))
        golden.step(token)
        found.append(golden.logits * integers.logit_scale)
        token = int(expected[-1].argmax())
    wanted = np.array(expected, np.float64)
    return float(np.square(np.array(found) - wanted).mean() / np.square(wanted).mean()) ** 0.5


@pytest.mark.parametrize(("experts", "used"), [(2, 1), (2, 2), (5, 2), (8, 2)])
def test_integers_follow_the_floats(experts: int, used: int) -> None:
    """And integers of another expert do not: the bound means something."""
    model = float_model(experts, used)
    integers = quantise(model)
    turned = replace(integers, layers=tuple(
        replace(layer, router=replace(layer.router, weights=np.roll(layer.router.weights, 1, 0)))
        for layer in integers.layers if layer.router is not None))
    right = error(model, integers)
    assert right < 0.1
    assert error(model, turned) > 3 * right


def test_an_imported_mixtral_follows_its_floats_while_the_router_agrees(tmp_path: Path) -> None:
    """An expert that 8 bits have chosen otherwise changes everything behind it, so it ends the comparison."""
    model = load_folder(write_folder(CASES["mixtral"], tmp_path / "model"))[0]
    integers = quantise(model)
    reference, golden = Reference(model), Golden(integers)
    found, expected = list[Any](), list[Any]()
    for token in range(model.shape.context):
        floats, trace = dict[str, Any](), dict[str, Any]()
        wanted = reference.step(token % model.shape.vocab, hook=floats.__setitem__)
        golden.step(token % model.shape.vocab, trace=trace)
        if any(chosen_experts(floats[f"layer{i}.router"], 2).tolist() != trace[f"layer{i}.experts"].tolist()
               for i in range(model.shape.layers)):
            break
        expected.append(wanted)
        found.append(golden.logits * integers.logit_scale)
    assert len(found) >= 6
    assert np.square(np.array(found) - expected).mean() < 0.06 ** 2 * np.square(expected).mean()
    same(replace(compile_model(integers, preset("ulx3s"), context=6), model=integers), ("cycle",))


def test_a_share_is_that_of_softmax() -> None:
    """For logits of any size: a share is off by no more than the 7 bits of a power allow."""
    rng = np.random.default_rng(1)
    for unit in (0, 3, 8, 13):
        for _ in range(200):
            y = rng.integers(-30000, 30000, 6) if unit > 4 else rng.integers(-2000, 2000, 6)
            chosen, share = shares(y, unit)
            first, second = (int(one.max()) / 2**14 for one in share)
            gap = (y[chosen[0]] - y[chosen[1]]) / 2.0 ** (unit + 2) / 32
            assert gap >= -0.02
            assert abs(first - 1 / (1 + 2.0**-gap)) < 0.02
            assert abs(first + second - 1) < 0.02


def test_of_equal_logits_the_lower_numbers_are_chosen() -> None:
    assert shares(np.array([5, 9, 9, 9]), 4)[0] == [1, 2]
    assert shares(np.full(3, 32767), 0)[0] == [0, 1]
    assert shares(np.full(3, -32768), 0)[0] == [0, 1]
    assert shares(np.array([-32768, -32768, 0]), 0)[0] == [2, 0]


# ------------------------------------------------------------------------------------------- all devices alike


def same(image: Image, devices: tuple[str, ...]) -> None:
    """Tokens, cycles and tensors are golden's, with noise in all that no correct program depends on."""
    with ExitStack() as stack:
        opened: list[Device] = [GoldenDevice(image)]
        for name in devices:
            device = CycleDevice(image, poison=1) if name == "cycle" else open_device(name, image)
            if (rtl := getattr(device, "rtl", None)) is not None:
                stack.enter_context(rtl)
            opened.append(device)
        for found in compare(opened, image, [1, 3], image.context, tensors=True)[1:]:
            assert (found.tokens, found.cycles, found.tensors) == ([], [], {})
            assert {"h", "h8", "x"} <= {tensor.rpartition(".")[2] for tensor in found.compared}


@pytest.mark.parametrize(("experts", "used"), [(2, 1), (7, 2), (8, 2)])
@pytest.mark.parametrize("name", ABLE)
def test_golden_and_cycle_are_alike(name: str, experts: int, used: int) -> None:
    for sequences in range(1, PRESETS[name].sequences + 1):
        image = image_of(model_of(experts, used), name, sequences)
        prove(image)
        same(image, ("cycle",))


@pytest.mark.parametrize("name", [
    "tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in ABLE if name != "tiny")])
def test_rtl_is_as_golden(name: str) -> None:
    same(image_of(model_of(5, 2), name, PRESETS[name].sequences), ("rtl",))


def test_a_model_comes_back_from_its_tensors() -> None:
    model = model_of(3, 2)
    description, tensors = flatten_model(model)
    again = restore_model(description, tensors)
    assert (again.experts, again.experts_used, again.shifts) == (3, 2, model.shifts)
    for one, other in zip(model.layers, again.layers, strict=True):
        assert one.router is not None and other.router is not None
        assert np.array_equal(one.router.weights, other.router.weights)
        assert np.array_equal(one.w2.weights, other.w2.weights)
    with pytest.raises(ValueError, match="4 of 3 experts"):
        restore_model({**description, "experts_used": 4}, tensors)


# ------------------------------------------------------------------------------------------- time


def routed(model: QuantisedModel, turn: int) -> QuantisedModel:
    """The model whose router chooses expert n + turn where it chose n."""
    return replace(model, layers=tuple(
        replace(layer, router=replace(layer.router, weights=np.roll(layer.router.weights, turn, 0),
                                      multiplier=np.roll(layer.router.multiplier, turn)))
        for layer in model.layers if layer.router is not None))


@pytest.mark.parametrize("used", [1, 2])
def test_cycles_do_not_depend_on_the_experts_chosen(used: int) -> None:
    """Every expert is made to be chosen: the programs are the same words, and take the same cycles."""
    model, seen = model_of(4, used), set[tuple[int, ...]]()
    programs, cycles = list[Any](), list[list[int]]()
    for turn in range(4):
        image = image_of(routed(model, turn))
        simulator = CycleSimulator(image)
        took = [simulator.step(token).cycles for token in (1, 7, 3, 9)]
        trace: dict[str, Any] = {}
        golden = Golden(routed(model, turn))
        for token in (1, 7, 3, 9):
            golden.step(token, trace=trace)
            seen.add(tuple(trace["layer1.experts"].tolist()))
        assert simulator.state.indices[:used] == trace["layer1.experts"].tolist()
        programs.append(image.programs)
        cycles.append(took)
        assert took == image.cycles[1, :4].tolist()
    assert programs == programs[:1] * 4
    assert cycles == cycles[:1] * 4
    assert {expert for chosen in seen for expert in chosen} == {0, 1, 2, 3}


def test_cycles_on_the_rtl_do_not_depend_on_them_either() -> None:
    model = model_of(4, 2)
    for turn in (0, 1, 2):
        same(image_of(routed(model, turn)), ("rtl",))


# ------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(("name", "experts", "used", "why"), [
    ("icebreaker", 4, 2, "the machine has no index registers; presets that hold it.*: tiny, ulx3s, large"),
    ("tangnano20k", 4, 1, "the machine has no index registers"),
    ("tiny", 4, 3, "each token uses 3 experts, the machine chooses 2 at most; no preset holds it"),
    ("tiny", 9, 2, "9 experts, an index register counts 8; presets that hold it, the smallest first: large"),
    ("large", 65, 2, "65 experts, an index register counts 64; no preset holds it")])
def test_what_a_machine_cannot_choose_is_refused_in_one_line(name: str, experts: int, used: int, why: str) -> None:
    model = quantise(float_model(experts, used, shape=replace(SHAPE, layers=1, dim=4, hidden=4)))
    with pytest.raises(InputError, match=why) as refused:
        compile_model(model, preset(name))
    assert "\n" not in str(refused.value)


# ------------------------------------------------------------------------------------------- seeded bugs


def changed(image: Image, queue: Any, change: Callable[[Insn], dict[str, Any] | None]) -> Image:
    """The image with fields of the words changed for which `change` has some."""
    words, count = list[int](), 0
    for word in image.programs[queue.name]:
        insn = decode(image.config, queue, word)
        fields = change(insn) if insn["op"] is Op.RUN else None
        count += fields is not None
        words.append(encode(image.config, Insn(queue, {**insn.fields, **(fields or {})})))
    assert count
    return replace(image, programs={**image.programs, queue.name: words})


def differs(image: Image) -> bool:
    found = compare([GoldenDevice(image), CycleDevice(image)], image, [1], image.context, tensors=True)[1]
    return bool(found.tensors)


def test_the_wrong_index_register_is_found() -> None:
    image = one_layer()
    assert not differs(image)
    twice = changed(image, MATRIX, lambda insn: {"choice": 1} if insn.number("choice") == 2 else None)
    assert differs(twice)
    with pytest.raises(Refuted, match="writes index register 1, and nothing ever reads it"):
        prove(twice)
    with pytest.raises(IllegalProgram, match="reads index register 1, which was never written"):
        CycleSimulator(changed(image, MATRIX, lambda insn: {"choice": 3 - insn.number("choice")}
                               if insn.number("choice") else None)).step(1)


def test_a_mask_that_hides_nothing_is_found() -> None:
    assert differs(changed(one_layer(), VECTOR, lambda insn: {"mask": Mask.NONE} if insn["mask"] is Mask.CHOSEN
                           else None))


def test_an_index_that_is_used_too_early_is_found() -> None:
    """By the simulator and by the proof."""
    chosen = list[Insn]()

    def early(insn: Insn) -> dict[str, Any] | None:
        if (not chosen and insn.number("choice") == 0) or len(chosen) == 2:
            return None
        chosen.append(insn)  # the first word of the expert a cycle early, what follows when it was
        return {"wait": insn.number("wait") + (1 if len(chosen) == 2 else -1)}

    image = changed(one_layer(used=1), MATRIX, early)
    with pytest.raises(IllegalProgram, match="reads index register 0 while the write of"):
        CycleSimulator(image).step(1)
    with pytest.raises(Refuted, match="index register"):
        prove(image)


def test_an_expert_outside_of_the_loaded_rows_is_found() -> None:
    image = one_layer()
    assert prove(image)
    for rows in (image.config.bank_rows, image.config.bank_rows // 4, image.registers.expert_rows + 40):
        with pytest.raises(Refuted, match=r"may read bank row .* which is no expert's") as refuted:
            prove(replace(image, registers=replace(image.registers, expert_rows=rows)))
        assert refuted.value.rule == "experts"


def test_a_gather_with_a_choice_and_a_register_that_is_not_there_are_refused() -> None:
    image = one_layer()
    both = changed(image, MATRIX, lambda insn: {"choice": 1} if insn.number("gather") else None)
    with pytest.raises(IllegalProgram, match="a gather has no choice"):
        CycleSimulator(both)
    with pytest.raises(IllegalProgram, match="choice must be at most 2"):
        CycleSimulator(changed(image, MATRIX, lambda insn: {"choice": 3} if insn.number("choice") else None))
