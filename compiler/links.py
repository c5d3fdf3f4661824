"""Links: the dependences of a list of operations in all buckets at once, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.dependence import Edges
from compiler.ir import Ints

NO_LINK = -(1 << 40)
"""Separation of two operations that are free of one another in some bucket."""


@dataclass(frozen=True)
class Links:
    """Edges as in compiler.dependence: issue(later) >= issue(earlier) + separation, in each bucket.

    earlier, later: (links,) numbers of operations. separation: (links, buckets). Sorted by earlier, then later.
    """

    earlier: Ints
    later: Ints
    separation: Ints

    @classmethod
    def of(cls, edges: list[Edges]) -> Links:
        """The edges of all buckets."""
        keys = sorted({key for one in edges for key in one})
        number = {key: at for at, key in enumerate(keys)}
        separation = np.full((len(keys), len(edges)), NO_LINK, np.int64)
        for bucket, one in enumerate(edges):
            separation[[number[key] for key in one], bucket] = list(one.values())
        pairs = np.array(keys, np.int64).reshape(-1, 2)
        return cls(pairs[:, 0], pairs[:, 1], separation)

    def part(self, first: tuple[int, int], second: tuple[int, int]) -> Links:
        """The links from operations of one range to those of another, numbered from the start of each."""
        chosen = ((first[0] <= self.earlier) & (self.earlier < first[1])
                  & (second[0] <= self.later) & (self.later < second[1]))
        return Links(self.earlier[chosen] - first[0], self.later[chosen] - second[0], self.separation[chosen])

    def edges(self, bucket: int) -> Edges:
        """One bucket's edges, and those that only other buckets have: an order must suit them too."""
        gap = self.separation[:, bucket]
        others = self.separation[np.arange(len(gap)), (self.separation != NO_LINK).argmax(axis=1)]
        gap = np.where(gap == NO_LINK, others, gap)
        return dict(zip(zip(self.earlier.tolist(), self.later.tolist(), strict=True), gap.tolist(), strict=True))

    def apart(self, left: Ints, right: Ints) -> Ints:
        """(buckets,) how far the start of the later operations' section must lie behind that of the earlier ones'.

        left, right: (operations, buckets) issues, each on its own section's clock.
        """
        gaps = left[self.earlier] + self.separation - right[self.later]
        return gaps.max(axis=0, initial=NO_LINK)

    def incoming(self, count: int) -> list[list[tuple[int, Ints]]]:
        """For each of `count` later operations: the earlier ones with their separations."""
        found: list[list[tuple[int, Ints]]] = [[] for _ in range(count)]
        for number in range(len(self.earlier)):
            found[int(self.later[number])].append((int(self.earlier[number]), self.separation[number]))
        return found

    def outgoing(self, count: int) -> list[list[tuple[int, Ints]]]:
        """For each of `count` earlier operations: the later ones with their separations."""
        return Links(self.later, self.earlier, self.separation).incoming(count)
