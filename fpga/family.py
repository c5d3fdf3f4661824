"""Family: what a family of FPGAs must offer so that `fpga.build` can make a bitstream for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from amaranth import Const, Instance, Module, Signal

from compiler.errors import InputError
from fpga.board import Board, Pin
from rtl.config import Config
from rtl.technology import Technology

TOP = "top"
"""The module that becomes the bitstream."""


@dataclass(frozen=True, kw_only=True)
class Pll:
    """A PLL that was computed, as an instance of its primitive.

    Parameters
    ----------
    primitive : module name. parameters : its parameters; attributes : of the instance.
    source, output, locked : ports for the crystal, for the clock made from it, and for the lock signal, high when the
        clock is good. loop : a further output and the input that it is led back to.
    tied : ports at constant levels, by name: (bits, value).
    mhz : frequency of the output. vco_mhz : inside.
    """

    primitive: str
    parameters: Mapping[str, int | str]
    source: str
    output: str
    locked: str
    tied: Mapping[str, tuple[int, int]]
    mhz: float
    vco_mhz: float
    loop: tuple[str, str] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    def connect(self, m: Module, *, crystal: Signal, clock: Signal, locked: Signal) -> None:
        """Place it: `clock` and `locked` become its outputs."""
        ports: dict[str, Any] = {f"i_{self.source}": crystal, f"o_{self.output}": clock, f"o_{self.locked}": locked}
        if self.loop is not None:
            ports[f"o_{self.loop[0]}"] = ports[f"i_{self.loop[1]}"] = Signal(name="pll_loop")
        ports |= {f"i_{name}": Const(value, bits) for name, (bits, value) in self.tied.items()}
        ports |= {f"p_{name}": value for name, value in self.parameters.items()}
        ports |= {f"a_{name}": value for name, value in self.attributes.items()}
        m.submodules.pll = Instance(self.primitive, **ports)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a netlist takes of a device, in the units that its vendor counts."""

    lut: int
    ff: int
    dsp: int
    bram: int
    spram: int = 0
    lut_ram: int = 0


@dataclass(frozen=True, kw_only=True)
class Step:
    """A program to run: it reads `inputs` in the folder that it runs in and writes `outputs` there.

    arguments follow the program's name, which is that of a console script of the package index.
    hopeless : of a line that the program says, why to stop it now, or None.
    """

    program: str
    arguments: tuple[str, ...]
    outputs: tuple[str, ...]
    hopeless: Callable[[str], str | None] = lambda line: None


class ArrangementFailed(Exception):
    """A netlist in which the machine's parts are not found; the message says which."""


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """What was done to a netlist before its placement.

    sites : cells that have got a site, see fpga/floorplan.py. copies : cells that were added, see fpga/copies.py.
    absorbed : flip-flops that are in multipliers now, see fpga/absorb.py.
    """

    sites: int = 0
    copies: int = 0
    absorbed: int = 0


class Family(ABC):
    """A family of FPGAs. File names: design.v, design.json, pins (`constraints_file`), placed (`placed_file`)."""

    technology: ClassVar[Technology]
    constraints_file: ClassVar[str]
    placed_file: ClassVar[str]
    bitstream_suffix: ClassVar[str]
    look_up_tables: ClassVar[str] = ""  # for yosys, where it is not what `synthesis` would do
    carry_chains: ClassVar[bool] = False  # of several additions in a row each becomes one, see adders.v
    left_alone: ClassVar[tuple[str, ...]] = ()  # instances that `synthesis` would change
    placer: ClassVar[str]
    packer: ClassVar[str]
    fmax_is_modelled: ClassVar[bool] = True
    """Whether the place-and-route tool's timing includes DSPs and block RAM, so that its Fmax means something."""
    ram_cells: ClassVar[Mapping[str, str]]
    """Cells that hold memory: "block", "large" (single-port, without initial contents) or "lut"."""
    dsp_cells: ClassVar[Mapping[str, float]]
    """Cells that multiply, and how much of one DSP each takes."""

    placed_cells: ClassVar[Mapping[str, Mapping[str, float]]]
    """The counts of `Resources` in the place-and-route tool's report, as sums of its kinds of cells."""

    @abstractmethod
    def pll(self, clock_mhz: float, core_mhz: float) -> Pll:
        """A PLL whose output comes closest to core_mhz. Raises InputError where none is within half a percent."""

    @abstractmethod
    def constraints(self, ports: Mapping[str, Pin]) -> str:
        """Text that gives each port (bits of wide ports one by one) its pin."""

    @abstractmethod
    def synthesis(self, board: Board) -> str:
        """Commands for yosys that turn the design that was read into cells of the family; the top is `top`."""

    def arranges(self, board: Board) -> bool:
        """Whether `arrange` does anything for the board's device."""
        return False

    def arrange(self, module: dict[str, Any], cfg: Config) -> Arrangement:
        """Change the flat netlist, as yosys' JSON has it, to what place and route is to get.

        Raises ArrangementFailed where the netlist is not what it must be.
        """
        raise NotImplementedError

    def copy(self, module: dict[str, Any]) -> int:
        """Of `arrange`, what changes the netlist: twins of cells whose wires would be long, registers that move into
        multipliers. How many cells were added, less those taken out."""
        return 0

    @abstractmethod
    def place(self, board: Board, *, seed: int, target_mhz: float) -> Step:
        """Place and route: from design.json and the constraints to the placed file and report.json."""

    @abstractmethod
    def pack(self, board: Board) -> Step:
        """From the placed file to the bitstream."""

    @abstractmethod
    def resources(self, cells: Counter[str]) -> Resources:
        """What the netlist's cells take, by their types."""

    @abstractmethod
    def capacity(self, board: Board) -> Resources:
        """What the device has."""


def closest(board_text: str, core_mhz: float, found: float | None) -> float:
    """The frequency found. Raises InputError where it is not within half a percent of what was asked."""
    if found is None or abs(found - core_mhz) > 0.005 * core_mhz:
        near = "" if found is None else f"; the closest is {found:.3f} MHz"
        raise InputError(f"{board_text} cannot make {core_mhz:g} MHz{near}")
    return found


def family(technology: Technology) -> Family:
    """The family of a technology."""
    from fpga.families import ecp5, gowin, ice40

    return {one.technology: one for one in (ice40.ICE40, ecp5.ECP5, gowin.GOWIN)}[technology]
