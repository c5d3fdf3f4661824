"""The proof of a schedule: legal images pass, every rule rejects its own seeded bug, mutants do not slip through.

Another seed: `OPENLPU_SEED=7 pytest tests/sim/test_proof.py`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from compiler.image import Image
from rtl.config import Config, preset
from rtl.isa import QUEUES, VECTOR
from sim.commands.verify import verify_image
from sim.cycle.access import Space, collect
from sim.cycle.program import IllegalProgram, decode_program
from sim.cycle.proof import Refuted, prove
from sim.cycle.timeline import Timeline, expand
from sim.cycle.usage import Side, border, once_a_cycle, port_uses
from tests.sim.mutants import Truth, random_mutant, shorter_waits, with_word
from tests.sim.programs import NARROW, SQUARE, image, t
from verification.small_model import small_image

SEED = int(os.environ.get("OPENLPU_SEED", "1"))
ACC = "RUN repeat=1 row=5 act=3 clear=1"
READY = "NOP wait=9"
"""Until dynamic values are."""
WINNER = "reduce=ARGMAX first=1"
X = f"RUN wait=19 s0=3 write=1\nRUN wait=19 source=MEM {WINNER}"


def timeline(made: Image, bucket: int = 0, *, classify: bool = True) -> Timeline:
    programs = {queue.name: decode_program(made.config, queue, made.programs[queue.name]) for queue in QUEUES}
    return expand(made.config, programs, [int(value) for value in made.values[bucket]], classify=classify)


def promised(cfg: Config = SQUARE, **fields: Any) -> Image:
    """An image of programs in assembly that predicts the cycles it takes."""
    made = image(cfg, **fields)
    cycles = [[timeline(made, position // cfg.bucket_positions, classify=classify).cycles
               for position in range(made.context)] for classify in (False, True)]
    return replace(made, cycles=np.array(cycles))


def refuted(rule: str, match: str, made: Image, check: Callable[[Image], object] = prove) -> Refuted:
    with pytest.raises(Refuted, match=match) as caught:
        check(made)
    assert caught.value.rule == rule
    return caught.value


@cache
def compiled(name: str, shape: str) -> Image:
    return small_image(preset(name), shape, SEED)


# Legal images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shape"), [
    ("tiny", "two layers"), ("icebreaker", "one layer"), ("tangnano20k", "two layers"), ("ulx3s", "one layer"),
    ("large", "two layers")])
def test_what_the_compiler_makes_is_legal(name: str, shape: str):
    made = compiled(name, shape)
    proof, compared = verify_image(made)
    assert proof.positions == made.context and proof.cycles == made.cycles.sum()
    assert proof.pairs == 4 * (2 * proof.buckets - 1)
    assert compared == min(made.context, 2 * made.config.bucket_positions + 1)


def test_a_small_program_is_legal():
    assert prove(promised(matrix=ACC, vector=X)).positions == 16


# Every rule, with its own words ---------------------------------------------------------------------------------------


V = "RUN wait=19 s0=3 store=VALUES dst=44"
"""The V store of a head, in cycle 20."""
K = "RUN wait=19 s0=3 store=KEYS dst=44"
AV = f"{ACC}\n{READY}\nRUN wait=30 row=44 repeat_value=1 clear=1"
"""A word that reads the cache: a row for each block of the bucket."""
LATE = f"RUN wait=59 {WINNER}"
SECOND = t("acc_visible") - t("acc_read")
"""Cycles from the issue of a step to that of the first pass which sees it."""

RULES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "shapes": ("shapes", "17 positions", {"context": 17}),
    "word": ("words", "NOP has no use for repeat", {"scalar": "NOP repeat=1"}),
    "control": ("expansion", "inner loop that is not open", {"scalar": "NOP end_inner=1"}),
    "operand on its way": ("arrival", "cannot be seen before", {
        "matrix": ACC, "vector": f"RUN wait=19 s0=3 write=1\nRUN source=MEM {WINNER}"}),
    "loaded activations": ("loaded memory", "overwrites activation cell 4, which the image loads", {
        "matrix": ACC, "vector": f"RUN wait=19 s0=3 store=ACT dst=4 {WINNER}"}),
    "gather": ("gather", "gathers activation word 25, which nobody", {
        "matrix": "RUN gather=1 act=25 clear=1", "vector": f"RUN wait=19 {WINNER}"}),
    "half a sum": ("whole values", "reads accumulator 0 before its sum is complete: matrix word 1", {
        "matrix": f"{ACC}\nRUN wait=30", "vector": f"RUN wait=19 {WINNER}\nRUN wait=40 {WINNER}"}),
    "half a reduction": ("whole values", "reads reduce register 0 before its sum is complete: vector word 1", {
        "matrix": ACC, "vector": f"RUN wait=19 reduce=SUM first=1\nRUN wait=40 reduce=SUM\nRUN wait=30 {WINNER}",
        "scalar": "RUN wait=39 function=RSQRT\nRUN wait=60 function=RSQRT"}),
    "unread value": ("nothing lost", "writes vector memory row 0, and nothing ever reads it", {
        "matrix": ACC, "vector": f"RUN wait=19 write=1 {WINNER}"}),
    "overwritten value": ("nothing lost", "before anything has read it, vector word 1 .* overwrites it in cycle", {
        "matrix": ACC, "vector": f"RUN wait=19 write=1\nRUN write=1\nRUN wait=19 source=MEM {WINNER}"}),
    "overwritten accumulator": ("nothing lost", "writes accumulator 0, and before anything", {
        "matrix": f"{ACC}\nRUN clear=1", "vector": f"RUN wait=19 {WINNER}"}),
    "loops that change": ("same control", "matrix word 3 .* runs in other buckets, and here its queue", {
        "matrix": f"{ACC}\nNOP wait=9\nLOOP_INNER repeat_value=1\nRUN wait=1 clear=1 end_inner=1",
        "vector": f"RUN wait=49 {WINNER}"}),
    "words that change": ("same control", "runs here, but not at the same place in other buckets", {
        "matrix": f"{ACC}\nNOP wait=9\nLOOP_INNER repeat_value=1\nRUN wait=1 clear=1 end_inner=1\nRUN clear=1",
        "vector": f"RUN wait=49 {WINNER}"}),
    "another producer in a later bucket": ("same flow", "from run 0, round 0 of .* other buckets from run 1, round 0", {
        "matrix": f"{ACC}\nRUN wait=37 clear=1",  # the second in cycle 40
        "vector": f"RUN wait=19 {WINNER}\nRUN wait={40 + SECOND - 22} wait_value=1 {WINNER}\nRUN wait=19 {WINNER}"}),
    "rounds out of step": ("aligned rounds", "run 0, round 1 of vector word 1 .*out of step: it should be round 0", {
        "matrix": ACC, "vector": f"{READY}\nRUN wait=9 s0=3 write=1 repeat=1 repeat_value=1 inc_dst=1\n"
        f"RUN wait=19 source=MEM src=1 inc_src=1 repeat_value=1 {WINNER}\nRUN source=MEM {WINNER}"}),
    "stores of one row": ("own rows", "and vector word 0 .* store to the same bank row 46", {
        "matrix": ACC, "vector": f"{V}\nRUN s0=3 store=VALUES dst=46 {WINNER}"}),
    "a store onto weights": ("own rows", "overwrites bank row 38, which the image loads", {
        "matrix": ACC, "vector": f"RUN wait=19 store=VALUES dst=38 {WINNER}"}),
    "old cache row": ("cache", "reads bank row 44 before vector word 0 .* has written it for this position", {
        "matrix": f"{ACC}\n{READY}\nRUN slot=1 row=44 repeat_value=1 clear=1",
        "vector": f"{V}\nRUN wait=59 slot=1 {WINNER}"}),
    "too few cache rows": ("cache", "reads the cache of 4 positions at position 7", {
        "matrix": AV.replace(" repeat_value=1", ""), "vector": f"{V}\n{LATE}"}),
    "cache rows out of order": ("cache", "does not read the blocks of one head in order", {
        "matrix": f"{ACC}\n{READY}\nRUN wait=30 row=44 outer_value=1 row_step=2 clear=1",
        "vector": f"{K}\nRUN wait=59 {WINNER} inc_slot=1 repeat_value=1"}),
    "weights among cache rows": ("cache", "reads a row that is no cache among those of a cache bank row 43", {
        "matrix": f"{ACC}\n{READY}\nRUN wait=30 row=43 repeat=1 repeat_value=1 clear=1", "vector": f"{V}\n{LATE}"}),
    "a store that nothing reads": ("cache", "stores to bank row 44, and nothing reads it", {
        "matrix": ACC, "vector": f"{V}\nRUN wait=59 {WINNER}"}),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_every_rule_rejects(name: str):
    rule, match, fields = RULES[name]
    context = fields.pop("context", None) if "context" in fields else None
    if context is not None:
        refuted(rule, match, replace(image(), context=context))
        return
    try:
        made = promised(values={1: 0}, **fields)
    except IllegalProgram:  # no cycles to promise
        made = image(values={1: 0}, **fields)
    error = refuted(rule, match, made)
    assert error.cause.words or rule in ("shapes", "words")


def test_the_caches_of_the_seeded_bugs_are_legal_without_them():
    assert prove(promised(matrix=AV, vector=f"{V}\n{LATE}", values={1: 0})).cache_reads == 2 * (1 + 2 + 3 + 4)
    keys = f"{ACC}\n{READY}\nRUN wait=30 row=44 outer_value=1 row_step=1 clear=1"
    prove(promised(matrix=keys, vector=f"{K}\nRUN wait=59 {WINNER} inc_slot=1 repeat_value=1", values={1: 0}))


def test_wrong_prediction_of_a_single_position():
    made = promised(matrix=ACC, vector=X)
    made.cycles[1, 9] += 1
    error = refuted("cycles", "at position 9, the image predicts", made)
    assert error.where == "classified token, positions 8 to 11"


def test_one_port_of_a_bank():
    made = promised(NARROW, matrix=f"{ACC}\nRUN wait={20 + t('bank_write', NARROW) - 1 - 3} row=2 clear=1",
                    vector="RUN wait=19 s0=3 store=VALUES dst=44")
    with pytest.raises(IllegalProgram, match="both use the bank port") as caught:
        once_a_cycle(port_uses(NARROW, timeline(made)))
    assert {word.queue.name for word in caught.value.words} == {"matrix", "vector"}
    twice = replace(NARROW, single_port=False)
    once_a_cycle(port_uses(twice, timeline(made)))


def test_no_port_is_used_twice():
    """No word can do it as rtl.timing stands, so a pass is moved by hand onto another."""
    one = timeline(promised(matrix=ACC, vector=X))
    passes = [one.passes[0], replace(one.passes[1], cycle=one.passes[0].cycle)]
    with pytest.raises(IllegalProgram, match="both use the vector issue port"):
        once_a_cycle(port_uses(SQUARE, replace(one, passes=passes)))


@pytest.mark.parametrize(("early", "match"), [(1, "issue port when"), (2, "after .* of the next token reads it")])
def test_what_is_in_flight_does_not_meet_the_next_token(early: int, match: str):
    """The next token starts by hand before this one has ended."""
    one = timeline(promised(matrix=ACC, vector=f"RUN s0=3 source=MEM {WINNER}\nRUN s0=3 write=1 source=MEM"))
    side = Side(one, collect(SQUARE, one), port_uses(SQUARE, one))
    start = {1: one.passes[-1].cycle - 1, 2: one.passes[-1].cycle}[early]
    soon = replace(one, cycles=start)
    with pytest.raises(IllegalProgram, match=match):
        border(Side(soon, side.accesses, side.ports), side)
    assert border(side, side) == 0
    assert len(side.accesses.writes[Space.MEMORY].cell) == 1


def test_values_are_those_of_the_golden_model():
    made = compiled("ulx3s", "one layer")
    banks = made.banks.copy()
    banks[0] ^= 1
    wrong = replace(made, banks=banks)
    prove(wrong)
    refuted("values", "than the golden model", wrong, verify_image)


# Mutants --------------------------------------------------------------------------------------------------------------

MACHINES = [("icebreaker", "one layer"), ("tangnano20k", "two layers"), ("ulx3s", "one layer")]


@pytest.mark.parametrize(("name", "shape"), MACHINES)
def test_no_wait_a_cycle_shorter_slips_through(name: str, shape: str):
    """A shorter wait is a legal mutant where the word had slack, or before a word that nothing depends on."""
    print(f"seed {SEED}")
    made = compiled(name, shape)
    truth, accepted = Truth(made, SEED), []
    assert truth.broken(made) is None
    mutants = list(shorter_waits(made))
    for mutant in mutants:
        try:
            prove(mutant.image)
        except Refuted:
            continue
        accepted.append(mutant.what)
        assert truth.broken(mutant.image) is None, f"escaped: {mutant.what}"
    assert len(accepted) < len(mutants) / 4, accepted


@pytest.mark.parametrize("kind", ["moved", "value", "swap", "longer wait", "count"])
def test_no_other_change_of_timing_slips_through(kind: str):
    rejected, seed = 0, f"{SEED}-{kind}"
    print(f"seed {seed}")
    rng = random.Random(seed)
    for name, shape in MACHINES[1:]:
        made = compiled(name, shape)
        truth = Truth(made, SEED)
        for _ in range(8):
            mutant = random_mutant(made, rng, kind)
            try:
                prove(mutant.image)
            except Refuted:
                rejected += 1
                continue
            assert truth.broken(mutant.image) is None, f"escaped: {mutant.what}"
    assert rejected > 4


def test_mutants_do_what_they_should_not():
    """The truth that mutants are held against can itself tell a broken image."""
    made = compiled("ulx3s", "one layer")
    truth = Truth(made, SEED)
    assert truth.broken(replace(made, banks=np.roll(made.banks, 1, axis=0))) is not None
    end = len(made.programs["vector"]) - 1
    wait = VECTOR.by_name["wait"].bits(made.config)
    longer = with_word(made, VECTOR, end, wait=(1 << wait) - 1)
    assert "cycles" in (truth.broken(longer) or "")
