"""Copies of registers: shorter nets, the same function. Merged again, they must give the netlist as it was."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from fpga.boards.ulx3s import BOARD
from fpga.copies import DEEPEST, LEAST_LOADS, LONE_LEVELS, MULTIPLIER_LOAD, copy_registers
from fpga.families import ecp5
from fpga.families.ecp5 import ECP5
from fpga.family import ArrangementFailed
from fpga.graph import Graph
from fpga.regions import Regions, check_lanes, lane_region
from rtl.config import preset
from tests.fpga.netlists import Netlist, merged

LANES = 4


def pipeline(loads: int = LEAST_LOADS) -> Netlist:
    """Two registers in a row that all lanes use through LUTs of their own, and one LUT that decodes for all of them."""
    made = Netlist()
    source = made.register("board.core.vector_issue.pause", DI=1)
    first = made.register("board.core.vector.after_shift_factor1", DI=source)
    second = made.register("board.core.vector.after_select_square", DI=first)
    decoded = made.cell("LUT4", "board.core.vector.decode", "Z", A=first, B=second)
    for lane in range(LANES):
        for number in range(loads):
            uses = made.cell("LUT4", f"uses_{lane}_{number}", "Z", A=(first, second, decoded)[number % 3])
            made.register(f"board.core.vector.d_{lane}", DI=uses)
    made.register("board.core.scalar.a", DI=second)
    return made


def arranged(module: dict[str, Any]) -> tuple[dict[str, Any], Graph, Regions, int]:
    changed = copy.deepcopy(module)
    graph = Graph(changed)
    regions = Regions(graph)
    return changed, graph, regions, copy_registers(graph, regions)


def test_every_lane_gets_its_own_and_nothing_else_changes() -> None:
    made = pipeline()
    changed, graph, regions, copies = arranged(made.module)
    assert copies == 3 * LANES, "the two registers and the LUT"
    before = {name: cell["connections"] for name, cell in made.module["cells"].items()}
    after = merged(changed, made.module)
    assert after == {name: before[name] for name in after}
    assert set(before) - set(after) == set(), "the scalar unit still needs both registers"
    for lane in range(LANES):
        for name in ("after_shift_factor1", "after_select_square"):
            copied = f"board.core.vector.{name}_TRELLIS_FF_Q$of_lane_{lane}"
            (net,) = graph.outputs(copied)
            assert {next(iter(regions.reached(load))) for load in graph.loads[net]} == {lane_region(lane)}
    chain = graph.cells["board.core.vector.after_select_square_TRELLIS_FF_Q$of_lane_2"]["connections"]["DI"]
    assert chain == [graph.outputs("board.core.vector.after_shift_factor1_TRELLIS_FF_Q$of_lane_2")[0]]


def test_originals_that_nobody_needs_are_gone() -> None:
    made = pipeline()
    del made.module["cells"]["board.core.scalar.a_TRELLIS_FF_Q"]
    changed, *_ = arranged(made.module)
    gone = {name.removesuffix("_TRELLIS_FF_Q") for name in set(made.module["cells"]) - set(changed["cells"])}
    assert gone == {"board.core.vector.after_select_square", "board.core.vector.after_shift_factor1",
                    "board.core.vector.decode"}


def test_few_loads_stay_as_they_are() -> None:
    made = pipeline(loads=3)
    changed, _, _, copies = arranged(made.module)
    assert copies == 0 and changed == made.module


@pytest.mark.parametrize("levels, copies", [(DEEPEST, 3 * LANES), (DEEPEST + 1, LANES)])
def test_a_register_whose_input_is_late_is_not_copied(levels: int, copies: int) -> None:
    made = pipeline()
    net = made.register("board.core.control.phase", DI=1)
    for level in range(levels):
        net = made.cell("LUT4", f"level{level}", "Z", A=net)
    made.module["cells"]["board.core.vector.after_shift_factor1_TRELLIS_FF_Q"]["connections"]["DI"] = [net]
    assert Graph(made.module).levels("board.core.vector.after_shift_factor1_TRELLIS_FF_Q") == levels
    # Nor is the LUT that decodes it; the register behind it is.
    assert arranged(made.module)[3] == copies


def random_netlist(rng: random.Random) -> Netlist:
    """Registers and LUTs of lanes and units, each of some that were there before."""
    made = Netlist()
    nets = [made.register("board.core.host.start", DI=1)]
    names = [*(f"board.core.vector.d_{lane}" for lane in range(LANES)), "board.core.vector.told",
             "board.core.host.space", "board.core.matrix.mesh.product_0_1"]
    for number in range(400):
        if rng.random() < 0.5:
            inputs = dict(zip("ABCD", rng.choices(nets[:30], k=rng.randint(1, 4)), strict=False))
            nets.append(made.cell("LUT4", f"lut{number}", "Z", **inputs))
        else:
            nets.append(made.register(rng.choice(names), DI=rng.choice(nets), CE=rng.choice(nets)))
    return made


@pytest.mark.parametrize("seed", range(20))
def test_random_netlists_keep_their_function(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fpga.copies.LEAST_LOADS", 2)
    monkeypatch.setattr("fpga.copies.LEAST_REGIONS", 2)
    made = random_netlist(random.Random(seed))
    changed, *_ = arranged(made.module)
    after = merged(changed, made.module)
    assert after == {name: made.module["cells"][name]["connections"] for name in after}
    loaded = {bit for name in after for port, bits in after[name].items() if port not in ("Q", "Z") for bit in bits}
    lost = set(made.module["cells"]) - set(after)
    driven = {bit for name in lost for bit in Graph(made.module).outputs(name)}
    assert not loaded & driven


def test_a_lane_that_is_not_found_is_said() -> None:
    made = pipeline()
    graph = Graph(made.module)
    with pytest.raises(ArrangementFailed, match="these block RAMs were found: 0, 0"):
        check_lanes(graph, Regions(graph), preset("ulx3s"))


def test_vector_memory_belongs_to_the_lane_that_reads_it() -> None:
    """What is picked for one of two neighbours is at home in one of them; the LUT RAM before it may be the other's."""
    made, cfg = Netlist(), preset("tiny")
    assert cfg.lanes == LANES
    for lane in range(LANES):
        for kind, name in (("DP16KD", f"board.core.banks.bank_{lane}.ram.0.0"), ("TRELLIS_DPR16X4", f"acc.{lane}")):
            made.register(f"board.core.vector.d_{lane}", DI=made.cell(kind, name, "DO", CLK=1))
        product = made.cell("MULT18X18D", f"product_{lane}", "P", CLK=1)
        made.register(f"board.core.vector.after_multiply_product_{lane}", DI=product)
        ram = made.cell("TRELLIS_DPR16X4", f"board.core.memory.ram.0.{lane}", "DO", CLK=1)
        read = made.register(f"board.core.vector.memory_read_data[{lane}]", DI=ram)
        if lane % 2:
            made.register(f"board.core.memory.picked_0_{lane // 2}", DI=read)
    graph = Graph(made.module)
    regions = Regions(graph)
    assert all(regions.of[f"board.core.memory.ram.0.{lane}"] == lane_region(lane) for lane in range(LANES))
    check_lanes(graph, regions, cfg)
    del graph.cells["acc.2"], regions.of["acc.2"]
    with pytest.raises(ArrangementFailed, match="these LUT RAMs were found: 2, 2, 1, 2"):
        check_lanes(graph, regions, cfg)


