"""Geometry: the sizes and index maps that a shape has on a machine.

The model's own order is kept nowhere by accident: each vector has an index map (element of the machine's vector ->
channel of the model, -1 for padding). Weights are permuted by these maps once, in place.py, so that no data ever moves
at run time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compiler.quantised import Shape
from rtl.config import Config

Index = npt.NDArray[np.int64]


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def pad_to(index: Index, multiple: int) -> Index:
    """The index map with -1 appended up to a multiple."""
    return np.concatenate([index, np.full(-len(index) % multiple, -1, np.int64)])


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Derived sizes of a shape on a machine; everything the lowering counts with."""

    shape: Shape
    config: Config
    context: int

    @property
    def x_blocks(self) -> int:
        return ceil_div(self.shape.dim, self.config.lanes)

    @property
    def hidden_blocks(self) -> int:
        return ceil_div(self.shape.hidden, self.config.lanes)

    @property
    def head_steps(self) -> int:
        """Matrix steps of one score: activation words of a head of q, bank rows of a head of k (`lanes` positions).

        Not fewer than the cycles that the vector unit needs for a block of scores.
        """
        return max(ceil_div(self.shape.head_dim, self.config.taps), self.config.beats)

    @property
    def padded_head(self) -> int:
        return self.head_steps * self.config.taps

    @property
    def units_per_head(self) -> int:
        """Lane groups that one head of v fills."""
        return ceil_div(self.shape.head_dim, self.config.group_lanes)

    @property
    def value_blocks(self) -> int:
        return ceil_div(self.shape.kv_heads * self.units_per_head, self.config.groups)

    @property
    def attention_blocks(self) -> int:
        """Most attention blocks (bucket_positions positions each)."""
        return ceil_div(self.context, self.config.bucket_positions)

    @property
    def padded_context(self) -> int:
        return self.attention_blocks * self.config.bucket_positions

    @property
    def key_rows(self) -> int:
        """Bank rows of one head's K cache."""
        return self.padded_context // self.config.lanes * self.head_steps

    @property
    def value_rows(self) -> int:
        """Bank rows of one V block."""
        return self.padded_context // self.config.taps

    @property
    def rope_period(self) -> int:
        """Blocks after which the RoPE pattern of the lanes repeats."""
        return int(np.lcm(self.padded_head, self.config.lanes)) // self.config.lanes

    @property
    def embed_columns(self) -> int:
        """Embedding columns of a token: a power of two, so that the machine finds a token's with a shift and a token
        never straddles a row."""
        return 1 << (self.x_blocks - 1).bit_length()

    def head_map(self, heads: int) -> Index:
        """q or k: each head padded to whole words, then whole vectors."""
        d = self.shape.head_dim
        one = np.concatenate([np.arange(d), np.full(self.padded_head - d, -1)])
        every = [np.where(one < 0, -1, one + head * d) for head in range(heads)]
        return pad_to(np.concatenate(every).astype(np.int64), self.config.lanes)

    def value_map(self) -> Index:
        """v: each head in whole lane groups, then whole vectors."""
        d, unit = self.shape.head_dim, self.config.group_lanes
        one = np.concatenate([np.arange(d), np.full(self.units_per_head * unit - d, -1)])
        every = [np.where(one < 0, -1, one + head * d) for head in range(self.shape.kv_heads)]
        return pad_to(np.concatenate(every).astype(np.int64), self.config.lanes)

    def attention_map(self) -> Index:
        """Output of A.V: for each query that shares a KV head, the lanes of v with that query head's channels."""
        d, share = self.shape.head_dim, self.shape.queries_per_kv
        v = self.value_map()
        kv, within = v // d, v % d
        parts = [np.where(v < 0, -1, (kv * share + rep) * d + within) for rep in range(share)]
        return pad_to(np.concatenate(parts), self.config.act_width)
