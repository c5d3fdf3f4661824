"""The top of every board: pins, link, core. Also as Verilog."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from amaranth import DomainRenamer, Elaboratable, Module, Signal
from amaranth.hdl import ClockDomain, ClockSignal, ResetSignal
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import connect

from fpga.link.endpoint import Endpoint
from fpga.link.identity import identity
from fpga.link.uart import UartRx, UartTx, divisor
from rtl.config import Config
from rtl.core import Core
from rtl.ram_verilog import RAM_VERILOG
from rtl.technology import Technology
from rtl.verilog import ZERO_ROWS, convert

TOP = "openlpu_board"


class Clock(NamedTuple):
    """What a board makes of its crystal.

    Members
    -------
    clk : the core's clock, also the link's. ready : low until it is steady; None where it always is.
    """

    clk: Signal
    ready: Signal | None = None


Clocking = Callable[[Module, Signal], Clock]
"""Adds to a module what makes the clock, a PLL for instance, from the crystal's pin."""


def crystal(m: Module, pin: Signal) -> Clock:
    """The clock is the crystal's."""
    return Clock(pin)


class BoardTop(Elaboratable):
    """A core behind its host link, with the pins of a board. Elaborate it for a `rtl.technology.Technology` or None.

    Parameters
    ----------
    cfg : the machine.
    clk_hz : of the clock that `clocking` makes.
    baud : of the UART.
    clocking : makes the clock from the pin; by default the pin is the clock.
    ring_bits : see `fpga.link.endpoint.Endpoint`; by default 8, and 7 beside a machine that has small control: frames
        of half the size cost fewer cells.
    make_core : what is behind the link: a component with the byte streams `rx` and `tx`. Tests of the link put a
        simpler one there.

    Members
    -------
    clk : In(1). The crystal. rx : In(1). From the host. tx : Out(1). To the host.
    led : Out(1). A host has made itself known since power-on.

    Reset: there is no pin; at power-on from the registers' initial values and `Clock.ready`, later by the link, which
    resets the core and nothing else.

    Raises ConfigError where the clock cannot make the baud rate.
    """

    def __init__(self, cfg: Config, *, clk_hz: float, baud: float, clocking: Clocking = crystal,
                 ring_bits: int | None = None, make_core: Callable[[Config], Any] = Core) -> None:
        self.cfg, self.clocking, self.make_core = cfg, clocking, make_core
        self.ring_bits = ring_bits or 8 - int(cfg.small_control)
        self.divisor = divisor(clk_hz, baud)
        self.identity = identity(cfg, clk_hz)
        self.clk, self.rx = Signal(name="clk"), Signal(name="rx", init=1)
        self.tx, self.led = Signal(name="tx", init=1), Signal(name="led")
        self.ports = [self.clk, self.rx, self.tx, self.led]

    def elaborate(self, platform) -> Module:
        m = Module()
        clock = self.clocking(m, self.clk)
        m.domains.link = ClockDomain(reset_less=clock.ready is None)
        m.domains.sync = ClockDomain()
        m.d.comb += [ClockSignal("link").eq(clock.clk), ClockSignal("sync").eq(clock.clk)]
        if clock.ready is not None:
            m.submodules.power_on = ResetSynchronizer(~clock.ready, domain="link")

        link = DomainRenamer("link")
        m.submodules.receiver = receiver = link(UartRx(self.divisor))
        m.submodules.transmitter = transmitter = link(UartTx(self.divisor))
        m.submodules.endpoint = endpoint = link(Endpoint(self.identity.encode(), ring_bits=self.ring_bits))
        m.submodules.core = core = self.make_core(self.cfg)
        m.d.comb += [
            receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx), self.led.eq(endpoint.open),
            endpoint.received.eq(receiver.data), endpoint.received_valid.eq(receiver.valid),
            ResetSignal("sync").eq(endpoint.reset_core)]
        connect(m, endpoint.sent, transmitter.bytes)
        connect(m, endpoint.rx, core.rx)
        connect(m, core.tx, endpoint.tx)
        return m


def generate(top: BoardTop, *, technology: Technology | None = None) -> str:
    """Verilog of module `openlpu_board`, with the ports of `BoardTop`."""
    text = ZERO_ROWS.sub("", convert(top, name=TOP, ports=top.ports, technology=technology))
    return text + ("\n" + RAM_VERILOG if top.cfg.external_banks else "")
