"""SRAM banks: one a lane, `taps` bytes wide, holding weights, K cache and transposed V cache."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.arithmetic import picked
from rtl.config import Config, log2
from rtl.contents import EMPTY, Contents
from rtl.isa import MATRIX
from rtl.ports import NEVER_COLLIDES, bank_enables_layout, bank_rows_layout, field_bits, host_signature, row_layout
from rtl.protocol import Space


class Bank(wiring.Component):
    """One lane's SRAM: a read port and a write port, each `taps` bytes wide.

    With `single_port` both share one address, and a cycle that writes does not read: the compiler never asks for both.
    With `external_banks` the memory is an instance of `openlpu_ram` (see rtl/ram_verilog.py).

    Parameters
    ----------
    cfg: uses taps, bank_rows, single_port, bank_register, external_banks.
    init: rows that it is configured with; the others are zero, external banks hold anything.

    Members
    -------
    read_row, read_enable: the row to read; without an enable the last value stays.
    read_data: (taps) int8.
    write_row, write_enable (a bit a byte), write_data: (taps) int8.

    Latency: read_data follows 1 cycle later, 2 with `bank_register`; a read sees writes of earlier cycles only. A read
        of the row that is being written is the old row in simulation and undefined on an FPGA: see NEVER_COLLIDES.
    Throughput: one read and one write a cycle (`single_port`: one of them).
    Reset: contents stay; the output is undefined until the first read.
    """

    def __init__(self, cfg: Config, init: Sequence[int] = ()):
        self.cfg, self.init = cfg, init
        row = field_bits(cfg, MATRIX, "row")["row"]
        super().__init__({
            "read_row": In(row), "read_enable": In(1), "read_data": Out(row_layout(8, cfg.taps)),
            "write_row": In(row), "write_enable": In(cfg.taps), "write_data": In(row_layout(8, cfg.taps))})

    def elaborate(self, platform):
        cfg, m = self.cfg, Module()
        read_row, read_enable, write_row = self.read_row, self.read_enable, self.write_row
        if cfg.single_port:
            writing = self.write_enable.any()
            read_row = write_row = Mux(writing, self.write_row, self.read_row)
            read_enable = self.read_enable & ~writing

        found = Signal(row_layout(8, cfg.taps))
        if cfg.external_banks:
            m.submodules.ram = Instance(
                "openlpu_ram", p_WIDTH=8 * cfg.taps, p_DEPTH=cfg.bank_rows, i_clk=ClockSignal(),
                i_read_enable=read_enable, i_read_row=read_row, o_read_data=found.as_value(),
                i_write_enable=self.write_enable, i_write_row=write_row, i_write_data=self.write_data.as_value())
        else:
            m.submodules.ram = ram = Memory(
                shape=unsigned(8 * cfg.taps), depth=cfg.bank_rows, init=self.init, attrs=NEVER_COLLIDES)
            reader, writer = ram.read_port(), ram.write_port(granularity=8)
            m.d.comb += [
                reader.addr.eq(read_row), reader.en.eq(read_enable), found.eq(reader.data),
                writer.addr.eq(write_row), writer.en.eq(self.write_enable), writer.data.eq(self.write_data)]

        domain = m.d.sync if cfg.bank_register else m.d.comb
        domain += self.read_data.eq(found)
        return m


class Banks(wiring.Component):
    """All banks, side by side, with the host's way in.

    All are read at one row; a write goes to one row too, to the bytes that are enabled.

    Parameters
    ----------
    cfg: as for Bank, and lanes.
    contents: uses BANK.

    Members
    -------
    read_row, read_enable; read_data: (lanes, taps) int8.
    write_row; write_enable: (lanes) of a bit a byte; write_data: (lanes, taps) int8.
    host: see rtl.ports.host_signature; a word is one lane's part of a row.

    Latency, Throughput, Reset: as for Bank.
    """

    def __init__(self, cfg: Config, contents: Contents = EMPTY):
        self.cfg, self.contents = cfg, contents
        row = field_bits(cfg, MATRIX, "row")["row"]
        super().__init__({
            "read_row": In(row), "read_enable": In(1), "read_data": Out(bank_rows_layout(cfg)),
            "write_row": In(row), "write_enable": In(bank_enables_layout(cfg)), "write_data": In(bank_rows_layout(cfg)),
            "host": In(host_signature(cfg, Space.BANK))})

    def elaborate(self, platform):
        cfg, host, m = self.cfg, self.host, Module()
        host_lane, host_row = host.address[:log2(cfg.lanes)], host.address[log2(cfg.lanes):]
        values = Signal(data.ArrayLayout(8 * cfg.taps, cfg.lanes))
        m.d.comb += host.value.eq(picked(m, list(values), host_lane, in_steps=cfg.spread))
        for lane in range(cfg.lanes):
            m.submodules[f"bank_{lane}"] = bank = Bank(cfg, self.contents.lane(lane, cfg.lanes))
            host_writes = host.write & (host_lane == lane)
            m.d.comb += [
                bank.read_row.eq(Mux(host.active, host_row, self.read_row)),
                bank.read_enable.eq(Mux(host.active, ~host_writes, self.read_enable)),
                bank.write_row.eq(Mux(host.active, host_row, self.write_row)),
                bank.write_enable.eq(Mux(host.active, host_writes.replicate(cfg.taps), self.write_enable[lane])),
                bank.write_data.eq(Mux(host.active, host.data, Cat(self.write_data[lane]))),
                self.read_data[lane].eq(bank.read_data),
                values[lane].eq(bank.read_data)]
        return m
