"""The whole link on a line that flips, drops, doubles, inserts, delays and loses bytes; and links with a seeded bug."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

import fpga.link.host
from compiler.errors import InputError
from fpga.faults import Fault, NoisyLine
from fpga.link.frames import Frame, Kind
from fpga.link.host import Link, LinkError, open_port
from fpga.virtual import BAUD, VirtualBoard
from tests.fpga.echo import CFG, PATIENCE, Gullible, build_echo, converse, seed_bug

SEED = random.randrange(1000)  # every one must pass
RATE = 1 / 150


@pytest.fixture(scope="module")
def echo() -> Path:
    return build_echo()


def noisy(seed: int) -> tuple[NoisyLine, NoisyLine]:
    return NoisyLine(2 * seed, RATE), NoisyLine(2 * seed + 1, RATE)


@pytest.mark.slow
def test_every_byte_arrives_once_and_in_order_whatever_the_line_does(echo: Path):
    print(f"seed {SEED}")
    lines = noisy(SEED)
    with VirtualBoard(CFG, to_board=lines[0], to_host=lines[1], library=echo) as board:
        repeated, sessions = converse(board, lines, faults=100, seed=SEED)
    done = lines[0].done + lines[1].done
    assert set(done) == set(Fault), f"seed {SEED}: {done}"
    assert repeated > 25 and sessions < 10, f"seed {SEED}"


BUGS = {
    "a damaged frame is taken": ("with m.If(~sending & ~bad):", "with m.If(~sending):"),
    "a repetition is taken for new": ("& (number != last_number) & ~overflow", "& ~overflow"),
    "an answer is forgotten before it was acknowledged": (
        "again.eq(data & (number == last_number))", "again.eq(data & (number == last_number)), length.eq(0)"),
    "a frame that was cut is not rolled back": ("overflow.eq(0), arriving.eq(core_in)]", "overflow.eq(0)]"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_an_endpoint_with_a_seeded_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch):
    seed_bug(monkeypatch, *BUGS[bug])
    lines = noisy(1)
    with VirtualBoard(CFG, to_board=lines[0], to_host=lines[1], library=build_echo()) as board, \
            pytest.raises(AssertionError):
        converse(board, lines, faults=400, seed=1)


class EchoingLine(NoisyLine):
    """Every third answer comes again, before the one after it."""

    def __init__(self) -> None:
        super().__init__(0, 0.0)
        self._calls, self._last = 0, b""

    def carry(self, data: bytes) -> bytes:
        self._calls += 1
        again, self._last = self._last if self._calls % 3 == 0 else b"", data
        return again + data


class Careless(Link):
    """Takes any answer for the one it waits for."""

    def _answers(self, frame: Frame, kind: Kind) -> bool:
        return True


def over_an_echoing_line(echo: Path, kind: type[Link]) -> Link:
    with VirtualBoard(CFG, to_host=EchoingLine(), library=echo) as board:
        link = kind(open_port(board.port, BAUD, gap_s=PATIENCE.gap_s), name="it", baud=BAUD, cfg=CFG, patience=PATIENCE)
        for count in range(1, 60):
            data = bytes(range(count, 2 * count))
            link.send(data)
            assert link.receive(count) == bytes(255 - byte for byte in data)
        link.close()
        return link


def test_answers_that_come_again_are_left_out(echo: Path):
    assert over_an_echoing_line(echo, Link).statistics.stale > 20


def test_a_host_that_does_not_look_at_numbers_is_caught(echo: Path):
    with pytest.raises((AssertionError, LinkError)):
        over_an_echoing_line(echo, Careless)


def test_a_host_that_does_not_look_at_the_crc_is_caught(echo: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fpga.link.host, "FrameReader", Gullible)
    lines = NoisyLine(2, 0.0), NoisyLine(3, RATE, kinds=(Fault.FLIP,))
    with VirtualBoard(CFG, to_board=lines[0], to_host=lines[1], library=echo) as board, \
            pytest.raises((AssertionError, LinkError, InputError)):
        converse(board, lines, faults=100, seed=1)


@pytest.mark.parametrize(("divisor", "skew", "ring_bits"), [(24, 0.0, 8), (24, 0.02, 6), (16, -0.02, 5), (7, 0.01, 7)])
def test_realistic_divisors_rings_of_other_sizes_and_skewed_clocks(divisor: int, skew: float, ring_bits: int):
    """And each payload length up to the longest."""
    library = build_echo(divisor=divisor, ring_bits=ring_bits)
    with VirtualBoard(CFG, divisor=divisor, skew=skew, library=library) as board:
        link = Link(open_port(board.port, BAUD, gap_s=PATIENCE.gap_s), name=board.port, baud=BAUD, cfg=CFG,
                    patience=PATIENCE)
        data = random.Random(divisor).randbytes(3000) + bytes([0x7E, 0x7D] * 100)
        link.send(data)
        assert link.receive(len(data)) == bytes(255 - byte for byte in data)
        assert link.statistics.damaged == 0
        link.close()


def test_a_pulled_cable_is_told_in_the_stated_time_and_a_new_host_goes_on(echo: Path):
    cable = NoisyLine(1, 0.0, kinds=(Fault.DROP,))
    with VirtualBoard(CFG, to_board=cable, library=echo) as board:
        link = Link(open_port(board.port, BAUD), name="it", baud=BAUD, cfg=CFG, patience=PATIENCE)
        link.send(b"before")
        cable.rate = 1.0
        start = time.monotonic()
        with pytest.raises(LinkError, match="the board on it does not answer"):
            link.send(b"lost")
        assert time.monotonic() - start < PATIENCE.limit_s(BAUD) + 2
        link.close()
        cable.rate = 0.0
        link = Link(open_port(board.port, BAUD), name="it", baud=BAUD, cfg=CFG, patience=PATIENCE)
        link.send(b"\x0f")
        assert link.receive(1) == b"\xf0"  # of the old session nothing comes
        link.close()


def test_a_port_that_goes_away_is_told_in_one_line(echo: Path):
    board = VirtualBoard(CFG, library=echo)
    link = Link(open_port(board.port, BAUD), name="it", baud=BAUD, cfg=CFG, patience=PATIENCE)
    board.close()
    with pytest.raises(LinkError, match=r"the serial port it is gone|does not answer"):
        link.send(b"x")
    link.close()
