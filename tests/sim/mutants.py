"""Seeded illegal schedules: a compiled image with one thing changed in its words, and what it then does."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compiler.image import Image
from rtl.encoding import Insn, decode, encode
from rtl.isa import QUEUES, Op, Queue
from rtl.timing import timing
from sim.cycle import CycleSimulator
from sim.cycle.plan import make_plan
from sim.cycle.simulator import _Prepared
from sim.golden import Golden

ADDRESSES = ("row", "row_step", "act", "act_step", "group_step", "slot", "src", "param", "dst", "scalar", "out_scalar",
             "target", "reduce", "a", "b", "constant")
"""Fields that say where; a mutant moves one by a little."""


@dataclass(frozen=True)
class Mutant:
    """An image with one change. kind: which; what: in words, for whoever reads the failure."""

    kind: str
    what: str
    image: Image


class Unchecked(CycleSimulator):
    """The cycle simulator without its checks: it computes what the machine would, legal or not."""

    def _prepare(self, positions: tuple[int, ...], *, classify: bool) -> _Prepared:
        key = (max(positions) // self.config.bucket_positions, classify)
        if key not in self._prepared:
            timeline, accesses = self._expand(key[0], classify=classify)
            self._prepared[key] = _Prepared(timeline, accesses, make_plan(self.config, timeline))
        return self._prepared[key]

    def _check_tokens(self, prepared: _Prepared, tokens: Sequence[int]) -> None:
        pass


class Truth:
    """What an image should do: the golden model's winners, and the cycles that the compiler promised."""

    def __init__(self, image: Image, seed: int) -> None:
        assert image.model is not None
        self.image = image
        golden, rng = Golden(image.model), random.Random(seed)
        self.tokens = [rng.randrange(image.model.shape.vocab) for _ in range(image.context)]
        self.classify = [position % 5 != 1 for position in range(image.context)]
        self.winners = [golden.step(token, classify=classify)
                        for token, classify in zip(self.tokens, self.classify, strict=True)]

    def broken(self, image: Image, *, cycles: bool = True) -> str | None:
        """What an image does wrong, None if nothing: winners, cycles (unless told not to look), the bank's one port."""
        try:
            made = Unchecked(image, poison=1)
            for position, (token, classify) in enumerate(zip(self.tokens, self.classify, strict=True)):
                step = made.step(token, classify=classify)
                if cycles and step.cycles != self.image.cycles[int(classify), position]:
                    return f"takes {step.cycles} cycles at position {position}"
                if classify and step.token != self.winners[position]:
                    return f"another token at position {position}"
                if image.config.single_port and _shared(made, position, classify):
                    return f"uses the bank's port twice at position {position}"
        except Exception as error:  # an address beyond a memory, a program that never ends, ...
            return f"{type(error).__name__}: {error}"
        return None


def _shared(made: CycleSimulator, position: int, classify: bool) -> bool:
    times, timeline = timing(made.config), made.timeline(position, classify=classify)
    reads = {output.cycle + step + times.matrix_read for output in timeline.outputs for step in range(len(output.rows))}
    return any(one.cycle + times.bank_write in reads for one in timeline.passes
               if not one.held and one.mode.store.name in ("KEYS", "VALUES"))


def with_word(image: Image, queue: Queue, index: int, **fields: int) -> Image:
    """The image with fields of a word changed; numbers also for enumerated fields."""
    words = list(image.programs[queue.name])
    insn = decode(image.config, queue, words[index])
    changed: dict[str, Any] = dict(insn.fields)
    for name, value in fields.items():
        kind = queue.by_name[name].enum
        changed[name] = value if kind is None else kind(value)
    words[index] = encode(image.config, Insn(queue, changed))
    return replace(image, programs={**image.programs, queue.name: words})


def words_of(image: Image, queue: Queue) -> list[Insn]:
    return [decode(image.config, queue, word) for word in image.programs[queue.name]]


def shorter_waits(image: Image) -> Iterator[Mutant]:
    """Every word's wait, a cycle shorter."""
    for queue in QUEUES:
        for index, insn in enumerate(words_of(image, queue)):
            if wait := insn.number("wait"):
                yield Mutant("wait - 1", f"{queue.name} word {index}", with_word(image, queue, index, wait=wait - 1))


def _some(image: Image, rng: random.Random, good: Callable[[Insn], bool]) -> tuple[Queue, int, Insn]:
    words = [(queue, index, insn) for queue in QUEUES for index, insn in enumerate(words_of(image, queue))
             if good(insn)]
    return rng.choice(words)


