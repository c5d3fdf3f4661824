"""Whole boards that work alone, Verilated: from power-on to text on the terminal, which is what golden tells."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from compiler.image import Image
from compiler.tokenizer import Decoder
from fpga.board import board, board_names
from fpga.build import design
from fpga.clocking import Pads
from fpga.standalone.bake import image_contents
from fpga.standalone.boot import ERROR
from fpga.standalone.design import model_script, with_flash
from fpga.standalone.flash_data import SLOT_BYTES, crc, flash_data, load_at, total_bytes
from fpga.standalone.openings import openings
from fpga.standalone.records import Script, printed
from fpga.standalone.top import StandaloneTop
from fpga.standalone.virtual import DIVISOR, VirtualStandalone, build_board
from rtl.config import PRESETS, Config
from rtl.technology import Technology
from rtl.verilog import convert
from sim.commands.common import compile_named, tokenizer_of
from sim.device import open_device
from sim.generate import generate
from tests.rtl.bench import shallow

BAUD = 1_000_000
OFFSET = 2 * load_at(PRESETS["icebreaker"])
PAUSE_SECONDS = 1e-4


@cache
def image(model: str, preset: str) -> Image:
    return compile_named(model, preset)


@cache
def flash_board(cfg: Config) -> Path:
    return build_board(StandaloneTop(
        cfg, clk_hz=BAUD * DIVISOR, baud=BAUD, flash_offset=OFFSET, pause_seconds=PAUSE_SECONDS))


def baked_board(made: Image) -> Path:
    return build_board(StandaloneTop(
        made.config, clk_hz=BAUD * DIVISOR, baud=BAUD, contents=image_contents(made), script=model_script(made),
        pause_seconds=PAUSE_SECONDS))


def stories(made: Image, count: int) -> bytes:
    """What golden tells after the first openings, decoded as `lpu generate` does, as a terminal gets it."""
    assert made.model
    tokenizer, told = tokenizer_of(made), b""
    device = open_device("golden", made)
    for opening in openings(made.model)[:count]:
        story = generate(device, made, opening)
        decoder = Decoder(tokenizer, after=None)
        text = "".join(decoder.push(token) for token in [*opening, *story.tokens]) + decoder.finish()
        told += b"\r\n\r\n" + printed(text.encode())
    return told


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["tiny", "tangnano20k"])
def test_a_board_with_the_model_in_its_block_ram_tells_what_golden_tells(preset: str) -> None:
    made = image("random:small", preset)
    wanted = stories(made, 3)
    with VirtualStandalone(baked_board(made)) as alone:
        assert alone.read(len(wanted)) == wanted
        assert alone.led and not alone.unframed


def rotten(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1:]


@pytest.mark.slow
def test_a_board_with_the_model_in_its_flash_tells_what_golden_tells_or_says_that_the_flash_is_bad() -> None:
    made = image("fables80k", "icebreaker")
    cfg = made.config
    data = flash_data(made, model_script(made))
    library, wanted = flash_board(cfg), stories(made, 1)
    assert len(data) == total_bytes(cfg) and b"\r\n\r\nSam was" in wanted

    def flash(content: bytes) -> bytes:
        return b"\x7e" * OFFSET + content

    with VirtualStandalone(library, flash=flash(data), asleep=True) as alone:
        assert alone.read(len(wanted)) == wanted
        assert alone.led and not alone.unframed

    with VirtualStandalone(library, flash=flash(rotten(data, load_at(cfg) + 5000))) as alone:
        assert alone.read(2 * len(ERROR)) == 2 * ERROR
    # Data that are whole but not the model's: the text differs, and the comparison sees it.
    swapped = data[:SLOT_BYTES * 58] + data[SLOT_BYTES * 59:SLOT_BYTES * 60] + data[SLOT_BYTES * 59:-4]
    with VirtualStandalone(library, flash=flash(swapped + crc(swapped).to_bytes(4, "big"))) as alone:
        assert alone.read(200) not in wanted


def test_the_crc_is_the_one_that_the_gateware_computes_bit_by_bit() -> None:
    data = bytes(range(200))
    state = 0xFFFFFFFF
    for byte in data + crc(data).to_bytes(4, "big"):
        for bit in range(7, -1, -1):
            state = (state << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if (state >> 31 ^ byte >> bit) & 1 else 0)
    assert state == 0 and crc(b"123456789") == 0x0376E6E7


def test_openings_differ_and_the_first_is_how_the_model_begins_by_itself() -> None:
    made = image("random:small", "tangnano20k")
    assert made.model
    found = openings(made.model, 8)
    assert len(found) == len({tuple(one) for one in found}) == 8
    by_itself = generate(open_device("golden", made), made, [1], stop=frozenset()).tokens
    assert [1, *by_itself][:len(found[0])] == found[0]
    assert openings(made.model, 1) == [[1]]


def test_flash_data_go_behind_the_bitstream() -> None:
    facts = board("icebreaker")
    whole = with_flash(facts, b"bits", b"data")
    assert whole[:5] == b"bits\xff" and whole[facts.flash.free:] == b"data"
    assert with_flash(board("ulx3s"), b"bits", b"") == b"bits"
    assert facts.flash.free % load_at(PRESETS[facts.preset]) == 0


@pytest.mark.parametrize("name", board_names())
@pytest.mark.parametrize("flash", [True, False])
def test_every_port_of_a_board_that_works_alone_has_a_pin(name: str, flash: bool) -> None:
    facts = board(name)
    if flash and facts.flash.clock is None:
        pytest.skip("only a primitive reaches the clock of this board's flash")
    cfg = shallow(PRESETS["tiny"])
    told = Script(records=(b"\0",), lines=(bytes(5),))
    source: dict[str, Any] = {"flash_offset": facts.flash.free} if flash else {"script": told}
    pads = Pads(facts, StandaloneTop(cfg, clk_hz=24e6, baud=BAUD, **source))
    pins = pads.pins()
    assert {"clk", "tx", "led", "button"} <= set(pins) and ("flash_select" in pins) == flash
    text = convert(pads, name="top", ports=pads.ports, technology=facts.family)
    assert ("~" in text.split("assign flash_select = ")[1].split(";")[0]) if flash else "flash_select" not in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["icebreaker", "tangnano20k"])
def test_a_build_with_a_model_asks_for_a_board_that_works_alone(name: str) -> None:
    facts = board(name)
    alone = design(facts, model="random:small")
    cfg = alone.cfg
    assert alone.model == "random:small" and cfg == PRESETS[facts.preset]
    assert len(alone.flash) == (total_bytes(cfg) if facts.family is Technology.ICE40 else 0)
    top = alone.make(facts, cfg, facts.core_mhz)
    assert isinstance(top, StandaloneTop) and (top.flash_offset is None) == (alone.flash == b"")
    pads = Pads(facts, top)
    assert "module top" in convert(
        pads, name="top", ports=pads.ports, technology=facts.family)
