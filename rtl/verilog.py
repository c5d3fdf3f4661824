"""Verilog of a whole machine: one text, the same bytes on every run."""

from __future__ import annotations

import re
from collections.abc import Sequence

from amaranth import Elaboratable, Module, Signal
from amaranth.back import verilog
from amaranth.hdl import ClockDomain

from rtl.config import Config
from rtl.contents import EMPTY, Contents
from rtl.core import Core
from rtl.probe import probe_layout
from rtl.ram_verilog import RAM_VERILOG
from rtl.technology import Technology

TOP = "openlpu"

# Amaranth initialises every row of every memory, each in a line of its own. Rows of zeros are dropped: nothing reads a
# row that nobody wrote (the cycle simulator rejects such programs), yosys takes minutes to read thousands of them, and
# SRAM without initial contents, such as iCE40's, can only be inferred without them. Tables keep theirs.
ZERO_ROWS = re.compile(r"  initial begin\n(?:    \S+ ?\[\d+\] = \d+'[dh]0+;\n)+  end\n")


# A field without bits becomes a wire [-1:0], which has two in Verilog. Nothing reads or drives it.
NO_BITS = re.compile(r"^  wire \[-1:0\] .*;\n", re.MULTILINE)


class Top(Elaboratable):
    """Core with plain ports.

    Parameters
    ----------
    cfg : the machine.
    probe : whether it has the output `probe`, see rtl/probe.py.
    contents : what its memories hold when it is configured.

    Members
    -------
    clk : In(1). Rising edge. rst : In(1). Synchronous, high.
    rx_data : In(8). rx_valid : In(1). rx_ready : Out(1). A byte is taken in a cycle in which both are high.
    tx_data : Out(8). tx_valid : Out(1). tx_ready : In(1). Likewise.
    """

    def __init__(self, cfg: Config, *, probe: bool = False, contents: Contents = EMPTY) -> None:
        self.cfg, self.contents = cfg, contents
        self.probe = Signal(probe_layout(cfg).size, name="probe") if probe else None
        self.clk, self.rst = Signal(name="clk"), Signal(name="rst")
        self.rx_data, self.tx_data = Signal(8, name="rx_data"), Signal(8, name="tx_data")
        self.rx_valid, self.tx_valid = Signal(name="rx_valid"), Signal(name="tx_valid")
        self.rx_ready, self.tx_ready = Signal(name="rx_ready"), Signal(name="tx_ready")
        self.ports = [
            self.clk, self.rst, self.rx_data, self.rx_valid, self.rx_ready, self.tx_data, self.tx_valid, self.tx_ready]
        if self.probe is not None:
            self.ports.append(self.probe)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.domains.sync = sync = ClockDomain()
        m.submodules.core = core = Core(self.cfg, probe=self.probe is not None, contents=self.contents)
        m.d.comb += [
            sync.clk.eq(self.clk), sync.rst.eq(self.rst),
            core.rx.payload.eq(self.rx_data), core.rx.valid.eq(self.rx_valid), self.rx_ready.eq(core.rx.ready),
            self.tx_data.eq(core.tx.payload), self.tx_valid.eq(core.tx.valid), core.tx.ready.eq(self.tx_ready)]
        if self.probe is not None:
            m.d.comb += self.probe.eq(core.probe)
        return m


def convert(top: Elaboratable, *, name: str, ports: Sequence[Signal] | None = None,
            technology: Technology | None = None) -> str:
    """Verilog text of a component, without source positions. ports: by default those of its signature."""
    text = verilog.convert(
        top, name=name, ports=ports, platform=technology, emit_src=False, strip_internal_attrs=True)
    return NO_BITS.sub("", text)


def generate(cfg: Config, *, probe: bool = False, technology: Technology | None = None,
             contents: Contents = EMPTY) -> str:
    """Verilog text of module `openlpu` for a Config. It holds no paths, no dates and no source positions.

    contents: what its memories hold when it is configured; see `split_rows` for what is large.
    """
    top = Top(cfg, probe=probe, contents=contents)
    text = ZERO_ROWS.sub("", convert(top, name=TOP, ports=top.ports, technology=technology))
    return text + ("\n" + RAM_VERILOG if cfg.external_banks else "")
