"""What gateware is asked to become on a family of FPGAs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rtl.current import dynamic_fields
from rtl.isa import MATRIX
from rtl.sequencer import Sequencer
from rtl.technology import Technology, technology
from rtl.verilog import convert
from tests.rtl.bench import SMALL

DISTRIBUTED = '(* ram_style = "distributed" *)'


@pytest.mark.parametrize("family", [Technology.GOWIN, Technology.ECP5, Technology.ICE40, None])
@pytest.mark.parametrize("named", [("matrix_program",), ("vector_program",)])
def test_programs_are_in_luts_where_the_config_says_so_and_the_family_has_lut_ram(family, named):
    cfg = replace(SMALL["tiny"], lut_memories=named)
    text = convert(Sequencer(cfg, MATRIX), name="sequencer", technology=family)
    values = len(dynamic_fields(cfg, MATRIX).members)  # small memories of their own
    has = family in (Technology.GOWIN, Technology.ECP5)
    assert text.count(DISTRIBUTED) == has * (values + ("matrix_program" in named))


def test_another_kind_of_platform_is_refused():
    assert technology(None) is None and technology(Technology.ICE40) is Technology.ICE40
    with pytest.raises(TypeError, match="Technology"):
        technology("ice40")
