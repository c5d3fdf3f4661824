"""The scalar unit: reciprocals, square roots and scales, each a mantissa with an exponent."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.config import Config
from rtl.isa import SCALAR
from rtl.ports import field_bits, host_signature, operation_layout, scalar_layout
from rtl.protocol import Space


class Scalar(wiring.Component):
    """One operation a cycle, from a reduce register or a constant to a scalar register: docs/numerics.md.

    Parameters
    ----------
    cfg: uses scalars, reduces, constants, groups.

    Members
    -------
    issue: the operation of this cycle, see rtl.ports.operation_layout.
    reduce_index: reduce register to read, in the issue cycle; reduce_value: its 32 bits, a cycle later.
    scalar_index: first of `groups` consecutive registers (modulo `scalars`); scalars: (groups) their contents, in the same cycle.
    out_index, out_exponent: one further read port, of an exponent.
    host: writes constant memory, see rtl.ports.host_signature.

    Latency: rtl.timing `scalar_read` and `scalar_visible`. Throughput: an operation a cycle.
    Reset: nothing is on its way; scalar registers stay.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        shapes = field_bits(cfg, SCALAR, "reduce", "dst")
        super().__init__({
            "issue": In(operation_layout(cfg)), "reduce_index": Out(shapes["reduce"]), "reduce_value": In(32),
            "scalar_index": In(shapes["dst"]), "scalars": Out(data.ArrayLayout(scalar_layout(), cfg.groups)),
            "out_index": In(shapes["dst"]), "out_exponent": Out(scalar_layout()["exponent"].shape),
            "host": In(host_signature(cfg, Space.CONSTANT))})

    def elaborate(self, platform):
        return Module()
