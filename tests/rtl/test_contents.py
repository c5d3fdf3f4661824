"""Memories with initial contents: the machine runs from power on, as if its host had loaded it."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.errors import InputError
from fpga.standalone.bake import image_contents
from rtl.bank import Bank
from rtl.config import PRESETS, Config
from rtl.contents import EMPTY, Contents
from rtl.memory_files import FEW_ROWS, split_rows
from rtl.protocol import Space
from rtl.verilog import convert, generate
from sim.driver import Driver
from sim.rtl_device import RtlDevice
from sim.verilate import VerilatedCore, build
from tests.rtl.bench import MACHINES, shallow
from tests.rtl.test_core import image
from tests.rtl.test_verilog import yosys


def test_words_stand_side_by_side_in_rows_and_every_lane_has_its_own() -> None:
    contents = Contents(words={Space.ACT: [1, 2, 3, 4, 5], Space.BANK: [10, 11, 20, 21, 30]})
    assert contents.rows(Space.ACT, bits=8, count=4) == [0x04030201, 5]
    assert contents.lane(0, 2) == [10, 20, 30] and contents.lane(1, 2) == [11, 21]
    assert contents.rows(Space.PARAM, bits=8, count=4) == [] and contents and not EMPTY
    with pytest.raises(ValueError, match="vector memory"):
        Contents(words={Space.VECTOR: [1]})


def test_banks_outside_the_gateware_have_no_contents() -> None:
    cfg = replace(PRESETS["tiny"], external_banks=True)
    with pytest.raises(InputError, match="the banks of tiny are no block RAM"):
        image_contents(image(cfg))


def core(cfg: Config, contents: Contents, folder: Path) -> VerilatedCore:
    text, files = split_rows(generate(cfg, contents=contents), folder=f"{folder}/")
    for name, content in files.items():
        (folder / name).write_text(content)
    assert not contents or f"openlpu.core.banks.bank_{cfg.lanes - 1}.ram.hex" in files
    return VerilatedCore(build(text), reset_cycles=0)


def state(machine: Driver | RtlDevice) -> list[list[int]]:
    """What can be read of a machine's first rows."""
    return [machine.read(space, 0, 256).reshape(-1).tolist() for space in (Space.BANK, Space.ACT, Space.VECTOR)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "tangnano20k"])
def test_a_machine_with_contents_runs_as_if_it_had_been_loaded(name: str, tmp_path: Path) -> None:
    cfg = MACHINES[name]
    made = image(cfg)
    other = replace(made, banks=np.roll(made.banks, 1, axis=1), params=np.roll(made.params, 1, axis=0))
    tokens = list(range(cfg.sequences))
    with core(cfg, image_contents(made), tmp_path) as machine:
        driver = Driver(cfg, machine)
        states: list[list[list[int]]] = []
        for content in (made, other):
            if content is other:  # a host can still write over what was baked in
                driver.load(other)
            with RtlDevice(content) as loaded:
                if content is made:
                    assert state(driver)[:2] == state(loaded)[:2]
                driver.reset()
                expected = [loaded.step(tokens, True), *loaded.run(cfg.bucket_positions)]
                assert [driver.step(tokens, classify=True), *driver.run(cfg.bucket_positions)] == expected
                states.append(state(driver))
                assert states[-1] == state(loaded)
        assert states[0] != states[1]


def test_large_memories_go_to_files_and_small_ones_stay() -> None:
    cfg = replace(shallow(PRESETS["tiny"]), bank_rows=2 * FEW_ROWS)
    rng = random.Random(4)
    words = [rng.getrandbits(8 * cfg.taps) for _ in range(cfg.lanes * cfg.bank_rows)]
    whole = generate(cfg, contents=Contents(words={Space.BANK: words}))
    text, files = split_rows(whole, folder="there/")
    banks = [f"openlpu.core.banks.bank_{lane}.ram.hex" for lane in range(cfg.lanes)]
    assert [name for name in files if "bank_" in name] == banks
    for lane, name in enumerate(banks):
        assert [int(row, 16) for row in files[name].split()] == words[lane::cfg.lanes]
        assert f'initial $readmemh("there/{name}", ram);' in text
    assert "silu_0[7] = " in text and f"ram[{FEW_ROWS}] = " not in text and f"ram[{FEW_ROWS}] = " in whole
    with pytest.raises(ValueError, match="not in order"):
        split_rows(whole.replace("ram[7] =", "ram[8] ="))


SYNTHESIS = {
    "ecp5": ("synth_ecp5", r"DP16KD", r"INITVAL_\w+"), "gowin": ("synth_gowin", r"S?DPX?9?B", r"INIT_RAM_\w+")}


@pytest.mark.slow
@pytest.mark.parametrize("family", SYNTHESIS)
def test_block_ram_is_configured_with_the_contents(family: str, tmp_path: Path) -> None:
    command, cell, init = SYNTHESIS[family]
    cfg = replace(PRESETS["tiny"], bank_rows=1024)
    rng = random.Random(family)
    rows = [rng.getrandbits(8 * cfg.taps) for _ in range(cfg.bank_rows)]

    def ones(contents: list[int]) -> tuple[int, int]:
        """Block RAMs, and bits that are one in their initial contents."""
        bank = Bank(cfg, contents)
        text, files = split_rows(convert(bank, name="bank"))
        for name, content in files.items():
            (tmp_path / name).write_text(content)
        run = yosys(text, f"read_verilog design.v; {command} -top bank -run :map_ffram; select bank; "
                    "write_json -selected bank.json", tmp_path)
        assert run.returncode == 0, run.stdout + run.stderr
        cells = json.loads((tmp_path / "bank.json").read_text())["modules"]["bank"]["cells"].values()
        found = [item["parameters"] for item in cells if re.fullmatch(cell, item["type"])]
        return len(found), sum(
            value.count("1") for item in found for name, value in item.items() if re.fullmatch(init, name))

    count, set_bits = ones(rows)
    assert count >= 2 and set_bits == sum(row.bit_count() for row in rows)
    rows[5] ^= 1 << 9
    assert ones(rows) != (count, set_bits)  # one bit of one row
    assert ones([]) == (count, 0)
