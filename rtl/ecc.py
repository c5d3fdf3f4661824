"""The error-correcting code of a bank's rows: a flipped bit is corrected, two are detected.

One row is one word of the code: its data and, above them, a few check bits. Each bit of the word has a *column*, a
number with an odd count of ones that no other bit has; the check bits are the exclusive or of the columns of all data
bits that are 1. So the *syndrome*, check bits made anew against those stored, is 0 where nothing has flipped, a column
where one bit has, and has an even count of ones, but not none, where two have (Hsiao, 1970). Three flips or more may
look like one. A row of zeros is a word of the code, so memory that is cleared is sound.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, count

from amaranth.hdl import Cat, Module, Value

from rtl.arithmetic import node
from rtl.config import Config


@dataclass(frozen=True)
class Code:
    """A code for so many bits of data.

    Members
    -------
    checks : number of check bits. columns : of the data bits, then of the check bits.
    """

    data: int

    @cached_property
    def checks(self) -> int:
        # As many columns with an odd count of ones as there are bits.
        return next(checks for checks in count(2) if 1 << checks - 1 >= self.data + checks)

    @cached_property
    def columns(self) -> tuple[int, ...]:
        # Few ones are little logic; and as many in each check bit, so that none comes much later than another.
        found: list[int] = []
        terms = [0] * self.checks
        for ones in range(3, self.checks + 1, 2):
            left = list(combinations(range(self.checks), ones))
            while left and len(found) < self.data:
                best = min(left, key=lambda places: (sorted((terms[p] for p in places), reverse=True), places))
                left.remove(best)
                found.append(sum(1 << place for place in best))
                for place in best:
                    terms[place] += 1
        return (*found, *(1 << place for place in range(self.checks)))

    @property
    def bits(self) -> int:
        """Bits of a word."""
        return self.data + self.checks

    def encode(self, row: int) -> int:
        """The word of a row, for contents that are there from the start."""
        checks = 0
        for place in range(self.data):
            checks ^= self.columns[place] if row >> place & 1 else 0
        return row | checks << self.data

    def check_bits(self, row: Value) -> Value:
        """Those of a row in the gateware."""
        return Value.cast(Cat(Cat(row[place] for place in range(self.data) if self.columns[place] >> check & 1).xor()
                              for check in range(self.checks)))

    def decode(self, m: Module, word: Value) -> tuple[Value, Value, Value]:
        """The row, whether one bit of the word was flipped, and whether two were."""
        row, stored = Value.cast(word[:self.data]), Value.cast(word[self.data:self.bits])
        syndrome = node(m, self.check_bits(row) ^ stored, "syndrome")
        odd = node(m, syndrome.xor(), "odd")
        flips = Cat(syndrome == column for column in self.columns[:self.data])
        return node(m, row ^ flips, "corrected_row"), odd, syndrome.any() & ~odd


def row_bits(cfg: Config) -> int:
    """Bits of a row of a bank, as it is stored."""
    return Code(8 * cfg.taps).bits if cfg.ecc else 8 * cfg.taps
