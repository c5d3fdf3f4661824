"""A running machine whose registers and memories can be changed from outside: what a particle does to a chip."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sim.toolchain import BuildFailed
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


class Module(NamedTuple):
    """What a module holds. instances: their modules, by name. states: names of registers and memories."""

    instances: dict[str, str]
    states: set[str]


@cache
def clocked(verilog: str) -> dict[str, Module]:
    """The modules of a design as Amaranth writes it."""
    modules: dict[str, Module] = {}
    instances, states = dict[str, str](), set[str]()
    inside = False
    for line in verilog.splitlines():
        if found := _MODULE.match(line):
            instances, states = modules.setdefault(_plain(found[1]), Module({}, set()))
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


def _written(name: str) -> str:
    """As Verilog writes it, and Verilator keeps it: with a mark before a name that is no word, and a space behind."""
    return name if re.fullmatch(r"\w+", name) else f"\\{name} "


class OpenCore(VerilatedCore):
    """A machine of a build that is `opened`.

    Parameters
    ----------
    library : what `sim.verilate.build` returned. verilog : the text that it was built from.

    Members
    -------
    states : every register and memory that a clock changes.

    Raises
    ------
    BuildFailed : the build has not all of them; it was not `opened`.
    """

    def __init__(self, library: Path, verilog: str, *, top: str = "openlpu") -> None:
        super().__init__(library)
        if not hasattr(self._library, "openlpu_flip"):
            raise BuildFailed("registers and memories of this build cannot be changed: build it with opened=True")
        number, text, handle = ctypes.c_uint64, ctypes.c_char_p, ctypes.c_void_p
        self._library.openlpu_shape.argtypes = [handle, text, text, ctypes.POINTER(number), ctypes.POINTER(number)]
        for name in ("bit", "flip"):
            getattr(self._library, f"openlpu_{name}").argtypes = [handle, text, text, number, number]
        self._library.openlpu_flip.restype = None
        self.states = tuple(self._walk(clocked(verilog), top, f"core.{top}"))

    def _walk(self, modules: dict[str, Module], module: str, scope: str) -> Iterator[State]:
        for name in sorted(modules[module].states):
            rows, bits = ctypes.c_uint64(), ctypes.c_uint64()
            if not self._library.openlpu_shape(self._open(), scope.encode(), _written(name).encode(), rows, bits):
                raise BuildFailed(f"this build has no {scope}.{name} that can be changed")
            yield State(scope, name, rows.value, bits.value)
        for name, inner in sorted(modules[module].instances.items()):
            if inner not in modules:
                raise BuildFailed(f"{scope}.{name} is an instance of {inner}, which is not to be looked into")
            yield from self._walk(modules, inner, f"{scope}.{name}")

    def word(self, state: State, row: int) -> int:
        """What a register, or a row of a memory, holds after this clock."""
        name, scope = _written(state.name).encode(), state.scope.encode()
        return sum(self._library.openlpu_bit(self._open(), scope, name, row, bit) << bit for bit in range(state.bits))

    def flip(self, state: State, row: int, bit: int) -> None:
        """Invert a bit of a register or memory, after this clock and before the next. Raises ValueError for none."""
        if not (0 <= row < state.rows and 0 <= bit < state.bits):
            raise ValueError(f"{state.scope}.{state.name} has {state.rows} rows of {state.bits} bits, not bit {bit} of "
                             f"row {row}")
        self._library.openlpu_flip(self._open(), state.scope.encode(), _written(state.name).encode(), row, bit)
