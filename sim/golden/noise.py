"""Section 1 of docs/numerics.md, noise: the numbers that make ARGMAX draw a token instead of taking the best one."""

from __future__ import annotations

from typing import Final

import numpy as np

from sim.golden.primitives import Int, rshift, sat16

PARTS: Final = 64
ZEROS: Final = 26  # at most
NEAR: Final = 3  # with more zeros, all parts are as far from those with this many
UNIT: Final = 1024  # of a nat
OFFSET: Final = 4.0
_STATE: Final = (1 << 64) - 1
_WORD: Final = (1 << 32) - 1


def gumbel(zeros: Int, part: Int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """-ln(-ln(u)) in the middle of the u that have a count and a part: 1 - u = 2**-(zeros + 1) * (1 + part / 64)."""
    return -np.log(-np.log1p(-(1 + (part + 0.5) / PARTS) * 2.0 ** -(zeros + 1.0)))


def _table() -> Int:
    """(ZEROS + 1, PARTS) numbers."""
    exact = gumbel(np.arange(ZEROS + 1)[:, None], np.arange(PARTS))
    table = np.rint(UNIT * (exact - OFFSET))
    table[NEAR:] = table[NEAR] + np.rint(UNIT * (exact[NEAR:] - exact[NEAR]).mean(axis=1, keepdims=True))
    return table.astype(np.int64)


TABLE: Final = _table()


def after_number(state: int) -> int:
    """The state two numbers later."""
    state ^= state << 13 & _STATE
    state ^= state >> 7
    return state ^ (state << 17 & _STATE)


def after_token(state: int) -> int:
    """The first state of the next token."""
    state ^= state >> 12
    state ^= state << 25 & _STATE
    return state ^ state >> 27


class Noise:
    """The noise of one sequence.

    Parameters
    ----------
    seed: the first token's first state, 64 bits. mantissa, shift: of the temperature; mantissa 0 makes every number 0.
    """

    def __init__(self, seed: int, *, mantissa: int, shift: int) -> None:
        self._seed, self._mantissa, self._shift = seed, mantissa, shift
        self.restart()

    def restart(self) -> None:
        """The next token is at position 0."""
        self._begins, self._state, self._upper = self._seed, 0, False

    def begin(self) -> None:
        """A token begins."""
        self._state, self._upper = self._begins, False
        self._begins = after_token(self._begins)

    def draw(self, count: int) -> Int:
        """(count,) the token's next numbers, 16 bits."""
        words = np.empty(count, np.int64)
        for place in range(count):
            words[place] = self._state >> 32 if self._upper else self._state & _WORD
            if self._upper:
                self._state = after_number(self._state)
            self._upper = not self._upper
        if not self._mantissa:
            return np.zeros(count, np.int64)
        # A one below the bits that are counted ends the count.
        length = np.frexp((words | PARTS // 2).astype(np.float64))[1]  # exact: words have 32 bits
        zeros = np.minimum(32 - length, ZEROS)
        return sat16(rshift(TABLE[zeros, words % PARTS] * self._mantissa, self._shift))
