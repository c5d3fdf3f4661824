"""The sequencer's semantics once more, without hardware: what each word of a program does in which cycle.

`expand` walks a program word by word; `steps`, `passes` and `operations` say what leaves the issue logic.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rtl.config import Config, log2
from rtl.encoding import Insn
from rtl.isa import MATRIX, SCALAR, VECTOR, Op, Queue, Store, members, stride_bits
from rtl.ports import index_bits, operation_layout, pass_layout

OUTER_FIELDS = {"matrix": ["row"], "vector": ["param", "dst"], "scalar": ["constant"]}


@dataclass
class Loop:
    """A loop that has been opened: where its body begins, rounds still to come, and what it adds."""

    body: int = 0
    left: int = 0
    stride: dict[str, int] = field(default_factory=dict)
    offset: dict[str, int] = field(default_factory=dict)

    def round_ends(self) -> bool:
        """Whether another round follows."""
        if self.left == 0:
            self.offset = {}
            return False
        self.left -= 1
        self.offset = {name: self.offset.get(name, 0) + step for name, step in self.stride.items()}
        return True


@dataclass(frozen=True)
class Current:
    """A RUN word in its first cycle, with its numbers: fields without offsets, and the offsets of both loops."""

    cycle: int
    fields: dict[str, int]
    inner: dict[str, int]
    outer: dict[str, int]
    repeat: int


def numbers(insn: Insn) -> dict[str, int]:
    """Every field as a number."""
    return {item.name: insn.number(item.name) for item in insn.queue.fields}


def duration(cfg: Config, queue: Queue, word: Current, values: Sequence[int]) -> int:
    """Cycles of a RUN word."""
    if queue is MATRIX:
        return (word.repeat + 1) * (word.fields["outer"] + values[word.fields["outer_value"]] + 1)
    return word.repeat * (word.fields["pace"] + 1) + cfg.beats if queue is VECTOR else 1


def expand(cfg: Config, queue: Queue, words: Sequence[Insn], values: Sequence[int], *,
           classify: bool) -> tuple[list[Current], int]:
    """RUN words with the cycle of each, and the cycle in which the queue becomes idle; `go` is in cycle 0."""
    found: list[Current] = []
    inner, outer = Loop(), Loop()
    cycle, at = 1, 0
    while True:
        now = numbers(words[at])
        cycle += now["wait"] + values[now["wait_value"]]
        repeat = now["repeat"] + values[now["repeat_value"]]
        op = Op(now["op"])
        if op is Op.END or (op is Op.END_PROMPT and not classify):
            return found, cycle
        if op in (Op.LOOP_INNER, Op.LOOP_OUTER):
            loop = Loop(at + 1, repeat, {item.name: now[item.name] for item in queue.fields if item.strided})
            if op is Op.LOOP_INNER:
                inner = loop
            else:
                outer = loop
        if op is Op.RUN:
            word = Current(cycle, now, dict(inner.offset), {
                name: outer.offset.get(name, 0) for name in OUTER_FIELDS[queue.name]}, repeat)
            found.append(word)
            cycle += max(cfg.fetch(queue.name), duration(cfg, queue, word, values))
        else:
            cycle += cfg.fetch(queue.name)
        if now["end_inner"] and inner.round_ends():
            at = inner.body
        elif now["end_outer"] and outer.round_ends():
            at = outer.body
        else:
            at += 1


def steps(
    cfg: Config, word: Current, values: Sequence[int], *, columns: Sequence[int]
) -> Iterator[tuple[int, dict[str, int]]]:
    """Matrix steps of a RUN word. columns: the embedding column of each sequence's token."""
    now = word.fields
    column = columns[now["sequence"]]
    bits = {name: MATRIX.by_name[name].bits(cfg) for name in ("row", "act", "slot")}
    row = now["row"] + word.inner.get("row", 0) + word.outer["row"] + (column >> log2(cfg.taps)) * now["gather"]
    act = now["act"] + word.inner.get("act", 0) + column % cfg.taps * now["gather"]
    slot = now["slot"] + word.inner.get("slot", 0)
    cycle = word.cycle
    for output in range(now["outer"] + values[now["outer_value"]] + 1):
        for step in range(word.repeat + 1):
            here = act + output * now["act_step"] + step
            found = {"valid": 1, "row": row + output * now["row_step"] + step, "slot": slot + output}
            found = {name: value % (1 << bits[name]) if name in bits else value for name, value in found.items()}
            found |= {"clear": now["clear"] if step == 0 else 0, "plane": now["plane"]}
            for group in range(cfg.groups):
                found[f"act{group}"] = (here + group * now["group_step"]) % (1 << bits["act"])
            yield cycle, found
            cycle += 1


