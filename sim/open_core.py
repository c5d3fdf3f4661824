"""A running machine whose registers and memories can be changed from outside: what a particle does to a chip."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sim.verilate import VerilatedCore

_MODULE = re.compile(r"^module (\\\S+ |\w+)")
_INSTANCE = re.compile(r"^  (\\\S+ |\w+) (?:#\(.*\) )?(\\\S+ |\w+) \($")
_CLOCKED = re.compile(r"^  always @\(posedge clk\)")
_ASSIGNED = re.compile(r"^ {4,}(?:if \(.*\) )?(\\\S+ |\w+|\\\S+) ?(?:\[.*\])? <= ")
_END = re.compile(r"^  (?! )")


class State(NamedTuple):
    """A register or a memory. scope: the instance that it is in, from the top on. rows: 1 of a register."""

    scope: str
    name: str
    rows: int
    bits: int


def clocked(verilog: str) -> dict[str, tuple[dict[str, str], set[str]]]:
    """What each module of a design as Amaranth writes it holds: instances with their modules, and names of registers
    and memories."""
    modules: dict[str, tuple[dict[str, str], set[str]]] = {}
    instances, states = dict[str, str](), set[str]()
    inside = False
    for line in verilog.splitlines():
        if found := _MODULE.match(line):
            instances, states = modules.setdefault(_plain(found[1]), ({}, set()))
        elif _CLOCKED.match(line):
            inside = True
        elif inside and (found := _ASSIGNED.match(line)):
            states.add(_plain(found[1]))
        elif _END.match(line):
            inside = False
            if found := _INSTANCE.match(line):
                instances[_plain(found[2])] = _plain(found[1])
    return modules


def _plain(name: str) -> str:
    return name.strip().removeprefix("\\")


class OpenCore(VerilatedCore):
    """A machine of a build that is `opened`.

    Parameters
    ----------
    library : what `sim.verilate.build` returned. verilog : the text that it was built from.
    """

    def __init__(self, library: Path, verilog: str, *, top: str = "openlpu") -> None:
        super().__init__(library)
        number, text, handle = ctypes.c_uint64, ctypes.c_char_p, ctypes.c_void_p
        self._library.openlpu_shape.argtypes = [handle, text, text, ctypes.POINTER(number), ctypes.POINTER(number)]
        self._library.openlpu_flip.argtypes = [handle, text, text, number, number]
        self._library.openlpu_flip.restype = None
        self.states = tuple(self._walk(clocked(verilog), top, f"core.{top}"))

    def _walk(self, modules: dict[str, tuple[dict[str, str], set[str]]], module: str, scope: str) -> Iterator[State]:
        instances, names = modules[module]
        for name in sorted(names):
            rows, bits = ctypes.c_uint64(), ctypes.c_uint64()
            if self._library.openlpu_shape(self._open(), scope.encode(), name.encode(), rows, bits):
                yield State(scope, name, rows.value, bits.value)
            else:
                print("missing", scope, name)
        for name, inner in sorted(instances.items()):
            if inner in modules:
                yield from self._walk(modules, inner, f"{scope}.{name}")

    def flip(self, state: State, row: int, bit: int) -> None:
        """Invert a bit of a register or memory, after this clock and before the next. Raises ValueError for none."""
        if not (0 <= row < state.rows and 0 <= bit < state.bits):
            raise ValueError(f"{state.scope}.{state.name} has {state.rows} rows of {state.bits} bits, not bit {bit} of "
                             f"row {row}")
        self._library.openlpu_flip(self._open(), state.scope.encode(), state.name.encode(), row, bit)
