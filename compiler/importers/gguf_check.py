"""A walk over a GGUF file's header before the `gguf` package reads it: the package believes every length that it finds.

Version 2 and 3, little-endian: magic, version:4, tensors:8, settings:8; each setting key, type:4, value; each tensor
name, dimensions:4, their sizes:8 each, type:4, offset:8. Texts and arrays have their length before them, in 8 bytes.
"""

from __future__ import annotations

import math
import mmap
from typing import Final

_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of each type of number."""
_TEXT, _ARRAY = 8, 9
_VERSIONS: Final = (2, 3)
_MOST_DIMENSIONS: Final = 4
_LARGEST: Final = 1 << 40
"""Elements of a tensor; far more than any file holds."""


class _Walk:
    """A place in the file; raises ValueError where something would end beyond it."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self._data, self._at = data, 0

    def skip(self, count: int) -> None:
        if count > len(self._data) - self._at:
            raise ValueError(f"{count} bytes at byte {self._at} end beyond the file's {len(self._data)}")
        self._at += count

    def number(self, size: int) -> int:
        start = self._at
        self.skip(size)
        return int.from_bytes(self._data[start:self._at], "little")

    def text(self) -> None:
        self.skip(self.number(8))

    def value(self, kind: int) -> None:
        if kind in _SIZES:
            self.skip(_SIZES[kind])
        elif kind == _TEXT:
            self.text()
        elif kind == _ARRAY:
            inner, length = self.number(4), self.number(8)
            if inner in _SIZES:
                self.skip(length * _SIZES[inner])
            elif inner == _TEXT:
                for _ in range(length):  # each takes 8 bytes at least, so this ends with the file
                    self.text()
            else:
                raise ValueError(f"an array has members of type {inner}")
        else:
            raise ValueError(f"a setting has the type {kind}")


def check_header(data: bytes | mmap.mmap) -> None:
    """Raise ValueError where a length in the header leads out of the file, or is none that a model has."""
    walk = _Walk(data)
    if data[:4] != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    walk.skip(4)
    if (version := walk.number(4)) not in _VERSIONS:
        raise ValueError(f"its version is {version}, {' and '.join(map(str, _VERSIONS))} in little-endian are read")
    tensors, settings = walk.number(8), walk.number(8)
    for _ in range(settings):
        walk.text()
        walk.value(walk.number(4))
    for _ in range(tensors):
        walk.text()
        if (count := walk.number(4)) > _MOST_DIMENSIONS:
            raise ValueError(f"a tensor has {count} dimensions")
        if (size := math.prod(walk.number(8) for _ in range(count))) > _LARGEST:
            raise ValueError(f"a tensor has {size} elements")
        walk.skip(4 + 8)
