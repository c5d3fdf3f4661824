"""Registers around multipliers, moved into them.

A DSP of a Gowin device has registers at its operands and its product, which synthesis leaves unused. Outside each bit
takes a flip-flop, and with it a LUT that nothing else may use: a flip-flop's only input is its LUT. So a machine that
fills the device is placed with them inside, or not at all.

A register moves where nothing can tell: all bits of a port, one clock, enable and reset, no other load of what is
between it and the multiplier. Constant 0 may be among an operand's bits: a register of it is 0 as well.
"""

from __future__ import annotations

from typing import NamedTuple

from fpga.graph import Graph, Pin

MULTIPLIERS = ("MULT9X9", "MULT18X18")
REGISTERS = ("DFF", "DFFE", "DFFR", "DFFRE")
"""Flip-flops with the edge and the priorities of a multiplier's registers: those of a synchronous reset to 0."""
PRODUCT, OPERANDS = "OUT_REG", {"A": "AREG", "B": "BREG"}
"""Parameters that say which registers a multiplier uses; those of operands by their ports."""

Net = int | str
"""A number, or a constant as yosys writes it."""


class Control(NamedTuple):
    """Nets that the registers of a multiplier have in common, by its ports."""

    CLK: Net
    CE: Net
    RESET: Net


def absorb_registers(graph: Graph) -> int:
    """Flip-flops that were moved into multipliers."""
    absorber = _Absorber(graph)
    multipliers = [name for name in graph.cells if graph.type(name) in MULTIPLIERS]
    return sum(absorber.product(name) + sum(absorber.operand(name, port) for port in OPERANDS) for name in multipliers)


class _Absorber:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.zeros: list[Net] = [*self._driven_by("GND"), "0"]
        self.ones: list[Net] = [*self._driven_by("VCC"), "1"]

    def _driven_by(self, kind: str) -> list[int]:
        return [bit for name in self.graph.cells if self.graph.type(name) == kind for bit in self.graph.outputs(name)]

    def product(self, name: str) -> int:
        """Move the registers of a product, if they may; how many."""
        graph = self.graph
        outputs = graph.outputs(name)
        if any(bit in graph.outside or len(graph.loads[bit]) > 1 for bit in outputs):
            return 0
        inputs = [load for bit in outputs for load in graph.loads[bit]]
        if any(pin.port != "D" for pin in inputs) or not self._takes(name, PRODUCT, [pin.cell for pin in inputs]):
            return 0
        for bit, source in [(bit, graph.driver[bit]) for bit in outputs if graph.loads[bit]]:
            (load,) = graph.loads[bit]
            (held,) = graph.outputs(load.cell)
            graph.remove(load.cell)
            graph.cells[name]["connections"][source.port][source.bit] = held
            graph.driver[held] = source
        return len(inputs)

    def operand(self, name: str, port: str) -> int:
        """Move the registers of an operand, if they may; how many."""
        graph = self.graph
        bits = graph.cells[name]["connections"][port]
        held = [bit for bit in dict.fromkeys(bits) if bit not in self.zeros]
        if any(bit not in graph.driver or bit in graph.outside or any(
                (load.cell, load.port) != (name, port) for load in graph.loads[bit]) for bit in held):
            return 0
        cells = [graph.driver[bit].cell for bit in held]
        if not self._takes(name, OPERANDS[port], cells):
            return 0
        for bit, cell in zip(held, cells, strict=True):
            (ahead,) = graph.cells[cell]["connections"]["D"]
            graph.remove(cell)
            loads, graph.loads[bit] = graph.loads[bit], []
            for load in loads:
                self._connect(load, ahead)
        return len(held)

    def _takes(self, name: str, parameter: str, cells: list[str]) -> bool:
        """Whether these cells can be a multiplier's registers; then it has them, and their control."""
        graph, cell = self.graph, self.graph.cells[name]
        used = [one for one in (PRODUCT, *OPERANDS.values()) if int(cell["parameters"].get(one, "0"), 2)]
        controls = {self._control(one) for one in cells if graph.type(one) in REGISTERS}
        if used:
            controls.add(Control(*(cell["connections"][port][0] for port in Control._fields)))
        if parameter in used or len(controls) != 1 or any(graph.type(one) not in REGISTERS for one in cells):
            return False
        cell["parameters"] |= {parameter: "1", "MULT_RESET_MODE": "SYNC"}
        for port, net in zip(Control._fields, controls.pop(), strict=True):
            pin, old = Pin(name, port, 0), cell["connections"][port][0]
            if isinstance(old, int):
                graph.loads[old].remove(pin)
            self._connect(pin, net)
        return True

    def _control(self, register: str) -> Control:
        nets = self.graph.cells[register]["connections"]
        return Control(CLK=nets["CLK"][0], CE=nets.get("CE", self.ones)[0], RESET=nets.get("RESET", self.zeros)[0])

    def _connect(self, load: Pin, net: Net) -> None:
        self.graph.cells[load.cell]["connections"][load.port][load.bit] = net
        if isinstance(net, int):
            self.graph.loads[net].append(load)
