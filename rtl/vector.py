"""The vector unit: `lanes` lanes in lock step through one static pipeline."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.config import Config
from rtl.isa import MATRIX, VECTOR
from rtl.memories import vector_address_bits
from rtl.ports import bank_enables_layout, bank_rows_layout, field_bits, pass_layout, row_layout, scalar_layout


class Vector(wiring.Component):
    """Requantise, scale, add, look up, mask, reduce and store: docs/numerics.md, a pass a cycle.

    Parameters
    ----------
    cfg: uses nearly all of it; `vector_cuts` says where the pipeline has registers.

    Members
    -------
    issue: the pass of this cycle, see rtl.ports.pass_layout.
    position: the token's position, key_offset: (position // lanes) * key_step; both steady during a token.
    memory_read_row, memory_read_enable, memory_read_data: read port of VectorMemory.
    param_row, param_enable, param_data: read port of ParamMemory.
    scalar_index: first of `groups` scalar registers; scalars: (groups) their contents, in the same cycle.
    out_index: scalar register of the output shift; out_exponent: its exponent, in the same cycle.
    acc_slot: accumulator to read; acc: (lanes) its contents, in the same cycle.
    memory_write_row, memory_write_enable, memory_write_data: write port of VectorMemory.
    act_vector, act_enable, act_data: write port of ActMemory.
    bank_row, bank_enable, bank_data: write port of Banks, (lanes, taps) bytes with a bit each.
    reduce_index: reduce register to read; reduce_value: its 32 bits a cycle later, as they then are.
    token: ARGMAX's winner so far.

    Latency: each access in its cycle of rtl.timing. Throughput: a pass a cycle.
    Reset: nothing is on its way; reduce registers stay.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        shapes = field_bits(cfg, VECTOR, "src", "param", "slot", "scalar", "target")
        row = field_bits(cfg, MATRIX, "row")["row"]
        super().__init__({
            "issue": In(pass_layout(cfg)), "position": In(cfg.position_bits), "key_offset": In(row),
            "memory_read_row": Out(shapes["src"]), "memory_read_enable": Out(1),
            "memory_read_data": In(row_layout(16, cfg.lanes)),
            "param_row": Out(shapes["param"]), "param_enable": Out(1), "param_data": In(data.ArrayLayout(8, cfg.lanes)),
            "scalar_index": Out(shapes["scalar"]), "scalars": In(data.ArrayLayout(scalar_layout(), cfg.groups)),
            "out_index": Out(shapes["scalar"]), "out_exponent": In(scalar_layout()["exponent"].shape),
            "acc_slot": Out(shapes["slot"]), "acc": In(row_layout(cfg.acc_bits, cfg.lanes)),
            "memory_write_row": Out(shapes["src"]), "memory_write_enable": Out(1),
            "memory_write_data": Out(row_layout(16, cfg.lanes)),
            "act_vector": Out(vector_address_bits(cfg)), "act_enable": Out(1), "act_data": Out(row_layout(8, cfg.lanes)),
            "bank_row": Out(row), "bank_enable": Out(bank_enables_layout(cfg)), "bank_data": Out(bank_rows_layout(cfg)),
            "reduce_index": In(shapes["target"]), "reduce_value": Out(32), "token": Out(cfg.token_bits)})

    def elaborate(self, platform):
        return Module()
