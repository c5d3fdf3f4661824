"""Frames of the host link: one table for the gateware, for the host's driver and for the manual (docs/link.md).

The link carries the two byte streams of rtl/protocol.py over a UART (8 data bits, no parity, 1 stop bit, least
significant bit first). The host speaks first, always; each of its frames is answered by one of the board's, or by
none where the frame arrived damaged. Numbers are little-endian.

A frame, the host's and the board's alike, is START control:1 length:1 room:1 payload:length crc:4.

- START (7E) begins a frame wherever it comes, also inside another one, which is then forgotten. Each later byte that
  is 7E or 7D is sent as 7D (ESCAPE) and the byte with bit 5 flipped: between two STARTs there is no 7E, whatever is
  sent, and whatever was damaged, the next START is understood. The board needs no time-out.
- control: bits 3:0 sequence number, bits 6:4 kind, bit 7 set in the board's frames. An answer repeats kind and number.
- crc: CRC-32 (that of Ethernet and zlib) of the bytes from control to the end of the payload, before escaping.
- room: bytes that the board can take in the next frame, at least; the host's is 0.

| kind | host's payload | the board's answer |
|---|---|---|
| HELLO 1 | none | the identity; nothing else changes |
| RESET 2 | none | the identity; resets the core, empties both streams, and the next DATA has this number + 1 |
| DATA 4 | bytes for the core | bytes from the core; see below |

DATA with the number after the last one taken is new: its payload goes to the core, in order, and the bytes of the last
answer are forgotten; the host has them, or it would not have sent this. DATA with the number of the last one taken is
a repetition: nothing goes to the core and the same bytes are sent again. DATA with another number, before the first
RESET, or with more payload than there was room for, is not answered; neither is a kind that is not in the table, or
anything with a wrong CRC. A payload is handed to the core only after its CRC was right.

While the board sends it hears nothing: a host that repeats a frame waits for the time that an answer can take.

The identity: version of the link:1, clock in kHz:3, first letters of the preset's name:8 (zeros after a shorter one),
design hash:4 (fpga/link/identity.py).
"""

from __future__ import annotations

import enum
import zlib
from dataclasses import dataclass

VERSION = 1
"""Of this table."""

START, ESCAPE = 0x7E, 0x7D
FLIP = 0x20
"""What an escaped byte is XORed with."""

NUMBERS = 16
"""Sequence numbers; they count up and start again."""
KIND_SHIFT = 4
FROM_BOARD = 0x80
HEADER_BYTES = 3
CRC_BYTES = 4
IDENTITY_BYTES = 16
NAME_BYTES = 8


class Kind(enum.IntEnum):
    HELLO = 1
    RESET = 2
    DATA = 4


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame whose CRC was right."""

    kind: int
    number: int
    payload: bytes = b""
    room: int = 0
    from_board: bool = False


def escape(data: bytes) -> bytes:
    """The bytes as they are sent after START."""
    out = data.replace(bytes([ESCAPE]), bytes([ESCAPE, ESCAPE ^ FLIP]))
    return out.replace(bytes([START]), bytes([ESCAPE, START ^ FLIP]))


def encode(frame: Frame) -> bytes:
    """A frame on the line."""
    control = frame.number | frame.kind << KIND_SHIFT | (FROM_BOARD if frame.from_board else 0)
    body = bytes([control, len(frame.payload), frame.room]) + frame.payload
    return bytes([START]) + escape(body + zlib.crc32(body).to_bytes(CRC_BYTES, "little"))


def wire_bytes(payload: int) -> int:
    """Bytes on the line of a frame with so much payload, at most."""
    return 1 + 2 * (HEADER_BYTES + payload + CRC_BYTES)


class FrameReader:
    """Finds frames in bytes, as either side does.

    Parameters
    ----------
    from_board : whose frames these are.

    Members
    -------
    damaged : frames with a wrong CRC, of the other side, or cut off by the next START.
    """

    def __init__(self, *, from_board: bool) -> None:
        self._from_board = from_board
        self._body: bytearray | None = None  # of the frame that is arriving
        self._escaped = False
        self.damaged = 0

    @property
    def inside(self) -> bool:
        """A frame has begun and is not complete."""
        return self._body is not None

    def forget(self) -> None:
        """Drop a frame that is arriving."""
        self._body = None

    def feed(self, data: bytes) -> list[Frame]:
        """Frames that these bytes completed."""
        found: list[Frame] = []
        for byte in data:
            if byte == START:
                self.damaged += self._body is not None
                self._body, self._escaped = bytearray(), False
            elif self._body is None:
                continue
            elif byte == ESCAPE:
                self._escaped = True
            else:
                self._body.append(byte ^ FLIP if self._escaped else byte)
                self._escaped = False
                size = HEADER_BYTES + CRC_BYTES
                if len(self._body) >= size and len(self._body) == size + self._body[1]:
                    frame = self._frame(bytes(self._body))
                    self._body = None
                    if frame is None:
                        self.damaged += 1
                    else:
                        found.append(frame)
        return found

    def _frame(self, body: bytes) -> Frame | None:
        control, good = body[0], zlib.crc32(body[:-CRC_BYTES]).to_bytes(CRC_BYTES, "little") == body[-CRC_BYTES:]
        if not good or bool(control & FROM_BOARD) != self._from_board:
            return None
        return Frame(
            kind=(control & ~FROM_BOARD) >> KIND_SHIFT, number=control % NUMBERS,
            payload=body[HEADER_BYTES:-CRC_BYTES], room=body[2], from_board=self._from_board)
