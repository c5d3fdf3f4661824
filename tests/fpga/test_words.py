"""Twins for the parts of a wide word: shorter nets, the same function."""

from __future__ import annotations

import copy
from typing import Any

from fpga.graph import Graph
from fpga.words import LEAST_LOADS, PART_BITS, Parts, copy_for_parts
from tests.fpga.netlists import Netlist, merged

QUEUE = "board.core.vector_sequencer"


def sequencer(bits: int) -> Netlist:
    """A word of many bits, each behind two rows of LUT RAM, with one address and one LUT that enables it."""
    made = Netlist()
    address = made.register(f"{QUEUE}.next_address", DI=1)
    high = made.register(f"{QUEUE}.next_address", DI=1)
    enable = made.cell("LUT4", "advance", "Z", A=made.register(f"{QUEUE}.due", DI=1))
    for bit in range(bits):
        rows = [made.cell("TRELLIS_DPR16X4", f"words.{row}.{bit}", "DO", RAD=address) for row in range(2)]
        picked = made.cell("LUT4", f"row.{bit}", "Z", A=rows[0], B=rows[1], C=high)
        coming = made.register(f"{QUEUE}.coming", DI=picked, CE=enable)
        made.module["netnames"].setdefault(f"{QUEUE}.coming.field", {"bits": []})["bits"].append(coming)
        made.register(f"{QUEUE}.word.field", DI=coming, CE=enable)
    made.register("board.core.control.phase", DI=address, CE=enable)
    return made


def split(module: dict[str, Any]) -> tuple[dict[str, Any], Graph, int]:
    changed = copy.deepcopy(module)
    graph = Graph(changed)
    return changed, graph, copy_for_parts(graph)


def test_every_part_has_its_own_and_nothing_else_changes() -> None:
    made = sequencer(3 * PART_BITS)
    changed, graph, copies = split(made.module)
    assert copies == 3 * 3, "two bits of the address and the LUT"
    before = {name: cell["connections"] for name, cell in made.module["cells"].items()}
    after = merged(changed, made.module)
    assert after == {name: before[name] for name in after}
    high = f"{QUEUE}.next_address_TRELLIS_FF_Q_1"
    assert set(before) - set(after) == set(), "the LUT and the address have a load elsewhere, too"
    assert high not in graph.cells, "of the address' upper bit only twins are left"
    parts = Parts(graph)
    for part in range(3):
        for name in (f"{QUEUE}.next_address_TRELLIS_FF_Q", high, "advance"):
            (net,) = graph.outputs(f"{name}$of_part_{part}")
            assert {parts.of(load.cell) for load in graph.loads[net]} == {part}, name


def test_a_short_word_stays_as_it_is() -> None:
    made = sequencer(PART_BITS)
    changed, _, copies = split(made.module)
    assert LEAST_LOADS > PART_BITS and copies == 0 and changed == made.module


def test_few_loads_in_a_part_stay_with_the_original() -> None:
    made = sequencer(3 * PART_BITS + 4)
    changed, graph, copies = split(made.module)
    assert copies == 3 * 3
    (net,) = graph.outputs("advance")
    assert len(graph.loads[net]) == 9, "four bits of the last part in two registers, and a register elsewhere"
    assert merged(changed, made.module)
