"""Operands for the vector unit: every member of every field at the ends of the range, and random passes."""

from __future__ import annotations

import itertools
import random

import numpy as np

from rtl.config import Config
from rtl.isa import VECTOR, Addend, Factor1, Factor2, Function, Mask, Reduce, Source, Store
from rtl.isa import members as members_of
from rtl.ports import pass_layout
from sim.golden.primitives import Int, Scalar
from verification.vector_model import Pass

CORNERS = (0, 1, -1, 127, 128, -128, -129, 255, 256, 16384, 32767, -32768)
USUAL_SHIFTS = {"s0": 8, "s1": 8, "s2": 16, "s3": 8}
"""Below these, values survive to the end of the pipeline."""


def operand(rng: random.Random, bits: int) -> int:
    """A signed number: a corner, an end of the range, small, or anything."""
    top = 1 << bits - 1
    value = rng.choice([rng.choice(CORNERS), rng.choice((-top, top - 1)), rng.randint(-200, 200),
                        rng.randrange(-top, top), rng.randrange(-top, top)])
    return max(-top, min(top - 1, value))


def vector(cfg: Config, rng: random.Random, bits: int) -> Int:
    return np.array([operand(rng, bits) for _ in range(cfg.lanes)])


def with_operands(cfg: Config, rng: random.Random, fields: dict[str, int]) -> Pass:
    """A pass with operands at random."""
    return Pass(
        fields=fields, acc=vector(cfg, rng, cfg.acc_bits), memory=vector(cfg, rng, 16),
        params=np.array([rng.choice([0, 1, 127, 128, 255, rng.randrange(256)]) for _ in range(cfg.lanes)]),
        scalars=[Scalar(operand(rng, 16), rng.choice([0, 1, 7, 16, 40, 63])) for _ in range(cfg.groups)],
        out_exponent=rng.choice([0, 1, 5, 40, 63]), noise=vector(cfg, rng, 16))


