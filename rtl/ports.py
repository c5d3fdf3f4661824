"""The units' ports: the layouts that cross a unit's edge, all from Config and the instruction table."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Shape, signed, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, Signature

from rtl.config import Config, log2
from rtl.isa import MATRIX, SCALAR, VECTOR, Queue
from rtl.protocol import READABLE, Space, word_bytes

NEVER_COLLIDES: Any = {"no_rw_check": 1}
"""Attributes of a memory in which no cycle reads and writes one address: spares the logic that would decide.

The host writes only while nothing else reads. Of a program's own accesses sim.cycle.check refuses a read that is issued
after a write and comes before it can be seen, and a write that is issued after a read lands later by the length of the
pipeline: so what is read in the cycle in which it is written is what nobody looks at.
"""

EXPONENT_BITS = 6
"""Exponents of scalar registers are 0 to 63."""


def field_bits(cfg: Config, queue: Queue, *names: str) -> dict[str, Shape]:
    """Shapes of the named fields of a queue's words, as the instruction table has them."""
    shapes = {item.name: (signed if item.signed else unsigned)(item.bits(cfg)) for item in queue.fields}
    return {name: shapes[name] for name in names}


def step_layout(cfg: Config) -> data.StructLayout:
    """A matrix step in its issue cycle; `act` has one word address a lane group. Everything is resolved."""
    shapes = field_bits(cfg, MATRIX, "row", "act", "slot", "clear", "plane")
    return data.StructLayout({"valid": unsigned(1), **shapes, "act": data.ArrayLayout(shapes["act"], cfg.groups)})


def index_bits(cfg: Config) -> int:
    """Width of a pass's index within its word, as POSITION masks need it."""
    return max(1, cfg.position_bits - log2(cfg.lanes))


def pass_layout(cfg: Config) -> data.StructLayout:
    """A vector pass in its issue cycle. Offsets are in the addresses; `first` is set in a word's first pass at most.

    `odd`: second pass of a rotate pair. `index`: number of the pass in its word, for POSITION masks.
    """
    shapes = field_bits(
        cfg, VECTOR, "source", "slot", "src", "param", "dst", "rotate", "factor1", "factor2", "addend", "function",
        "early", "scalar", "grouped", "out_scaled", "out_scalar", "s0", "s1", "s2", "s3", "write", "store", "chunk",
        "mask", "tail", "below", "reduce", "first", "target", "choice",
        "sequence")
    return data.StructLayout({"valid": unsigned(1), **shapes, "odd": unsigned(1), "index": unsigned(index_bits(cfg))})


def operation_layout(cfg: Config) -> data.StructLayout:
    """A scalar operation in its issue cycle, offsets included."""
    return data.StructLayout({"valid": unsigned(1), **field_bits(
        cfg, SCALAR, "function", "reduce", "dst", "a", "b", "constant", "bias", "adjust")})


def scalar_layout() -> data.StructLayout:
    """A scalar register: mantissa * 2**-exponent."""
    return data.StructLayout({"mantissa": signed(16), "exponent": unsigned(EXPONENT_BITS)})


def each_sequence(bits: Any, cfg: Config) -> data.ArrayLayout:
    """One value for each sequence."""
    return data.ArrayLayout(bits, cfg.sequences)


def each_choice(bits: Any, cfg: Config) -> data.ArrayLayout:
    """One value for each index register: those of the first sequence, then the next one's."""
    return data.ArrayLayout(bits, cfg.sequences * cfg.choices)


def of_sequence(values: Any, sequence: Any) -> Any:
    """The value of a sequence; a machine with only one has nothing to choose."""
    if len(values) == 1:
        return values[0]
    return Array(values)[sequence] if isinstance(values, list) else values[sequence]


def row_layout(bits: int, count: int) -> data.ArrayLayout:
    """A vector of signed elements."""
    return data.ArrayLayout(signed(bits), count)


def bank_rows_layout(cfg: Config) -> data.ArrayLayout:
    """One row of every bank: (lanes, taps) int8."""
    return data.ArrayLayout(row_layout(8, cfg.taps), cfg.lanes)


def bank_enables_layout(cfg: Config) -> data.ArrayLayout:
    """Byte enables of one row of every bank: (lanes, taps) bits."""
    return data.ArrayLayout(unsigned(cfg.taps), cfg.lanes)


def host_words(cfg: Config, space: Space) -> int:
    """Words of one of the data memories."""
    return {
        Space.BANK: cfg.bank_rows * cfg.lanes,
        Space.VECTOR: cfg.vector_rows * cfg.lanes,
        Space.ACT: cfg.act_rows * cfg.act_width,
        Space.PARAM: cfg.param_rows * cfg.lanes,
        Space.CONSTANT: cfg.constants,
    }[space]


def host_signature(cfg: Config, space: Space) -> Signature:
    """The host's way into a memory, seen from the host.

    Members
    -------
    active: the host owns the memory's ports; only while the core is idle.
    address: word number, as in `rtl.protocol.Space`. write, data: write that word in this cycle.
    value: (readable spaces) the word at `address`, `host_read_cycles` later and for as long as the address stays.
    byte: only with `Config.small_control`: data and value are this byte of the word.
    read: only banks with `Config.ecc`, which look at what they read: the host wants the word, in one cycle of those.
    """
    bits = 8 if cfg.small_control else 8 * word_bytes(cfg, space)
    address = Out((host_words(cfg, space) - 1).bit_length())
    members = {"active": Out(1), "address": address, "write": Out(1), "data": Out(bits)} | byte_member(cfg, space)
    if cfg.ecc and space is Space.BANK:
        members["read"] = Out(1)
    return Signature(members | ({"value": In(bits)} if space in READABLE else {}))


def byte_member(cfg: Config, space: Space) -> dict[str, Any]:
    """Which byte of a word the host means, where it moves one at a time."""
    return {"byte": Out(max(1, (word_bytes(cfg, space) - 1).bit_length()))} if cfg.small_control else {}


def host_read_cycles(cfg: Config) -> int:
    """Cycles from a host address to its value, the longest of all memories."""
    picking = log2(cfg.act_width) - 1 if cfg.spread else 0
    return 1 + int(cfg.bank_register) + int(cfg.spread) + int(cfg.act_register or cfg.ecc) + picking
