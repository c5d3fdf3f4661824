"""A program with the tokens that it runs for, both from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from compiler.image import Image
from rtl.isa import QUEUES
from verification.legal_machine import Machine, contents, machine
from verification.legal_programs import Maker
from verification.random_configs import config_of

COUNTING, COUNTING_MACS = 8, 128
"""One program of so many does nothing but count, on machines with no more multipliers: larger ones take minutes to."""
LONG = 0.1
"""Share of programs that run on to further positions."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """What is asked for: a token of each sequence. restart : sequences that begin anew."""

    tokens: tuple[int, ...]
    classify: bool
    restart: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A program and its tokens. made : what the program was made for. counts : it does nothing else."""

    image: Image
    script: tuple[Token, ...]
    made: Machine
    counts: bool = False


def trial_of(name: str, seed: int, number: int) -> tuple[Trial, Maker]:
    """A program of the machine, a preset or `random-N`. Raises IllegalProgram where the random words leave no place for
    what it needs."""
    rng, cfg = random.Random(f"{seed}-{name}-{number}"), config_of(name)
    counts = number % COUNTING == COUNTING - 1 and cfg.peak_macs <= COUNTING_MACS
    made = machine(cfg, rng, wide=counts)
    maker = Maker(made, rng)
    image = maker.counting(QUEUES[number // COUNTING % len(QUEUES)]) if counts else maker.program()
    return Trial(image=image, script=tuple(script(made, rng, changing=counts)), made=made, counts=counts), maker


def refilled(trial: Trial, rng: random.Random) -> Trial:
    """The same program with other numbers in all memories, and other tokens."""
    noise = np.random.default_rng(rng.randrange(1 << 32))
    filled = contents(trial.image.config, trial.made.weights, noise)
    tokens = tuple(script(trial.made, rng, changing=trial.counts))
    return replace(trial, image=replace(trial.image, **filled), script=tokens)


def script(made: Machine, rng: random.Random, *, changing: bool = False) -> Iterator[Token]:
    """Tokens up to a corner of the positions: the first two, around a row of lanes or taps, the end of the context.
    changing : just as far as dynamic values have changed."""
    cfg = made.image.config
    last, kept = rng.choice((1, 2, cfg.lanes - 1, cfg.lanes, cfg.lanes + 1, cfg.taps + 1)), int(cfg.sequences == 1)
    if rng.random() < LONG:
        kept = 1  # the first sequence is not restarted, so that it comes to the end
        last = rng.choice((cfg.bucket_positions + 1, made.image.context - 1))
    if changing:
        last = cfg.bucket_positions
    for _ in range(min(last, made.image.context - 1, 300) + 1):
        restart = tuple(s for s in range(kept, cfg.sequences) if rng.random() < 0.05)
        tokens = tuple(rng.choice((rng.randrange(made.tokens), 0, made.tokens - 1)) for _ in range(cfg.sequences))
        yield Token(tokens=tokens, classify=rng.random() < 0.7, restart=restart)
