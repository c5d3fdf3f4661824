"""`lpu build` and `lpu synth`: a bitstream, or only the netlist and what it takes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from compiler.errors import InputError
from compiler.image_file import check_writable, write_atomically
from fpga.board import Board, board
from fpga.build import design, make_bitstream, synthesise
from fpga.commands import common
from fpga.family import family
from fpga.standalone.design import with_flash
from rtl.config import WITH_ECC
from sim.commands.common import Json, print_json
from sim.toolchain import BuildFailed

FOLDER = Path("build")
"""Where bitstreams go unless a name is given."""

Ecc = Annotated[bool, typer.Option(
    "--ecc", help=f"The board's machine with a code on its banks that corrects; its images are for PRESET{WITH_ECC}.")]


def build_command(
    name: common.BoardName,
    model: common.Model = None,
    seed: Annotated[int, typer.Option(help="Of the placement: another seed, another Fmax.")] = 1,
    freq: common.Freq = None,
    target: Annotated[float | None, typer.Option(
        help="MHz that place and route aims at, if not the clock. A higher one makes it try harder; on an "
             "ECP5 it does not end before that is met, or is seen to be out of reach.")] = None,
    output: Annotated[Path | None, typer.Option(
        "-o", "--output", help="The bitstream; build/BOARD and its suffix.")] = None,
    ecc: Ecc = False,
    as_json: Json = False,
) -> None:
    """Make a bitstream: Verilog, netlist, place and route, packing."""
    facts = _board(name, ecc)
    if seed < 1 or (target is not None and target <= 0):
        raise InputError("--seed and --target must be more than 0")
    ask = design(facts, model=model, core_mhz=freq)
    suffix = family(facts.family).bitstream_suffix
    place = output or FOLDER / f"{name}{suffix}"
    if output is None:
        FOLDER.mkdir(exist_ok=True)
    check_writable(place)
    with common.progress() as watch:
        report = make_bitstream(ask, seed=seed, target_mhz=target, watch=watch)
    assert report.bitstream is not None
    content = with_flash(facts, Path(report.bitstream).read_bytes(), ask.flash)
    report = replace(report, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    if report.timing_met:
        write_atomically(place, content)
    report = replace(report, bitstream=str(place) if report.timing_met else None)
    if as_json:
        print_json(report.json())
    else:
        common.print_report(report)
    if not report.timing_met:
        reached = "not even its logic" if report.fmax_mhz is None else f"only {report.fmax_mhz:.2f} MHz"
        raise BuildFailed(f"place and route: {reached} reached, and the core's clock is {report.core_mhz:g} MHz; no "
                          f"bitstream is written. Try another --seed, another --target, or a lower --freq")


def synth_command(name: common.BoardName, model: common.Model = None, freq: common.Freq = None, ecc: Ecc = False,
                  as_json: Json = False) -> None:
    """Make the netlist only, and say what it takes of the device."""
    ask = design(_board(name, ecc), model=model, core_mhz=freq)
    with common.progress() as watch:
        report = synthesise(ask, watch=watch)
    if as_json:
        print_json(report.json())
    else:
        common.print_report(report)
    if report.problems:
        raise BuildFailed("synthesis: the netlist is not what it must be\n  " + "\n  ".join(report.problems))


def _board(name: str, ecc: bool) -> Board:
    """The board, perhaps with ECC on its machine."""
    facts = board(name)
    return replace(facts, preset=facts.preset + WITH_ECC) if ecc else facts
