"""The whole machine of every preset, through its byte streams, on small models."""

from __future__ import annotations

import pytest

from rtl.config import PRESETS, preset
from rtl.verilog import TOP, generate
from sim.verilate import cached_verilog
from verification.runner import run
from verification.settings import new_seed
from verification.small_model import SHAPES
from verification.units import OPTIMISE


def machine(name: str) -> str:
    """Verilog of a preset's whole machine."""
    cfg = preset(name)
    return cached_verilog(lambda: generate(cfg), facts=repr(cfg))


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "sequences"), [
    (name, sequences) for name, cfg in PRESETS.items() for sequences in sorted({1, cfg.sequences})])
def test_ten_tokens_of_a_small_model_are_as_golden(name: str, sequences: int, shape: str) -> None:
    (outcome,) = run(
        machine(name), "verification.bench_machine", top=TOP, optimise=OPTIMISE,
        parameters={"preset": name, "seed": new_seed(), "shape": shape, "sequences": sequences})
    assert outcome.sim_time_ns > 0
