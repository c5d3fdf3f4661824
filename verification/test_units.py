"""Every unit of every preset against the golden model's arithmetic, on Verilator."""

from __future__ import annotations

import pytest

from rtl.config import PRESETS, WITH_ECC
from rtl.technology import Technology
from verification.runner import run
from verification.settings import new_seed
from verification.units import OPTIMISE, UNITS, cached_design, cell_model


@pytest.mark.parametrize(("unit", "name"), [
    *((unit, name) for unit in UNITS for name, cfg in PRESETS.items() if unit != "noise" or cfg.noise_rate),
    *(("banks", f"{name}{WITH_ECC}") for name, cfg in PRESETS.items() if not cfg.single_port)])
def test_unit_is_as_golden(unit: str, name: str) -> None:
    outcomes = run(
        cached_design(unit, name), f"verification.bench_{unit}", optimise=OPTIMISE,
        parameters={"preset": name, "seed": new_seed()})
    assert all(outcome.sim_time_ns > 0 for outcome in outcomes)


@pytest.mark.parametrize("broken", [False, True])
def test_two_products_in_one_multiplier_of_an_ice40_are_as_golden(broken: bool) -> None:
    """The mesh with SB_MAC16s, around the model that yosys ships; with one whose halves are unsigned it fails."""
    text = cached_design("matrix", "icebreaker", Technology.ICE40)
    assert text.count("SB_MAC16 ") == PRESETS["icebreaker"].peak_macs // 2
    if broken:
        assert ".A_SIGNED(1'h1)" in text
        text = text.replace(".A_SIGNED(1'h1)", ".A_SIGNED(1'h0)")
    try:
        run(text + "\n" + cell_model("SB_MAC16"), "verification.bench_matrix", optimise=OPTIMISE,
            parameters={"preset": "icebreaker", "seed": new_seed()})
    except AssertionError:
        assert broken
    else:
        assert not broken
