"""Random words and loops, drawn field by field from rtl/isa.py."""

from __future__ import annotations

import random
from typing import Any

from rtl.encoding import Insn
from rtl.isa import (
    MATRIX,
    SCALAR,
    VECTOR,
    Addend,
    Factor1,
    Factor2,
    Field,
    Mask,
    Op,
    Queue,
    Reduce,
    Source,
    Store,
    members,
    stride_bits,
)
from sim.cycle.access import Space
from verification.legal_machine import CACHE_ROWS, LONGEST_BITS, Kind, Machine, kind_of
from verification.random_programs import OUTER_STRIDES, ended

FAR = 0.2
"""Share of loops one of whose strides is any, so that a step may go to the other end of a memory."""
COUNTS = (Kind.COUNT, Kind.COUNT_TOO)
_SPACES = {("vector", "slot"): Space.ACC, ("vector", "src"): Space.MEMORY, ("vector", "scalar"): Space.SCALAR,
           ("vector", "out_scalar"): Space.SCALAR, ("scalar", "reduce"): Space.REDUCE, ("scalar", "a"): Space.SCALAR,
           ("scalar", "b"): Space.SCALAR}
"""Where the addresses of reads lead."""


class Words:
    """Draws the words of one machine. A field that is new in rtl/isa.py gets any of its values.

    Parameters
    ----------
    made : places that may be used. rng : of all that is drawn.

    Members
    -------
    known : cells that the program writes, by space: what there is to be read.
    """

    def __init__(self, made: Machine, rng: random.Random) -> None:
        self.made, self.cfg, self.rng = made, made.image.config, rng
        self.known: dict[Space, list[int]] = {}

    def unit(self, queue: Queue) -> list[Insn]:
        """A word, an inner loop, or an outer loop with or without one."""
        inner = not (self.cfg.small_control and queue is SCALAR)
        kind = self.rng.random()
        if kind < 0.02 and queue is MATRIX:
            return [self.over_and_over() if kind < 0.01 else self._many_steps()]
        if kind < 0.6:
            return [self.run(queue)]
        if kind < 0.63:
            nop = Insn(queue, {"op": Op.NOP, "wait": self.rng.choice((0, 1, 2))})
            return [self._loop(queue, Op.LOOP_OUTER, idle=True), *ended([nop], end_outer=1)]
        if kind < 0.66 and inner:
            nop = Insn(queue, {"op": Op.NOP, "wait": self.rng.choice((0, 1, 2))})
            return [self._loop(queue, Op.LOOP_INNER, idle=True), *ended([nop], end_inner=1)]
        if kind < 0.8 and inner:
            return self._inner(queue)
        body = [self._some(queue), *(self._inner(queue) if inner and self.rng.random() < 0.5 else [self._some(queue)])]
        return [self._loop(queue, Op.LOOP_OUTER), *ended(body, end_outer=1)]

    def counting(self, queue: Queue) -> list[Insn]:
        """What does nothing but take its time: a wait, or a loop with nothing in it. Its count has any bits, and so has
        the dynamic value that is added."""
        op = self.rng.choice((Op.NOP, Op.LOOP_OUTER) if self.cfg.small_control and queue is SCALAR else
                             (Op.NOP, Op.LOOP_INNER, Op.LOOP_OUTER))
        if op is Op.NOP:
            return [self._wide(queue, "wait", op)]
        nop = Insn(queue, {"op": Op.NOP, "wait": self.rng.randrange(2)})
        return [self._wide(queue, "repeat", op),
                *ended([nop], **{"end_inner" if op is Op.LOOP_INNER else "end_outer": 1})]

    def _wide(self, queue: Queue, name: str, op: Op) -> Insn:
        kinds = (Kind.LONG, Kind.WAIT) if name == "wait" else (Kind.LONG,)
        fields = {"op": op, name: self._any(queue, name), **self._dynamic(queue, f"{name}_value", 0.9, *kinds)}
        return Insn(queue, self._cornered(queue, name, fields, 0.3))

    def _any(self, queue: Queue, name: str) -> int:
        """Any count; now and then with one bit alone."""
        bits = queue.by_name[name].bits(self.cfg)
        return 1 << self.rng.randrange(bits) if bits and self.rng.random() < 0.2 else self.rng.getrandbits(bits)

    def over_and_over(self, *, wide: bool = False) -> Insn:
        """A word that makes the same output many times. wide : its count as in `counting`."""
        same = dict.fromkeys(("gather", "repeat", "repeat_value", "row_step", "act_step"), 0)
        dynamic = {"outer_value": 0, **self._dynamic(MATRIX, "outer_value", 0.9 if wide else 0.7, Kind.LONG)}
        outer = self._any(MATRIX, "outer") if wide else self._long(MATRIX, "outer")
        always = {"clear": 1, "choice": 0} if wide else {}
        return self.run(MATRIX, **same, **always, **self._cornered(MATRIX, "outer", {"outer": outer, **dynamic}, 0.5))

    def _inner(self, queue: Queue) -> list[Insn]:
        body = [self._some(queue) for _ in range(self.rng.choice((1, 1, 2, 3)))]
        return [self._loop(queue, Op.LOOP_INNER), *ended(body, end_inner=1)]

    def _many_steps(self) -> Insn:
        """A word whose one output takes many steps: as many as there are loaded rows and activations, at most."""
        made, rng = self.made, self.rng
        most = min(made.weights, self.cfg.act_words)
        steps = self._cornered(MATRIX, "repeat", {
            "repeat": min(self._long(MATRIX, "repeat"), most - 1),
            "repeat_value": 0, **self._dynamic(MATRIX, "repeat_value", 0.5, Kind.LONG)}, 0.7)
        room = 1 if steps["repeat_value"] else most - steps["repeat"]
        return self.run(MATRIX, **steps, **dict.fromkeys(("gather", "choice", "outer", "outer_value", "group_step"), 0),
                        row=rng.randrange(room), act=rng.randrange(room))

    def _some(self, queue: Queue) -> Insn:
        """A word of a loop's body: RUN, now and then NOP, with a wait."""
        word = Insn(queue, {"op": Op.NOP}) if self.rng.random() < 0.1 else self.run(queue)
        bits = queue.by_name["wait"].bits(self.cfg)
        wait = min((1 << bits) - 1, self.rng.choice((0, 0, 1, 2, 5, 9, 14, 22)))
        if word["op"] is Op.NOP and self.rng.random() < 0.5:
            wait = self.rng.getrandbits(self.rng.randrange(bits + 1))
        chance = 0.5 if word["op"] is Op.NOP else 0.1
        fields = {**word.fields, "wait": wait, **self._dynamic(queue, "wait_value", chance, *Kind)}
        return Insn(queue, self._cornered(queue, "wait", fields, 0.3))

    def _loop(self, queue: Queue, op: Op, *, idle: bool = False) -> Insn:
        """idle: of a body that does nothing, so that it may do it often."""
        names = OUTER_STRIDES[queue.name] if op is Op.LOOP_OUTER else [item.name for item in queue.own if item.strided]
        level = "outer" if op is Op.LOOP_OUTER else "inner"
        strides = {name: self.rng.choice((0, 0, 0, 1, 1, 2, -1)) % (1 << stride_bits(self.cfg, queue, level, name))
                   for name in names}
        if self.rng.random() < FAR:
            name = self.rng.choice(names)
            strides[name] = self.rng.getrandbits(stride_bits(self.cfg, queue, level, name))
        repeat = self.rng.choice((0, 1, 1, 2))
        if idle:
            repeat = self._long(queue, "repeat")
        chance, kinds = (0.5, (*COUNTS, Kind.LONG)) if idle else (0.2, COUNTS)
        fields = {"op": op, "repeat": repeat, **strides, **self._dynamic(queue, "repeat_value", chance, *kinds)}
        return Insn(queue, self._cornered(queue, "repeat", fields, 0.5) if idle else fields)

    def _long(self, queue: Queue, name: str) -> int:
        """A count that may be large."""
        bits = min(LONGEST_BITS, queue.by_name[name].bits(self.cfg))
        return self.rng.getrandbits(self.rng.randrange(bits + 1))

    def _dynamic(self, queue: Queue, name: str, chance: float, *kinds: Kind) -> dict[str, int]:
        """A field that names a dynamic value of those kinds, now and then."""
        if self.rng.random() >= chance:
            return {}
        values = range(min(self.cfg.values, 1 << queue.by_name[name].bits(self.cfg)))
        fitting = [number for number in values if kind_of(number) in kinds]
        return {name: self.rng.choice(fitting)} if fitting else {}

    def _cornered(self, queue: Queue, name: str, fields: dict[str, Any], chance: float) -> dict[str, Any]:
        """The fields; where the count takes a dynamic value, now and then such that their sum is a power of two or one
        more: so long carries go through all its bits."""
        if not fields.get(f"{name}_value") or self.rng.random() >= chance:
            return fields
        value = self.rng.choice(self.made.rows)[fields[f"{name}_value"]]
        most = (1 << queue.by_name[name].bits(self.cfg)) - 1
        sums = [total for bit in range(self.cfg.value_bits + 1) for total in (1 << bit, (1 << bit) + 1)
                if value <= total <= value + most]
        return {**fields, name: self.rng.choice(sums) - value} if sums else fields

    def run(self, queue: Queue, **given: Any) -> Insn:
        """A RUN word with every field of its queue drawn, or given."""
        fields: dict[str, Any] = {"op": Op.RUN}
        for item in queue.own:
            fields[item.name] = given.get(item.name, self._value(queue, item))
        if queue is not SCALAR:
            repeat = self.rng.choice((0, 0, 0, 1, 2, 3, 7) + (40,) * (queue is VECTOR))
            fields |= {"repeat": repeat, **self._dynamic(queue, "repeat_value", 0.15, *COUNTS)}
        if queue is MATRIX:
            self._shape_matrix(fields)
        if queue is VECTOR:
            self._shape_vector(fields)
        return Insn(queue, fields | given)

    def _value(self, queue: Queue, item: Field) -> Any:
        """A value of a field: a member, or an address where there is something, or any number."""
        rng, bits = self.rng, item.bits(self.cfg)
        if item.enum is not None:
            return rng.choice(members(self.cfg, item))
        space = _SPACES.get((queue.name, item.name))
        if space is not None and self.known.get(space) and rng.random() < 0.9:
            return rng.choice(self.known[space]) % (1 << bits)
        if item.strided or item.name in ("row_step", "act_step", "group_step"):
            # Also steps back, and the last of each kind.
            number = rng.randrange(12) if rng.random() < 0.8 else -rng.randint(1, 3)
            return number % (1 << bits)
        if item.name == "outer":
            return rng.choice((0, 0, 1, 2)) % (1 << bits)
        if item.name == "outer_value":
            return self._dynamic(queue, item.name, 0.15, *COUNTS).get(item.name, 0)
        low = -(1 << bits - 1) if item.signed else 0
        high = low + (1 << bits) - 1 if bits else 0
        # Shifts that leave something, and corners.
        small = rng.randint(max(low, -2), min(high, 9))
        return rng.choice((small, small, small, small, rng.randint(low, high), 0, low, high))

    def _shape_matrix(self, fields: dict[str, Any]) -> None:
        made, rng, cfg = self.made, self.rng, self.cfg
        indices = self.known.get(Space.INDEX)
        fields["choice"] = 0
        if indices and not fields["gather"] and rng.random() < 0.5:
            fields["sequence"], choice = divmod(rng.choice(indices), cfg.choices)
            fields["choice"] = choice + 1
        near = not (fields["gather"] or fields["choice"]) and rng.random() < 0.4  # what K and V stores wrote
        last = (cfg.experts - 1) * made.image.registers.expert_rows if fields["choice"] else 0  # of the last expert
        loaded = rng.randrange(max(1, (made.weights - last) // rng.choice((1, 4))))
        fields["row"] = made.caches + rng.randrange(CACHE_ROWS) if near else loaded
        fields["act"] = rng.randrange(max(1, len(made.gathered) // 2) if fields["gather"] else cfg.act_words)
        if rng.random() < 0.5:  # what ACT stores wrote, or write
            word = rng.choice(made.vectors) * cfg.lanes // cfg.taps
            fields["act"] = max(0, word - rng.randrange(4)) if not fields["gather"] or word in made.gathered else 0
        fields["group_step"] = fields["group_step"] if cfg.groups > 1 else 0
        fields["act"] %= 1 << MATRIX.by_name["act"].bits(cfg)

    def _shape_vector(self, fields: dict[str, Any]) -> None:
        made, rng, cfg = self.made, self.rng, self.cfg
        fields["pace"] = max(rng.choice((0, 0, 0, 1, 3, 6, 8, 16)), cfg.beats - 1)
        fields["chunk"] %= cfg.chunks
        fields["choice"] = min(fields["choice"], cfg.choices) if fields["reduce"] is Reduce.ARGMAX else 0
        fields["param"] = rng.randrange(min(cfg.param_rows, 64))
        if not fields["rope"] and rng.random() < 0.2:
            fields["param"] = cfg.param_rows - 1 - rng.randrange(8)
        if fields["addend"] is Addend.NOISE and rng.random() < 0.5:
            fields["addend"] = Addend.ZERO  # rows are few
        if fields["rotate"] and (rng.random() < 0.5 or not self.known.get(Space.MEMORY)):
            fields["rotate"] = 0
        self._only_known(fields)
        if fields["rotate"]:
            fields |= {"below": 0, "source": Source.MEM, "factor1": Factor1.SIGNED, "addend": Addend.ZERO, "first": 0,
                       "repeat": rng.choice((1, 3)), "repeat_value": 0}
            if fields["factor2"] is Factor2.MEM:
                fields["factor2"] = Factor2.SCALAR
        bank = fields["store"] in (Store.KEYS, Store.VALUES)
        if bank:
            fields["write"] = int(rng.random() < 0.2)
            fields["dst"] = made.caches + rng.randrange(CACHE_ROWS)
        elif fields["store"] is Store.ACT:
            fields["write"] = int(rng.random() < 0.2)
            fields["dst"] = rng.choice(made.vectors)
        else:
            fields["dst"] = rng.choice(made.memory)

    def _only_known(self, fields: dict[str, Any]) -> None:
        """Nothing is read from a space in which nothing was written yet."""
        if not self.known.get(Space.MEMORY):
            fields |= {"source": Source.ACC, "factor2": _other(fields["factor2"], Factor2.MEM, Factor2.SQUARE),
                       "below": 0, "addend": _other(fields["addend"], Addend.MEM, Addend.ZERO)}
        if not self.known.get(Space.SCALAR):
            fields |= {"factor2": _other(fields["factor2"], Factor2.SCALAR, Factor2.ONE), "early": 0, "out_scaled": 0,
                       "below": 0, "addend": _other(fields["addend"], Addend.SCALAR, Addend.ZERO)}
        if not self.known.get(Space.INDEX):
            fields["mask"] = _other(fields["mask"], Mask.CHOSEN, Mask.TAIL)
            if self.cfg.choices and fields["reduce"] is Reduce.ARGMAX and not fields["rotate"]:
                fields |= {"choice": self.rng.randint(1, self.cfg.choices), "first": 1}

    def noise(self, sequence: int, dst: int) -> Insn:
        """A row of noise, and next to nothing else, to vector memory: as it is, so that each of its bits counts."""
        slot = self.rng.choice(self.known.get(Space.ACC, [0]))
        nothing = (1 << VECTOR.by_name["s1"].bits(self.cfg)) - 1
        return Insn(VECTOR, {"op": Op.RUN, "slot": slot, "s1": nothing, "addend": Addend.NOISE, "sequence": sequence,
                             "write": 1, "dst": dst, "pace": self.cfg.beats - 1})

    def argmax(self, sequence: int, choice: int = 0) -> Insn:
        """Without a choice, of a token. Of accumulators or vector memory, whatever has been written of them."""
        there = [source for source, space in ((Source.ACC, Space.ACC), (Source.MEM, Space.MEMORY))
                 if self.known.get(space)]
        return self.run(VECTOR, source=self.rng.choice(there or [Source.ACC]), reduce=Reduce.ARGMAX, first=1,
                        choice=choice, sequence=sequence, rotate=0, addend=Addend.ZERO, factor2=Factor2.ONE,
                        store=Store.NONE)

    def of_expert(self, index: int) -> Insn:
        """An output of the matrix unit with the rows of what an index register names."""
        sequence, choice = divmod(index, self.cfg.choices)
        return self.run(MATRIX, clear=1, gather=0, sequence=sequence, choice=choice + 1)


def _other(value: Any, unwanted: Any, instead: Any) -> Any:
    return instead if value is unwanted else value