def passes(cfg: Config, word: Current, *, ropes: Sequence[int]) -> Iterator[tuple[int, dict[str, int]]]:
    """Vector passes of a RUN word. ropes: position * rope_step of each sequence."""
    now = word.fields
    for number in range(word.repeat + 1):
        count: dict[str, int] = dict.fromkeys(("slot", "src", "param", "dst"), number // 2 if now["rotate"] else number)
        found = {name: now[name] for name in pass_layout(cfg).members if name in now}
        for name in ("slot", "src", "param", "dst", "scalar", "target"):
            found[name] += word.inner.get(name, 0) + count.get(name, 0) * now.get(f"inc_{name}", 0)
        found["param"] += ropes[now["sequence"]] if now["rope"] else word.outer["param"]
        if Store(now["store"]) in (Store.KEYS, Store.VALUES):
            found["dst"] += word.outer["dst"]
        for name in found:
            found[name] %= 1 << VECTOR.by_name[name].bits(cfg)
        found["first"] = now["first"] if number == 0 else 0
        found |= {"valid": 1, "odd": now["rotate"] & number, "index": number % (1 << index_bits(cfg))}
        yield word.cycle + number * (now["pace"] + 1), found


def operations(cfg: Config, word: Current) -> Iterator[tuple[int, dict[str, int]]]:
    """The scalar operation of a RUN word."""
    now = word.fields
    found = {name: now[name] for name in operation_layout(cfg).members if name in now}
    for name in ("reduce", "dst", "constant"):
        found[name] += word.inner.get(name, 0) + word.outer.get(name, 0)
        found[name] %= 1 << SCALAR.by_name[name].bits(cfg)
    yield word.cycle, found | {"valid": 1}


# ------------------------------------------------------------------------------------------------- random programs


def random_fields(cfg: Config, queue: Queue, rng: random.Random, *, strides: str = "") -> dict[str, object]:
    """Values for the fields after the header; in a LOOP word the strides, of level `strides`."""
    found: dict[str, object] = {}
    for item in queue.own:
        if strides and not item.strided:
            continue
        span = 1 << item.bits(cfg)
        low, high = (-(span // 2), span // 2 - 1) if item.signed else (0, span - 1)
        if item.name in ("outer", "pace"):
            high = 3
        if strides:
            high = min(high, (1 << stride_bits(cfg, queue, strides, item.name)) - 1)
        found[item.name] = rng.choice(members(cfg, item)) if item.enum else rng.randint(low, high)
    return found


def random_program(cfg: Config, queue: Queue, rng: random.Random) -> list[Insn]:
    """A legal program with waits, dynamic values, loops of both levels, and END_PROMPT before its last part."""

    def dynamic(name: str) -> int:
        return rng.randrange(min(cfg.values, 1 << queue.by_name[name].bits(cfg)))

    def word(op: Op, *, most: int = 3, **fields: object) -> Insn:
        own: dict[str, object] = {"op": op, "wait": rng.choice((0, 0, 0, 1, 2, 5))}
        if rng.random() < 0.2:
            own["wait_value"] = dynamic("wait_value")
        if op in (Op.RUN, Op.LOOP_INNER, Op.LOOP_OUTER):
            own |= random_fields(cfg, queue, rng, strides={Op.LOOP_INNER: "inner", Op.LOOP_OUTER: "outer"}.get(op, ""))
            if queue is not SCALAR or op is not Op.RUN:
                own["repeat"] = rng.choice((0, 0, 1, most))
                if rng.random() < 0.3:
                    own["repeat_value"] = dynamic("repeat_value")
        own |= fields
        return Insn(queue, own)  # type: ignore[arg-type]

    def plain() -> Insn:
        return word(Op.RUN if rng.random() < 0.7 else Op.NOP)

    def ended(words: list[Insn], **ends: int) -> list[Insn]:
        return [*words[:-1], Insn(queue, {**words[-1].fields, **ends})]

    def inner(*, both: bool = False) -> list[Insn]:
        body = [plain() for _ in range(rng.choice((1, 1, 2, 3)))]
        if cfg.small_control and queue is SCALAR:  # without inner loops
            return ended(body, end_outer=int(both))
        return [word(Op.LOOP_INNER, most=2), *ended(body, end_inner=1, **({"end_outer": 1} if both else {}))]

    def outer() -> list[Insn]:
        shape = rng.randrange(4)
        if shape == 0:
            body = ended([plain() for _ in range(rng.choice((1, 1, 2)))], end_outer=1)
        elif shape == 1:
            body = inner(both=True)
        elif shape == 2:
            body = [plain(), *inner(), *inner(both=True)]
        else:
            body = [*inner(), *ended([plain()], end_outer=1)]
        return [word(Op.LOOP_OUTER, most=2), *body]

    def part() -> list[Insn]:
        return rng.choice((lambda: [plain()], inner, outer))()

    program = [*part(), *part(), *part(), word(Op.END_PROMPT), *part(), plain(), word(Op.END)]
    return program if len(program) <= queue.words(cfg) else random_program(cfg, queue, rng)
