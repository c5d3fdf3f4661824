"""Copies of registers: what all lanes are told, each lane has from a register of its own.

A signal that every lane needs has loads all over the die, and its wire takes longer than a cycle. A register whose
loads are in several regions therefore gets a twin in each, with the same input, which drives the loads there; so does a
LUT that only decodes such registers. What a twin's input is connected to has more loads then, but those are registers,
which a signal may take a whole cycle to reach; where they are a pipeline's, each lane gets a pipeline of its own.

Synthesis would merge such registers if the gateware had them. A twin has the function of its original, by construction:
the same kind of cell, the same inputs.
"""

from __future__ import annotations

from collections import defaultdict

from fpga.graph import Graph, Pin
from fpga.regions import Region, Regions

LEAST_REGIONS = 3
"""With fewer, the register's loads are near enough."""
LEAST_LOADS = 16
"""As many loads at least must be more than a register's input."""
LEAST_UNIT_LOADS = 32
"""A unit that serves all lanes gets a twin for as many loads."""
REGISTER_INPUTS = ("DI", "M")


def copy_registers(graph: Graph, regions: Regions) -> int:
    """Twins where they shorten wires; how many were made. Cells that drive nothing any more are removed."""
    made, changed = 0, True
    while changed:
        changed = False
        for name in list(graph.cells):
            if _copied(graph, regions, name):
                loads = _by_region(graph, regions, name)
                for region, pins in loads.items():
                    twin = f"{name}$of_{region.replace(' ', '_')}"
                    graph.twin(name, twin, pins)
                    regions.belongs(twin, region)
                made, changed = made + len(loads), changed or bool(loads)
    _sweep(graph)
    return made


def _copied(graph: Graph, regions: Regions, name: str) -> bool:
    """Whether a cell may have twins: a register of no lane, or a LUT of only such registers; with one output."""
    kind = graph.type(name)
    if kind == "LUT4":
        drivers = [graph.driver.get(bit) for _, bit in graph.pins(name, "input")]
        if not all(pin and graph.type(pin.cell) == "TRELLIS_FF" and _shared(regions, pin.cell) for pin in drivers):
            return False
    elif kind != "TRELLIS_FF" or not _shared(regions, name):
        return False
    return len(graph.outputs(name)) == 1


def _shared(regions: Regions, register: str) -> bool:
    return not regions.of[register].startswith("lane ")


def _by_region(graph: Graph, regions: Regions, name: str) -> dict[Region, list[Pin]]:
    """The loads for each twin; none where it would not be worth it."""
    found: dict[Region, list[Pin]] = defaultdict(list)
    (bit,) = graph.outputs(name)
    for load in graph.loads[bit]:
        ends = regions.reached(load)
        if len(ends) == 1:
            found[next(iter(ends))].append(load)
    for region, pins in list(found.items()):
        if not region.startswith("lane ") and (len(pins) < LEAST_UNIT_LOADS or regions.of.get(name) == region):
            del found[region]
    heavy = sum(not (graph.type(load.cell) == "TRELLIS_FF" and load.port in REGISTER_INPUTS)
                for pins in found.values() for load in pins)
    return dict(sorted(found.items())) if len(found) >= LEAST_REGIONS and heavy >= LEAST_LOADS else {}


def _sweep(graph: Graph) -> None:
    """Remove originals whose twins drive everything, and what only they needed."""
    waiting = list(graph.cells)
    while waiting:
        name = waiting.pop()
        if name not in graph.cells or graph.type(name) not in ("LUT4", "TRELLIS_FF"):
            continue
        if any(graph.loads[bit] or bit in graph.outside for bit in graph.outputs(name)):
            continue
        needed = [graph.driver[bit].cell for _, bit in graph.pins(name, "input") if bit in graph.driver]
        graph.remove(name)
        waiting += needed
