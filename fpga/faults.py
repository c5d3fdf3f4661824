"""Faults on a serial line: what comes out is not what went in. Seeded, and counted."""

from __future__ import annotations

import enum
import random
from collections import Counter


class Fault(enum.Enum):
    """What can happen to a byte."""

    FLIP = "flip"  # one or more of its bits
    DROP = "drop"
    DUPLICATE = "duplicate"
    INSERT = "insert"  # another byte before it
    CUT = "cut"  # it and the bytes after it are lost: somebody pulled the cable, and put it back
    LATE = "late"  # its burst arrives only with the next one, and the next one with the third


CUT_BYTES = 60
"""Most bytes that one CUT takes: several of the shortest frames, now and then more than a host has patience for."""


class NoisyLine:
    """One direction of a line.

    Parameters
    ----------
    seed : the same seed does the same to the same bytes.
    rate : chance of a fault at each byte. May be changed at any time.
    kinds : of faults.

    Members
    -------
    done : faults so far, by kind.
    unplugged : while it is set nothing arrives.
    """

    def __init__(self, seed: int, rate: float, *, kinds: tuple[Fault, ...] = tuple(Fault)) -> None:
        self.rate = rate
        self.done: Counter[Fault] = Counter()
        self.unplugged = False
        self._random, self._kinds = random.Random(seed), kinds
        self._cut = 0  # bytes still to be lost
        self._held, self._lags = b"", False

    def carry(self, data: bytes) -> bytes:
        """What arrives after this burst of bytes, which follows a silence."""
        if self.unplugged:
            return b""
        late = self.done[Fault.LATE]
        burst, held, lagged = self._damaged(data), self._held, self._lags
        self._lags = self.done[Fault.LATE] > late
        if self._lags:
            self._held = held + burst
            return b""
        self._held = burst if lagged else b""
        return held if lagged else held + burst

    def _damaged(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            if self._cut:
                self._cut -= 1
                continue
            if self._random.random() >= self.rate:
                out.append(byte)
                continue
            kind = self._random.choice(self._kinds)
            self.done[kind] += 1
            if kind is Fault.FLIP:
                out.append(byte ^ self._random.randint(1, 255))
            elif kind is Fault.DUPLICATE:
                out += bytes([byte, byte])
            elif kind is Fault.INSERT:
                out += bytes([self._random.randrange(256), byte])
            elif kind is Fault.CUT:
                self._cut = self._random.randrange(CUT_BYTES)
            elif kind is Fault.LATE:  # the caller sees to the rest
                out.append(byte)
        return bytes(out)
