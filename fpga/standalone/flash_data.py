"""What is in the flash behind the bitstream.

| from | what |
|---|---|
| 0 | a slot for each token: its record |
| slot 2**token_bits | a slot for each line |
| `load_at` | the requests that load the machine, filled up with RESET |
| `crc_at` | CRC-32 of all that comes before, uppermost byte first |

Every place depends on the machine alone: another model for the same machine needs new data, but no new bitstream.
"""

from __future__ import annotations

import zlib

import numpy as np

from compiler.errors import InputError
from compiler.image import Image
from fpga.standalone.records import RECORD_BYTES, Script
from rtl.config import Config
from rtl.host import header_bytes, space_words
from rtl.isa import QUEUES
from rtl.protocol import Request, Space, program_space, word_bytes
from sim.driver import memory_writes

SLOT_BITS = 5
SLOT_BYTES = 1 << SLOT_BITS
CRC_POLYNOMIAL, CRC_BITS = 0x04C11DB7, 32
"""Uppermost bit first, beginning with all ones: over data and CRC together it is 0."""
ERASED = 0xFF
LOADED = (Space.BANK, Space.ACT, Space.PARAM, Space.CONSTANT, Space.VALUES, Space.REGISTER,
          *(program_space(queue) for queue in QUEUES))

assert RECORD_BYTES <= SLOT_BYTES


def load_at(cfg: Config) -> int:
    """Where the requests begin; a power of two."""
    return 2 << cfg.token_bits + SLOT_BITS


def _load_bytes(cfg: Config) -> int:
    """Room for the requests: one for each space, every word of it."""
    header = 1 + header_bytes(cfg)[Request.WRITE]
    return sum(header + space_words(cfg, space) * word_bytes(cfg, space) for space in LOADED)


def crc_at(cfg: Config) -> int:
    """Where the requests end."""
    return load_at(cfg) + _load_bytes(cfg)


def total_bytes(cfg: Config) -> int:
    """Bytes in flash."""
    return crc_at(cfg) + CRC_BITS // 8


def crc(data: bytes) -> int:
    """CRC-32, uppermost bit first and not inverted: what zlib computes on mirrored bytes."""
    mirrored = np.packbits(np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")).tobytes()
    return int(f"{zlib.crc32(mirrored) ^ 0xFFFFFFFF:032b}"[::-1], 2)


def load_requests(image: Image) -> bytes:
    """WRITE requests for all that the image holds, zeros too: single-port RAM is configured with anything."""
    made = bytearray()
    for write in memory_writes(image, skip_zeros=False):
        count = len(write.data) // word_bytes(image.config, write.space)
        made += bytes([Request.WRITE, write.space]) + write.address.to_bytes(4, "little") + count.to_bytes(4, "little")
        made += write.data
    return bytes(made)


def flash_data(image: Image, script: Script) -> bytes:
    """All of it. Raises InputError where the vocabulary or the lines need more slots than there are."""
    cfg = image.config
    half = load_at(cfg) // 2
    erased = bytes([ERASED])
    parts = [b"".join(row.ljust(SLOT_BYTES, erased) for row in rows) for rows in (script.records, script.lines)]
    for part, what in zip(parts, ("tokens", "lines of openings"), strict=True):
        if len(part) > half:
            raise InputError(f"{len(part) // SLOT_BYTES} {what} are more than the {half // SLOT_BYTES} of {cfg.name}")
    data = b"".join(part.ljust(half, bytes([ERASED])) for part in parts)
    data += load_requests(image).ljust(_load_bytes(cfg), bytes([Request.RESET]))
    return data + crc(data).to_bytes(CRC_BITS // 8, "big")
