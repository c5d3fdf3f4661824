"""The Verilated core, on machines small enough to see through."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from amaranth.back import verilog
from amaranth.hdl import Module, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from sim.toolchain import BuildFailed
from sim.verilate import CoreTimeout, VerilatedCore, build, cached_verilog

PORTS = {
    "rx_data": In(8), "rx_valid": In(1), "rx_ready": Out(1), "tx_data": Out(8), "tx_valid": Out(1), "tx_ready": In(1),
}  # fmt: skip


class Inverter(wiring.Component):
    """Sends each byte back inverted, through a queue of eight, taking one only every third cycle."""

    def __init__(self):
        super().__init__(PORTS)

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=8, depth=8)
        phase = Signal(range(3))
        m.d.sync += phase.eq(phase + 1)
        with m.If(phase == 2):
            m.d.sync += phase.eq(0)
        open_now = phase == 0
        m.d.comb += [
            queue.w_data.eq(~self.rx_data),
            queue.w_en.eq(self.rx_valid & open_now),
            self.rx_ready.eq(queue.w_rdy & open_now),
            self.tx_data.eq(queue.r_data),
            self.tx_valid.eq(queue.r_rdy),
            queue.r_en.eq(self.tx_ready),
        ]
        return m


class Summer(wiring.Component):
    """Sends the running sum of its bytes, and shows it on further ports, one of them wider than a machine word."""

    def __init__(self):
        super().__init__(PORTS | {"total": Out(8), "wide": Out(100), "spare": In(5)})

    def elaborate(self, platform):
        m = Module()
        full = Signal()
        m.d.comb += [
            self.rx_ready.eq(~full | self.tx_ready),
            self.tx_valid.eq(full),
            self.tx_data.eq(self.total),
            self.wide.eq((self.total << 92) | 1),
        ]
        with m.If(self.tx_ready):
            m.d.sync += full.eq(0)
        with m.If(self.rx_valid & self.rx_ready):
            m.d.sync += [self.total.eq(self.total + self.rx_data), full.eq(1)]
        return m


@pytest.fixture(scope="module")
def inverter() -> Path:
    return build(verilog.convert(Inverter(), name="openlpu"))


@pytest.fixture(scope="module")
def summer() -> Path:
    return build(verilog.convert(Summer(), name="sums"), top="sums", probes=["total", "wide"])


def inverted(data: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in data)


def test_every_byte_comes_back_once_and_in_order(inverter: Path) -> None:
    data = bytes(range(256)) * 3
    with VerilatedCore(inverter) as core:
        assert core.transact(data, len(data)) == inverted(data)
        assert core.received() == b""


@pytest.mark.parametrize("chances", [(0.5, 0.0), (0.0, 0.5), (0.7, 0.7), (0.1, 0.95)], ids=str)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_stalling_host_loses_nothing(inverter: Path, chances: tuple[float, float], seed: int) -> None:
    data = bytes((7 * i) & 255 for i in range(300))
    with VerilatedCore(inverter) as core:
        core.stall(rx=chances[0], tx=chances[1], seed=seed)
        assert core.transact(data, len(data)) == inverted(data)
        core.run(1000)
        assert core.received() == b""


def test_a_host_that_never_reads_stops_the_core(inverter: Path) -> None:
    with VerilatedCore(inverter) as core:
        core.stall(tx=1.0)
        with pytest.raises(CoreTimeout, match=r"after 1000 cycles the core had taken 8 of 100 bytes and sent 0 of 0"):
            core.send(bytes(100), max_cycles=1000)
        core.stall()
        assert core.receive(8) == b"\xff" * 8
        # The byte that was on offer as time ran out was given up, not sent behind our back.
        core.run(1000)
        assert core.received() == b""


def test_bytes_that_come_early_are_kept_and_those_of_a_timeout_too(inverter: Path) -> None:
    with VerilatedCore(inverter) as core:
        core.send(b"abc")
        core.run(50)
        with pytest.raises(CoreTimeout, match="sent 3 of 4"):
            core.receive(4, max_cycles=100)
        assert core.receive(1) == inverted(b"a")
        assert core.received() == inverted(b"bc")


def test_the_same_stalls_take_the_same_cycles(inverter: Path) -> None:
    cycles: list[int] = []
    for _ in range(2):
        with VerilatedCore(inverter) as core:
            core.stall(rx=0.5, tx=0.5, seed=9)
            core.transact(bytes(100), 100)
            cycles.append(core.cycles)
    assert cycles[0] == cycles[1]


def test_cycles_counts_every_clock(summer: Path) -> None:
    with VerilatedCore(summer, reset_cycles=3) as core:
        assert core.cycles == 3
        core.run(10)
        assert core.cycles == 13
        core.send(bytes(5))  # it takes a byte a cycle
        assert core.cycles == 18
        core.reset(2)
        assert core.cycles == 20


def test_reset_starts_the_sum_anew(summer: Path) -> None:
    with VerilatedCore(summer) as core:
        assert core.transact(bytes([200, 100, 3]), 3) == bytes([200, 44, 47])
        core.send(b"\x01")
        core.reset()
        assert core.transact(b"\x05", 1) == b"\x05"


def test_probes_read_ports_of_any_width(summer: Path) -> None:
    with VerilatedCore(summer) as core:
        core.transact(b"\x0a\x0b", 2)
        assert core.probe("total") == 21
        assert core.probe("wide") == (21 << 92 | 1) & (2**100 - 1)
        with pytest.raises(KeyError, match="rx_data is not among the probes"):
            core.probe("rx_data")


def test_watching_keeps_every_value_that_is_not_zero(summer: Path) -> None:
    with VerilatedCore(summer) as core:
        core.transact(b"\x07", 1)
        core.watch("total")
        begin = core.cycles
        core.run(2)
        assert core.watched() == [(begin, 7), (begin + 1, 7)]
        core.transact(bytes([249, 5]), 2)  # the sum is 0 for a cycle
        seen = core.watched()
        assert [value for _, value in seen][:2] == [7, 5] and seen[1][0] == seen[0][0] + 2
        assert core.watched() == []
        core.watch("wide")
        core.run(1)
        assert core.watched() == [(core.cycles - 1, (5 << 92 | 1) & (2**100 - 1))]
        with pytest.raises(KeyError, match="rx_data is not among the probes"):
            core.watch("rx_data")


def test_two_machines_of_one_library_and_of_two_live_side_by_side(summer: Path, inverter: Path) -> None:
    with VerilatedCore(summer) as one, VerilatedCore(summer) as other, VerilatedCore(inverter) as third:
        assert one.transact(b"\x01\x02", 2) == b"\x01\x03"
        assert other.transact(b"\x05", 1) == b"\x05"
        assert third.transact(b"\x00", 1) == b"\xff"
        assert one.transact(b"\x01", 1) == b"\x04"


def test_a_closed_core_says_so(summer: Path) -> None:
    core = VerilatedCore(summer)
    core.close()
    core.close()
    with pytest.raises(ValueError, match="closed"):
        core.run(1)


def test_a_trace_shows_the_ports(tmp_path: Path) -> None:
    library = build(verilog.convert(Summer(), name="openlpu"), trace=True)
    file = tmp_path / "new" / "run.vcd"
    with VerilatedCore(library, trace=file) as core:
        core.transact(b"\x01\x02", 2)
    text = file.read_text()
    assert "$enddefinitions" in text
    assert "rx_valid" in text
    assert text.count("#") > 8


def test_a_trace_needs_a_build_for_it(summer: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="trace=True"):
        VerilatedCore(summer, trace=tmp_path / "run.vcd")


def test_verilog_is_remembered_until_the_facts_or_the_code_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLPU_CACHE", str(tmp_path / "cache"))
    code = tmp_path / "code" / "unit.py"
    code.parent.mkdir()
    code.write_text("lanes = 1")
    made: list[int] = []

    def make() -> str:
        made.append(len(made))
        return f"module m{made[-1]}; endmodule"

    def verilog_of(facts: str) -> str:
        return cached_verilog(make, facts=facts, sources=[code.parent])

    assert verilog_of("4 lanes") == verilog_of("4 lanes") == "module m0; endmodule"
    assert verilog_of("8 lanes") == "module m1; endmodule"
    code.write_text("lanes = 2")
    assert verilog_of("4 lanes") == "module m2; endmodule"


def test_a_design_without_the_ports_is_refused_by_name() -> None:
    with pytest.raises(BuildFailed, match="module wire_only has no port rst, rx_data"):
        build("module wire_only(input clk, output q); assign q = clk; endmodule", top="wire_only")


def test_verilog_that_is_wrong_is_reported_with_what_verilator_said() -> None:
    with pytest.raises(BuildFailed, match=r"(?s)verilating wire_only: verilator_bin\S* failed and said.*syntax error"):
        build("module wire_only(input clk; endmodule", top="wire_only")


@pytest.mark.skipif(sys.gettrace() is not None, reason="a debugger or coverage slows the loop's caller")
def test_a_small_machine_runs_faster_than_a_million_cycles_a_second(summer: Path) -> None:
    with VerilatedCore(summer) as core:
        # By processor time: other programs on this machine must not make the test fail.
        start = time.process_time()
        core.run(1_000_000)
        assert time.process_time() - start < 1.0
