"""SRAM banks: one a lane, `taps` bytes wide, holding weights, K cache and transposed V cache."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import ClockSignal, Const, Instance, Module, Mux, Shape, ShapeLike, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.arithmetic import node, picked, pipe, register
from rtl.config import Config, log2
from rtl.contents import EMPTY, Contents
from rtl.ecc_bank import ecc_bank
from rtl.isa import MATRIX
from rtl.ports import NEVER_COLLIDES, bank_enables_layout, bank_rows_layout, field_bits, host_signature, row_layout
from rtl.protocol import Space


def memory(m: Module, cfg: Config, *, shape: ShapeLike, init: Sequence[int], read_row: Value, read_enable: Value,
           write_row: Value, write_enable: Value, write_data: Value) -> Value:
    """A lane's SRAM of rows of a shape; what was read a cycle ago. write_enable: a bit for each equal part of a row.

    Rows that are no power of two are two memories, the larger one a power: yosys would take three block RAMs above
    each other for them, and every bit of a row would need a multiplexer of three.
    """
    found, bits = Signal(shape, name="found"), Shape.cast(shape).width
    if cfg.external_banks:
        parts = {} if bits == 8 * len(write_enable) else {"p_PARTS": len(write_enable)}
        m.submodules.ram = Instance(
            "openlpu_ram", p_WIDTH=bits, **parts, p_DEPTH=cfg.bank_rows, i_clk=ClockSignal(),
            i_read_enable=read_enable, i_read_row=read_row, o_read_data=Value.cast(found),
            i_write_enable=write_enable, i_write_row=write_row, i_write_data=write_data)
        return found

    def part(name: str, rows: int, init: Sequence[int], write_enable: Value) -> Value:
        m.submodules[name] = ram = Memory(shape=unsigned(bits), depth=rows, init=init, attrs=NEVER_COLLIDES)
        reader, writer = ram.read_port(), ram.write_port(granularity=bits // len(write_enable))
        m.d.comb += [
            reader.addr.eq(read_row), reader.en.eq(read_enable),
            writer.addr.eq(write_row), writer.en.eq(write_enable), writer.data.eq(write_data)]
        return reader.data

    top = cfg.bank_rows.bit_length() - 1
    if cfg.bank_rows == 1 << top:
        m.d.comb += found.eq(part("ram", cfg.bank_rows, init, write_enable))
    else:
        write_above, found_above = Value.cast(write_row)[top], Signal(name="found_above")
        low = part("ram", 1 << top, init[:1 << top], Mux(write_above, 0, write_enable))
        high = part("ram_above", cfg.bank_rows - (1 << top), init[1 << top:], Mux(write_above, write_enable, 0))
        with m.If(read_enable):
            m.d.sync += found_above.eq(Value.cast(read_row)[top])
        m.d.comb += found.eq(Mux(found_above, high, low))
    return found


class Bank(wiring.Component):
    """One lane's SRAM: a read port and a write port, each `taps` bytes wide.

    With `single_port` both share one address, and a cycle that writes does not read: the compiler never asks for both.
    With `ecc` a read corrects a flipped bit of the row, and a write reads first, see rtl/ecc_bank.py; no cycle asks for
    both. With `external_banks` the memory is an instance of `openlpu_ram` (see rtl/ram_verilog.py).

    Parameters
    ----------
    cfg: uses taps, bank_rows, single_port, bank_register, act_register, ecc, external_banks.
    init: rows that it is configured with; the others are zero, external banks hold anything.

    Members
    -------
    read_row, read_enable: the row to read; without an enable the last value stays.
    read_data: (taps) int8.
    write_row, write_enable (a bit a byte), write_data: (taps) int8. There must be such a row.
    corrected, uncorrectable: with `ecc`: of the row that arrives, also of one that a write wanted.

    Latency: read_data follows `rtl.timing.bank_stages` later; a read sees writes of earlier cycles only, with `ecc` of
        so many cycles more. A read of the row that is being written is the old row in simulation and undefined on an
        FPGA: see NEVER_COLLIDES.
    Throughput: one read and one write a cycle (`single_port`: one of them).
    Reset: contents stay; the output is undefined until the first read. With `ecc` a write that has not landed is lost.
    """

    def __init__(self, cfg: Config, init: Sequence[int] = ()):
        self.cfg, self.init = cfg, init
        row = field_bits(cfg, MATRIX, "row")["row"]
        super().__init__({
            "read_row": In(row), "read_enable": In(1), "read_data": Out(row_layout(8, cfg.taps)),
            "write_row": In(row), "write_enable": In(cfg.taps), "write_data": In(row_layout(8, cfg.taps)),
            **({"corrected": Out(1), "uncorrectable": Out(1)} if cfg.ecc else {})})

    def elaborate(self, platform):
        if self.cfg.ecc:
            return ecc_bank(self, memory)
        cfg, m = self.cfg, Module()
        read_row, read_enable, write_row = self.read_row, self.read_enable, self.write_row
        if cfg.single_port:
            writing = self.write_enable.any()
            read_row = write_row = Mux(writing, self.write_row, self.read_row)
            read_enable = self.read_enable & ~writing

        found = memory(
            m, cfg, shape=row_layout(8, cfg.taps), init=self.init, read_row=read_row, read_enable=read_enable,
            write_row=write_row, write_enable=self.write_enable, write_data=self.write_data.as_value())
        if cfg.act_register:  # while activations are on their way
            found = register(m, found, "found_late")
        domain = m.d.sync if cfg.bank_register else m.d.comb
        domain += self.read_data.eq(found)
        return m


class Banks(wiring.Component):
    """All banks, side by side, with the host's way in.

    All are read at one row; a write goes to one row too, to the bytes that are enabled. It is a chunk of `taps` bytes
    that any lane can take (a K row is written so), or a byte from each lane, for any of its taps (a V column).

    Parameters
    ----------
    cfg: as for Bank, and lanes, spread.
    contents: uses BANK.

    Members
    -------
    read_row, read_enable; read_data: (lanes, taps) int8.
    write_row; write_enable: (lanes) of a bit a byte; write_chunk: (taps) int8; write_bytes: (lanes) int8; write_shared:
        it is the chunk that is written.
    corrected, uncorrectable: with `ecc`, a bit a lane: see Bank. Of the host's reads those that it means count.
    host: see rtl.ports.host_signature; a word is one lane's part of a row.

    Latency, Throughput, Reset: as for Bank; with `spread` what goes into a bank has registers: a row is read a cycle
        after it is asked for, and written rtl.timing.SPREAD cycles after.
    """

    def __init__(self, cfg: Config, contents: Contents = EMPTY):
        self.cfg, self.contents = cfg, contents
        row = field_bits(cfg, MATRIX, "row")["row"]
        super().__init__({
            "read_row": In(row), "read_enable": In(1), "read_data": Out(bank_rows_layout(cfg)),
            "write_row": In(row), "write_enable": In(bank_enables_layout(cfg)),
            "write_chunk": In(row_layout(8, cfg.taps)), "write_bytes": In(row_layout(8, cfg.lanes)),
            "write_shared": In(1),
            **({"corrected": Out(cfg.lanes), "uncorrectable": Out(cfg.lanes)} if cfg.ecc else {}),
            "host": In(host_signature(cfg, Space.BANK))})

    def elaborate(self, platform):
        cfg, host, m = self.cfg, self.host, Module()
        host_lane, host_row = host.address[:log2(cfg.lanes)], host.address[log2(cfg.lanes):]
        values = Signal(data.ArrayLayout(8 * cfg.taps, cfg.lanes))
        value = picked(m, [values[lane] for lane in range(cfg.lanes)], host_lane, in_steps=cfg.spread)
        m.d.comb += host.value.eq(value.word_select(host.byte, 8) if cfg.small_control else value)
        # One way for the host and the machine, as far as it is the same for all lanes: a word of the host is a chunk.
        # Of the SPREAD registers of a write the first is here, in the middle; the second is the lane's own.
        asked = pipe(
            m, cfg.spread, "asked", row=Mux(host.active, host_row, self.read_row),
            enable=Mux(host.active, host.read if cfg.ecc else ~host.write, self.read_enable))
        host_bytes = (1 << host.byte)[:cfg.taps] if cfg.small_control else Const(-1, cfg.taps)
        enables = [node(m, Mux(host.active, Mux(host.write & (host_lane == lane), host_bytes, 0),
                               self.write_enable[lane]), f"enable_{lane}") for lane in range(cfg.lanes)]
        writes = pipe(
            m, cfg.spread, "writes", row=Mux(host.active, host_row, self.write_row), enables=enables,
            shared=node(m, host.active | self.write_shared, "shared"), bytes_=self.write_bytes.as_value(),
            chunk=node(m, Mux(host.active, host.data.replicate(8 * cfg.taps // len(host.data)),
                              self.write_chunk.as_value()), "chunk"))
        row = register(m, writes.row, "row") if cfg.spread else writes.row
        for lane in range(cfg.lanes):
            m.submodules[f"bank_{lane}"] = bank = Bank(cfg, self.contents.lane(lane, cfg.lanes))
            byte = writes.bytes_.word_select(lane, 8)
            own = pipe(
                m, cfg.spread, f"lane{lane}", enable=writes.enables[lane],
                data=Mux(writes.shared, writes.chunk, byte.replicate(cfg.taps)))
            m.d.comb += [
                bank.read_row.eq(asked.row), bank.read_enable.eq(asked.enable),
                bank.write_row.eq(row), bank.write_enable.eq(own.enable), bank.write_data.eq(own.data),
                self.read_data[lane].eq(bank.read_data),
                values[lane].eq(bank.read_data)]
            if cfg.ecc:
                m.d.comb += [
                    self.corrected[lane].eq(bank.corrected), self.uncorrectable[lane].eq(bank.uncorrectable)]
        return m
