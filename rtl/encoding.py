"""Instruction words: from fields to a number, a layout for the gateware, or a line of assembly, and back."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from rtl.config import Config
from rtl.isa import Op, Queue


class EncodingError(ValueError):
    """A value that does not fit its field, an unknown field, or a word that is no instruction."""


@dataclass(frozen=True)
class Insn:
    """One word: its queue and the fields that are not zero (enumerated fields hold members)."""

    queue: Queue
    fields: Mapping[str, int | enum.Enum] = field(default_factory=dict[str, "int | enum.Enum"])

    def __getitem__(self, name: str) -> int | enum.Enum:
        item = self.queue.by_name[name]
        return self.fields.get(name, item.enum(0) if item.enum else 0)

    def number(self, name: str) -> int:
        """A field as a plain number."""
        value = self[name]
        return value.value if isinstance(value, enum.Enum) else value


@cache
def layout(cfg: Config, queue: Queue) -> data.StructLayout:
    """The word's layout for the gateware, first field in the lowest bits."""
    return data.StructLayout({
        item.name: signed(item.bits(cfg)) if item.signed else unsigned(item.bits(cfg)) for item in queue.fields})


@cache
def word_bits(cfg: Config, queue: Queue) -> int:
    """Width of a word."""
    return sum(item.bits(cfg) for item in queue.fields)


def encode(cfg: Config, insn: Insn) -> int:
    """A word as an integer. Raises EncodingError where a value does not fit: nothing is ever truncated."""
    unknown = set(insn.fields) - set(insn.queue.by_name)
    if unknown:
        raise EncodingError(f"{insn.queue.name} words have no field {', '.join(sorted(unknown))}")
    word, position = 0, 0
    for item in insn.queue.fields:
        bits, value = item.bits(cfg), insn[item.name]
        if item.enum is not None:
            if not isinstance(value, item.enum):
                raise EncodingError(f"{insn.queue.name}.{item.name} must be a {item.enum.__name__}, not {value!r}")
            value = value.value
        assert isinstance(value, int)
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if item.signed else (0, (1 << bits) - 1)
        if not low <= value <= high:
            raise EncodingError(f"{insn.queue.name}.{item.name} is {value}; {cfg.name} holds {low} to {high}")
        word |= (value & (1 << bits) - 1) << position
        position += bits
    return word


def decode(cfg: Config, queue: Queue, word: int) -> Insn:
    """The word's non-zero fields. Raises EncodingError for a value that names no member, or a word too wide."""
    if not 0 <= word < 1 << word_bits(cfg, queue):
        raise EncodingError(f"{queue.name} word {word:#x} does not fit in {word_bits(cfg, queue)} bits")
    fields: dict[str, int | enum.Enum] = {}
    for item in queue.fields:
        bits = item.bits(cfg)
        value = word & (1 << bits) - 1
        word >>= bits
        if item.signed and value >> bits - 1:
            value -= 1 << bits
        if value == 0:
            continue
        try:
            fields[item.name] = item.enum(value) if item.enum else value
        except ValueError:
            raise EncodingError(f"{queue.name}.{item.name} has no member {value}") from None
    return Insn(queue, fields)


def disassemble(insn: Insn) -> str:
    """One line of assembly: the operation, then `field=value` for each field that is not zero."""
    parts = [insn["op"].name]  # type: ignore[union-attr]
    for item in insn.queue.fields:
        value = insn[item.name]
        if item.name != "op" and insn.number(item.name):
            parts.append(f"{item.name}={value.name if isinstance(value, enum.Enum) else value}")
    return " ".join(parts)


def assemble(queue: Queue, line: str) -> Insn:
    """The instruction a line of assembly stands for. Raises EncodingError naming the part that is wrong."""
    words = line.split()
    if not words or words[0] not in Op.__members__:
        raise EncodingError(f"{line!r} does not begin with one of {', '.join(Op.__members__)}")
    fields: dict[str, int | enum.Enum] = {} if words[0] == "NOP" else {"op": Op[words[0]]}
    for part in words[1:]:
        name, equals, text = part.partition("=")
        item = queue.by_name.get(name)
        if not equals or item is None or name == "op" or name in fields:
            raise EncodingError(f"{part!r} is not a new field=value of a {queue.name} word")
        try:
            fields[name] = item.enum[text] if item.enum else int(text, 0)
        except (KeyError, ValueError):
            known = f"one of {', '.join(item.enum.__members__)}" if item.enum else "a number"
            raise EncodingError(f"{name} must be {known}, not {text!r}") from None
        if insn_is_zero(fields[name]):
            del fields[name]
    return Insn(queue, fields)


def insn_is_zero(value: int | enum.Enum) -> bool:
    """Whether a field value is the default, which an Insn leaves out."""
    return (value.value if isinstance(value, enum.Enum) else value) == 0
