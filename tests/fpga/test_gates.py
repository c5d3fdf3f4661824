"""Names of the gate level, and the models that it puts beside a netlist."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from compiler.errors import InputError
from fpga.cell_models import models, shipped
from fpga.gates import MACHINES, technology_of
from rtl.technology import Technology


def test_a_board_and_a_family_name_a_technology() -> None:
    assert technology_of("ulx3s") is technology_of("ecp5") is Technology.ECP5
    assert technology_of("icebreaker") is Technology.ICE40


def test_another_name_is_told_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'xc7' is neither .* ulx3s-fast; families: ice40, ecp5, gowin"):
        technology_of("xc7")


def test_every_family_has_a_machine() -> None:
    assert set(MACHINES) == set(Technology)


@pytest.mark.parametrize("technology", Technology)
def test_each_cell_has_one_model_and_none_is_a_black_box(technology: Technology) -> None:
    text = models(technology)
    names = Counter(re.findall(r"^module +(\S+?)(?=[ #(])", text, re.MULTILINE))
    assert len(names) > 15
    assert [name for name, count in names.items() if count > 1] == []
    assert not re.search(r"\bblackbox\b", text)
    assert len(shipped(technology)) > 10_000
