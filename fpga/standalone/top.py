"""The top of a board that tells stories by itself, in place of `fpga.top.BoardTop`: a teller instead of a host link."""

from __future__ import annotations

from amaranth import DomainRenamer, Elaboratable, Module, Mux, Signal
from amaranth.hdl import ClockDomain, ClockSignal, ResetSignal
from amaranth.lib.cdc import FFSynchronizer, ResetSynchronizer
from amaranth.lib.wiring import connect

from fpga.link.uart import UartTx, divisor
from fpga.standalone.boot import Boot
from fpga.standalone.records import Script
from fpga.standalone.tape import Rom
from fpga.standalone.teller import Teller
from fpga.top import Clocking, crystal
from rtl.config import Config
from rtl.contents import EMPTY, Contents
from rtl.core import Core
from rtl.technology import Technology
from rtl.verilog import ZERO_ROWS, convert

TOP = "openlpu_standalone"
PAUSE_SECONDS = 2.0


class StandaloneTop(Elaboratable):
    """A core and a teller. Elaborate it for a `rtl.technology.Technology` or None.

    What it needs is in the FPGA's configuration (`contents`, `script`) or in the flash behind it (`flash_offset`).

    Parameters
    ----------
    cfg : the machine.
    clk_hz : of the clock that `clocking` makes. baud : of the UART.
    contents, script : what the memories hold, and what is told. flash_offset : where all that is in flash instead.
    pause_seconds : least time between two stories; up to twice as much.
    clocking : makes the clock from the pin; by default the pin is the clock.

    Members
    -------
    clk : In(1). The crystal. tx : Out(1). To the terminal. button : In(1). Ends the pause between two stories.
    led : Out(1). On while stories are told; blinks where the flash's data are bad.
    flash_select, flash_clock, flash_out : Out(1). flash_into : In(1). Only with `flash_offset`; all
        active high.

    Raises ConfigError where the clock cannot make the baud rate, ValueError unless there is one source.
    """

    def __init__(self, cfg: Config, *, clk_hz: float, baud: float, contents: Contents = EMPTY,
                 script: Script | None = None, flash_offset: int | None = None, pause_seconds: float = PAUSE_SECONDS,
                 clocking: Clocking = crystal) -> None:
        if (script is None) == (flash_offset is None) or (flash_offset is not None and contents):
            raise ValueError("what is told comes either from contents and script or from flash")
        self.cfg, self.contents, self.script, self.flash_offset = cfg, contents, script, flash_offset
        self.clocking, self.divisor = clocking, divisor(clk_hz, baud)
        self.pause_bits = max(0, round(clk_hz * pause_seconds) - 1).bit_length()
        self.clk, self.button = Signal(name="clk"), Signal(name="button")
        self.tx, self.led = Signal(name="tx", init=1), Signal(name="led")
        self.flash_select, self.flash_clock = Signal(name="flash_select"), Signal(name="flash_clock")
        self.flash_out, self.flash_into = Signal(name="flash_out"), Signal(name="flash_into")
        self.ports = [self.clk, self.button, self.tx, self.led]
        if flash_offset is not None:
            self.ports += [self.flash_select, self.flash_clock, self.flash_out, self.flash_into]

    def elaborate(self, platform) -> Module:
        m = Module()
        clock = self.clocking(m, self.clk)
        m.domains.board = ClockDomain(reset_less=clock.ready is None)
        m.domains.sync = ClockDomain()
        m.d.comb += [ClockSignal("board").eq(clock.clk), ClockSignal("sync").eq(clock.clk)]
        if clock.ready is not None:
            m.submodules.power_on = ResetSynchronizer(~clock.ready, domain="board")

        board = DomainRenamer("board")
        m.submodules.core = core = Core(self.cfg, contents=self.contents)
        m.submodules.teller = teller = board(Teller(self.cfg, pause_bits=self.pause_bits))
        m.submodules.transmitter = transmitter = board(UartTx(self.divisor))
        m.submodules.hurry = FFSynchronizer(self.button, teller.hurry, o_domain="board")
        connect(m, core.tx, teller.answers)
        m.d.comb += self.tx.eq(transmitter.tx)
        if self.script is not None:
            m.submodules.rom = rom = board(Rom(self.script, token_bits=self.cfg.token_bits))
            connect(m, teller.tape, rom.tape)
            connect(m, teller.requests, core.rx)
            connect(m, teller.text, transmitter.bytes)
            reset = ResetSignal("board", allow_reset_less=True)
            m.d.comb += [ResetSignal("sync").eq(reset), teller.go.eq(1), self.led.eq(1)]
            return m

        m.submodules.boot = boot = board(Boot(self.cfg, offset=self.flash_offset or 0))
        connect(m, teller.tape, boot.tape)
        connect(m, teller.tape, boot.tape)
        m.d.comb += [
            ResetSignal("sync").eq(boot.reset_core), teller.go.eq(boot.done), self.led.eq(boot.done | boot.failed),
            self.flash_select.eq(boot.pins.select), self.flash_clock.eq(boot.pins.clock),
            self.flash_out.eq(boot.pins.out), boot.pins.into.eq(self.flash_into)]
        for ours, theirs, to in (
            (boot.requests, teller.requests, core.rx), (boot.text, teller.text, transmitter.bytes)):
            m.d.comb += [
                to.payload.eq(Mux(boot.done, theirs.payload, ours.payload)),
                to.valid.eq(Mux(boot.done, theirs.valid, ours.valid)),
                ours.ready.eq(to.ready), theirs.ready.eq(to.ready)]
        return m


def generate(top: StandaloneTop, *, technology: Technology | None = None) -> str:
    """Verilog of module `openlpu_standalone`, with the ports of `StandaloneTop`; see `rtl.memory_files.split_rows`."""
    return ZERO_ROWS.sub("", convert(top, name=TOP, ports=top.ports, technology=technology))
