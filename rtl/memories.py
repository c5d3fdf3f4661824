"""The vector unit's memories: vectors of int16, activations of int8, parameters of one byte a lane."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.arithmetic import picked, pipe, register
from rtl.config import Config, log2
from rtl.contents import EMPTY, Contents
from rtl.isa import MATRIX, VECTOR
from rtl.ports import NEVER_COLLIDES, field_bits, host_signature, row_layout
from rtl.protocol import Space
from rtl.technology import lut_ram


def split(address, parts: int):
    """Low and high part of an address in units of 1 / parts of a row: (part, row)."""
    bits = log2(parts)
    return address[:bits], address[bits:]


def vector_address_bits(cfg: Config) -> int:
    """Width of an address in activation memory counted in vectors of `lanes` bytes."""
    return max(1, (cfg.act_vectors - 1).bit_length())


class VectorMemory(wiring.Component):
    """Rows of `lanes` int16: what the vector unit reads and writes.

    Parameters
    ----------
    cfg: uses lanes, vector_rows, lut_memories, spread.

    Members
    -------
    read_row, read_enable; read_data: (lanes) int16.
    write_row, write_enable; write_data: (lanes) int16.
    host: see rtl.ports.host_signature; a word is one lane's int16.

    Latency: 1 cycle; a read sees writes of earlier cycles only (of the same cycle: see NEVER_COLLIDES). With `spread`
        a row is read in the cycle after it is asked for; and write_row and write_enable come a cycle before the data.
    Throughput: one read and one write a cycle.
    Reset: contents stay.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        row = field_bits(cfg, VECTOR, "src")["src"]
        super().__init__({
            "read_row": In(row), "read_enable": In(1), "read_data": Out(row_layout(16, cfg.lanes)),
            "write_row": In(row), "write_enable": In(1), "write_data": In(row_layout(16, cfg.lanes)),
            "host": In(host_signature(cfg, Space.VECTOR))})

    def elaborate(self, platform):
        cfg, host, m = self.cfg, self.host, Module()
        in_luts = lut_ram(platform) if "memory" in cfg.lut_memories else {}
        m.submodules.ram = ram = Memory(
            shape=unsigned(16 * cfg.lanes), depth=cfg.vector_rows, init=[], attrs=NEVER_COLLIDES | in_luts)
        unit = 8 if cfg.small_control else 16  # bits that the host moves
        reader, writer = ram.read_port(), ram.write_port(granularity=unit)
        host_lane, host_row = split(host.address, cfg.lanes)
        host_place = Cat(host.byte, host_lane) if cfg.small_control else host_lane
        host_enable = (host.write << host_place)[:16 // unit * cfg.lanes]

        asked = pipe(m, cfg.spread, "asked", row=Mux(host.active, host_row, self.read_row),
                     enable=host.active | self.read_enable)
        # With `spread` the write enables have their register here: they are known before the data, and many.
        writes = pipe(
            m, cfg.spread, "writes", row=Mux(host.active, host_row, self.write_row),
            enable=Mux(host.active, host_enable, self.write_enable.replicate(len(host_enable))),
            host=host.active, data=host.data)
        m.d.comb += [
            reader.addr.eq(asked.row), reader.en.eq(asked.enable),
            writer.addr.eq(writes.row), writer.en.eq(writes.enable),
            writer.data.eq(Mux(writes.host, writes.data.replicate(len(host_enable)), Cat(self.write_data)))]

        words = [reader.data.word_select(place, unit) for place in range(len(host_enable))]
        m.d.comb += [self.read_data.eq(reader.data), host.value.eq(picked(m, words, host_place, in_steps=cfg.spread))]
        return m


class ParamMemory(wiring.Component):
    """Rows of `lanes` bytes: per-channel multipliers and RoPE tables. Written by the host alone.

    Parameters
    ----------
    cfg: uses lanes, param_rows.
    contents: uses PARAM.

    Members
    -------
    read_row, read_enable; read_data: (lanes) unsigned bytes.
    host: see rtl.ports.host_signature; a word is one byte, and there is no reading.

    Latency: 1 cycle. Throughput: one read a cycle. Reset: contents stay.
    """

    def __init__(self, cfg: Config, contents: Contents = EMPTY):
        self.cfg, self.contents = cfg, contents
        super().__init__({
            "read_row": In(field_bits(cfg, VECTOR, "param")["param"]), "read_enable": In(1),
            "read_data": Out(data.ArrayLayout(8, cfg.lanes)), "host": In(host_signature(cfg, Space.PARAM))})

    def elaborate(self, platform):
        cfg, host, m = self.cfg, self.host, Module()
        # The host writes only while nothing reads.
        m.submodules.ram = ram = Memory(
            shape=unsigned(8 * cfg.lanes), depth=cfg.param_rows,
            init=self.contents.rows(Space.PARAM, bits=8, count=cfg.lanes), attrs=NEVER_COLLIDES)
        reader, writer = ram.read_port(), ram.write_port(granularity=8)
        host_lane, host_row = split(host.address, cfg.lanes)

        m.d.comb += [
            reader.addr.eq(self.read_row), reader.en.eq(self.read_enable & ~host.active),
            self.read_data.eq(reader.data),
            writer.addr.eq(host_row), writer.data.eq(host.data.replicate(cfg.lanes)),
            writer.en.eq(Mux(host.active, (host.write << host_lane)[:cfg.lanes], 0))]
        return m


class ActMemory(wiring.Component):
    """Activations: the matrix unit reads words of `taps` bytes, the vector unit writes vectors of `lanes` bytes.

    Each lane group reads its own word, from its own copy; a write goes to all copies.

    Parameters
    ----------
    cfg: uses lanes, taps, groups, act_rows, bank_register, act_register, ecc, spread.
    contents: uses ACT.

    Members
    -------
    read_words: (groups) word addresses, row * (act_width / taps) + part. read_enable. read_data: (groups, taps) int8.
    write_vector: address in vectors, row * (act_width / lanes) + part. write_enable. write_data: (lanes) int8.
    host: see rtl.ports.host_signature; a word is one byte.

    Latency: that of Banks, so that both operands arrive together; a read sees writes of earlier cycles only (of the
        same cycle: see NEVER_COLLIDES). With `spread` a row is read in the cycle after it is asked for.
    Throughput: one read a group and one write a cycle. Reset: contents stay.
    """

    def __init__(self, cfg: Config, contents: Contents = EMPTY):
        self.cfg, self.contents = cfg, contents
        super().__init__({
            "read_words": In(data.ArrayLayout(field_bits(cfg, MATRIX, "act")["act"], cfg.groups)), "read_enable": In(1),
            "read_data": Out(data.ArrayLayout(row_layout(8, cfg.taps), cfg.groups)),
            "write_vector": In(vector_address_bits(cfg)), "write_enable": In(1),
            "write_data": In(row_layout(8, cfg.lanes)), "host": In(host_signature(cfg, Space.ACT))})

    def elaborate(self, platform):
        cfg, host, m = self.cfg, self.host, Module()
        words, vectors = cfg.act_width // cfg.taps, cfg.act_width // cfg.lanes  # in a row
        host_byte, host_row = split(host.address, cfg.act_width)
        write_part, write_row = split(self.write_vector, vectors)
        vector_enable = (self.write_enable.replicate(cfg.lanes) << (write_part << log2(cfg.lanes)))[:cfg.act_width]
        host_enable = (host.write << host_byte)[:cfg.act_width]
        domain = m.d.sync if cfg.bank_register else m.d.comb

        for group in range(cfg.groups):
            m.submodules[f"copy_{group}"] = ram = Memory(
                shape=unsigned(8 * cfg.act_width), depth=cfg.act_rows,
                init=self.contents.rows(Space.ACT, bits=8, count=cfg.act_width), attrs=NEVER_COLLIDES)
            reader, writer = ram.read_port(), ram.write_port(granularity=8)
            m.d.comb += [
                writer.addr.eq(Mux(host.active, host_row, write_row)),
                writer.en.eq(Mux(host.active, host_enable, vector_enable)),
                writer.data.eq(Mux(
                    host.active, host.data.replicate(cfg.act_width), Cat(self.write_data).replicate(vectors)))]

            read_part, read_row = split(self.read_words[group], words)
            asked = pipe(
                m, cfg.spread, f"asked_{group}", row=Mux(host.active, host_row, read_row), part=read_part,
                enable=host.active | self.read_enable)
            m.d.comb += [reader.addr.eq(asked.row), reader.en.eq(asked.enable)]
            word = reader.data
            if words > 1:
                part = register(m, asked.part, f"part_{group}")
                word = word.word_select(part, 8 * cfg.taps)
            if cfg.act_register or cfg.ecc:  # before the way to all lanes; as long as the banks' corrector
                word = register(m, word, f"word_{group}")
            domain += self.read_data[group].eq(word)
            if group == 0:
                stored = [reader.data.word_select(byte, 8) for byte in range(cfg.act_width)]
                m.d.comb += host.value.eq(picked(m, stored, host_byte, in_steps=cfg.spread))
        return m
