"""Netlists as yosys' JSON has them, made by hand, and copies of cells merged again."""

from __future__ import annotations

import re
from typing import Any


class Netlist:
    """A netlist under construction: each cell drives one net."""

    def __init__(self) -> None:
        self.module: dict[str, Any] = {"cells": {}, "netnames": {}, "ports": {}}
        self.next = 2

    def cell(self, kind: str, name: str, output: str, **inputs: int) -> int:
        net, self.next = self.next, self.next + 1
        connections = {output: [net], **{port: [bit] for port, bit in inputs.items()}}
        self.module["cells"][name] = {
            "type": kind, "connections": connections, "attributes": {},
            "port_directions": {port: "output" if port == output else "input" for port in connections}}
        return net

    def register(self, name: str, **inputs: int) -> int:
        """A bit of the register of that name."""
        bits = self.module["netnames"].setdefault(name, {"bits": []})["bits"]
        bits.append(self.cell("TRELLIS_FF", f"{name}_TRELLIS_FF_Q{'_' * bool(bits)}{len(bits) or ''}", "Q", **inputs))
        return bits[-1]


def merged(module: dict[str, Any], original: dict[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """Connections with each copy's net called as its original's. A copy must be its original but for that."""
    cells, was = module["cells"], original["cells"]
    meaning: dict[Any, Any] = {}
    for name, cell in cells.items():
        first = re.sub(r"(?:\$of_\w+)+$", "", name)
        for port, direction in cell["port_directions"].items():
            if direction == "output":
                meaning |= dict(zip(cell["connections"][port], was[first]["connections"][port], strict=True))

    def named(cell: dict[str, Any]) -> dict[str, list[Any]]:
        return {port: [meaning.get(bit, bit) for bit in bits] for port, bits in cell["connections"].items()}

    found: dict[str, dict[str, list[Any]]] = {}
    for name, cell in cells.items():
        first = re.sub(r"(?:\$of_\w+)+$", "", name)
        assert cell["type"] == was[first]["type"] and named(cell) == found.setdefault(first, named(cell)), name
    return found
