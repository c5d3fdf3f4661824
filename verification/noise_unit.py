"""The noise and its issue logic as one unit, as rtl/core.py places them."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from rtl.config import Config
from rtl.contents import EMPTY, Contents
from rtl.issue_noise import NoiseIssue
from rtl.noise import Noise


class NoiseUnit(wiring.Component):
    """Passes in, rows out; for members, latency and reset see NoiseIssue and Noise."""

    def __init__(self, cfg: Config, contents: Contents = EMPTY) -> None:
        self.cfg, self._issue, self._noise = cfg, NoiseIssue(cfg), Noise(cfg, contents)
        super().__init__({name: member for part in (self._issue, self._noise)
                          for name, member in part.signature.members.items() if name != "steps"})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.issuing, m.submodules.noise = issuing, noise = self._issue, self._noise
        connect(m, flipped(self.load), noise.load)
        m.d.comb += [
            issuing.go.eq(self.go), issuing.issue.eq(self.issue), noise.go.eq(self.go),
            noise.restart.eq(self.restart), noise.steps.eq(issuing.steps), self.row.eq(noise.row)]
        return m


def register_words(seeds: list[int], mantissa: int, shift: int) -> list[int]:
    """Words of Space.REGISTER for these seeds and this temperature; the control unit's as zeros."""
    return [0, 0, 0, mantissa | shift << 8, *(seed >> 16 * word & 0xFFFF for seed in seeds for word in range(4))]


def soonest(taken: list[int], rows: int, apart: int, busy: set[int]) -> int:
    """The first cycle, from 0 on, in which a sequence may take a row after those that it took, none of them busy."""
    cycle = taken[-1] + 1 if taken else 0
    if len(taken) >= rows:
        cycle = max(cycle, taken[-rows] + apart)
    while cycle in busy:
        cycle += 1
    return cycle
