"""Weights of four bits: a model that was trained for them shows it, any other can be rounded to them.

Four bits are a whole number from -7 to 7; in the machine that is a multiple of 16, see `rtl.isa.Plane`. Embedding,
classifier, router and biases keep eight.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from compiler.errors import InputError
from compiler.fold import FoldedModel

FOUR_BIT_MAX: Final = 7
FOUR_BIT_UNIT: Final = 16
TOLERANCE: Final = 1e-3  # of a unit: a checkpoint's float32 is much nearer, and chance is not
OF_FOUR_BITS: Final = ("wq", "wk", "wv", "wo", "w1", "w2", "w3")
"""A layer's matrices that can have four bits."""


def trained_bits(folded: FoldedModel) -> int:
    """4 where each row of the layers' matrices is whole numbers from -7 to 7 times a factor, else 8.

    `models.four_bits` trains such models: it rounds where the quantiser does, without norm gains and in its basis.
    """
    seen = False
    for layer in folded.layers:
        for name in OF_FOUR_BITS:
            weights = getattr(layer, name)
            unit = np.abs(weights).max(axis=-1, keepdims=True) / FOUR_BIT_MAX
            whole = np.divide(weights, unit, out=np.zeros_like(weights), where=unit > 0)
            if (np.abs(whole - np.rint(whole)) > TOLERANCE).any():
                return 8
            seen |= bool((unit > 0).any())
    return 4 if seen else 8


def check_weight_bits(bits: int | None) -> None:
    """Raise InputError for a number of bits that weights cannot have."""
    if bits not in (None, 4, 8):
        raise InputError(f"weights of {bits} bits are impossible; they can have 4 or 8")
