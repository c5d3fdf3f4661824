"""Write and read llama2.c checkpoints with numpy only."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
HEADER = struct.Struct("<7i")
ROPE_BASE = 10000.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The seven integers of the header; the classifier is always tied to the embedding."""

    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int

    def __post_init__(self) -> None:
        if self.dim % (2 * self.heads) or self.heads % self.kv_heads:
            raise ValueError(f"heads do not divide evenly: {self}")

    @property
    def head_dim(self) -> int:
        """Elements of one head."""
        return self.dim // self.heads

    @property
    def kv_dim(self) -> int:
        """Elements of all K (or V) heads together."""
        return self.head_dim * self.kv_heads

    def arrays(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the trained arrays, in file order."""
        n, d, h, kv = self.layers, self.dim, self.hidden, self.kv_dim
        return {
            "embedding": (self.vocabulary, d), "norm_attention": (n, d),
            "wq": (n, d, d), "wk": (n, kv, d), "wv": (n, kv, d), "wo": (n, d, d), "norm_ffn": (n, d),
            "w1": (n, h, d), "w2": (n, d, h), "w3": (n, h, d), "norm_final": (d,)}

    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(int(np.prod(shape)) for shape in self.arrays().values())


def rope_tables(shape: Shape) -> tuple[Array, Array]:
    """cos and sin of every position and pair, each (context, head_dim / 2)."""
    pairs = np.arange(0, shape.head_dim, 2, dtype=np.float64) / shape.head_dim
    angles = np.outer(np.arange(shape.context), ROPE_BASE ** -pairs)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def save(path: Path, shape: Shape, arrays: dict[str, Array]) -> None:
    """Write a checkpoint: header, trained arrays, and the RoPE tables the format carries for old readers."""
    with path.open("wb") as file:
        file.write(HEADER.pack(shape.dim, shape.hidden, shape.layers, shape.heads, shape.kv_heads, shape.vocabulary,
                               shape.context))
        for name, expected in shape.arrays().items():
            if arrays[name].shape != expected:
                raise ValueError(f"{name} has shape {arrays[name].shape}, not {expected}")
            file.write(np.ascontiguousarray(arrays[name], dtype="<f4").tobytes())
        for table in rope_tables(shape):
            file.write(table.astype("<f4").tobytes())


def load(path: Path) -> tuple[Shape, dict[str, Array]]:
    """Read a checkpoint with a tied classifier."""
    data = path.read_bytes()
    dim, hidden, layers, heads, kv_heads, vocabulary, context = HEADER.unpack_from(data)
    shape = Shape(dim=dim, hidden=hidden, layers=layers, heads=heads, kv_heads=kv_heads, vocabulary=vocabulary,
                  context=context)
    arrays: dict[str, Array] = {}
    offset = HEADER.size
    for name, size in shape.arrays().items():
        count = int(np.prod(size))
        arrays[name] = np.frombuffer(data, dtype="<f4", count=count, offset=offset).reshape(size).astype(np.float32)
        offset += 4 * count
    tables_bytes = 4 * shape.context * shape.head_dim
    if len(data) != offset + tables_bytes:
        raise ValueError(f"{path} has {len(data)} bytes, its header asks for {offset + tables_bytes}")
    return shape, arrays
