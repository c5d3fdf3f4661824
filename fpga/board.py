"""Board: the facts of one board, and the list of boards.

A board file holds facts and nothing else: which FPGA, which pins, which clock, which machine. What is done with them is
in fpga/families (one file a vendor's family) and fpga/build.py.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass

from compiler.errors import InputError
from rtl.technology import Technology


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A pin of the FPGA's package, at 3.3 V.

    Parameters
    ----------
    name : as the package counts it, "35" or "G2".
    low : it is active at low level. pull : "up", "down" or "" for the resistor inside the FPGA.
    """

    name: str
    low: bool = False
    pull: str = ""

    def __post_init__(self) -> None:
        if self.pull not in ("", "up", "down"):
            raise ValueError(f"pin {self.name}: pull is {self.pull!r}; it must be 'up', 'down' or ''")


@dataclass(frozen=True, kw_only=True)
class Flash:
    """The SPI flash that the FPGA boots from.

    Parameters
    ----------
    select, clock, out, into : pins; `out` is data from the FPGA, `into` data to it. clock is None where only a
        primitive of the family reaches that pin.
    size : bytes. free : first byte behind the largest bitstream, on a sector border: room for weights.
    """

    select: Pin
    clock: Pin | None
    out: Pin
    into: Pin
    size: int
    free: int


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board.

    Parameters
    ----------
    name : on the command line. title : for people.
    family, device, package, speed : the FPGA, as its place-and-route tool names it; speed is "" where it has no grades.
    preset : the machine that is built for it. model : the shipped model that it runs.
    clock, clock_mhz : crystal. core_mhz : the machine's clock, from the PLL; the crystal's own needs none.
    rx, tx : UART, seen from the FPGA. baud : bits a second that board and host start with.
    button : starts a story where weights are baked in. leds : for people.
    high : pins that must stay at high level, with the reason.
    flash : what it boots from.
    programmer : the board's name for openFPGALoader. volatile : it can load the FPGA without writing the flash.
    sources : two public places that the pins were checked against.
    """

    name: str
    title: str
    family: Technology
    device: str
    package: str
    speed: str = ""
    preset: str
    model: str
    clock: Pin
    clock_mhz: float
    core_mhz: float
    rx: Pin
    tx: Pin
    baud: int
    button: Pin
    leds: tuple[Pin, ...]
    high: tuple[tuple[Pin, str], ...] = ()
    flash: Flash
    programmer: str
    volatile: bool = True
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        pins = [pin.name for pin in self.pins]
        if twice := {name for name in pins if pins.count(name) > 1}:
            raise ValueError(f"board {self.name}: pin {min(twice)} has two uses")
        if len(self.sources) < 2:
            raise ValueError(f"board {self.name}: its pins must be checked against two public sources")
        if self.flash.free % 4096 or not 0 < self.flash.free < self.flash.size:
            raise ValueError(f"board {self.name}: flash.free must be a sector's first byte inside the flash")

    @property
    def pins(self) -> tuple[Pin, ...]:
        """All pins with a use."""
        flash = (self.flash.select, self.flash.clock, self.flash.out, self.flash.into)
        return (self.clock, self.rx, self.tx, self.button, *self.leds, *(pin for pin, _ in self.high),
                *(pin for pin in flash if pin is not None))

    def port(self, name: str, width: int) -> dict[str, Pin]:
        """The pins of a top's port, by the names that its bits have in a netlist.

        Ports: clk, rx, tx, button, led, high, flash_select, flash_clock, flash_out, flash_into.
        Raises KeyError where the board has no such pins, or fewer.
        """
        flash = self.flash
        places = {
            "clk": (self.clock,), "rx": (self.rx,), "tx": (self.tx,), "button": (self.button,), "led": self.leds,
            "high": tuple(pin for pin, _ in self.high), "flash_select": (flash.select,), "flash_clock": (flash.clock,),
            "flash_out": (flash.out,), "flash_into": (flash.into,)}
        pins = [pin for pin in places.get(name, ()) if pin is not None][:width]
        if len(pins) < width:
            raise KeyError(f"board {self.name} has no pins for {width} bits of port {name}")
        return {name: pins[0]} if width == 1 else {f"{name}[{bit}]": pin for bit, pin in enumerate(pins)}


def board_names() -> tuple[str, ...]:
    """The boards that there is a file for; a hyphen is an underscore in its name."""
    import fpga.boards

    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(fpga.boards.__path__)))


def board(name: str) -> Board:
    """The board of that name. Raises InputError naming the known ones."""
    if name not in board_names():
        raise InputError(f"unknown board {name!r}; known boards: {', '.join(board_names())}")
    module = name.replace("-", "_")
    found = importlib.import_module(f"fpga.boards.{module}").BOARD
    assert isinstance(found, Board) and found.name == name, f"fpga/boards/{module}.py must define BOARD named {name}"
    return found
