"""What faults have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import rtl.vector

PRESET = "tiny"
Patch = pytest.MonkeyPatch
Bug = tuple[str, str, Callable[[Patch], None]]


def choose(patch: Patch, method: str, choice: Callable[[Any, Any, Any], Any]) -> None:
    """A method of Vector in which `choice(self, values, sequence)` stands for `of_sequence`."""
    right = getattr(rtl.vector.Vector, method)

    def wrong(self: Any, m: Any, state: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(rtl.vector, "of_sequence", lambda values, sequence: choice(self, values, sequence))
            return right(self, m, state)

    patch.setattr(rtl.vector.Vector, method, wrong)
