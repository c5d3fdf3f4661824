"""What is fuzzed: a reader, sound inputs for it, and how they are damaged."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import InputError

Files = dict[str, bytes]
"""An input: the content of each file, by its name in a folder."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A reader.

    Members
    -------
    name: what it is called on the command line.
    seeds: makes sound inputs, small ones; called once, before workers are forked.
    damage: a damaged copy of one of them.
    read: reads the input in a folder, and uses what it read as the commands do: what is wrong must not show up late.
    refusals: exceptions by which it may refuse; each must be one line for people.
    """

    name: str
    seeds: Callable[[], Sequence[Files]]
    damage: Callable[[random.Random, Files], Files]
    read: Callable[[Path], None]
    refusals: tuple[type[Exception], ...] = (InputError,)


def case_input(target: Target, seeds: Sequence[Files], seed: int, case: int) -> Files:
    """The input of a case: the same for the same target, seed and number. Negative ones are the sound inputs."""
    if case < 0:
        return seeds[-1 - case]
    rng = random.Random(f"{target.name} {seed} {case}")
    return target.damage(rng, rng.choice(seeds))


def put(files: Files, folder: Path) -> None:
    """Write an input; what was in the folder before is gone."""
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
