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


def replace_port(patch: Patch, unit: type, name: str, value: Callable[[Any], Any]) -> None:
    """Units in which `value(self)` stands for a port, from before they are elaborated."""
    right: Callable[..., Any] = vars(unit)["elaborate"]

    def wrong(self: Any, platform: Any) -> Any:
        setattr(self, name, value(self))
        return right(self, platform)

    patch.setattr(unit, "elaborate", wrong)
