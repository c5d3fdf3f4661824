"""Contents: what the memories hold when the machine is configured, for FPGAs whose block RAM has initial contents.

The same words that a host would write, by `rtl.protocol.Space`; a machine without contents starts with zeros everywhere
and is loaded through its host port. The host can write over contents as over everything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rtl.protocol import Space


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Words of each space, from address 0 on.

    Parameters
    ----------
    words : unsigned words in the order of the space's addresses; what is missing is zero. VECTOR has no contents: a
        program writes it before it reads it.

    Raises
    ------
    ValueError : contents of VECTOR.
    """

    words: Mapping[Space, Sequence[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if Space.VECTOR in self.words:
            raise ValueError("vector memory has no initial contents")

    def __bool__(self) -> bool:
        return any(any(words) for words in self.words.values())

    def of(self, space: Space) -> Sequence[int]:
        """Words of a space."""
        return self.words.get(space, ())

    def rows(self, space: Space, *, bits: int, count: int) -> list[int]:
        """Rows of a memory in which `count` words of `bits` bits stand side by side, the first in the lowest bits."""
        words = self.of(space)
        return [sum(word << bits * number for number, word in enumerate(words[start:start + count]))
                for start in range(0, len(words), count)]

    def lane(self, number: int, lanes: int) -> Sequence[int]:
        """Rows of one lane's bank."""
        return self.of(Space.BANK)[number::lanes]


EMPTY = Contents()
"""A machine that is loaded by its host."""
