"""Rules of the ports: each is used at most once a cycle, within a token and across the border of two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rtl.config import Config
from rtl.isa import Factor1, Reduce, ScalarFunction, Source, Store
from rtl.timing import timing
from sim.cycle.access import Accesses
from sim.cycle.dataflow import SPACES
from sim.cycle.program import IllegalProgram, Word
from sim.cycle.timeline import Ints, Timeline


@dataclass(frozen=True, eq=False)
class Uses:
    """Uses of one port: their cycles, in no order, and the word of each, as an index into `words`."""

    cycle: Ints
    who: Ints
    words: list[Word]


def port_uses(cfg: Config, timeline: Timeline) -> dict[str, Uses]:
    """Every use of every port in a token, by the port's name; an issue slot counts as a port."""
    t, passes, operations = timing(cfg), timeline.passes, timeline.operations
    steps = np.array([len(output.rows) for output in timeline.outputs], np.int64)
    first = np.array([output.cycle for output in timeline.outputs], np.int64)
    who = np.repeat(np.arange(len(steps)), steps)
    matrix = first[who] + np.arange(len(who)) - (np.cumsum(steps) - steps)[who]
    vector = np.array([one.cycle for one in passes], np.int64)
    scalar = np.array([one.cycle for one in operations], np.int64)
    of_matrix, of_vector, of_scalar = ([one.word for one in many] for many in (timeline.outputs, passes, operations))
    made = {name: Uses(matrix + after, who, of_matrix) for name, after in (
        ("matrix issue", 0), ("bank read", t.matrix_read), ("activation read", t.matrix_read),
        ("accumulator write", t.acc_visible - 1))}

    def some(name: str, after: int, chosen: list[bool], cycle: Ints, words: list[Word]) -> None:
        at = np.flatnonzero(np.array(chosen, bool))
        made[name] = Uses(cycle[at] + after, at, words)

    def passes_that(name: str, after: int, chosen: list[bool]) -> None:
        some(name, after, chosen, vector, of_vector)

    modes, fields = [one.mode for one in passes], [one.word.fields for one in passes]
    done = [not one.held for one in passes]
    passes_that("vector issue", 0, [True] * len(passes))
    passes_that("vector memory read", t.vector_read, [mode.reads_memory for mode in modes])
    passes_that("parameter read", t.vector_read, [mode.factor1 is not Factor1.ONE for mode in modes])
    passes_that("scalar register read, vector unit", t.vector_read, [mode.reads_scalar for mode in modes])
    passes_that("scalar register read, output shift", t.vector_read, [bool(f["out_scaled"]) for f in fields])
    passes_that("accumulator read", t.acc_read, [mode.source is Source.ACC for mode in modes])
    passes_that("vector memory write", t.memory_visible - 1,
                [ok and bool(f["write"]) for ok, f in zip(done, fields, strict=True)])
    for name, after, stores in (("activation write", t.act_visible - 1, (Store.ACT,)),
                                ("bank write", t.bank_write, (Store.KEYS, Store.VALUES))):
        passes_that(name, after, [ok and mode.store in stores for ok, mode in zip(done, modes, strict=True)])
    for name, after, argmax in (("ARGMAX write", t.token_visible - 1, True),
                                ("reduce register write", t.reduce_visible - 1, False)):
        passes_that(name, after, [ok and mode.reduce is not Reduce.NONE and (mode.reduce is Reduce.ARGMAX) is argmax
                                  for ok, mode in zip(done, modes, strict=True)])
    functions = [one.function for one in operations]
    other = (ScalarFunction.COMBINE, ScalarFunction.CONST)
    for name, after, chosen in (
            ("scalar issue", 0, [True] * len(functions)),
            ("reduce register read", t.scalar_read, [function not in other for function in functions]),
            ("scalar register read, scalar unit", t.scalar_read,
             [function in (other[0], ScalarFunction.VALUE, ScalarFunction.SEARCH) for function in functions]),
            ("constant read", t.scalar_read, [function is other[1] for function in functions]),
            ("scalar register write", t.scalar_visible - 1, [True] * len(functions))):
        some(name, after, chosen, scalar, of_scalar)
    if cfg.shared_port:
        read, write = made["bank read"], made["bank write"]
        made["bank"] = Uses(np.concatenate([read.cycle, write.cycle]),
                            np.concatenate([read.who, write.who + len(of_matrix)]), of_matrix + of_vector)
    return made


def once_a_cycle(ports: Mapping[str, Uses]) -> int:
    """No port is used twice in a cycle. Returns how many uses there are."""
    for name, uses in ports.items():
        order = np.argsort(uses.cycle, kind="stable")
        twice = np.flatnonzero(np.diff(uses.cycle[order]) == 0)
        if len(twice):
            a, b = (int(order[twice[0] + i]) for i in (0, 1))
            raise IllegalProgram(int(uses.cycle[a]), f"{{}} and {{}} both use the {name} port",
                                 uses.words[int(uses.who[a])], uses.words[int(uses.who[b])])
    return sum(len(uses.cycle) for uses in ports.values())


@dataclass(frozen=True, eq=False)
class Side:
    """A token as its neighbours see it."""

    timeline: Timeline
    accesses: Accesses
    ports: Mapping[str, Uses]


def border(one: Side, following: Side) -> int:
    """What a token leaves on its way does not meet the next one: no port twice, no cell read or written too early.

    The next token starts in cycle `one.timeline.cycles` at the earliest. Returns how many port uses come later than
    that. Banks are not here: `sim.cycle.check` lets no store outlive its token.
    """
    start, count = one.timeline.cycles, 0
    for name, uses in one.ports.items():
        late = uses.cycle >= start
        count += int(late.sum())
        mine, theirs = uses.cycle[late] - start, following.ports[name]
        both, i, j = np.intersect1d(mine, theirs.cycle, return_indices=True)
        if len(both):
            raise IllegalProgram(
                int(both[0]) + start, f"{{}} uses the {name} port when {{}} of the next token does",
                uses.words[int(uses.who[late][i[0]])], theirs.words[int(theirs.who[j[0]])])
    for space in SPACES:
        reads, writes = one.accesses.reads[space], one.accesses.writes[space]
        for w in np.flatnonzero(writes.time > start):
            for then, what in ((following.accesses.reads[space], "reads"),
                               (following.accesses.writes[space], "overwrites")):
                early = np.flatnonzero((then.cell == writes.cell[w]) & (then.time + start < writes.time[w]))
                if len(early):
                    raise IllegalProgram(
                        int(writes.time[w]), f"{{}} writes {space.value} {writes.cell[w]} after {{}} of the next token "
                        f"{what} it", writes.word(int(w)), then.word(int(early[0])))
        for r in np.flatnonzero(reads.time >= start):
            then = following.accesses.writes[space]
            early = np.flatnonzero((then.cell == reads.cell[r]) & (then.time + start <= reads.time[r]))
            if len(early):
                raise IllegalProgram(
                    int(reads.time[r]), f"{{}} reads {space.value} {reads.cell[r]} after {{}} of the next token has "
                    "overwritten it", reads.word(int(r)), then.word(int(early[0])))
    return count