def random_fields(cfg: Config, rng: random.Random, positions: list[int]) -> dict[str, int]:
    """A pass's fields, all that make sense together; never a rotate pair. positions: of each sequence."""
    fields = dict.fromkeys(pass_layout(cfg).members, 0) | {"valid": 1}
    for name in fields.keys() & VECTOR.by_name.keys() - {"rotate"}:
        item = VECTOR.by_name[name]
        fields[name] = rng.choice(members_of(cfg, item)).value if item.enum else rng.getrandbits(item.bits(cfg))
    for name, usual in USUAL_SHIFTS.items():
        if rng.random() < 0.8:
            fields[name] = rng.randrange(usual)
    if rng.random() < 0.5:
        fields |= {"early": 0, "out_scaled": 0}
    if rng.random() < 0.8:
        fields["target"] = rng.randrange(2)  # the same registers again and again
    # Passes before, at and behind the position's.
    position = positions[fields["sequence"]]
    fields["index"] = max(0, min((1 << cfg.position_bits) // cfg.lanes - 1, position // cfg.lanes + rng.randint(-1, 1)))
    if fields["reduce"] == Reduce.ARGMAX.value:  # some lane must take part
        fields |= {"index": position // cfg.lanes, "tail": max(1, fields["tail"])}
    if fields["store"] == Store.KEYS.value:
        fields["chunk"] %= cfg.chunks
    return fields | choices(cfg, rng, fields)


def choices(cfg: Config, rng: random.Random, fields: dict[str, int]) -> dict[str, int]:
    """What makes a pass's mask and index register some that the machine has, and the mask hide some lane often."""
    if not cfg.choices:
        return {"mask": Mask.NONE.value} if fields["mask"] == Mask.CHOSEN.value else {}
    here = {"index": rng.randrange(-(-cfg.experts // cfg.lanes))} if fields["mask"] == Mask.CHOSEN.value else {}
    return here | {"choice": min(fields["choice"], cfg.choices)}


def members(cfg: Config, rng: random.Random, positions: list[int]) -> list[Pass]:
    """Every combination of source, factors, addend and function, going round stores, masks and reductions."""
    passes: list[Pass] = []
    turns = {"store": itertools.cycle(Store), "mask": itertools.cycle(Mask), "reduce": itertools.cycle(Reduce)}
    addends = members_of(cfg, VECTOR.by_name["addend"])
    for source, factor1, factor2, addend, function in itertools.product(Source, Factor1, Factor2, addends, Function):
        fields = random_fields(cfg, rng, positions) | {
            "source": source.value, "factor1": factor1.value, "factor2": factor2.value, "addend": addend.value,
            "function": function.value, "write": 1, "tail": rng.randrange(1, cfg.lanes)}
        fields["index"] = positions[fields["sequence"]] // cfg.lanes
        fields |= {name: next(turn).value for name, turn in turns.items()}
        fields |= choices(cfg, rng, fields)
        fields["chunk"] %= cfg.chunks
        passes.append(with_operands(cfg, rng, fields))
    return passes


def pair(cfg: Config, rng: random.Random, positions: list[int]) -> tuple[Pass, Pass]:
    """A rotate pair, as rope uses it: memory times a signed parameter, nothing else added."""
    shared = random_fields(cfg, rng, positions) | {
        "rotate": 1, "source": Source.MEM.value, "factor1": Factor1.SIGNED.value, "addend": Addend.ZERO.value,
        "below": 0, "factor2": rng.choice((Factor2.ONE, Factor2.SCALAR, Factor2.SQUARE)).value, "first": 0, "write": 1}
    if shared["reduce"] == Reduce.ARGMAX.value:
        shared["reduce"] = Reduce.NONE.value
    return with_operands(cfg, rng, shared), with_operands(cfg, rng, shared | {"odd": 1})


def plain(cfg: Config, **fields: int) -> dict[str, int]:
    """Vector memory to vector memory; further fields as given."""
    return dict.fromkeys(pass_layout(cfg).members, 0) | {
        "valid": 1, "source": Source.MEM.value, "write": 1} | fields


def tables(cfg: Config) -> list[Pass]:
    """Every argument of SILU; the ends, the knees and a sample of EXP2."""
    zeros = np.zeros(cfg.lanes, np.int64)
    knees = [*range(-520, 3), *range(-32768, 0, 509), -32767, 32767]
    passes: list[Pass] = []
    for function, arguments in ((Function.SILU, [*range(-129, 129)]), (Function.EXP2, knees)):
        padded = np.array(arguments + [0] * (-len(arguments) % cfg.lanes)).reshape(-1, cfg.lanes)
        passes += [Pass(fields=plain(cfg, function=function.value), acc=zeros, memory=row, params=zeros,
                        scalars=[Scalar(0, 0)] * cfg.groups, out_exponent=0, noise=zeros) for row in padded]
    return passes


def shifts(cfg: Config, rng: random.Random) -> list[Pass]:
    """Every amount of every shift, with the exponents that join it on top."""
    passes: list[Pass] = []
    for amount in (*range(33), 46, 47, 48, 63):
        scalars = [Scalar(-32768 + group, min(amount + group, 63)) for group in range(cfg.groups)]
        short = min(amount, 31)
        for fields in (
            plain(cfg, source=Source.ACC.value, s0=short), plain(cfg, source=Source.ACC.value, s0=short, early=1),
            plain(cfg, factor1=Factor1.UNSIGNED.value, s1=short, factor2=Factor2.SQUARE.value, s2=min(amount, 40)),
            plain(cfg, factor2=Factor2.SCALAR.value, s2=amount), plain(cfg, store=Store.ACT.value, s3=amount % 16),
            plain(cfg, store=Store.ACT.value, s3=amount % 16, out_scaled=1)):
            given = with_operands(cfg, rng, fields)
            passes.append(Pass(fields=fields, acc=given.acc, memory=given.memory, params=given.params,
                               scalars=scalars, out_exponent=min(amount, 63), noise=given.noise))
    return passes
