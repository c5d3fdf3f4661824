"""Copies of registers: what all lanes are told, each lane has from a register of its own.

A signal that every lane needs has loads all over the die, and its wire takes longer than a cycle. A register whose
loads are in several regions therefore gets a twin in each, with the same input, which drives the loads there; so does a
LUT that only decodes such registers. What a twin's input is connected to has more loads then, but those are registers,
which a signal may take a whole cycle to reach; where they are a pipeline's, each lane gets a pipeline of its own.

Synthesis would merge such registers if the gateware had them. A twin has the function of its original, by construction:
the same kind of cell, the same inputs.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Set

from fpga.graph import Graph, Pin
from fpga.regions import Region, Regions

LEAST_REGIONS = 3
"""With fewer, the register's loads are near enough."""
LEAST_LOADS = 16
"""As many loads at least must be more than a register's input."""
MULTIPLIER_LOAD = 2
"""A multiplier counts as so many: it cannot move to where its operands are."""
LEAST_UNIT_LOADS = 32
"""A unit that serves all lanes gets a twin for as many loads."""
LONE_LEVELS = 2
"""A register behind as many levels gets no twin for a single load: the long wire would only come a cycle earlier, and
behind them."""
LUT_LEVELS = 3
"""A LUT is copied where as many, itself among them, are between it and registers."""
DEEPEST = 5
"""A register's twins are far apart, so that its input must not be late; see Graph.levels."""
REGISTER_INPUTS = ("DI", "M")


def copy_registers(graph: Graph, regions: Regions) -> int:
    """Twins where they shorten wires; how many were made. Cells that drive nothing any more are removed."""
    twins: dict[str, dict[Region, int]] = defaultdict(dict)  # by original, the net that each drives
    changed = True
    while changed:
        changed = False
        for name in list(graph.cells):
            if not _copied(graph, regions, name):
                continue
            for region, loads in _by_region(graph, regions, name, twins[name].keys()).items():
                (old,) = graph.outputs(name)
                if region not in twins[name]:
                    twin = f"{name}$of_" + re.sub(r"\W", "_", region)
                    twins[name][region] = graph.twin(name, twin)
                    regions.belongs(twin, region)
                graph.move(loads, old, twins[name][region])
                changed = True
    sweep(graph, [name for name, made in twins.items() if made])
    return sum(map(len, twins.values()))


def _copied(graph: Graph, regions: Regions, name: str, levels: int = LUT_LEVELS) -> bool:
    """Whether a cell may have twins: a register of no lane, or a LUT behind such registers; with one output."""
    kind = graph.type(name)
    if kind == "TRELLIS_FF":
        return (not regions.of[name].startswith("lane ") and len(graph.outputs(name)) == 1
                and graph.levels(name) <= DEEPEST)
    if kind != "LUT4" or not levels:
        return False
    drivers = [graph.driver.get(bit) for _, bit in graph.pins(name, "input")]
    return all(pin is not None and _copied(graph, regions, pin.cell, levels - 1) for pin in drivers)


def _by_region(graph: Graph, regions: Regions, name: str, there: Set[Region]) -> dict[Region, list[Pin]]:
    """The loads for each twin: for those that are there, and for new ones where they are worth it."""
    found: dict[Region, list[Pin]] = defaultdict(list)
    (bit,) = graph.outputs(name)
    for load in graph.loads[bit]:
        ends = regions.reached(load)
        if len(ends) == 1:
            found[next(iter(ends))].append(load)
    for region, pins in list(found.items()):
        few = not region.startswith("lane ") and (len(pins) < LEAST_UNIT_LOADS or regions.of.get(name) == region)
        lone = graph.type(name) == "TRELLIS_FF" and graph.levels(name) >= LONE_LEVELS and _weight(graph, pins) < 2
        if (few or lone) and region not in there:
            del found[region]
    heavy = sum(_weight(graph, [load for load in pins if not (
        graph.type(load.cell) == "TRELLIS_FF" and load.port in REGISTER_INPUTS)]) for pins in found.values())
    if len(found) < LEAST_REGIONS or heavy < LEAST_LOADS:
        found = {region: pins for region, pins in found.items() if region in there}
    return dict(sorted(found.items()))


def _weight(graph: Graph, pins: Iterable[Pin]) -> int:
    """How many loads they count as."""
    return sum(MULTIPLIER_LOAD if graph.type(load.cell) == "MULT18X18D" else 1 for load in pins)


def sweep(graph: Graph, originals: Iterable[str]) -> None:
    """Remove those of which the twins drive everything, and what only they needed."""
    waiting = list(originals)
    while waiting:
        name = waiting.pop()
        if name not in graph.cells or graph.type(name) not in ("LUT4", "TRELLIS_FF"):
            continue
        if any(graph.loads[bit] or bit in graph.outside for bit in graph.outputs(name)):
            continue
        needed = [graph.driver[bit].cell for _, bit in graph.pins(name, "input") if bit in graph.driver]
        graph.remove(name)
        waiting += needed