def _wait(image: Image, rng: random.Random, *, longer: bool) -> Mutant:
    queue, index, insn = _some(image, rng, lambda insn: longer or insn.number("wait") > 0)
    wait = insn.number("wait")
    new = wait + rng.choice((1, 2, 5)) if longer else rng.randrange(wait)
    new = min(new, (1 << queue.by_name["wait"].bits(image.config)) - 1)
    return Mutant("longer wait" if longer else "shorter wait", f"{queue.name} word {index}: wait {wait} to {new}",
                  with_word(image, queue, index, wait=new))


def _moved_wait(image: Image, rng: random.Random) -> Mutant:
    """A word later, the next one as much earlier: the end stays where it is."""
    queue, index, insn = _some(image, rng, lambda insn: insn["op"] in (Op.RUN, Op.NOP))
    following = words_of(image, queue)[index + 1]
    wait, after = insn.number("wait"), following.number("wait")
    move = rng.choice([move for move in range(-min(wait, 9), min(after, 9) + 1) if move] or [0])
    return Mutant("moved", f"{queue.name} word {index} by {move}", with_word(
        with_word(image, queue, index, wait=wait + move), queue, index + 1, wait=after - move))


def _swap(image: Image, rng: random.Random) -> Mutant:
    queue = rng.choice(QUEUES)
    words = list(image.programs[queue.name])
    first = rng.randrange(len(words) - 1)
    words[first], words[first + 1] = words[first + 1], words[first]
    return Mutant("swap", f"{queue.name} words {first} and {first + 1}",
                  replace(image, programs={**image.programs, queue.name: words}))


def _field(image: Image, rng: random.Random, *, op: tuple[Op, ...], kind: str) -> Mutant:
    queue, index, insn = _some(image, rng, lambda insn: insn["op"] in op)
    names = [name for name in ADDRESSES if name in queue.by_name and queue.by_name[name].enum is None]
    if op != (Op.RUN,):
        names = [item.name for item in queue.own if item.strided and (
            insn["op"] is Op.LOOP_INNER or item.name in ("row", "param", "dst", "constant"))]
    name = rng.choice(names)
    old = insn.number(name)
    new = (old + rng.choice((-2, -1, 1, 2, 4))) % (1 << queue.by_name[name].bits(image.config))
    return Mutant(kind, f"{queue.name} word {index}: {name} {old} to {new}",
                  with_word(image, queue, index, **{name: new}))


def _flag(image: Image, rng: random.Random) -> Mutant:
    """A bit of what the word does, upside down."""
    queue, index, insn = _some(image, rng, lambda insn: insn["op"] is Op.RUN and insn.queue.name != "scalar")
    names = ["clear", "gather"] if queue.name == "matrix" else [
        "inc_slot", "inc_src", "inc_param", "inc_dst", "grouped", "write", "first", "out_scaled", "early"]
    name = rng.choice(names)
    return Mutant("flag", f"{queue.name} word {index}: {name} not {insn.number(name)}",
                  with_word(image, queue, index, **{name: 1 - insn.number(name)}))


def _count(image: Image, rng: random.Random) -> Mutant:
    queue, index, insn = _some(image, rng, lambda insn: insn["op"] is not Op.NOP and "repeat" in insn.fields)
    old = insn.number("repeat")
    new = max(0, old + rng.choice((-1, 1)))
    return Mutant("count", f"{queue.name} word {index}: repeat {old} to {new}",
                  with_word(image, queue, index, repeat=new))


def _value(image: Image, rng: random.Random) -> Mutant:
    """One dynamic value of one bucket, a little lower or higher."""
    used = -(-image.context // image.config.bucket_positions)
    values = image.values.copy()
    places = np.argwhere(values[:used] > 0)
    if not len(places):
        return Mutant("value", "none to change", image)
    bucket, column = (int(index) for index in rng.choice(places.tolist()))
    old = int(values[bucket, column])
    values[bucket, column] = max(0, old + rng.choice((-3, -2, -1, -1, 1)))
    return Mutant("value", f"value {column} of bucket {bucket}: {old} to {values[bucket, column]}",
                  replace(image, values=values))


KINDS: dict[str, Callable[[Image, random.Random], Mutant]] = {
    "shorter wait": lambda image, rng: _wait(image, rng, longer=False),
    "longer wait": lambda image, rng: _wait(image, rng, longer=True),
    "moved": _moved_wait, "swap": _swap, "flag": _flag, "count": _count, "value": _value,
    "address": lambda image, rng: _field(image, rng, op=(Op.RUN,), kind="address"),
    "stride": lambda image, rng: _field(image, rng, op=(Op.LOOP_INNER, Op.LOOP_OUTER), kind="stride")}


def random_mutant(image: Image, rng: random.Random, kind: str | None = None) -> Mutant:
    """A mutant of a kind, or of any."""
    return KINDS[kind or rng.choice(list(KINDS))](image, rng)
