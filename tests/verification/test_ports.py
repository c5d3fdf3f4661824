"""What the benches stand on: strict encoding, decoding by layout, seeds to repeat, a model that remembers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from rtl.config import PRESETS
from rtl.ports import pass_layout, step_layout
from verification import vector_cases
from verification.ports import decode, encode
from verification.settings import SEED_VARIABLE, generator, new_seed, shallow
from verification.vector_model import VectorModel

PAIR = data.StructLayout({"small": signed(3), "row": data.ArrayLayout(unsigned(4), 2)})


def test_what_is_encoded_is_decoded() -> None:
    value: dict[int | str, Any] = {"small": -4, "row": [15, 0]}
    assert decode(PAIR, encode(PAIR, value)) == value
    assert encode(PAIR, value) == PAIR.const(value).as_value().value
    assert (decode(signed(5), encode(signed(5), -16)), decode(unsigned(5), 31)) == (-16, 31)


@pytest.mark.parametrize("value", [
    {"small": 4, "row": [0, 0]}, {"small": -5, "row": [0, 0]}, {"small": 0, "row": [16, 0]},
    {"small": 0, "row": [0]}, {"small": 0}, {"small": 0, "row": [0, 0], "more": 0}])
def test_nothing_is_truncated_or_left_out(value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"does not fit|are not the members of"):
        encode(PAIR, value)


@pytest.mark.parametrize("name", PRESETS)
def test_random_passes_fit_their_layout(name: str) -> None:
    cfg, rng = shallow(name), generator({"seed": 1})
    for position in (0, 5, (1 << cfg.position_bits) - 1):
        for _ in range(20):
            positions = [position, *(rng.randrange(1 << cfg.position_bits) for _ in range(1, cfg.sequences))]
            fields = vector_cases.random_fields(cfg, rng, positions)
            assert decode(pass_layout(cfg), encode(pass_layout(cfg), fields)) == fields
    assert step_layout(cfg).members.keys() == {"valid", "row", "act", "slot", "clear", "plane"}


def test_a_seed_is_new_each_time_or_the_one_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(SEED_VARIABLE, raising=False)
    assert new_seed() != new_seed()
    monkeypatch.setenv(SEED_VARIABLE, "77")
    assert new_seed() == 77
    assert f"{SEED_VARIABLE}=77" in capsys.readouterr().out


def test_the_held_value_and_the_registers_go_from_pass_to_pass() -> None:
    cfg, rng = shallow("tiny"), generator({"seed": 1})
    model = VectorModel(cfg, positions=[63, 0], oldest=[0, 0])

    def one(memory: list[int], **fields: int) -> tuple[list[int], list[int]]:
        given = vector_cases.with_operands(cfg, rng, vector_cases.plain(cfg, **fields))
        wide, narrow = model.run(replace(given, memory=np.array(memory)))
        return wide.tolist(), narrow.tolist()

    assert one([1, 2, 3, 300], rotate=1)[0] == [1, 2, 3, 300]
    assert one([10, 20, 30, 40], rotate=1, odd=1)[0] == [-19, 12, -37, 330]
    assert one([1, -2, 3, 300], reduce=3, first=1) == ([1, -2, 3, 300], [1, -2, 3, 127])
    one([-32768] * 4, reduce=3)
    assert model.registers[0] == (302 - 4 * 32768) % (1 << 32)
    one([5, 9, 9, 1], reduce=4, first=1)
    one([9, 9, 9, 9], reduce=4)
    assert model.tokens == {0: 1}
    one([8, 7, 6, 5], reduce=4, first=1, sequence=1)
    one([0, 0, 10, 10], reduce=4)
    assert model.tokens == {0: 2 * 4 + 2, 1: 0}
    assert one([4, 5, 6, 7], mask=1, sequence=1)[0] == [4, 0, 0, 0]
