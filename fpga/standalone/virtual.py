"""A board that works alone, without the board: its whole top Verilated, a terminal on its UART, a chip on its flash
pins."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import TracebackType
from typing import Self

from fpga.standalone.top import TOP, StandaloneTop, generate
from rtl.memory_files import split_rows
from sim.toolchain import cached, digest
from sim.verilate import build

TERMINAL = Path(__file__).with_name("terminal.cpp")
DIVISOR = 4
"""Clocks a bit of a simulated board's UART: the fewest there can be."""
WAKING_CLOCKS = 700
"""Of a flash that was asleep: 30 us, the longest of any chip, at 24 MHz."""


def build_board(top: StandaloneTop) -> Path:
    """The compiled board, from the cache where it was built before.

    Raises
    ------
    ToolMissing, BuildFailed : see `sim.verilate.build`.
    """
    text = generate(top)
    _, files = split_rows(text)

    def fill(folder: Path) -> None:
        for name, content in files.items():
            (folder / name).write_text(content)

    # The library reads the files whenever a board is made of it.
    folder = cached("contents", digest(*(part for item in sorted(files.items()) for part in item)), fill)
    text, _ = split_rows(text, folder=f"{folder}/")
    return build(text, TOP, harness=TERMINAL, ports=("clk", "tx", "button", "led"))


class VirtualStandalone:
    """A board that was just switched on.

    Parameters
    ----------
    library : what `build_board` made. divisor : clocks a bit, as the top has them.
    flash : content of the flash chip. asleep : it is in deep power-down.
    """

    def __init__(self, library: Path, *, divisor: int = DIVISOR, flash: bytes = b"", asleep: bool = False) -> None:
        self._library = _load(library)
        self._board = self._library.board_create(divisor)
        self._library.board_flash(self._board, flash, len(flash), asleep, WAKING_CLOCKS)

    @property
    def cycles(self) -> int:
        """Clocks since power-on."""
        return self._library.board_cycles(self._board)

    @property
    def led(self) -> bool:
        return bool(self._library.board_led(self._board))

    @property
    def unframed(self) -> int:
        """Bytes without a stop bit."""
        return self._library.board_unframed(self._board)

    @property
    def flash_commands(self) -> int:
        """Commands that the flash chip followed."""
        return self._library.board_commands(self._board)

    def press(self, level: bool = True) -> None:
        """The button, until it is released with False."""
        self._library.board_button(self._board, level)

    def read(self, count: int, *, max_cycles: int = 100_000_000) -> bytes:
        """The next bytes on the terminal: `count`, or as many as come within `max_cycles`."""
        self._library.board_run(self._board, max_cycles, count)
        buffer = ctypes.create_string_buffer(max(count, 1))
        size = self._library.board_fetch(self._board, buffer, count)
        return buffer.raw[:size]

    def close(self) -> None:
        """Switch off."""
        if self._board is not None:
            self._library.board_destroy(self._board)
            self._board = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    handle, number, text = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p
    for name, result, arguments in (
        ("create", handle, [number]),
        ("destroy", None, [handle]),
        ("cycles", number, [handle]),
        ("unframed", number, [handle]),
        ("commands", number, [handle]),
        ("led", ctypes.c_int, [handle]),
        ("flash", None, [handle, text, number, ctypes.c_int, number]),
        ("button", None, [handle, ctypes.c_int]),
        ("run", number, [handle, number, number]),
        ("fetch", number, [handle, text, number]),
    ):
        function = getattr(library, f"board_{name}")
        function.restype, function.argtypes = result, arguments
    return library
