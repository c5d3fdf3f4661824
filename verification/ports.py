"""A design's ports in a bench, by the names and layouts that its signature gives them.

What a bench writes is checked against the layout, value by value, and what it reads is decoded by the layout: nothing
here knows at which bit a field lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Const, Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
from cocotb.triggers import Timer

HALF_PERIOD_NS = 5
MESSAGE_CHARACTERS = 400  # of a value in a message


def encode(shape: Any, value: Any) -> int:
    """The bits of a value: a number, a mapping for a struct, a sequence for an array.

    Raises
    ------
    ValueError : a number does not fit, a field or an element is missing or too many. Nothing is ever truncated.
    """
    if isinstance(shape, data.Layout):
        array = isinstance(shape, data.ArrayLayout)
        members: dict[Any, Any] = dict(enumerate(value)) if array else dict(value)
        if set(members) != {key for key, _ in shape}:
            raise ValueError(f"{sorted(members)} are not the members of {shape!r}")
        return sum(encode(field.shape, members[key]) << field.offset for key, field in shape)
    plain = Shape.cast(shape)
    number = int(value)
    low, high = (-(1 << plain.width - 1), (1 << plain.width - 1) - 1) if plain.signed else (0, (1 << plain.width) - 1)
    if not low <= number <= high:
        raise ValueError(f"{number} does not fit {plain!r}")
    return number & (1 << plain.width) - 1


def decode(shape: Any, bits: int) -> Any:
    """The value that bits stand for, as plain numbers, lists and dictionaries."""
    if isinstance(shape, data.Layout):
        return _plain(shape.from_bits(bits))
    return Const(bits, Shape.cast(shape)).value


def _plain(value: Any) -> Any:
    if not isinstance(value, data.Const):
        return int(value)
    layout = value.shape()
    if isinstance(layout, data.ArrayLayout):
        return [_plain(value[index]) for index in range(layout.length)]
    return {key: _plain(value[key]) for key, _ in layout}


class Ports:
    """Drives a simulated design, a cycle at a time: `set` inputs, `settle`, `get` or `expect` outputs, `edge`.

    Parameters
    ----------
    dut : the top of the simulation.
    component : an instance with the same signature; it is never elaborated.

    Members
    -------
    cycle : edges since `start`.
    """

    def __init__(self, dut: Any, component: wiring.Component) -> None:
        self._dut = dut
        self._shapes: dict[str, Any] = {}
        self._written: dict[str, int] = {}
        self._inputs: list[str] = []
        self.cycle = 0
        for path, member, _ in component.signature.flatten(component):
            name = "__".join(str(part) for part in path)
            self._shapes[name] = member.shape
            if member.flow is In:
                self._inputs.append(name)

    async def start(self) -> None:
        """All inputs zero, a few cycles of reset."""
        self._dut.clk.value = 0
        self._dut.rst.value = 1
        for name in self._inputs:
            self._write(name, 0)
        for _ in range(3):
            await self.settle()
            await self.edge()
        self._dut.rst.value = 0
        self.cycle = 0

    def set(self, **values: Any) -> None:
        """Give inputs their values, from now on."""
        for name, value in values.items():
            self._write(name, encode(self._shapes[name], value))

    def _write(self, name: str, bits: int) -> None:
        if self._written.get(name) != bits:
            self._written[name] = bits
            getattr(self._dut, name).value = bits

    async def settle(self) -> None:
        """Let the inputs reach the outputs."""
        await Timer(HALF_PERIOD_NS, unit="ns")

    async def edge(self) -> None:
        """The rising edge that ends the cycle."""
        self._dut.clk.value = 1
        await Timer(HALF_PERIOD_NS, unit="ns")
        self._dut.clk.value = 0
        self.cycle += 1

    def bits(self, name: str) -> int:
        """A port as it is."""
        return int(getattr(self._dut, name).value)

    def get(self, name: str) -> Any:
        """A port's value."""
        return decode(self._shapes[name], self.bits(name))

    def valid(self, name: str) -> bool:
        """The member `valid` of a port, without decoding the rest."""
        return bool(self._shapes[name].from_bits(self.bits(name))["valid"])

    def expect(self, name: str, value: Any, why: str = "") -> None:
        """Fail the bench unless a port has this value."""
        found = self.bits(name)
        if found != encode(self._shapes[name], value):
            shown = _difference(decode(self._shapes[name], found), value)
            raise AssertionError(f"cycle {self.cycle}: {name}{why and f' ({why})'}: {shown}")


def _difference(found: Any, expected: Any) -> str:
    """What differs, in words."""
    if isinstance(expected, Mapping):
        parts = [f"{key}: {_difference(found[key], value)}" for key, value in expected.items() if found[key] != value]
        return "; ".join(parts)[:MESSAGE_CHARACTERS]
    if isinstance(found, list):
        both = enumerate(zip(found, expected, strict=True))
        parts = [f"[{at}] {_difference(one, other)}" for at, (one, other) in both if _differs(one, other)]
        return ", ".join(parts)[:MESSAGE_CHARACTERS]
    return f"found {found}, expected {expected}"


def _differs(one: Any, other: Any) -> bool:
    return list(one) != [int(x) for x in other] if isinstance(one, list) else one != other
