"""The board without the board: its whole top, Verilated, with its UART pins behind a pseudo-terminal.

What opens the pseudo-terminal is the same driver that opens a real board's serial port, and it cannot tell the two
apart, except that here time passes only while there is something on the line, and a little longer.
"""

from __future__ import annotations

import ctypes
import os
import select
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from fpga.faults import NoisyLine
from fpga.link.host import Patience
from fpga.top import TOP, BoardTop, generate
from rtl.config import Config
from sim.toolchain import ToolMissing
from sim.verilate import RTL, build, cached_verilog

PINS = Path(__file__).with_name("pins.cpp")
LINK = Path(__file__).with_name("link")
CODE = (RTL, LINK, Path(__file__).with_name("top.py"))

DIVISOR = 4
"""Clocks a bit: the fewest there can be, so that the line is the smaller part of a simulation."""
BAUD = 1_000_000
"""What the host believes; a pseudo-terminal has none."""
PATIENCE = Patience(reply_s=1.0, reply_max_s=8.0, gap_s=0.02, stall_s=60.0)
"""A simulated board's: a busy machine may simulate slowly."""

_SLICE = 200_000  # clocks, at most, before the line is looked at again
_SILENCE_BITS = 25  # after which an answer is taken for complete
_NEVER = 1 << 62
_LINGER = 20_000  # clocks that the board runs on when nothing moves on the line


def build_board(cfg: Config, *, divisor: int = DIVISOR) -> Path:
    """The compiled board, from the cache where it was built before.

    Raises
    ------
    ToolMissing, BuildFailed : see `sim.verilate.build`.
    """
    verilog = cached_verilog(
        lambda: generate(BoardTop(cfg, clk_hz=BAUD * divisor, baud=BAUD)), facts=f"board {cfg!r} {divisor}",
        sources=CODE)
    return build(verilog, TOP, harness=PINS, ports=("clk", "rx", "tx", "led"))


class VirtualBoard:
    """A board that is switched on, at the other end of `port`.

    Parameters
    ----------
    cfg : its machine.
    divisor : clocks a bit. skew : the host's bits are so much longer than the board's.
    to_board, to_host : the two directions of the line; without faults where None.
    library : another board than `build_board` makes.

    Members
    -------
    port : name of the pseudo-terminal.

    Raises
    ------
    ToolMissing : there are no pseudo-terminals on this system.
    """

    def __init__(self, cfg: Config, *, divisor: int = DIVISOR, skew: float = 0.0, to_board: NoisyLine | None = None,
                 to_host: NoisyLine | None = None, library: Path | None = None) -> None:
        try:
            import pty
            import tty
        except ImportError:
            raise ToolMissing("a virtual board needs pseudo-terminals, which this system has not") from None
        self._library = _load(library or build_board(cfg, divisor=divisor))
        self._board = self._library.board_create(divisor * (1 + skew))
        self._silence = _SILENCE_BITS * divisor
        self._to_board, self._to_host = to_board or NoisyLine(0, 0.0), to_host or NoisyLine(0, 0.0)
        self._ours, self._theirs = pty.openpty()  # theirs stays open: a host that goes away must not end the line
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self._wake, self._waker = os.pipe()
        self.port = os.ttyname(self._theirs)
        self._thread: threading.Thread | None = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    @property
    def cycles(self) -> int:
        """Clocks since power-on."""
        return self._library.board_cycles(self._board)

    def close(self) -> None:
        """Switch off; the host's port is gone."""
        if self._thread is None:
            return
        os.write(self._waker, b"x")
        self._thread.join()
        self._thread = None
        for handle in (self._ours, self._theirs, self._wake, self._waker):
            os.close(handle)
        self._library.board_destroy(self._board)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------ inside

    def _live(self) -> None:
        still = 0  # clocks without anything on the line
        buffer = ctypes.create_string_buffer(4096)
        while True:
            ready, _, _ = select.select([self._ours, self._wake], [], [], 0 if still < _LINGER else None)
            if self._wake in ready:
                return
            if self._ours in ready:
                data = self._to_board.carry(os.read(self._ours, 4096))
                self._library.board_send(self._board, data, len(data))
                still = 0
            before = self._library.board_cycles(self._board)
            if still == 0:
                self._library.board_run(self._board, _SLICE, self._silence)
            else:
                self._library.board_run(self._board, _LINGER // 8, _NEVER)
            count = self._library.board_fetch(self._board, buffer, len(buffer))
            if count:
                still = 0
                self._deliver(self._to_host.carry(buffer.raw[:count]))
            else:
                still += self._library.board_cycles(self._board) - before + 1

    def _deliver(self, data: bytes) -> None:
        with suppress(BlockingIOError):  # nobody reads: a UART does not wait either
            os.write(self._ours, data)


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    handle, number, text = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p
    for name, result, arguments in (
        ("create", handle, [ctypes.c_double]),
        ("destroy", None, [handle]),
        ("cycles", number, [handle]),
        ("unframed", number, [handle]),
        ("send", None, [handle, text, number]),
        ("run", ctypes.c_int, [handle, number, number]),
        ("fetch", number, [handle, text, number]),
    ):
        function = getattr(library, f"board_{name}")
        function.restype, function.argtypes = result, arguments
    return library
