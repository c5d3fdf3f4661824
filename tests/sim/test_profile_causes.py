"""Idle cycles in programs so small that their cause is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rtl.config import Config
from sim.profile import Profile, profile
from sim.profile.bounds import Cause
from sim.profile.idle import Gap
from tests.sim.programs import NARROW, SQUARE, WIDE, image, t

EXTRA = 7
TO_ACT = "RUN source=ACC factor1=ONE store=ACT dst=20"  # a vector nobody has loaded


def made(cfg: Config = SQUARE, *, matrix: str = "", vector: str = "", scalar: str = "",
         values: dict[int, int] | None = None) -> Profile:
    return profile(image(cfg, matrix=matrix, vector=vector, scalar=scalar, values=values), 0, classify=False)


def before(taken: Profile, word: str) -> list[tuple[Cause, int]]:
    """Cause and cycles of the gaps before a word of the matrix queue."""
    return [(gap.cause, gap.cycles) for gap in taken.gaps if gap.task and gap.task.name == word]


def gap_before(taken: Profile, word: str, cause: Cause) -> Gap:
    return next(gap for gap in taken.gaps if gap.task and gap.task.name == word and gap.cause is cause)


def chained(cfg: Config, extra: int) -> Profile:
    """A matmul whose operand is the result of the one before: as early as can be, and `extra` cycles later."""
    taken = t("acc_visible", cfg) - t("acc_read", cfg)  # vector pass after the matmul's step
    ready = taken + t("act_visible", cfg) - t("matrix_read", cfg)  # the next matmul after that step
    act = 20 * cfg.lanes // cfg.taps
    return made(
        cfg, matrix=f"RUN clear=1\nRUN wait={ready - 1 + extra} act={act} slot=1 clear=1",
        vector=f"NOP\nRUN wait={taken - 1} {TO_ACT.removeprefix('RUN ')}" if taken else TO_ACT)


@pytest.mark.parametrize("cfg", [SQUARE, WIDE, NARROW], ids=lambda cfg: cfg.name)
def test_an_operand(cfg: Config) -> None:
    ready = t("acc_visible", cfg) - t("acc_read", cfg) + t("act_visible", cfg) - t("matrix_read", cfg)
    taken = chained(cfg, 0)
    assert before(taken, "word 1") == [(Cause.OPERAND, ready - 1)]
    gap = gap_before(taken, "word 1", Cause.OPERAND)
    assert [str(task) for task in gap.path] == ["vector word 1", "matrix word 0"]
    assert gap.space is not None and gap.space.value == "activation cell"


@pytest.mark.parametrize("cfg", [SQUARE, WIDE, NARROW], ids=lambda cfg: cfg.name)
def test_a_wait_that_is_too_long_is_the_schedules(cfg: Config) -> None:
    exact, longer = chained(cfg, 0), chained(cfg, EXTRA)
    assert before(longer, "word 1") == [*before(exact, "word 1"), (Cause.SCHEDULE, EXTRA)]


def test_an_accumulator_that_is_still_to_be_read() -> None:
    late = t("acc_visible") - t("acc_read") + 20
    again = late + t("acc_read") + 1 - t("acc_visible")  # the step's sum arrives just after the read
    taken = made(matrix=f"RUN clear=1\nRUN wait={again - 1} clear=1\nRUN slot=1 clear=1",
                 vector=f"RUN wait={late} {TO_ACT.removeprefix('RUN ')}")
    assert before(taken, "word 1") == [(Cause.REUSE, again - 1)]
    assert str(gap_before(taken, "word 1", Cause.REUSE).producer) == "vector word 0"
    assert before(taken, "word 2") == []


def test_a_bank_with_one_port() -> None:
    """A V store writes in the one cycle in which the second matmul would read."""
    cfg = NARROW
    store = t("acc_visible", cfg) - t("acc_read", cfg)  # issue after the first matmul's
    busy = 1 + store + t("bank_write", cfg)  # the write's cycle
    start = busy + 1 - t("matrix_read", cfg)
    matrix = f"RUN clear=1\nRUN wait={start - 2} slot=1 clear=1"
    vector = f"RUN wait={store} source=ACC store=VALUES dst=50"
    taken = made(cfg, matrix=matrix, vector=vector)
    assert before(taken, "word 1") == [(Cause.PORT, start - 2)]
    two_ports = made(replace(cfg, single_port=False), matrix=matrix, vector=vector)
    assert {cause for cause, _ in before(two_ports, "word 1")} == {Cause.SCHEDULE}


def test_words_that_do_no_work() -> None:
    taken = made(matrix="RUN clear=1\nNOP\nLOOP_INNER repeat=1 slot=1\n"
                        "RUN slot=1 clear=1 end_inner=1\nRUN slot=3 clear=1")
    assert before(taken, "word 3") == [(Cause.SEQUENCER, 2)]  # the second round follows the first at once
    assert before(taken, "word 4") == []


def test_dynamic_values_that_are_not_there_yet() -> None:
    ready = t("values_ready")
    taken = made(matrix=f"RUN clear=1\nNOP wait={ready - 3}\nRUN wait_value=1 slot=1 clear=1", values={1: 0})
    assert before(taken, "word 2") == [(Cause.VALUES, ready - 2)]


def test_the_tokens_start_and_end() -> None:
    taken = made(matrix="RUN clear=1\nEND")
    first, *rest = taken.gaps
    assert (first.cause, first.start, first.cycles) == (Cause.START, 0, 1)
    assert [gap.cycles for gap in rest if gap.cause is Cause.END] == [t("token_overhead")]
    assert sum(gap.cycles for gap in taken.gaps) == taken.cycles - 1
    assert {gap.cause for gap in rest[:-1]} == {Cause.SCHEDULE}  # the other queues wait for nothing


def test_the_chain_goes_back_through_all_units() -> None:
    """Matmul, square sum, scalar, and a pass that uses the scalar: each as early as it can be."""
    sums = t("acc_visible") - t("acc_read")
    norm = sums + t("reduce_visible") - t("scalar_read")
    last = norm + t("scalar_visible") - t("vector_read")
    taken = made(
        matrix="RUN clear=1",
        vector=f"RUN wait={sums} source=ACC factor2=SQUARE reduce=SUM first=1 target=1\n"
               f"RUN wait={last - sums - 1} source=ACC factor2=SCALAR scalar=2 write=1 dst=3",
        scalar=f"RUN wait={norm} function=RSQRT reduce=1 dst=2 bias=1")
    names = [str(link.task) for link in taken.chain if link.task]
    assert names == ["matrix word 0", "vector word 0", "scalar word 0", "vector word 1"]
    assert [link.cycles for link in taken.chain[1:4]] == [sums, norm - sums, last - norm]
    assert [link.late for link in taken.chain[:4]] == [0] * 4
    assert sum(link.cycles + link.late for link in taken.chain) == taken.cycles


def test_passes_that_keep_pace_with_a_matmul_hold_it_back() -> None:
    """More outputs than accumulators: they cannot begin before the vector unit is free to take them."""
    lag, passes = t("acc_visible") - t("acc_read"), 30
    start = 1 + passes  # the matmul's, when the vector unit is free `lag` later
    nop = 3 + t("values_ready")
    taken = made(
        matrix=f"RUN clear=1\nNOP wait={nop - 3}\nRUN wait={start - nop} outer_value=1 slot=1 row_step=1 clear=1",
        vector=f"NOP wait={lag - 1}\nRUN repeat={passes - 1} source=ACC write=1 dst=1\n"
               "RUN repeat_value=1 source=ACC slot=1 inc_slot=1 write=1 dst=2 inc_dst=1",
        values={1: 2 * SQUARE.slots - 1})
    assert before(taken, "word 2") == [(Cause.BUSY, start - 2)]
    assert str(gap_before(taken, "word 2", Cause.BUSY).producer) == "vector word 1"
