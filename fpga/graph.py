"""A flat netlist as a graph: what drives each net, and what loads it. It can be changed."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

SLOW = 4
DEPTH = {"TRELLIS_FF": 0, "EHXPLLL": 0, "DP16KD": SLOW, "MULT18X18D": SLOW}
"""Levels that a cell's output is late after the clock's edge, where it does not only depend on its inputs."""


class Pin(NamedTuple):
    """One bit of a cell's port."""

    cell: str
    port: str
    bit: int


class Graph:
    """Cells of a netlist and what connects them.

    Parameters
    ----------
    module : the flat top as yosys' JSON has it; changes are made in it.

    Members
    -------
    cells : by name. driver : pin that drives a net, by the net's number; constants and inputs of the top have none.
    loads : pins that a net drives, in the order of the cells. names : a net's names, each with the bit's place in it.
    """

    def __init__(self, module: dict[str, Any]) -> None:
        self.module = module
        self.cells: dict[str, dict[str, Any]] = module["cells"]
        self.driver: dict[int, Pin] = {}
        self.loads: dict[int, list[Pin]] = defaultdict(list)
        self.names: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for name, net in module["netnames"].items():
            for index, bit in enumerate(net["bits"]):
                self.names[bit].append((name, index))
        for name in self.cells:
            for pin, bit in self.pins(name, "output"):
                self.driver[bit] = pin
            for pin, bit in self.pins(name, "input"):
                self.loads[bit].append(pin)
        self._levels: dict[str, int] = {}
        self.outside = {bit for port in module["ports"].values() for bit in port["bits"] if isinstance(bit, int)}
        self.fresh = max((*self.driver, *self.loads, *self.outside), default=1) + 1

    def type(self, cell: str) -> str:
        return self.cells[cell]["type"]

    def pins(self, cell: str, direction: str) -> Iterable[tuple[Pin, int]]:
        """A cell's pins of a direction, without those on constants, and their nets."""
        found = self.cells[cell]
        for port, bits in found["connections"].items():
            if found["port_directions"][port] == direction:
                for index, bit in enumerate(bits):
                    if isinstance(bit, int):
                        yield Pin(cell, port, index), bit

    def outputs(self, cell: str) -> list[int]:
        """The nets that a cell drives."""
        return [bit for _, bit in self.pins(cell, "output")]

    def registers(self, cell: str) -> list[str]:
        """Names of the registers that a cell's outputs are the inputs of."""
        return [name for bit in self.outputs(cell) for load in self.loads[bit] if self.type(load.cell) == "TRELLIS_FF"
                for held in self.outputs(load.cell) for name, _ in self.names[held]]

    def levels(self, cell: str) -> int:
        """Cells in a row, at most, that a cell's inputs come through since the clock's edge, by their delay: a block
        RAM and a multiplier count as SLOW."""
        waiting = [cell]
        while waiting:
            name = waiting[-1]
            if name in self._levels:  # of a twin they are its original's
                waiting.pop()
                continue
            drivers = [self.driver[bit].cell for _, bit in self.pins(name, "input") if bit in self.driver]
            through = [one for one in drivers if self.type(one) not in DEPTH]
            missing = [one for one in through if one not in self._levels]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            self._levels[name] = max((DEPTH[self.type(one)] if self.type(one) in DEPTH else 1 + self._levels[one]
                                      for one in drivers), default=0)
        return self._levels[cell]

    def twin(self, cell: str, name: str) -> int:
        """Add a second cell like one with one output; the net that it drives, which has no loads yet."""
        assert name not in self.cells, name
        self.cells[name] = copy.deepcopy(self.cells[cell])
        ((pin, _),) = self.pins(name, "output")
        net, self.fresh = self.fresh, self.fresh + 1
        self.cells[name]["connections"][pin.port][pin.bit] = net
        self.module["netnames"][f"{name}$net"] = {"hide_name": 1, "bits": [net], "attributes": {}}
        self.driver[net] = pin
        for load, bit in self.pins(name, "input"):
            self.loads[bit].append(load)
        return net

    def move(self, loads: Iterable[Pin], old: int, new: int) -> None:
        """Connect loads of one net to another."""
        moved = dict.fromkeys(loads)
        for load in moved:
            self.cells[load.cell]["connections"][load.port][load.bit] = new
        self.loads[old] = [load for load in self.loads[old] if load not in moved]
        self.loads[new] += moved

    def remove(self, cell: str) -> None:
        for load, bit in self.pins(cell, "input"):
            self.loads[bit].remove(load)
        del self.cells[cell]
