"""Every unit of every preset against the golden model's arithmetic, on Verilator."""

from __future__ import annotations

import pytest

from rtl.config import PRESETS
from verification.runner import run
from verification.settings import new_seed
from verification.units import OPTIMISE, UNITS, cached_design


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("unit", UNITS)
def test_unit_is_as_golden(unit: str, name: str) -> None:
    outcomes = run(
        cached_design(unit, name), f"verification.bench_{unit}", optimise=OPTIMISE,
        parameters={"preset": name, "seed": new_seed()})
    assert all(outcome.sim_time_ns > 0 for outcome in outcomes)
