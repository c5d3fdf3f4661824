"""Issue logic of the scalar queue: a RUN word is one operation."""

from __future__ import annotations

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.config import Config
from rtl.current import CurrentSignature
from rtl.isa import SCALAR
from rtl.ports import operation_layout


class ScalarIssue(wiring.Component):
    """Adds the loops' offsets.

    Parameters
    ----------
    cfg : the machine.

    Members
    -------
    current : In(CurrentSignature).
    operation : Out(operation_layout). Valid in the cycle of a RUN word.

    Latency
    -------
    None.

    Reset
    -----
    No state.
    """

    def __init__(self, cfg: Config) -> None:
        super().__init__({"current": In(CurrentSignature(cfg, SCALAR)), "operation": Out(operation_layout(cfg))})

    def elaborate(self, platform) -> Module:
        m = Module()
        now, operation = self.current, self.operation
        word, inner, outer = now.word, now.inner, now.outer
        for name in operation.shape().members:
            if name != "valid":
                m.d.comb += operation[name].eq(word[name])
        m.d.comb += [
            operation.valid.eq(now.run),
            operation.reduce.eq(word.reduce + inner.reduce), operation.dst.eq(word.dst + inner.dst),
            operation.constant.eq(word.constant + inner.constant + outer.constant)]
        return m
