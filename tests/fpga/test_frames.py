"""Frames in software: what is sent is read again, whatever came before."""

from __future__ import annotations

import random
import zlib

import pytest

from fpga.link.frames import ESCAPE, FLIP, START, Frame, FrameReader, Kind, encode, escape, wire_bytes
from fpga.link.identity import Identity, design_hash, identity
from rtl.config import PRESETS
from tests.rtl.bench import small

PAYLOADS = [b"", b"\0", bytes([START]), bytes([ESCAPE, ESCAPE]), bytes(range(256))[:255], bytes([START] * 255)]


def test_a_frame_is_the_bytes_that_the_table_says():
    body = bytes([0x85 | Kind.DATA << 4, 2, 9, 0x11, START])
    crc = zlib.crc32(body).to_bytes(4, "little")
    frame = Frame(kind=Kind.DATA, number=5, payload=bytes([0x11, START]), room=9, from_board=True)
    assert encode(frame) == bytes([START]) + body[:-1] + bytes([ESCAPE, START ^ FLIP]) + escape(crc)


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("from_board", [False, True])
def test_a_frame_is_read_again_and_has_one_start(payload: bytes, from_board: bool):
    frame = Frame(kind=Kind.RESET, number=15, payload=payload, room=200, from_board=from_board)
    line = encode(frame)
    assert line.count(START) == 1 and len(line) <= wire_bytes(len(payload))
    reader = FrameReader(from_board=from_board)
    assert [found for byte in line for found in reader.feed(bytes([byte]))] == [frame]
    assert reader.damaged == 0 and not reader.inside
    assert FrameReader(from_board=not from_board).feed(line) == []


def test_after_any_damage_the_next_frame_is_read():
    rng, count = random.Random(5), 0
    good = Frame(kind=Kind.DATA, number=1, payload=b"next")
    for _ in range(2000):
        first = Frame(kind=Kind.DATA, number=0, payload=rng.randbytes(rng.randrange(30)))
        line = bytearray(encode(first))
        at = rng.randrange(len(line))
        damage = rng.randrange(4)
        if damage == 0:
            line[at] ^= rng.randrange(1, 256)
        elif damage == 1:
            del line[at:]
        elif damage == 2:
            line.insert(at, line[at])
        else:
            line.insert(at, rng.randrange(256))
        reader = FrameReader(from_board=False)
        found = reader.feed(bytes(line) + encode(good))
        # A START or an ESCAPE that was doubled does no harm; else the first frame is lost.
        assert found in ([good], [first, good]), (line, found)
        count += len(found) == 1
    assert count > 1500


def test_an_identity_is_read_again():
    one = identity(PRESETS["tangnano20k"], 27e6)
    assert Identity.decode(one.encode()) == one
    assert one.name == "tangnano" and one.clock_khz == 27000
    with pytest.raises(ValueError, match="16 bytes, not 3"):
        Identity.decode(b"abc")


def test_designs_with_different_images_have_different_hashes():
    config = PRESETS["tiny"]
    others = [*PRESETS.values(), small(config, bank_rows=4096), small(config, values=8), small(config, tile_taps=2),
              small(config, tile_lanes=2), small(config, tile_lanes=2, paired_products=True)]
    hashes = [design_hash(one) for one in others]
    assert len(set(hashes)) == len(hashes)
    assert design_hash(config) == design_hash(small(config))
