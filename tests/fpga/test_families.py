# amaranth: UnusedElaboratable=no
"""PLLs and constraints, family by family. Tops are asked for their pins, and not elaborated."""

import pytest

from compiler.errors import InputError
from fpga.board import board, board_names
from fpga.clocking import INPUTS, Pads, clocking
from fpga.families.ecp5 import ECP5
from fpga.families.gowin import GOWIN
from fpga.families.ice40 import ICE40
from fpga.family import Family, Pll, family
from fpga.top import BoardTop
from rtl.config import preset


def ice40_output(pll: Pll, clock: float) -> tuple[float, float]:
    """VCO and output from the parameters, as the vendor's usage guide has them for SIMPLE feedback."""
    vco = clock * (int(pll.parameters["DIVF"]) + 1) / (int(pll.parameters["DIVR"]) + 1)
    return vco, vco / 2 ** int(pll.parameters["DIVQ"])


def ecp5_output(pll: Pll, clock: float) -> tuple[float, float]:
    """The loop makes CLKFB / CLKFB_DIV = CLKI / CLKI_DIV, with CLKFB = CLKOP = VCO / CLKOP_DIV."""
    vco = clock * int(pll.parameters["CLKFB_DIV"]) * int(pll.parameters["CLKOP_DIV"]) / int(pll.parameters["CLKI_DIV"])
    return vco, vco / int(pll.parameters["CLKOS_DIV"])


def gowin_output(pll: Pll, clock: float) -> tuple[float, float]:
    output = clock * (int(pll.parameters["FBDIV_SEL"]) + 1) / (int(pll.parameters["IDIV_SEL"]) + 1)
    return output * int(pll.parameters["ODIV_SEL"]), output


CASES = [(ICE40, ice40_output, 12.0, (533, 1066), (18.0, 24.0, 25.5, 27.0, 30.0, 48.0)),
         (ECP5, ecp5_output, 25.0, (400, 800), (25.0 / 2, 50.0, 80.0, 83.0, 90.0, 100.0, 125.0)),
         (ECP5, ecp5_output, 48.0, (400, 800), (50.0, 96.0)),
         (GOWIN, gowin_output, 27.0, (500, 1250), (13.5, 30.0, 40.5, 54.0, 60.0, 100.0))]


@pytest.mark.parametrize(
    ("kind", "output", "clock", "limits", "wanted"),
    [(kind, output, clock, limits, one) for kind, output, clock, limits, every in CASES for one in every])
def test_a_pll_makes_what_is_wanted_within_its_limits(kind: Family, output, clock, limits, wanted) -> None:
    pll = kind.pll(clock, wanted)
    vco, made = output(pll, clock)
    assert abs(made - wanted) <= 0.005 * wanted
    assert (pll.vco_mhz, pll.mhz) == (pytest.approx(vco), pytest.approx(made))
    assert limits[0] <= vco <= limits[1]


@pytest.mark.parametrize(("kind", "clock", "wanted"), [
    (ICE40, 12.0, 10.0), (ICE40, 12.0, 400.0), (ICE40, 8.0, 24.0), (ECP5, 25.0, 1.0), (ECP5, 25.0, 500.0),
    (GOWIN, 27.0, 3.0), (GOWIN, 27.0, 700.0)])
def test_what_no_pll_makes_is_refused(kind: Family, clock: float, wanted: float) -> None:
    with pytest.raises(InputError, match=f"cannot make {wanted:g} MHz"):
        kind.pll(clock, wanted)


def test_loop_filter_of_an_ice40_follows_the_phase_detector() -> None:
    assert ICE40.pll(12.0, 24.0).parameters["FILTER_RANGE"] == 1
    assert ICE40.pll(48.0, 24.0).parameters["FILTER_RANGE"] in (1, 2, 3, 4)
    assert ICE40.pll(100.0, 200.0).parameters["FILTER_RANGE"] == 5


def top(name: str) -> Pads:
    facts = board(name)
    return Pads(facts, BoardTop(preset("tiny"), clk_hz=facts.core_mhz * 1e6, baud=facts.baud,
                                clocking=clocking(facts, facts.core_mhz)))


@pytest.mark.parametrize("name", board_names())
def test_every_bit_of_every_port_has_a_line(name: str) -> None:
    pads = top(name)
    text = family(board(name).family).constraints(pads.pins())
    bits = [port.name if len(port) == 1 else f"{port.name}[{bit}]" for port in pads.ports for bit in range(len(port))]
    assert len(bits) >= 4
    for bit in bits:
        assert any(bit in line.replace('"', " ").split() for line in text.splitlines()), bit


def test_constraints_of_the_three_families() -> None:
    assert ICE40.constraints(top("icebreaker").pins()) == (
        "set_io clk 35\nset_io -pullup yes rx 6\nset_io tx 9\nset_io led 11\n")
    assert ECP5.constraints(top("ulx3s").pins()).splitlines()[2:6] == [
        'LOCATE COMP "clk" SITE "G2";', 'IOBUF PORT "clk" IO_TYPE=LVCMOS33 PULLMODE=NONE;',
        'LOCATE COMP "rx" SITE "M1";', 'IOBUF PORT "rx" IO_TYPE=LVCMOS33 PULLMODE=UP;']
    assert GOWIN.constraints(top("tangnano20k").pins()).splitlines()[2:4] == [
        'IO_LOC "rx" 70;', 'IO_PORT "rx" IO_TYPE=LVCMOS33 PULL_MODE=UP;']


def test_pins_of_a_top_are_inputs_or_outputs_and_held_pins_are_added() -> None:
    assert [port.name for port in top("ulx3s").ports] == ["clk", "rx", "tx", "led", "high"]
    assert {"clk", "rx"} <= set(INPUTS) and not {"tx", "led", "high"} & set(INPUTS)


def test_a_target_out_of_the_routers_reach_ends_the_build() -> None:
    said = "Info:     iter={} wires=107 overused=0 overuse=0 tmgfail={} archfail=NA"
    step = ECP5.place(board("ulx3s"), seed=1, target_mhz=80)
    assert step.hopeless(said.format(199, 3)) is None
    assert step.hopeless(said.format(200, 0)) is None
    assert "3 wires are too late" in (step.hopeless(said.format(200, 3)) or "")
    assert step.hopeless("Info: Router2 time 300.00s") is None
