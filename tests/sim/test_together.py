"""Several sequences on one machine: each gives what it gives alone, wherever the others stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.image import Image
from compiler.image_file import load_image, save_image
from compiler.quantise import quantise
from compiler.quantised import Shape
from compiler.random_model import random_float_model
from rtl.config import preset
from rtl.encoding import Insn, decode, encode
from rtl.isa import VECTOR, Reduce
from sim.commands.check import compare
from sim.commands.verify import verify_image
from sim.cycle.proof import Refuted
from sim.device import CycleDevice, GoldenDevice
from sim.generate import generate, generate_together
from sim.measure import utilisation

SHAPE = Shape(dim=16, hidden=24, layers=2, heads=4, kv_heads=2, head_dim=4, vocab=20, context=20)
MODEL = quantise(random_float_model(SHAPE))


def image_for(sequences: int, name: str = "tiny") -> Image:
    return replace(compile_model(MODEL, preset(name), sequences=sequences), model=MODEL)


@pytest.fixture(scope="module")
def two() -> Image:
    return image_for(2)


def test_each_story_is_the_one_that_it_would_be_alone(two: Image):
    """Of different lengths, with prompts of different lengths; one is over long before the other."""
    prompts, alone = [[1], [1, 7, 3, 9, 4]], image_for(1)
    single = [generate(GoldenDevice(alone), alone, prompt, stop=frozenset({5}), tokens=12).tokens for prompt in prompts]
    for device in (GoldenDevice(two), CycleDevice(two, poison=3)):
        made = generate_together(device, two, prompts, stop=frozenset({5}), tokens=12)
        assert made.stories == single
        assert made.prompts == prompts and not made.mispredicted


def test_positions_apart_with_tensors(two: Image):
    golden, cycle = compare([GoldenDevice(two), CycleDevice(two, poison=1)], two, [1, 4], two.context, tensors=True)
    assert golden.good and cycle.good
    assert {"final.x8", "1:final.x8"} <= cycle.compared


def test_the_proof_holds_and_utilisation_rises(two: Image):
    proof, values = verify_image(two)
    assert proof.positions == two.context and values > 0
    assert utilisation(two) > utilisation(image_for(1))


def changed(made: Image, index: int, **fields: int) -> Image:
    words = list(made.programs["vector"])
    insn = decode(made.config, VECTOR, words[index])
    kept = {name: value for name, value in {**insn.fields, **fields}.items() if value}
    words[index] = encode(made.config, Insn(VECTOR, kept))
    return replace(made, programs={**made.programs, "vector": words})


def test_a_word_of_the_wrong_sequence_is_found(two: Image):
    """Each word of the second sequence, as the first one's: masks, rotations, stores, ARGMAX."""
    tried = 0
    for index, word in enumerate(two.programs["vector"]):
        insn = decode(two.config, VECTOR, word)
        if not insn.number("sequence"):
            continue
        tried += 1
        wrong = changed(two, index, sequence=0)
        with pytest.raises(Refuted):
            verify_image(wrong)
    assert tried >= 5


def test_argmax_of_two_sequences_is_kept_apart(two: Image):
    found = {decode(two.config, VECTOR, word).number("sequence") for word in two.programs["vector"]
             if decode(two.config, VECTOR, word)["reduce"] is Reduce.ARGMAX}
    assert found == {0, 1}


def test_an_image_of_one_sequence_leaves_the_other_idle():
    """The machine keeps two positions; the idle one stays at 0, so the furthest is the sequence's own."""
    one = image_for(1)
    device = CycleDevice(one)
    for position in range(4):
        assert device.step(1, classify=False).cycles == one.cycles[0, position]
    assert device.simulator.positions == [4, 1]


def test_the_file_keeps_the_number(two: Image, tmp_path):  # type: ignore[no-untyped-def]
    save_image(two, tmp_path / "two.lpu")
    again = load_image(tmp_path / "two.lpu")
    assert again.sequences == 2 and np.array_equal(again.cycles, two.cycles)


def test_prompts_for_another_number_of_sequences(two: Image):
    with pytest.raises(InputError, match="1 prompts for an image of 2 sequences"):
        generate_together(GoldenDevice(two), two, [[1]])
