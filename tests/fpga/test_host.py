"""The host's side against a board of a few lines, which does what the script says."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from compiler.errors import InputError
from fpga.link.frames import NUMBERS, Frame, FrameReader, Kind, encode
from fpga.link.host import Link, LinkError, Patience, open_port
from fpga.link.identity import Identity, design_hash, identity
from rtl.config import PRESETS

CFG = PRESETS["tiny"]
QUICK = Patience(reply_s=0.02, reply_max_s=0.05, gap_s=0.005, stall_s=0.1, attempts=4, hello_attempts=2)
FAST_BAUD = 10**9  # the line itself takes no time


class FakeBoard:
    """A port with a board behind it that returns each byte plus one.

    Members
    -------
    change : what is done to the bytes of each answer, given its count; lists are sent with silence between.
    given : what the core was given. frames : that came. room : that it reports.
    """

    def __init__(self, change: Callable[[int, bytes], list[bytes]] | None = None, *, known: Identity | None = None,
                 room: int = 255, echo: bool = True) -> None:
        self.change = change or (lambda count, line: [line])
        self.identity = known or identity(CFG, 1e6)
        self.room, self.echo = room, echo
        self.given, self.frames = bytearray(), list[Frame]()
        self.closed = False
        self._reader = FrameReader(from_board=False)
        self._last, self._answer, self._made = -1, b"", bytearray()
        self._line: list[bytes] = []

    def write(self, data: bytes) -> int:
        for frame in self._reader.feed(data):
            self.frames.append(frame)
            payload = self.identity.encode()
            if frame.kind == Kind.DATA:
                if frame.number != self._last:
                    self._answer, self._made = bytes(self._made[:255]), self._made[255:]
                    self.given += frame.payload
                    if self.echo:
                        self._made += bytes((byte + 1) % 256 for byte in frame.payload)
                payload = self._answer
            if frame.kind != Kind.HELLO:
                self._last = frame.number
            answer = Frame(kind=frame.kind, number=frame.number, payload=payload, room=self.room, from_board=True)
            self._line += self.change(len(self.frames), encode(answer))
        return len(data)

    def read(self, size: int = 1) -> bytes:
        if not self._line:
            time.sleep(QUICK.gap_s)
            return b""
        first = self._line[0]
        if not first:  # silence
            self._line.pop(0)
            time.sleep(QUICK.gap_s)
            return b""
        self._line[0] = first[size:]
        if not self._line[0]:
            self._line.pop(0)
        return first[:size]

    @property
    def in_waiting(self) -> int:
        return len(self._line[0]) if self._line else 0

    def reset_input_buffer(self) -> None:
        self._line.clear()

    def close(self) -> None:
        self.closed = True


def connect(board: FakeBoard, kind: type[Link] = Link) -> Link:
    return kind(board, name="fake", baud=FAST_BAUD, cfg=CFG, patience=QUICK)


WORDS = bytes(range(256)) * 4
ECHO = bytes((byte + 1) % 256 for byte in WORDS)


def exchange(board: FakeBoard, kind: type[Link] = Link) -> Link:
    """Words to the board and back, in pieces. Raises AssertionError where one is lost or wrong."""
    link = connect(board, kind)
    got = b""
    for start in range(0, len(WORDS), 100):
        piece = WORDS[start:start + 100]
        link.send(piece)
        got += link.receive(len(piece))
    assert board.given == WORDS
    assert got == ECHO
    return link


def test_bytes_come_and_go_in_order_and_nothing_is_repeated():
    link = exchange(FakeBoard())
    assert (link.statistics.repeated, link.statistics.sent, link.statistics.received) == (0, 1024, 1024)


def test_a_payload_is_never_larger_than_the_room():
    board = FakeBoard(room=7)
    link = connect(board)
    link.send(WORDS)
    assert board.given == WORDS
    assert max(len(frame.payload) for frame in board.frames) == 7


@pytest.mark.parametrize(("name", "change", "count"), [
    ("lost", lambda line: [], "timeouts"),
    ("damaged", lambda line: [line[:-1] + bytes([line[-1] ^ 1])], "damaged"),
    ("cut", lambda line: [line[:4]], "damaged"),
])
def test_an_answer_that_is_lost_or_damaged_is_asked_for_again(name: str, change: Callable, count: str):
    board = FakeBoard(lambda number, line: change(line) if number % 5 == 3 else [line])
    link = exchange(board)
    assert link.statistics.repeated == getattr(link.statistics, count) > 3, name


def late(number: int, line: bytes) -> list[bytes]:
    """Some answers come twice: as if the first had been on its way when the host lost patience."""
    return [line, line] if number % 7 in (3, 4) else [line]


def test_a_late_answer_is_not_taken_for_the_next_one():
    link = exchange(FakeBoard(late))
    assert link.statistics.stale > 3 and link.statistics.repeated == 0


class Careless(Link):
    """A seeded bug: takes any answer for the one it waits for."""

    def _answers(self, frame: Frame, kind: Kind) -> bool:
        return True


def test_a_host_that_does_not_look_at_numbers_is_caught():
    with pytest.raises((AssertionError, LinkError)):
        exchange(FakeBoard(late), Careless)


def test_numbers_go_around_and_a_repetition_has_the_same():
    board = FakeBoard(lambda number, line: [] if number % 4 == 0 else [line])
    exchange(board)
    data = [frame for frame in board.frames if frame.kind == Kind.DATA]
    for one, two in pairwise(data):
        assert two == one or two.number == (one.number + 1) % NUMBERS
    assert {frame.number for frame in data} == set(range(NUMBERS))


def test_a_board_that_does_not_answer_is_given_up_in_the_stated_time():
    start = time.monotonic()
    with pytest.raises(LinkError, match="board on fake does not answer at"):
        connect(FakeBoard(lambda number, line: []))
    assert time.monotonic() - start < QUICK.limit_s(FAST_BAUD) + 0.5
    board = FakeBoard(lambda number, line: [line] if number < 4 else [])
    link = connect(board)
    start = time.monotonic()
    with pytest.raises(LinkError, match="does not answer"):
        link.send(WORDS)
    assert time.monotonic() - start < QUICK.limit_s(FAST_BAUD) + 0.5
    assert len(board.frames) == 3 + QUICK.attempts


def test_a_core_that_says_nothing_is_given_up_too():
    link = connect(FakeBoard(echo=False))
    with pytest.raises(LinkError, match=r"sent 0 of 3 bytes, and then nothing for 0\.1 s"):
        link.receive(3)
    board = FakeBoard(room=0)
    with pytest.raises(LinkError, match=r"taken nothing for 0\.1 s"):
        connect(board).send(b"x")


@pytest.mark.parametrize(("known", "message"), [
    (identity(PRESETS["icebreaker"], 1e6), "holds icebreaker, the image is for tiny"),
    (Identity(version=1, clock_khz=1, name="tiny", design=b"1234"),
     r"holds tiny of another version \(design 31323334\), the image is for tiny"),
    (Identity(version=9, clock_khz=1, name="tiny", design=design_hash(CFG)),
     "speaks version 9 of the link, this program version 1"),
])
def test_another_build_is_refused_in_one_line_and_left_alone(known: Identity, message: str):
    board = FakeBoard(known=known)
    with pytest.raises(InputError, match=message) as raised:
        connect(board)
    assert "\n" not in str(raised.value)
    assert {frame.kind for frame in board.frames} == {Kind.HELLO}


def test_a_port_that_is_not_there_is_one_line():
    with pytest.raises(InputError, match=r"cannot open the serial port /dev/none at 9600 baud: No such file"):
        open_port("/dev/none", 9600)