@pytest.mark.parametrize(("kind", "copied"), [("MULT18X18D", True), ("LUT4", False)])
def test_operands_of_multipliers_are_copied_for_half_as_many_loads(kind: str, copied: bool) -> None:
    made = Netlist()
    operand = made.register("board.core.matrix.mesh.act_0_0_late1", DI=made.register("board.core.matrix.late", DI=1))
    for lane in range(LEAST_LOADS // MULTIPLIER_LOAD):
        product = made.cell(kind, f"product_{lane}", "P", A=operand)
        made.register(f"board.core.matrix.mesh.product_{lane}_0", DI=product)
    changed, *_ = arranged(made.module)
    assert any(name.endswith("$of_lane_1") for name in changed["cells"]) == copied


def test_small_designs_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pipeline().module
    before = copy.deepcopy(module)
    assert ECP5.arranges(BOARD)
    assert ECP5.arrange(module, preset("ulx3s")).copies == 0 and module == before
    monkeypatch.setattr(ecp5, "LARGE", 0)
    with pytest.raises(ArrangementFailed):
        ECP5.arrange(module, preset("ulx3s"))


@pytest.mark.parametrize(("name", "lane"), [
    ("banks.picked_0_0", 1), ("banks.picked_0_7", 15), ("memory.picked_1_2", 10), ("memory.picked_2_1", 12)])
def test_what_is_picked_for_the_host_is_at_home_in_the_middle_of_its_lanes(name: str, lane: int) -> None:
    made = Netlist()
    made.register(f"board.core.{name}", DI=1)
    graph = Graph(made.module)
    assert set(Regions(graph).of.values()) == {lane_region(lane)}


@pytest.mark.parametrize("name", ["matrix.bank_data", "matrix.weights", "banks.read_data"])
def test_what_the_banks_read_belongs_to_its_lane_whatever_the_host_picks_of_it(name: str) -> None:
    made = Netlist()
    for lane in range(LANES):
        made.cell("DP16KD", f"board.core.banks.bank_{lane}.ram.0.0", "DO", CLK=1)
    read = [made.register(f"board.core.{name}", DI=1) for _ in range(2 * LANES)]
    made.register("board.core.banks.picked_0_0", DI=made.cell("LUT4", "picks", "Z", A=read[0], B=read[2]))
    graph = Graph(made.module)
    regions = Regions(graph)
    for place, bit in enumerate(read):
        assert regions.of[graph.driver[bit].cell] == lane_region(place // 2)


@pytest.mark.parametrize("name", ["matrix.bank_data[2][3]", "matrix.bank_data[2]", "banks.bank_2.found_late[7]"])
def test_a_bank_s_registers_may_go_by_their_lane_s_number(name: str) -> None:
    made = Netlist()
    made.register(f"board.core.{name}", DI=1)
    assert set(Regions(Graph(made.module)).of.values()) == {lane_region(2)}


@pytest.mark.parametrize(("levels", "copies"), [(LONE_LEVELS - 1, LANES), (LONE_LEVELS, 0)])
def test_a_register_behind_logic_needs_more_than_one_load_in_a_lane(levels: int, copies: int,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fpga.copies.LEAST_LOADS", LANES)
    made = Netlist()
    net = made.register("board.core.control.phase", DI=1)
    for level in range(levels):
        net = made.cell("LUT4", f"level{level}", "Z", A=net)
    chunk = made.register("board.core.banks.writes_chunk", DI=net)
    for lane in range(LANES):
        made.register(f"board.core.vector.d_{lane}", DI=made.cell("LUT4", f"uses_{lane}", "Z", A=chunk))
    assert arranged(made.module)[3] == copies
