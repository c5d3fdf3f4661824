"""Rules of the K and V caches: what a position writes is what it and every later position read.

A store's rows move with the position: `Store.KEYS` fills one lane of row `base + position // lanes * key_step`,
`Store.VALUES` one tap of row `base + position // taps`. A block is the positions that share a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.image import Image
from rtl.isa import MATRIX, Store
from rtl.timing import timing
from sim.cycle.access import Flags, Space
from sim.cycle.dataflow import Flow
from sim.cycle.loaded import store_rows
from sim.cycle.program import IllegalProgram
from sim.cycle.timeline import Ints, Output, Pass


@dataclass(frozen=True, eq=False)
class Caches:
    """Which store owns which bank row.

    Members:
        stores: in the order of their issue; those that fill parts of one row count as its first.
        owner: (bank_rows,) index of the store, -1 for none. block: (bank_rows,) of the store's.
    """

    stores: list[Pass]
    owner: Ints
    block: Ints


def own_rows(image: Image, stores: list[Pass]) -> Caches:
    """No two stores, layers, heads or positions share a byte of the caches, and the image loads none of it.

    Within a row a position has a lane (K) or a tap (V) of its own by what these stores are. So it is enough that rows
    are one store's alone; where a K row holds several vectors' parts (lanes < taps), one store's for each part.
    """
    cfg = image.config
    owner, block = np.full(cfg.bank_rows, -1, np.int64), np.zeros(cfg.bank_rows, np.int64)
    parts: dict[tuple[int, int], Pass] = {}  # first row and part of a K store
    for number, one in enumerate(stores):
        rows, chunk = store_rows(image, one), one.word.fields["chunk"]
        if rows.max() >= cfg.bank_rows:
            raise IllegalProgram(one.cycle, f"{{}} reaches bank row {rows.max()}; there are {cfg.bank_rows}", one.word)
        keys = one.mode.store is Store.KEYS
        first = int(owner[rows[0]])
        if first >= 0 and keys and cfg.lanes < cfg.taps and stores[first].mode.store is Store.KEYS and (
                owner[rows] == first).all() and (block[rows] == np.arange(len(rows))).all() and (
                (int(rows[0]), chunk) not in parts):
            parts[int(rows[0]), chunk] = one
            continue
        taken = np.flatnonzero(owner[rows] >= 0)
        if len(taken) or len(np.unique(rows)) != len(rows):
            row = int(rows[taken[0]]) if len(taken) else int(rows[0])
            other = stores[int(owner[row])] if len(taken) else one
            raise IllegalProgram(one.cycle, f"{{}} and {{}} store to the same bank row {row}", one.word, other.word)
        owner[rows], block[rows] = number, np.arange(len(rows))
        parts[int(rows[0]), chunk] = one
    loaded = np.flatnonzero((owner[:len(image.banks)] >= 0) & image.banks.any(axis=(1, 2)))
    if len(loaded):
        one = stores[int(owner[loaded[0]])]
        raise IllegalProgram(one.cycle, f"{{}} overwrites bank row {loaded[0]}, which the image loads", one.word)
    return Caches(stores, owner, block)


def attention_reads(image: Image, caches: Caches, flow: Flow, *, bucket: int) -> int:
    """A word that reads a cache reads all blocks of one head up to the position, in order, and nothing else.

    For K, output n reads block n of the stores that output 0 reads; for V, step n. Every store is read by some word.
    Returns the number of rows read.
    """
    cfg = image.config
    last = min(image.context, (bucket + 1) * cfg.bucket_positions) - 1
    used = np.zeros(len(caches.stores) + 1, bool)
    used[[i for i in range(len(caches.stores)) if i not in caches.owner]] = True  # a part of another's row
    count, at = 0, 0
    for run in flow.timeline.runs[MATRIX.name]:
        outputs = flow.timeline.outputs[at:at + run.outputs]
        at += run.outputs
        if outputs[0].gather or outputs[0].choice:
            continue
        rows = np.stack([output.rows for output in outputs])  # (outputs, steps)
        owner, block = caches.owner[rows], caches.block[rows]
        if (owner < 0).all():
            continue
        count += rows.size
        used[owner] = True
        if (owner < 0).any():
            _wrong(outputs, rows, owner < 0, "reads a row that is no cache among those of a cache")
        keys = np.array([one.mode.store is Store.KEYS for one in caches.stores])[owner]
        if (keys != keys[0, 0]).any():
            _wrong(outputs, rows, keys != keys[0, 0], "reads K and V")
        axis, size = (0, cfg.lanes) if keys[0, 0] else (1, cfg.taps)
        one = owner[:1] if axis == 0 else owner[:, :1]
        wanted: Ints = np.expand_dims(np.arange(rows.shape[axis], dtype=np.int64), 1 - axis)
        bad: Flags = (owner != one) | (block != wanted)
        if bad.any():
            _wrong(outputs, rows, bad, "does not read the blocks of one head in order: it reads")
        if rows.shape[axis] * size <= last:
            raise IllegalProgram(
                outputs[0].cycle, f"{{}} reads the cache of {rows.shape[axis] * size} positions at position {last}",
                run.word)
    if not used[:-1].all():
        one = caches.stores[int(np.argmin(used))]
        raise IllegalProgram(one.cycle, f"{{}} stores to bank row {one.bank}, and nothing reads it", one.word)
    return count


def _wrong(outputs: list[Output], rows: Ints, bad: Flags, text: str) -> None:
    output, step = (int(index) for index in np.argwhere(bad)[0])
    one = outputs[output]
    raise IllegalProgram(one.cycle + step, f"{{}} {text} bank row {rows[output, step]}", one.word)


def fresh_rows(image: Image, caches: Caches, flow: Flow, *, bucket: int) -> None:
    """The row that this position writes is read in this token only once the write can be seen.

    Each block of the bucket is some position's, so all of them are looked at; where there are several sequences, one
    may be behind the furthest, so the blocks of the earlier buckets are looked at too.
    """
    cfg, times = image.config, timing(image.config)
    reads = flow.accesses.reads[Space.BANK]
    first, last = bucket * cfg.bucket_positions, min(image.context, (bucket + 1) * cfg.bucket_positions) - 1
    visible = np.zeros(len(caches.stores) + 1, np.int64)
    low, high = np.zeros_like(visible), np.full_like(visible, -1)
    word = list(caches.stores)
    for one in flow.accesses.stores:
        owner = int(caches.owner[one.bank])
        if one.cycle + times.bank_visible > visible[owner]:
            visible[owner], word[owner] = one.cycle + times.bank_visible, one
        size = cfg.lanes if one.mode.store is Store.KEYS else cfg.taps
        low[owner], high[owner] = 0 if image.sequences > 1 else first // size, last // size
    owner, block = caches.owner[reads.cell], caches.block[reads.cell]
    bad = np.flatnonzero((owner >= 0) & (block >= low[owner]) & (block <= high[owner]) & (reads.time < visible[owner]))
    if len(bad):
        i = int(bad[np.argmin(reads.time[bad])])
        one = word[int(owner[i])]
        raise IllegalProgram(
            int(reads.time[i]), f"{{}} reads bank row {reads.cell[i]} before {{}} has written it for this position: it "
            f"can be seen from cycle {visible[owner[i]]} on", reads.word(i), one.word)
