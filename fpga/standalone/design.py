"""From a board and a model to the top of a board that tells the model's stories, and to what goes into its flash."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from amaranth import Elaboratable

from compiler.errors import InputError
from compiler.image import Image
from compiler.image_file import image_bytes
from fpga.board import Board
from fpga.clocking import clocking, made_mhz
from fpga.standalone.bake import image_contents
from fpga.standalone.flash_data import flash_data
from fpga.standalone.openings import openings
from fpga.standalone.records import Script, script
from fpga.standalone.top import StandaloneTop
from rtl.config import Config
from rtl.technology import Technology
from sim.commands.common import tokenizer_of
from sim.toolchain import digest

BAUD = 115_200
"""What every terminal program can do, and most begin with."""


class Standalone(NamedTuple):
    """A board that works alone.

    Members
    -------
    make : its top, for a board, a machine and the core's clock in MHz. facts : what `make` depends on beside these.
    flash : what must be in the flash from `Flash.free` on; empty where everything is in the bitstream.
    """

    make: Callable[[Board, Config, float], Elaboratable]
    facts: str
    flash: bytes


def model_script(image: Image) -> Script:
    """What a teller needs to tell the image's stories."""
    if image.model is None:
        raise InputError("this image does not carry its model, which chooses how stories begin; compile it again")
    tokenizer = tokenizer_of(image)
    return script(tokenizer, openings(image.model, begin=tokenizer.begin, stops=tokenizer.stops), image.context)


def standalone(board: Board, image: Image) -> Standalone:
    """The image on a board. An iCE40's large memories have no initial contents, so there it comes from the flash.

    Raises InputError where the image has no tokenizer or no model, or more text than there is room for.
    """
    told = model_script(image)
    in_flash = board.family is Technology.ICE40
    contents = None if in_flash else image_contents(image)

    def make(board: Board, cfg: Config, core_mhz: float) -> Elaboratable:
        clk_hz, clock = made_mhz(board, core_mhz) * 1e6, clocking(board, core_mhz)
        if contents is None:
            return StandaloneTop(cfg, clk_hz=clk_hz, baud=BAUD, clocking=clock, flash_offset=board.flash.free)
        return StandaloneTop(cfg, clk_hz=clk_hz, baud=BAUD, clocking=clock, contents=contents, script=told)

    if in_flash:
        return Standalone(make, "from flash", flash_data(image, told))
    return Standalone(make, digest(image_bytes(image), repr(told)), b"")


def with_flash(board: Board, bitstream: bytes, flash: bytes) -> bytes:
    """What is written from the flash's first byte on: the bitstream, and what is behind it at `Flash.free`.

    Raises InputError where they do not fit.
    """
    if not flash:
        return bitstream
    if len(bitstream) > board.flash.free or board.flash.free + len(flash) > board.flash.size:
        raise InputError(f"a bitstream of {len(bitstream)} and data of {len(flash)} bytes do not fit the flash")
    return bitstream.ljust(board.flash.free, b"\xff") + flash
