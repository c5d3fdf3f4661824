"""The floorplan: every lane's banks and multipliers on sites of its own strip."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from fpga.boards.ulx3s import BOARD
from fpga.families.ecp5 import ECP5
from fpga.family import ArrangementFailed
from fpga.floorplan import LFE5_85, floorplan
from fpga.graph import Graph
from rtl.config import Config, preset

CFG = preset("ulx3s")


def netlist(cfg: Config, mesh_products: int, vector_products: int = 2) -> dict[str, Any]:
    """A netlist with the cells that count: 12 block RAMs a lane in 4 columns of bytes, 4 a copy of activation memory,
    and multipliers."""
    cells: dict[str, Any] = {}
    nets: dict[str, Any] = {}
    bits = iter(range(2, 1 << 20))

    def multiplier(name: str, register: str) -> None:
        product, held = next(bits), next(bits)
        cells[name] = {"type": "MULT18X18D", "connections": {"P0": [product]}, "attributes": {}}
        cells[f"{name}_register"] = {
            "type": "TRELLIS_FF", "connections": {"DI": [product], "Q": [held]}, "attributes": {}}
        nets[register] = {"bits": [held]}

    for index in range(4 * cfg.groups):
        cells[f"core.act.copy_{index // 4}.0.{index % 4}"] = {
            "type": "DP16KD", "connections": {"ADA0": [1]}, "attributes": {}}
    for lane in range(cfg.lanes):
        columns = [next(bits) for _ in range(4)]
        for index in range(12):
            cells[f"core.banks.bank_{lane}.ram.0.{index}"] = {
                "type": "DP16KD", "connections": {"DIA0": [columns[index % 4]], "ADA0": [1]}, "attributes": {}}
        for tap in range(0 if cfg.paired_products and lane % 2 else mesh_products):
            multiplier(f"core.matrix.mesh.${lane * cfg.taps + tap}", f"core.matrix.mesh.product_{lane}_{tap}")
        for name in ("scale_scaled", "multiply_product")[:vector_products]:
            multiplier(f"core.vector.{name}{lane}", f"core.vector.after_{name}_{lane}")
    for cell in cells.values():
        cell["port_directions"] = {
            port: "output" if port in ("P0", "Q") else "input" for port in cell["connections"]}
    return {"cells": cells, "netnames": nets, "ports": {}}


def column(site: str) -> int:
    found = re.fullmatch(r"X(\d+)/Y\d+/\w+", site)
    assert found is not None, site
    return int(found[1])


def test_every_lane_has_a_strip() -> None:
    module = netlist(CFG, mesh_products=7)
    sites = floorplan(Graph(module), CFG)
    wanted = {name for name, cell in module["cells"].items() if cell["type"] != "TRELLIS_FF"}
    assert set(sites) == wanted
    assert len(set(sites.values())) == len(sites), "two cells on one site"
    spans = []
    for lane in range(CFG.lanes):
        of_lane = [column(site) for name, site in sites.items()
                   if f"bank_{lane}." in name or re.search(rf"(?:scaled|product){lane}$", name)
                   or ((found := re.search(r"mesh\.\$(\d+)$", name)) and int(found[1]) // CFG.taps == lane)]
        assert len(of_lane) == 12 + 7 + 2
        spans.append((min(of_lane), max(of_lane)))
    spine = LFE5_85.blocks[LFE5_85.spine]
    assert all(high < spine + 9 for _, high in spans[:8]) and all(low >= spine for low, _ in spans[8:]), "too far"
    assert all(spans[lane][0] < spans[lane + 1][0] for lane in range(CFG.lanes - 1)), "the lanes are out of order"
    assert all(high - low < 18 for low, high in spans), "a lane is wider than two blocks"


def test_activations_are_between_the_middle_of_their_lanes_and_the_spine() -> None:
    sites = floorplan(Graph(netlist(CFG, mesh_products=7)), CFG)
    for group, block in enumerate((LFE5_85.blocks[4], LFE5_85.blocks[8])):
        places = {column(site) for name, site in sites.items() if f"copy_{group}." in name}
        assert places == {block, block + 2, block + 4, block + 6}


def test_a_bank_s_bytes_are_in_one_row() -> None:
    sites = floorplan(Graph(netlist(CFG, mesh_products=7)), CFG)
    for first in range(4):
        rows = {sites[f"core.banks.bank_5.ram.0.{first + deep}"].split("/")[1] for deep in (0, 4, 8)}
        assert len(rows) == 1, f"the RAMs of one column of bytes are in rows {rows}"


@pytest.mark.parametrize("products", [14, 15])
def test_multipliers_of_two_lanes_lie_in_the_strips_of_both(products: int) -> None:
    cfg = replace(CFG, taps=16, bank_rows=CFG.bank_rows // 2, tile_taps=8, paired_products=True,
                  logic_products=16 * (16 - products))
    module = netlist(cfg, mesh_products=products)
    sites = floorplan(Graph(module), cfg)
    shared = {int(name.partition("$")[2]): site for name, site in sites.items() if "mesh.$" in name}
    assert len(shared) == products * cfg.lanes // 2
    assert len(set(sites.values())) == len(sites), "two cells on one site"
    for lane in range(0, cfg.lanes, 2):
        banks = [{column(site) for name, site in sites.items() if f"bank_{number}." in name}
                 for number in (lane, lane + 1)]
        for tap in range(products):
            low, high = min(banks[tap >= (products + 1) // 2]), max(banks[tap >= (products + 1) // 2])
            assert low - 9 < column(shared[lane * cfg.taps + tap]) < high + 9
    with pytest.raises(ArrangementFailed, match="lanes 0 to 7 have 80 multipliers; their side of the die has 78"):
        floorplan(Graph(netlist(cfg, mesh_products=16)), cfg)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ArrangementFailed, match="lanes 0 to 7 have 80 multipliers; their side of the die has 78"):
        floorplan(Graph(netlist(CFG, mesh_products=8)), CFG)
    assert floorplan(Graph(netlist(CFG, mesh_products=8, vector_products=1)), CFG)


def test_only_the_die_that_is_known() -> None:
    assert ECP5.arranges(BOARD) and not ECP5.arranges(replace(BOARD, device="45k"))
