"""The core's clock on a board: from the crystal through the family's PLL, and the levels of pins."""

from __future__ import annotations

from typing import Any

from amaranth import Elaboratable, Module, Signal

from fpga.board import Board, Pin
from fpga.family import Pll, family
from fpga.top import Clock, Clocking, crystal

INPUTS = ("clk", "rx", "button", "flash_into")
"""Ports of a board's top that come from pins; the others go to pins."""


def core_pll(board: Board, core_mhz: float) -> Pll | None:
    """The PLL for a core clock, None where it is the crystal's. Raises InputError where no PLL makes it."""
    return None if core_mhz == board.clock_mhz else family(board.family).pll(board.clock_mhz, core_mhz)


def made_mhz(board: Board, core_mhz: float) -> float:
    """The frequency that the core really gets."""
    pll = core_pll(board, core_mhz)
    return board.clock_mhz if pll is None else pll.mhz


def clocking(board: Board, core_mhz: float) -> Clocking:
    """What makes the core's clock, for `fpga.top.BoardTop`."""
    pll = core_pll(board, core_mhz)
    if pll is None:
        return crystal

    def through_pll(m: Module, pin: Signal) -> Clock:
        clock, locked = Signal(name="core_clock"), Signal(name="core_clock_locked")
        pll.connect(m, crystal=pin, clock=clock, locked=locked)
        return Clock(clock, locked)

    return through_pll


class Pads(Elaboratable):
    """A board's top between its pins: turns the level of pins that are active low, and holds the pins of `Board.high`.

    Parameters
    ----------
    board : which pins there are and how they work.
    inner : the top; `ports` is a list of its signals, whose names are ports of the board. All are active high inside.

    Members
    -------
    ports : list of signals, the pins.
    """

    def __init__(self, board: Board, inner: Any) -> None:
        self.board, self.inner = board, inner
        self.ports = [Signal(len(port), name=port.name, init=port.init) for port in inner.ports]
        self.high = Signal(len(board.high), name="high") if board.high else None
        if self.high is not None:
            self.ports.append(self.high)

    def pins(self) -> dict[str, Pin]:
        """The pin of each bit of each port. Raises KeyError where the board has none."""
        return {bit: pin for port in self.ports for bit, pin in self.board.port(port.name, len(port)).items()}

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.board = self.inner
        for outer, inner in zip(self.ports, self.inner.ports, strict=False):
            low = next(iter(self.board.port(outer.name, len(outer)).values())).low
            source, target = (outer, inner) if outer.name in INPUTS else (inner, outer)
            m.d.comb += target.eq(~source if low else source)
        if self.high is not None:
            m.d.comb += self.high.eq(~0)
        return m
