"""Verilog on its way to C++: what is rewritten must mean the same."""

from __future__ import annotations

from amaranth.back import verilog
from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from sim.cxx import fold_memory_rows
from sim.verilate import VerilatedCore, build

CONTENTS = [0] * 9 + [1, 2, 3] + [0x7F] * 40 + [0] + [0xFF] * 3 + [5] * 8  # runs, and rows by themselves, in turn


class Reader(wiring.Component):
    """Sends one row of a memory after the other."""

    def __init__(self):
        super().__init__(
            {"rx_data": In(8), "rx_valid": In(1), "rx_ready": Out(1)}
            | {"tx_data": Out(8), "tx_valid": Out(1), "tx_ready": In(1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = memory.Memory(shape=8, depth=len(CONTENTS), init=CONTENTS)
        port = rows.read_port(domain="comb")
        m.d.comb += [self.tx_data.eq(port.data), self.tx_valid.eq(1)]
        with m.If(self.tx_ready):
            m.d.sync += port.addr.eq(port.addr + 1)
        return m


def test_folding_leaves_what_a_memory_holds() -> None:
    text = verilog.convert(Reader(), name="openlpu", emit_src=False)
    assert len(fold_memory_rows(text).splitlines()) < len(text.splitlines()) - 40
    with VerilatedCore(build(text)) as core:
        assert list(core.receive(len(CONTENTS))) == CONTENTS


def test_only_long_runs_of_one_value_are_folded() -> None:
    rows = [f"    mem[{row}] = 8'h{value:02x};" for row, value in enumerate([1, 1, 1, 2, 2, 2, 2, 2])]
    assert fold_memory_rows("\n".join(rows)).split("\n") == [
        *rows[:3], "    for (integer i = 3; i <= 7; i = i + 1) mem[i] = 8'h02;",
    ]  # fmt: skip


def test_rows_of_two_memories_are_not_mixed_and_other_lines_stay() -> None:
    text = "a[0] = 1'h0;\na[1] = 1'h0;\nb[2] = 1'h0;\nb[3] = 1'h0;\n  q[3] <= 1'h0;\n\nassign c[1] = 1'h0;\n"
    assert fold_memory_rows(text) == text
