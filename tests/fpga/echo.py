"""A board without a machine: its core returns each byte inverted. Small and fast, to look at the link alone."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
from amaranth import Module
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

import fpga.link.endpoint
import fpga.top
from fpga.faults import NoisyLine
from fpga.link.frames import CRC_BYTES, Frame, FrameReader
from fpga.link.host import Link, LinkError, NoAnswer, Patience, open_port
from fpga.top import TOP, BoardTop
from fpga.virtual import BAUD, PINS, VirtualBoard
from rtl.config import PRESETS, Config
from sim.verilate import build

CFG = PRESETS["tiny"]  # what the board says it is
PATIENCE = Patience(reply_s=0.1, reply_max_s=1.0, gap_s=0.01, stall_s=5.0)


class EchoCore(wiring.Component):
    """Sends each byte back inverted, through a queue."""

    def __init__(self, cfg: Config) -> None:
        super().__init__({"rx": In(stream.Signature(8)), "tx": Out(stream.Signature(8))})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=8, depth=16)
        m.d.comb += [
            queue.w_data.eq(~self.rx.payload), queue.w_en.eq(self.rx.valid), self.rx.ready.eq(queue.w_rdy),
            self.tx.payload.eq(queue.r_data), self.tx.valid.eq(queue.r_rdy), queue.r_en.eq(self.tx.ready)]
        return m


class Gullible(FrameReader):
    """Takes every frame for sound."""

    def _frame(self, body: bytes) -> Frame | None:
        sound = body[:-CRC_BYTES]
        return super()._frame(sound + zlib.crc32(sound).to_bytes(CRC_BYTES, "little"))


def build_echo(*, divisor: int = 4, ring_bits: int = 8) -> Path:
    """The compiled board, with what is now in fpga.link."""
    top = BoardTop(CFG, clk_hz=BAUD * divisor, baud=BAUD, ring_bits=ring_bits, make_core=EchoCore)
    return build(fpga.top.generate(top), TOP, harness=PINS, ports=("clk", "rx", "tx", "led"))


def seed_bug(patch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """From now on boards have an endpoint whose source is another in one place."""
    path = fpga.link.endpoint.__file__
    assert path is not None
    source = Path(path).read_text()
    assert source.count(old) == 1, f"{old!r} is there {source.count(old)} times; it must be there once"
    module = ModuleType("endpoint_with_a_bug")
    exec(compile(source.replace(old, new), path, "exec"), module.__dict__)
    patch.setattr(fpga.top, "Endpoint", module.Endpoint)


def converse(board: VirtualBoard, lines: tuple[NoisyLine, NoisyLine], *, faults: int, seed: int,
             kind: type[Link] = Link, largest: int = 60) -> tuple[int, int]:
    """Send and receive until so many faults have been; every byte must come back once, in order.

    Returns the frames that were repeated and the sessions. Raises AssertionError where a byte is wrong, lost or twice.
    """
    rng, repeated, sessions = random.Random(seed), 0, 0
    count: Callable[[], int] = lambda: sum((lines[0].done + lines[1].done).values())  # noqa: E731
    while count() < faults:
        sessions += 1
        with closing(open_port(board.port, BAUD, gap_s=PATIENCE.gap_s)) as port:
            link = None
            try:
                link = kind(port, name=board.port, baud=BAUD, cfg=CFG, patience=PATIENCE)
                while count() < faults:
                    data = rng.randbytes(rng.randrange(1, largest))
                    link.send(data)
                    got = link.receive(len(data))
                    assert got == bytes(255 - byte for byte in data), f"seed {seed}, after {count()} faults"
            except LinkError as error:
                assert isinstance(error, NoAnswer), error  # after a long cut; the next session goes on
            repeated += link.statistics.repeated if link else 0
    return repeated, sessions
