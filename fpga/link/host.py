"""The host's end of the link: the driver's byte streams over a serial port, whatever the line does to them.

All repetition is decided here; the board only answers. Time-outs are those of `Patience`.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import serial

from compiler.errors import InputError
from fpga.link.frames import NUMBERS, VERSION, Frame, FrameReader, Kind, encode, wire_bytes
from fpga.link.identity import Identity, design_hash
from rtl.config import PRESETS, Config

MAX_PAYLOAD = 255
BITS_PER_BYTE = 10  # on the line: with start and stop bit


class LinkError(RuntimeError):
    """The line or the board failed: nothing answers, or nothing but damage comes. One line for people."""


class NoAnswer(LinkError):
    """A frame was sent as often as `Patience` has it, and no sound answer came: the cable, or no board."""


class Port(Protocol):
    """What is used of a serial port: pyserial's Serial has it."""

    def write(self, data: bytes, /) -> int | None: ...
    def read(self, size: int = 1, /) -> bytes: ...
    @property
    def in_waiting(self) -> int: ...
    def reset_input_buffer(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long the host waits, in seconds of wall clock.

    Members
    -------
    reply_s : for an answer, beside the time on the line; doubled at each repetition up to `reply_max_s`. An idle board
        answers at once; this is for USB adapters and a busy operating system.
    gap_s : of silence inside an answer, or after a damaged one; then the frame is sent again.
    attempts : to get one frame answered. hello_attempts : the same for the first one.
    stall_s : without a byte from a core that owes one, or without room for one.
    """

    reply_s: float = 0.25
    reply_max_s: float = 2.0
    gap_s: float = 0.05
    attempts: int = 8
    hello_attempts: int = 4
    stall_s: float = 10.0

    def wait_s(self, attempt: int) -> float:
        """For the answer of an attempt, the first of which is 0."""
        return min(self.reply_s * 2**attempt, self.reply_max_s)

    def limit_s(self, baud: float) -> float:
        """After so long a frame has been answered, or `LinkError` was raised."""
        return sum(self.wait_s(attempt) + self.gap_s + line_s(baud) for attempt in range(self.attempts))


def line_s(baud: float) -> float:
    """Seconds that the longest frame and the longest answer spend on the line."""
    return 2 * wire_bytes(MAX_PAYLOAD) * BITS_PER_BYTE / baud


@dataclass(kw_only=True)
class Statistics:
    """What happened on the line, as the host saw it.

    Members
    -------
    frames : sent and answered. repeated : sent again. timeouts : attempts without an answer.
    damaged : answers that were cut or had a wrong CRC. stale : answers to another frame than the last.
    sent, received : bytes of payload.
    """

    frames: int = 0
    repeated: int = 0
    timeouts: int = 0
    damaged: int = 0
    stale: int = 0
    sent: int = 0
    received: int = 0


def open_port(name: str, baud: int, *, gap_s: float = Patience.gap_s) -> serial.Serial:
    """A serial port of its own. Raises InputError where there is none, or another program has it."""
    try:
        port = serial.Serial(name, baud, timeout=gap_s, write_timeout=5.0, exclusive=True)
    except (OSError, ValueError) as error:  # SerialException is an OSError
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number else str(error)
        raise InputError(f"cannot open the serial port {name} at {baud} baud: {reason}") from None
    # No such adapter, or no such system: slower, not wrong.
    with suppress(OSError, ValueError, NotImplementedError, AttributeError):
        port.set_low_latency_mode(True)  # an FTDI adapter else waits for 16 ms
    return port


class Link:
    """A board, as `sim.driver.Driver` wants it: bytes in order, none lost.

    Parameters
    ----------
    port : the open serial port; its read time-out is `patience.gap_s`.
    name : what to call it in messages.
    baud : of the port.
    cfg : which machine the board must hold.
    patience : time-outs.

    Making one resets the board's core, whatever a host before was doing with it.

    Raises
    ------
    InputError : the board holds another machine than `cfg`, or speaks another version of the link.
    LinkError : here and from every method, when `patience` is at its end (`NoAnswer` where that is for want of an
        answer) or the port is gone.
    """

    def __init__(self, port: Port, *, name: str, baud: float, cfg: Config, patience: Patience | None = None) -> None:
        self._port, self._name, self._baud = port, name, baud
        self._patience = patience or Patience()
        self._reader = FrameReader(from_board=True)
        self._received = bytearray()
        self.statistics = Statistics()
        # Anything but what a host before me used last; its late answers are not for me.
        self._number = secrets.randbelow(NUMBERS)
        self._room = 0
        self.identity = self._hello(cfg)
        self._reset()

    def send(self, data: bytes) -> None:
        """Hand over all of the data; the board has it when this returns."""
        start, last = 0, time.monotonic()
        while start < len(data):
            part = data[start:start + min(self._room, MAX_PAYLOAD)]
            if self._transfer(part) or part:
                last = time.monotonic()
            elif time.monotonic() - last > self._patience.stall_s:
                raise LinkError(f"the board on {self._name} has taken nothing for {self._patience.stall_s:g} s")
            start += len(part)

    def receive(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        last = time.monotonic()
        while len(self._received) < count:
            if self._transfer(b""):
                last = time.monotonic()
            elif time.monotonic() - last > self._patience.stall_s:
                raise LinkError(f"the board on {self._name} sent {len(self._received)} of {count} bytes, and then "
                                f"nothing for {self._patience.stall_s:g} s")
        data = bytes(self._received[:count])
        del self._received[:count]
        return data

    def close(self) -> None:
        """Release the port. The board stays as it is."""
        self._port.close()

    # ------------------------------------------------------------------------------------------------------ inside

    def _transfer(self, payload: bytes) -> int:
        """One exchange of data. Returns the bytes that came."""
        self._number = (self._number + 1) % NUMBERS
        answer = self._exchange(Kind.DATA, payload, self._patience.attempts)
        self._room = answer.room
        self._received += answer.payload
        self.statistics.sent += len(payload)
        self.statistics.received += len(answer.payload)
        return len(answer.payload)

    def _hello(self, cfg: Config) -> Identity:
        """The board's identity, which must be that of ``cfg``. Nothing on the board changes."""
        self._try(self._port.reset_input_buffer)
        try:
            found = Identity.decode(self._exchange(Kind.HELLO, b"", self._patience.hello_attempts).payload)
        except ValueError as error:
            raise LinkError(f"the board on {self._name} gave no identity: {error}") from None
        if found.version != VERSION:
            raise InputError(f"the board on {self._name} speaks version {found.version} of the link, this program "
                             f"version {VERSION}; build and program its bitstream anew")
        if found.design != design_hash(cfg):
            known = next((one.name for one in PRESETS.values() if design_hash(one) == found.design), None)
            holds = f"{known}" if known else f"{found.name} of another version (design {found.design.hex()})"
            raise InputError(f"the board on {self._name} holds {holds}, the image is for {cfg.name} (design "
                             f"{design_hash(cfg).hex()}); compile the model for the board or program the board anew")
        return found

    def _reset(self) -> None:
        answer = self._exchange(Kind.RESET, b"", self._patience.attempts)
        self._room = answer.room

    def _exchange(self, kind: Kind, payload: bytes, attempts: int) -> Frame:
        """Send a frame until its answer has come."""
        frame = encode(Frame(kind=kind, number=self._number, payload=payload))
        for attempt in range(attempts):
            self._reader.forget()
            self._try(lambda: self._port.write(frame))
            if (answer := self._answer(kind, self._patience.wait_s(attempt) + line_s(self._baud))) is not None:
                self.statistics.frames += 1
                return answer
            self.statistics.repeated += 1
        raise NoAnswer(f"the board on {self._name} does not answer at {self._baud:.0f} baud; is it programmed, is the "
                        f"cable in, is the baud rate that of the build?")

    def _answer(self, kind: Kind, wait_s: float) -> Frame | None:
        """The answer to the frame just sent; None when it must be sent again."""
        deadline, damaged = time.monotonic() + wait_s, self._reader.damaged
        while True:
            data = self._try(lambda: self._port.read(1))
            if data and (more := self._try(lambda: self._port.in_waiting)):
                data += self._try(lambda: self._port.read(more))
            for frame in self._reader.feed(data):
                if self._answers(frame, kind):
                    return frame
                self.statistics.stale += 1
            if not data and (self._reader.inside or self._reader.damaged > damaged):
                self.statistics.damaged += 1
                return None
            if time.monotonic() > deadline:
                self.statistics.timeouts += 1
                return None

    def _answers(self, frame: Frame, kind: Kind) -> bool:
        """Whether it is the answer to the last frame; an answer that comes late is to an earlier one."""
        return frame.kind == kind and frame.number == self._number

    def _try(self, action):
        """The port's errors as ours: a pulled cable takes the port away."""
        try:
            return action()
        except (OSError, serial.SerialException) as error:
            raise LinkError(f"the serial port {self._name} is gone: {error}") from None
