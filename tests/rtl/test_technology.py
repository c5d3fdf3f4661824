"""What gateware is asked to become on a family of FPGAs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rtl.config import PRESETS
from rtl.isa import MATRIX
from rtl.sequencer import Sequencer, dynamic_fields
from rtl.technology import Technology, technology
from rtl.verilog import convert
from tests.rtl.bench import SMALL

DISTRIBUTED = '(* ram_style = "distributed" *)'


@pytest.mark.parametrize("family, words, distributed", [
    (Technology.GOWIN, 64, True), (Technology.GOWIN, 128, False), (Technology.ECP5, 64, False), (None, 64, False)])
def test_short_programs_are_in_luts_where_block_ram_is_short(family: Technology | None, words: int, distributed: bool):
    cfg = replace(SMALL["tiny"], matrix_words=words)
    text = convert(Sequencer(cfg, MATRIX), name="sequencer", technology=family)
    values = len(dynamic_fields(cfg, MATRIX).members) if family is Technology.ECP5 else 0  # small memories of their own
    assert text.count(DISTRIBUTED) == values + distributed


def test_short_programs_of_the_gowin_board_are_short_enough():
    cfg = PRESETS["tangnano20k"]
    assert max(cfg.matrix_words, cfg.scalar_words) <= 64 < cfg.vector_words


def test_another_kind_of_platform_is_refused():
    assert technology(None) is None and technology(Technology.ICE40) is Technology.ICE40
    with pytest.raises(TypeError, match="Technology"):
        technology("ice40")
