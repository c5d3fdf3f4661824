"""Targets: what comes over the serial line. A tape of bytes says what a bad board does to each of its answers.

"frames" is both ends' search for frames; "link" the host's end over a port; "driver" the driver over a line that loses
nothing, with a machine that answers nonsense.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fpga.link.frames import Frame, FrameReader, Kind, encode
from fpga.link.host import Link, LinkError, Patience
from fpga.link.identity import identity
from rtl.config import PRESETS
from rtl.protocol import ERROR, VERSION, Request, Space, record_bytes, status_bytes
from sim.driver import Driver, ProtocolError
from verification.fuzz.mutate import damage_bytes
from verification.fuzz.target import Files, Target

CFG: Final = PRESETS["tiny"]
FILE: Final = "tape"
QUICK: Final = Patience(reply_s=0, reply_max_s=0, gap_s=0, attempts=3, hello_attempts=2, stall_s=0)
BAUD: Final = 1e12  # the line itself takes no time
WORDS: Final = bytes(range(0x70, 0x90))
SOUND: Final = bytes(64)
MOST_READS: Final = 5000
"""Reads of one input; a host that reads on for ever is a hang."""


class Endless(BaseException):
    """The host did not give up."""


class Tape:
    """Bytes one after another, zeros at the end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def take(self, count: int) -> bytes:
        return bytes(self.byte() for _ in range(count))


class BadBoard:
    """A port with a board that returns each byte plus one, until the tape has it do something else."""

    def __init__(self, tape: Tape) -> None:
        self._tape, self._reader = tape, FrameReader(from_board=False)
        self._last, self._answer, self._made, self._line, self._reads = -1, b"", bytearray(), bytearray(), 0

    def write(self, data: bytes) -> int:
        for frame in self._reader.feed(data):
            payload = identity(CFG, 1e6).encode()
            if frame.kind == Kind.DATA:
                if frame.number != self._last:
                    self._answer, self._made = bytes(self._made[:255]), self._made[255:]
                    self._made += bytes((byte + 1) % 256 for byte in frame.payload)
                payload = self._answer
            if frame.kind != Kind.HELLO:
                self._last = frame.number
            self._line += self._damaged(Frame(
                kind=frame.kind, number=frame.number, payload=payload, room=255, from_board=True))
        return len(data)

    def _damaged(self, frame: Frame) -> bytes:
        tape = self._tape
        what, one, two = tape.byte(), tape.byte(), tape.byte()
        payload, line = frame.payload, encode(frame)
        if what in (1, 2, 3):
            kind, number, room = frame.kind, frame.number, 255
            if what == 1:
                kind, number = one % 8, two % 16
            elif what == 2:
                payload, room = tape.take(one), two
            else:
                room = one % 3
            return encode(Frame(kind=kind, number=number, payload=payload[:255], room=room, from_board=True))
        if what == 4:
            made = bytearray(line)
            made[one % len(made)] ^= two
            return bytes(made)
        return {5: b"", 6: line[:one], 7: tape.take(one), 8: line * (one % 9), 9: line + line[:two],
                10: tape.take(two) + line, 11: b"\x7e" * one + b"\x7d" * two + line}.get(what, line)

    def read(self, size: int = 1) -> bytes:
        self._reads += 1
        if self._reads > MOST_READS:
            raise Endless(f"{MOST_READS} reads")
        found = bytes(self._line[:size])
        del self._line[:size]
        return found

    @property
    def in_waiting(self) -> int:
        return len(self._line)

    def reset_input_buffer(self) -> None:
        self._line.clear()

    def close(self) -> None:
        pass


class BadMachine:
    """A transport whose machine answers what the tape holds."""

    def __init__(self, tape: Tape) -> None:
        self._tape, self._left = tape, 1 << 14

    def send(self, data: bytes) -> None:
        pass

    def receive(self, count: int) -> bytes:
        self._left -= count
        if self._left < 0:
            raise Endless("far more was read than was asked for")
        return self._tape.take(count)


def read_frames(folder: Path) -> None:
    data = (folder / FILE).read_bytes()
    for side in (True, False):
        reader = FrameReader(from_board=side)
        for start in range(0, len(data), 7):
            for frame in reader.feed(data[start:start + 7]):
                encode(frame)
        assert not reader.inside or len(reader._body or b"") <= 262, "a frame that grows for ever"


def read_link(folder: Path) -> None:
    link = Link(BadBoard(Tape((folder / FILE).read_bytes())), name="fuzz", baud=BAUD, cfg=CFG, patience=QUICK)
    for start in range(0, len(WORDS), 9):
        piece = WORDS[start:start + 9]
        link.send(piece)
        assert len(link.receive(len(piece))) == len(piece)
    link.close()


def read_driver(folder: Path) -> None:
    driver = Driver(CFG, BadMachine(Tape((folder / FILE).read_bytes())))
    driver.reset()
    driver.write(Space.ACT, 0, bytes(8))
    driver.status()
    driver.step([1], classify=True)
    driver.read(Space.VECTOR, 0, 2)
    found = driver.run(3)
    next(found)
    driver.reset()


def _driver_tape() -> bytes:
    """What a sound machine answers to `read_driver`."""
    record = bytes(record_bytes(CFG))
    stop = bytes([Request.STOP]) + bytes([ERROR]) * 16
    return b"".join([bytes([Request.RESET, Request.WRITE, VERSION]), bytes(status_bytes(CFG) - 1), record,
                     bytes(2 * 2 * CFG.lanes), record, stop, bytes([Request.RESET])])


def _frames() -> Sequence[Files]:
    frames = [Frame(kind=kind, number=number, payload=WORDS[:4 * number], room=9, from_board=bool(number % 2))
              for number, kind in enumerate((*Kind, *Kind))]
    return [{FILE: b"".join(map(encode, frames))}]


def _damage_frames(rng: random.Random, files: Files) -> Files:
    return {FILE: damage_bytes(rng, files[FILE])}


def _damage_tape(rng: random.Random, files: Files) -> Files:
    """Small numbers mean something: a few of them anywhere, or noise."""
    made = bytearray(files[FILE])
    for _ in range(rng.choice((1, 2, 4, 16))):
        at = rng.randrange(len(made))
        made[at:at + 3] = bytes([rng.randrange(13), rng.choice((0, 1, 4, 250, rng.randrange(256))), rng.randrange(256)])
    return {FILE: bytes(made) if rng.random() < 0.9 else damage_bytes(rng, bytes(made))}


def _tapes(data: bytes) -> Sequence[Files]:
    return [{FILE: data}]


FRAMES: Final = Target(name="frames", seeds=_frames, damage=_damage_frames, read=read_frames)
LINK: Final = Target(name="link", seeds=lambda: _tapes(SOUND), damage=_damage_tape, read=read_link,
                     refusals=(LinkError, *Target.refusals))
DRIVER: Final = Target(name="driver", seeds=lambda: _tapes(_driver_tape()), damage=_damage_frames, read=read_driver,
                       refusals=(LinkError, ProtocolError))
