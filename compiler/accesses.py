"""What an operation touches, and when: read off its instruction word and rtl.timing, nothing else."""

from __future__ import annotations

import numpy as np

from compiler.ir import Accesses, Count, Ints, Space, Touch
from rtl.config import Config
from rtl.encoding import Insn
from rtl.isa import Addend, Factor2, Mask, Reduce, ScalarFunction, Source, Store
from rtl.timing import ADDRESS, NOISE_ROWS, Timing, timing

NO_CYCLES: Ints = np.zeros(0, np.int64)


def rounds(insn: Insn, name: str, counts: dict[str, Count], bucket: int) -> int:
    """Rounds of a count field in a bucket."""
    if name in counts:
        return counts[name].scale * (bucket + 1)
    return insn.number(name) + 1


def pieces(cfg: Config, vectors: Ints, size: int) -> tuple[Ints, int]:
    """Activation cells of accesses of `size` bytes (lanes or taps): the cells, and how many each access has."""
    each = size // min(cfg.lanes, cfg.taps)
    return (vectors[:, None] * each + np.arange(each)).ravel(), each


def matrix_accesses(cfg: Config, counts: dict[str, Count], cache: bool, insn: Insn, bucket: int) -> Accesses:
    """A matrix word. cache: its rows are in the K or V cache (weights have no hazards)."""
    t = timing(cfg)
    steps, outputs = rounds(insn, "repeat", counts, bucket), rounds(insn, "outer", counts, bucket)
    output, step = (a.ravel() for a in np.divmod(np.arange(steps * outputs), steps))
    issue = np.arange(steps * outputs)
    groups = np.arange(cfg.groups if insn.number("group_step") else 1)
    words = insn.number("act") + output * insn.number("act_step") + step
    words = (words[:, None] + groups * insn.number("group_step")) % (1 << insn.queue.by_name["act"].bits(cfg))
    cells, each = pieces(cfg, words.ravel(), cfg.taps)
    reads = [Touch(Space.ACT, cells, np.repeat(issue + t.matrix_read, len(groups) * each))]
    if cache:
        rows = insn.number("row") + output * insn.number("row_step") + step
        reads.append(Touch(Space.BANK, rows, issue + t.matrix_read))
    if choice := insn.number("choice"):
        # Until its product is there, and until the word has begun.
        cell = insn.number("sequence") * cfg.choices + choice - 1
        reads.append(Touch(Space.INDEX, np.full(2, cell), np.array([t.choice_read, ADDRESS])))
    slots = (insn.number("slot") + output) % cfg.slots
    edges = (step == 0) | (step == steps - 1)
    writes = (Touch(Space.ACC, slots[edges], (issue + t.acc_visible)[edges]),)
    return Accesses(tuple(reads), writes, max(cfg.matrix_fetch, steps * outputs), steps * outputs, NO_CYCLES)


def _group_scalars(cfg: Config, insn: Insn) -> Ints:
    return (insn.number("scalar") + np.arange(cfg.groups if insn.number("grouped") else 1)) % cfg.scalars


