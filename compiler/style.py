"""Style: choices that change no result, only how well the units overlap.

`compiler.search` tries those of `styles` and keeps the best: which one is best depends on latencies, on the sizes of
the model and on the number of accumulators, in no simple way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a token is lowered and ordered.

    lead: matmuls of a fresh input that start before its last piece has arrived; each is cut in two, and the second
        parts follow when all first parts are done. 1: none is cut.
    late: steps in the second parts.
    early_values: output blocks of V that come before the scores; the others fill the time until the first
        probabilities are there.
    patient: the vector queue leaves a gap rather than start something long before something urgent, see
        `compiler.order`.
    lag: matrix cycles by which each of several sequences follows the one before, see `compiler.interleave`.
    """

    lead: int = 3
    late: int = 1
    early_values: int = 1 << 30
    patient: bool = False
    lag: int = 0


def styles(slots: int, steps: int, value_blocks: int, sequences: int) -> Iterator[Style]:
    """Styles worth trying, the likeliest first.

    slots: accumulators. steps: of a matmul whose input is x. value_blocks: output blocks of V. sequences: at once.
    """
    lates = dict.fromkeys((max(1, steps // 2), max(1, steps // 4)))
    early = dict.fromkeys(((value_blocks + 1) // 2, value_blocks))
    lags = (8 * steps, 0, 4 * steps) if sequences > 1 else (0,)
    for late, values, lag, patient in product(lates, early, lags, (False, True)):
        yield Style(lead=min(3, slots), late=late, early_values=values, patient=patient, lag=lag)
