"""Each bench must fail on a design that is wrong: one small fault at a time, put into the generating process alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rtl.config import preset
from rtl.verilog import TOP, generate
from verification.runner import BenchFailed, run
from verification.seeded import banks, machine, matrix, noise, scalar, sequencer, vector
from verification.seeded.common import Patch
from verification.units import OPTIMISE, cached_design, design

SEED = 1  # whether a bug is found must not be a matter of luck

UNIT_BUGS = [one for unit in (matrix, vector, scalar, banks, noise, sequencer) for one in unit.BUGS]


@pytest.mark.parametrize(("unit", "name", "bug"), UNIT_BUGS, ids=lambda value: getattr(value, "__name__", value))
def test_a_bench_finds_a_seeded_bug(unit: str, name: str, bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    text = design(unit, name)
    monkeypatch.undo()
    assert text != cached_design(unit, name)
    with pytest.raises(BenchFailed, match="AssertionError: "):
        run(text, f"verification.bench_{unit}", parameters={"preset": name, "seed": SEED}, optimise=OPTIMISE)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "bug", "message"), machine.BUGS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_machine_bench_finds_a_seeded_bug(
        name: str, bug: Callable[[Patch], None], message: str, monkeypatch: Patch) -> None:
    bug(monkeypatch)
    text = generate(preset(name))
    monkeypatch.undo()
    with pytest.raises(BenchFailed, match=message):
        run(text, "verification.bench_machine", top=TOP, optimise=OPTIMISE,
            parameters={"preset": name, "seed": SEED, "shape": "one layer", "sequences": preset(name).sequences})
