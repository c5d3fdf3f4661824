"""What the banks' error-correcting code found: counters for the host, and the stop."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.arithmetic import node, register
from rtl.config import Config

COUNTER_BITS = 16


class BankErrors(wiring.Component):
    """Counts the rows that a read had to correct, and those that it could not.

    A row counts as often as it is read, a lane's part of it by itself. A counter at its end stays there.

    Parameters
    ----------
    cfg : uses lanes.

    Members
    -------
    corrected, uncorrectable : In(lanes). Of the banks, in the cycle in which the row arrives.
    clear : In(1). Both counters to 0.
    corrected_count, uncorrectable_count : Out(COUNTER_BITS).
    failed : Out(1). A row could not be corrected since `clear`: no token since then is to be trusted.

    Latency
    -------
    Two cycles; `failed` one.

    Reset
    -----
    As `clear`.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        super().__init__({
            "corrected": In(cfg.lanes), "uncorrectable": In(cfg.lanes), "clear": In(1),
            "corrected_count": Out(COUNTER_BITS), "uncorrectable_count": Out(COUNTER_BITS), "failed": Out(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        for name in ("corrected", "uncorrectable"):
            self.count(m, name)
        with m.If(self.uncorrectable.any()):
            m.d.sync += self.failed.eq(1)
        with m.If(self.clear):
            m.d.sync += self.failed.eq(0)
        return m

    def count(self, m: Module, name: str) -> None:
        """Statements for one of the counters."""
        flags: Signal = getattr(self, name)
        counter: Signal = getattr(self, f"{name}_count")
        found = register(m, sum((flags[lane] for lane in range(1, len(flags))), start=flags[0]), f"{name}_rows")
        total = node(m, counter + found, f"{name}_total")
        with m.If(self.clear):
            m.d.sync += counter.eq(0)
        with m.Else():
            m.d.sync += counter.eq(Mux(total[COUNTER_BITS:].any(), (1 << COUNTER_BITS) - 1, total))