def vector_accesses(cfg: Config, counts: dict[str, Count], key_step: int, behind: bool, taken: int,
                    insn: Insn, bucket: int) -> Accesses:
    """A vector word. K and V stores touch every row that a position of the bucket may choose.

    behind: its sequence may be at an earlier position than the one that the bucket is for. taken: rows of noise that
    the sequence's words before this one take in a token.
    """
    t = timing(cfg)
    passes = rounds(insn, "repeat", counts, bucket)
    issue = np.arange(passes) * (insn.number("pace") + 1)
    rotate = insn.number("rotate")
    advance = np.arange(passes) // (2 if rotate else 1)
    storing = np.arange(passes) % 2 == 1 if rotate else np.ones(passes, bool)
    reads: list[Touch] = []
    writes: list[Touch] = []
    bank_writes = NO_CYCLES
    if insn["source"] is Source.ACC:
        slots = (insn.number("slot") + advance * insn.number("inc_slot")) % cfg.slots
        reads.append(Touch(Space.ACC, slots, issue + t.acc_read))
    below = insn.number("below")
    if insn["source"] is Source.MEM or insn["factor2"] is Factor2.MEM or insn["addend"] is Addend.MEM or below:
        reads.append(Touch(Space.VECTOR, insn.number("src") + advance * insn.number("inc_src"), issue + t.vector_read))
    if insn["factor2"] is Factor2.SCALAR or insn["addend"] is Addend.SCALAR or insn.number("early") or below:
        scalars = _group_scalars(cfg, insn)
        reads.append(Touch(Space.SCALAR, np.tile(scalars, passes), np.repeat(issue + t.vector_read, len(scalars))))
    if insn["addend"] is Addend.NOISE:
        rows = insn.number("sequence") * NOISE_ROWS + (taken + np.arange(passes)) % NOISE_ROWS
        reads.append(Touch(Space.NOISE, rows, issue))
        writes.append(Touch(Space.NOISE, rows, issue + t.noise_apart))
    if insn.number("out_scaled"):
        reads.append(Touch(Space.SCALAR, np.full(passes, insn.number("out_scalar")), issue + t.vector_read))
    if insn["mask"] is Mask.CHOSEN:
        reads.append(Touch(Space.INDEX, np.full(passes, insn.number("sequence") * cfg.choices), issue + t.vector_read))
    dst = (insn.number("dst") + advance * insn.number("inc_dst"))[storing]
    done = issue[storing]
    if insn.number("write"):
        writes.append(Touch(Space.VECTOR, dst, done + t.memory_visible))
    if insn["store"] is Store.ACT:
        cells, each = pieces(cfg, dst, cfg.lanes)
        writes.append(Touch(Space.ACT, cells, np.repeat(done + t.act_visible, each)))
    elif insn["store"] in (Store.KEYS, Store.VALUES):
        end = (bucket + 1) * cfg.bucket_positions
        positions = np.arange(0 if behind else end - cfg.bucket_positions, end)
        moves = positions // cfg.lanes * key_step if insn["store"] is Store.KEYS else positions // cfg.taps
        moves = np.unique(moves)
        writes.append(Touch(Space.BANK, (dst[:, None] + moves).ravel(), np.repeat(done + t.bank_visible, len(moves))))
        bank_writes = done + t.bank_write
    if insn["reduce"] is Reduce.ARGMAX and insn.number("choice"):
        cell = insn.number("sequence") * cfg.choices + insn.number("choice") - 1
        writes.append(Touch(Space.INDEX, np.full(len(done), cell), done + t.token_visible))
    elif insn["reduce"] is Reduce.ARGMAX:
        winner = cfg.reduces + insn.number("sequence")
        writes.append(Touch(Space.REDUCE, np.full(len(done), winner), done + t.token_visible))
    elif insn["reduce"] is not Reduce.NONE:
        writes.append(Touch(Space.REDUCE, np.full(len(done), insn.number("target")), done + t.reduce_visible))
    return Accesses(tuple(reads), tuple(writes), int(issue[-1]) + cfg.beats, 0, bank_writes)


def scalar_accesses(cfg: Config, insn: Insn, bucket: int) -> Accesses:
    """A scalar word; the same in every bucket."""
    del bucket
    t: Timing = timing(cfg)
    at = np.array([t.scalar_read])
    reads: list[Touch] = []
    if insn["function"] is ScalarFunction.COMBINE:
        reads += [Touch(Space.SCALAR, np.array([insn.number(name)]), at) for name in ("a", "b")]
    elif insn["function"] is not ScalarFunction.CONST:
        reads.append(Touch(Space.REDUCE, np.array([insn.number("reduce")]), at))
    if insn["function"] in (ScalarFunction.VALUE, ScalarFunction.SEARCH):
        reads.append(Touch(Space.SCALAR, np.array([insn.number("a")]), at))
    write = Touch(Space.SCALAR, np.array([insn.number("dst")]), np.array([t.scalar_visible]))
    return Accesses(tuple(reads), (write,), cfg.fetch("scalar"), 0, NO_CYCLES)
