"""A board as a device of `sim.device`, and a virtual one: an image loaded through the host link, and run."""

from __future__ import annotations

import weakref
from collections.abc import Generator, Sequence

import numpy as np
import numpy.typing as npt

from compiler.errors import InputError
from compiler.image import Image
from fpga import virtual
from fpga.board import Board
from fpga.link.host import Link, LinkError, open_port
from rtl.config import PRESETS
from rtl.protocol import Space
from sim.device import Int, Kind, Line, Record, Records, register_device, tensor_cells, tensor_order
from sim.driver import Driver, Status

VIRTUAL = "virtual"
"""Port name and beginning of device names of boards that are simulated."""


class BoardDevice:
    """A board that runs an image.

    Parameters
    ----------
    image : the compiled model; it is loaded, and what the machine lets us read back is compared.
    link : the way to the board. Closed with this.
    name : what the command line calls it.
    verify : read back what was loaded.

    Raises
    ------
    LinkError : here and later, when the line fails, or the memories do not hold what they were given.
    """

    def __init__(self, image: Image, link: Link, *, name: str, verify: bool = True) -> None:
        self.name, self.image, self.link = name, image, link
        self._driver = Driver(image.config, link)
        self._driver.load(image)
        if verify:
            self.verify()
        self._driver.reset()

    def verify(self) -> None:
        """Compare the readable memories that no token has changed yet. Raises LinkError for the first difference."""
        for space, words in ((Space.BANK, self.image.banks), (Space.ACT, self.image.act)):
            expected = words.astype(np.int8).reshape((-1, self.image.config.taps) if space is Space.BANK else -1)
            found = self._driver.read(space, 0, len(expected))
            wrong = np.argwhere(found != expected)
            if len(wrong):
                raise LinkError(f"the {self.name} holds something else than it was given: {len(wrong)} bytes of "
                                f"{space.name}, the first at word {wrong[0][0]}")

    def reset(self) -> None:
        """The next token is at position 0."""
        self._driver.reset()

    def advance(self, tokens: Sequence[int], *, classify: bool, restart: Sequence[int] = ()) -> Records:
        """One token of each sequence; see `sim.device.Device`."""
        return Records(*self._driver.step(tokens, classify=classify, restart=restart))

    def step(self, token: int, *, classify: bool) -> Record:
        """One token of an image of one sequence."""
        (winner,), cycles = self.advance([token], classify=classify)
        return Record(winner, cycles)

    def run(self, count: int) -> Generator[tuple[tuple[int, ...], int]]:
        """Generate on the board from the last tokens on; yields winners and cycles as they come. Close to stop."""
        return self._driver.run(count)

    def read(self, space: Space, address: int, count: int) -> npt.NDArray[np.int8] | npt.NDArray[np.int16]:
        """Words of a readable memory, see `sim.driver.Driver.read`."""
        return self._driver.read(space, address, count)

    def status(self) -> Status:
        """Positions, tokens, and the cycle counter."""
        return self._driver.status()

    def tensor(self, name: str) -> Int | None:
        """A tensor after the last token, in the model's own order."""
        entry = self.image.tensors.get(name)
        if entry is None:
            return None
        space, cells = tensor_cells(self.image.config, entry)
        return tensor_order(entry, self.read(Space.VECTOR if space == "vector" else Space.ACT, cells.start, len(cells)))

    def remarks(self, cycles_a_step: float) -> list[tuple[str, str]]:
        """For the summary of a generation."""
        clock_hz, seen = self.link.identity.clock_khz * 1e3, self.link.statistics
        return [
            ("on the board", f"{clock_hz / cycles_a_step:.0f} steps a second at {clock_hz / 1e6:g} MHz"),
            ("line", f"{seen.frames} frames, {seen.repeated} repeated, {seen.damaged} damaged")]

    def close(self) -> None:
        """Release the port."""
        self.link.close()


def open_board(image: Image, line: Line, *, name: str, baud: int) -> BoardDevice:
    """A board at a serial port. Raises InputError where none was named, or the board is another one."""
    if line.port is None:
        raise InputError(f"the {name} needs --port: the name of its serial port, such as /dev/ttyUSB0 or COM3, or "
                         f"{VIRTUAL} for a simulated board")
    if line.port == VIRTUAL:
        return open_virtual(image, name=f"{VIRTUAL}:{name}")
    baud = line.baud or baud
    port = open_port(line.port, baud)
    try:
        link = Link(port, name=line.port, baud=baud, cfg=image.config)
        return BoardDevice(image, link, name=name)
    except BaseException:
        port.close()
        raise


def open_virtual(image: Image, *, name: str) -> BoardDevice:
    """A simulated board, behind a pseudo-terminal; switched off when the device is forgotten."""
    board = virtual.VirtualBoard(image.config)
    try:
        port = open_port(board.port, virtual.BAUD, gap_s=virtual.PATIENCE.gap_s)
        link = Link(port, name=board.port, baud=virtual.BAUD, cfg=image.config, patience=virtual.PATIENCE)
        device = BoardDevice(image, link, name=name)
    except BaseException:
        board.close()
        raise
    weakref.finalize(device, board.close)
    return device


def _virtual_kind(name: str, preset: str) -> Kind:
    def make(image: Image, line: Line) -> BoardDevice:
        if line.port is not None:
            raise InputError(f"the {name} device brings its own port; leave --port out")
        return open_virtual(image, name=name)

    return Kind(make=make, preset=preset, has_line=True)


def register(boards: Sequence[Board]) -> None:
    """Make boards known to `sim.device`, and a virtual one of each and of each preset."""
    for board in boards:
        def make(image: Image, line: Line, board: Board = board) -> BoardDevice:
            return open_board(image, line, name=board.name, baud=board.baud)

        register_device(board.name, Kind(make=make, preset=board.preset, has_line=True))
    for name, preset in ({one: one for one in PRESETS} | {board.name: board.preset for board in boards}).items():
        register_device(f"{VIRTUAL}:{name}", _virtual_kind(f"{VIRTUAL}:{name}", preset))
