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
    CUT = "cut"  # it and the bytes after it are lost, for a while: somebody pulled the cable, and put it back


CUT_BYTES = 400
"""Most bytes that one CUT takes: longer than a frame."""


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
    """

    def __init__(self, seed: int, rate: float, *, kinds: tuple[Fault, ...] = tuple(Fault)) -> None:
        self.rate = rate
        self.done: Counter[Fault] = Counter()
        self._random, self._kinds = random.Random(seed), kinds
        self._cut = 0  # bytes still to be lost

    def carry(self, data: bytes) -> bytes:
        """What arrives of these bytes."""
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
        return bytes(out)
