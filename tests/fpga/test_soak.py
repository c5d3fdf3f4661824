"""A short soak, and what it says of hosts and boards with a seeded bug. The whole one: `python -m fpga.link.soak`."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

import fpga.link.soak
from compiler.image import Image
from fpga.link.frames import Frame, Kind
from fpga.link.soak import PATIENCE, Tally, WatchedLink, report, soak
from sim.commands.common import compile_named

SEED = random.randrange(1000)  # every one must pass


@pytest.fixture(scope="module")
def image() -> Image:
    return compile_named("random:odd", "tiny")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fpga.link.soak, "PATIENCE", replace(PATIENCE, reply_s=0.1, reply_max_s=0.5, stall_s=5.0))


def told(tally: Tally, seed: int) -> str:
    return report(tally, seed, 0.0)


@pytest.mark.slow
def test_faults_do_no_harm(image: Image):
    print(f"seed {SEED}")
    tally = soak(image, faults=50, seed=SEED, rate=1 / 1500)
    assert not tally.bad and tally.complete and tally.count >= 50, told(tally, SEED)


class Corrupting(WatchedLink):
    """Damages data before it makes a frame of them, now and then: the CRC is right, and the data wrong."""

    _sent = 0

    def _transfer(self, payload: bytes) -> int:
        self._sent += 1
        if self._sent % 40 == 39 and len(payload) > 100:
            payload = payload[:50] + bytes([payload[50] ^ 1]) + payload[51:]
        return super()._transfer(payload)


class Trusting(WatchedLink):
    """Takes any answer for the one it waits for."""

    def _answers(self, frame: Frame, kind: Kind) -> bool:
        return True


class Stubborn(WatchedLink):
    """Tries longer than it may."""

    def _exchange(self, kind: Kind, payload: bytes, attempts: int) -> Frame:
        return super()._exchange(kind, payload, 8 * attempts)


def test_acknowledged_bytes_that_are_not_there_are_counted(image: Image, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fpga.link.soak, "KILLED", 0.0)
    tally = soak(image, faults=0, seed=1, rate=0.0, kind=Corrupting)
    assert tally.lost and tally.bad, told(tally, 1)


@pytest.mark.slow
def test_a_host_that_does_not_look_at_numbers_is_caught(image: Image, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fpga.link.soak, "KILLED", 0.0)
    tally = soak(image, faults=500, seed=1, rate=1 / 500, kind=Trusting)
    assert tally.bad, told(tally, 1)


@pytest.mark.slow
def test_a_wait_beyond_the_time_out_is_counted(image: Image, monkeypatch: pytest.MonkeyPatch):
    for name, value in (("KILLED", 0.0), ("PULLED", 1.0), ("SLACK_S", 0.5)):
        monkeypatch.setattr(fpga.link.soak, name, value)
    monkeypatch.setattr(fpga.link.soak, "PATIENCE", replace(PATIENCE, reply_s=0.05, reply_max_s=0.05))
    tally = soak(image, faults=1, seed=1, rate=0.0, kind=Stubborn)
    assert tally.hangs and tally.pulled and tally.bad, told(tally, 1)
