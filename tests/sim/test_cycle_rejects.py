"""Every kind of illegal program, seeded once and rejected; and the same program, a cycle less greedy, accepted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rtl.config import Config
from rtl.encoding import word_bits
from rtl.isa import MATRIX, VECTOR
from rtl.timing import timing
from sim.cycle import CycleSimulator, IllegalProgram
from sim.cycle.access import Accesses, Space, collect
from sim.cycle.check import check_timeline
from tests.sim.programs import DRAIN, NARROW, SQUARE, WIDE, image, run, simulator, t

X = "RUN wait=19 s0=3 write=1"
"""Accumulator 0 to vector memory row 0, in cycle 20."""
STORE = "RUN wait=19 s0=3"
ACC = "RUN repeat=1 row=5 act=3 clear=1"
MEMORY, ACT, REDUCE, SCALAR = t("memory_visible"), t("act_visible"), t("reduce_visible"), t("scalar_visible")
READ, ACC_READ, MATRIX_READ = t("vector_read"), t("acc_read"), t("matrix_read")


def rejected(match: str, cfg: Config = SQUARE, *, classify: bool = False, positions: int = 1,
             **programs: Any) -> IllegalProgram:
    with pytest.raises(IllegalProgram, match=match) as caught:
        made = simulator(cfg, **programs)
        for _ in range(positions):
            made.step(3, classify=classify)
    return caught.value


# Reads of what is still on its way. `gap` is the least distance of issues that works. ---------------------------------

HAZARDS = {
    "memory": (lambda gap: {"vector": f"{X}\nRUN wait={gap - 1} source=MEM"}, MEMORY - READ, "vector memory row 0"),
    "activation": (
        lambda gap: {"vector": f"{X} store=ACT dst=4", "matrix": f"{ACC}\nRUN wait={20 + gap - 3} act=4 clear=1"},
        ACT - MATRIX_READ, "activation cell 4"),
    "activation of a gather, which token 3 moves": (
        lambda gap: {"vector": f"{X} store=ACT dst=4",
                     "matrix": f"{ACC}\nRUN wait={20 + gap - 3} act=1 gather=1 clear=1"},
        ACT - MATRIX_READ, "activation cell 4"),
    "activation of a gather's second step": (
        lambda gap: {"vector": f"{X} store=ACT dst=4",
                     "matrix": f"{ACC}\nRUN wait={20 + gap - 4} gather=1 clear=1 repeat=3"},
        ACT - MATRIX_READ, "activation cell 4"),
    "bank row of a gather": (
        lambda gap: {"vector": f"{STORE} store=KEYS dst=50",
                     "matrix": f"{ACC}\nRUN wait={20 + gap - 3} row=50 gather=1 clear=1"},
        t("bank_visible") - MATRIX_READ, "bank row 50"),
    "reduce": (
        lambda gap: {"vector": f"{X} reduce=SUM first=1", "scalar": f"RUN wait={20 + gap - 1} function=RECIP"},
        REDUCE - t("scalar_read"), "reduce register 0"),
    "scalar": (
        lambda gap: {"vector": f"{X}\nRUN wait=9 addend=SCALAR scalar=1",
                     "scalar": f"RUN wait={29 - gap} function=CONST dst=1"},
        SCALAR - READ, "scalar register 1"),
    "scalar of the second lane group": (
        lambda gap: {"vector": f"{X}\nRUN wait=9 addend=SCALAR grouped=1",
                     "scalar": f"RUN function=CONST\nRUN wait={28 - gap} function=CONST dst=1"},
        SCALAR - READ, "scalar register 1"),
    "output shift": (
        lambda gap: {"vector": f"{X}\nRUN wait=9 out_scaled=1 out_scalar=6",
                     "scalar": f"RUN wait={29 - gap} function=CONST dst=6"},
        SCALAR - READ, "scalar register 6"),
    "combine": (
        lambda gap: {"scalar": f"RUN function=CONST\nRUN wait={gap - 1} function=COMBINE a=0 b=0 dst=1"},
        SCALAR - t("scalar_read"), "scalar register 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", HAZARDS)
def test_read_before_the_write_is_visible(name: str):
    program, gap, cell = HAZARDS[name]
    base: dict[str, Any] = {"matrix": ACC}
    run(**{**base, **program(gap)})
    error = rejected("cannot be seen before", **{**base, **program(gap - 1)})
    assert cell in str(error)
    assert len(error.words) == 2
    assert error.cycle is not None and f"cycle {error.cycle}:" in str(error)


def test_any_experts_rows_may_be_read():
    """The store lands in a row of expert 1; that the router chose expert 0 does not make it legal."""
    cfg, gap = replace(SQUARE, experts=2, choices=1), t("bank_visible") - MATRIX_READ

    def made(gap: int) -> CycleSimulator:
        matrix = f"{ACC}\nRUN wait={59 + gap - 3} row=20 choice=1 clear=1"
        vector = "RUN wait=19 reduce=ARGMAX first=1 choice=1 mask=TAIL tail=1\nRUN wait=38 store=VALUES dst=50"
        given = image(cfg, matrix=matrix, vector=vector)
        return CycleSimulator(replace(given, registers=replace(given.registers, expert_rows=30)))

    made(gap).step(3, classify=False)
    with pytest.raises(IllegalProgram, match="bank row 50 while"):
        made(gap - 1).step(3, classify=False)


def test_messages_name_cycle_queue_word_and_assembly():
    error = rejected("cycle 22", matrix=ACC, vector=f"{X}\nRUN source=MEM")
    assert str(error) == (
        "cycle 22: vector word 1 (RUN source=MEM) reads vector memory row 0 while the write of vector word 0 "
        "(RUN wait=19 s0=3 write=1), issued in cycle 20, cannot be seen before cycle 29")


def test_accumulator_in_the_middle_of_its_sum():
    last = 1 + 7  # issue of the last of eight steps
    legal = last + t("acc_visible") - ACC_READ
    run(matrix="RUN repeat=7 clear=1", vector=f"RUN wait={legal - 1} write=1")
    rejected("accumulator 0 while", matrix="RUN repeat=7 clear=1", vector=f"RUN wait={legal - 2} write=1")


def test_old_accumulator_may_be_read_until_the_new_one_appears():
    """rtl.timing's write after read. Without overlap even that is rejected."""
    made = simulator(matrix="RUN row=1 clear=1\nRUN wait=18 row=2 clear=1", vector="RUN wait=19 write=1")
    assert [one.cycle for one in made.timeline(0, classify=False).outputs] == [1, 20]
    made.step(3, classify=False)
    for wait in (16, 17):
        made = run(matrix=f"RUN row=1 clear=1\nRUN wait={wait} row=2 clear=1", vector="RUN wait=19 write=1")
        first = made.image.banks[1].astype(int) @ made.image.act.reshape(-1, 4)[0].astype(int)
        assert (made.state.memory[0] == np.clip(first, -32768, 32767)).all()
    with pytest.raises(IllegalProgram, match="accumulator 0 while"):
        CycleSimulator(made.image, overlap=()).step(3, classify=False)


def test_cache_row_of_this_position_is_still_on_its_way():
    vector = f"{X}\nRUN wait={MEMORY} source=MEM store=VALUES dst=44"
    issue = 20 + 1 + MEMORY
    least = issue + t("bank_visible") - MATRIX_READ
    for cycle, good in ((least, True), (least - 1, False)):
        matrix = f"{ACC}\nRUN wait={cycle - 3} row=45 clear=1"
        made = simulator(matrix=matrix, vector=vector)
        for _ in range(4):  # rows 44: positions 0 to 3
            made.step(3, classify=False)
        if good:
            made.step(3, classify=False)
            continue
        with pytest.raises(IllegalProgram, match="bank row 45 while"):
            made.step(3, classify=False)


def test_a_store_that_lands_when_the_position_has_moved_on():
    store = f"{X}\nRUN wait={MEMORY} source=MEM store=VALUES dst=44"
    least = t("position_read") - t("token_overhead")
    for wait in (least, least - 1):
        made = simulator(matrix=f"{ACC}\nEND", vector=f"{store}\nEND wait={wait}", scalar="END")
        if wait == least:
            made.step(3, classify=False)
            continue
        with pytest.raises(IllegalProgram, match="that moves on in cycle"):
            made.step(3, classify=False)


# Memory that nobody wrote ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("match", "programs"), [
    ("bank row 60, which was never written or loaded", {"matrix": "RUN row=60 clear=1"}),
    ("activation cell 25, which was never written or loaded", {"matrix": "RUN act=25 clear=1"}),
    ("activation cell 25, which was never", {"matrix": "RUN act=5 group_step=20 clear=1"}),
    ("vector memory row 4, which was never written", {"vector": "RUN source=MEM src=4"}),
    ("accumulator 1, which was never written", {"vector": "RUN slot=1"}),
    ("adds to accumulator 0, which nothing has started", {"matrix": "RUN repeat=3"}),
    ("parameter row 21, which was never loaded", {"matrix": ACC, "vector": f"{X} factor1=SIGNED param=21"}),
    ("parameter row 20 at position 0", {"matrix": ACC, "vector": f"{X} factor1=SIGNED param=20 rope=1"}),
    ("scalar register 3, which was never written", {"matrix": ACC, "vector": f"{X} factor2=SCALAR scalar=3"}),
    ("scalar register 4, which was never", {"matrix": ACC, "vector": f"{X} factor2=SCALAR scalar=3 grouped=1",
                                            "scalar": "RUN function=CONST dst=3"}),
    ("reduce register 2, which was never written", {"scalar": "RUN function=RSQRT reduce=2"}),
    ("adds to reduce register 0, which nothing", {"matrix": ACC, "vector": f"{X} reduce=SUM"}),
    ("adds to ARGMAX register 0, which nothing", {"matrix": ACC, "vector": f"{X} reduce=ARGMAX"}),
])  # fmt: skip
def test_never_written(match: str, programs: dict[str, Any]):
    rejected(match, **programs)


def test_rope_runs_out_of_its_table():
    programs: dict[str, Any] = {"matrix": ACC, "vector": f"{X} factor1=SIGNED param=18 rope=1"}
    run(positions=2, **programs)
    rejected("parameter row 20 at position 2", positions=3, **programs)


def test_gather_outside_of_loaded_memory():
    rejected("gathers bank row", matrix="RUN gather=1 row=40 clear=1", embed_shift=5)


def test_registers_do_not_outlive_a_token():
    """What the first token cannot do, the second must not: the program is the same."""
    rejected("scalar register 0, which was never", positions=2, scalar="RUN function=COMBINE\nRUN function=CONST")


def test_cache_of_future_positions_may_be_read():
    """Their scores are masked; whole blocks are read."""
    run(matrix=f"{ACC}\nRUN wait=60 row=47 clear=1", vector=f"{STORE} store=VALUES dst=44")


# Ports ----------------------------------------------------------------------------------------------------------------


def test_single_port_bank():
    write = 20 + t("bank_write", NARROW)
    vector = f"{STORE} store=VALUES dst=44"
    for read, good in ((write - 1, True), (write, False), (write + 1, True)):
        matrix = f"{ACC}\nRUN wait={read - MATRIX_READ - 3} row=2 clear=1"
        programs: dict[str, Any] = {"matrix": matrix, "vector": vector}
        if good:
            run(NARROW, **programs)
        else:
            error = rejected("they share a port", NARROW, **programs)
            assert error.cycle == write
        run(replace(NARROW, single_port=False), **programs)


def accesses_of(**programs: Any) -> tuple[CycleSimulator, Accesses]:
    made = simulator(**programs)
    return made, collect(SQUARE, made.timeline(0, classify=False))


@pytest.mark.parametrize(("late", "match"), [(1, "both write"), (3, "write out of order")])
def test_two_writes_on_one_port(late: int, match: str):
    """No word can cause it as rtl.timing stands, so the accesses are changed by hand: one write lands later."""
    made, accesses = accesses_of(matrix=ACC, vector=f"{X}\nRUN write=1 dst=1")
    writes = accesses.writes[Space.MEMORY]
    accesses.writes[Space.MEMORY] = replace(writes, time=writes.time + np.array([late, 0]))
    with pytest.raises(IllegalProgram, match=match):
        check_timeline(SQUARE, made.timeline(0, classify=False), accesses, made._memories(), classify=False)


# Addresses ------------------------------------------------------------------------------------------------------------

ODD = replace(SQUARE, name="odd", bank_rows=50, vector_rows=20, act_rows=22, param_rows=21, constants=11)


@pytest.mark.parametrize(("match", "programs"), [
    ("addresses bank row 50; there are 50", {"matrix": "RUN row=45 repeat=5 clear=1"}),
    ("addresses activation word 22; there are 22", {"matrix": "RUN act=22 clear=1"}),
    ("addresses vector memory row 20", {"vector": "RUN source=MEM src=20"}),
    ("addresses vector memory row 20", {"vector": "RUN write=1 dst=18 repeat=2 inc_dst=1"}),
    ("addresses activation vector 30", {"vector": "RUN store=ACT dst=30"}),
    ("addresses parameter row 21", {"vector": "RUN factor1=UNSIGNED param=21"}),
    ("addresses bank row 50", {"vector": "RUN store=VALUES dst=50"}),
    ("names constant 11; there are 11", {"scalar": "RUN function=CONST constant=11"}),
])  # fmt: skip
def test_addresses_beyond_a_memory(match: str, programs: dict[str, Any]):
    rejected(match, ODD, **programs)


def test_cache_rows_beyond_the_banks_at_a_later_position():
    programs: dict[str, Any] = {"matrix": ACC, "vector": f"{STORE} store=KEYS dst=48", "key_step": 2}
    run(ODD, positions=4, **programs)
    rejected("bank row 50 at position 4", ODD, positions=5, **programs)


# Accumulators ---------------------------------------------------------------------------------------------------------


def test_accumulator_overflow_names_the_step():
    narrow = replace(SQUARE, acc_bits=18)
    large = image(narrow, matrix="RUN repeat=9 clear=1")
    large.banks[:40] = 127
    large.act[:20] = 127
    with pytest.raises(IllegalProgram, match="overflows 18 bits of accumulator 0 in lane 0") as caught:
        CycleSimulator(large).step(3, classify=False)
    assert caught.value.cycle == 1 + (1 << 17) // (4 * 127 * 127)
    fitting = replace(large, programs=image(narrow, matrix="RUN repeat=1 clear=1").programs)
    CycleSimulator(fitting).step(3, classify=False)


# Words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("match", "programs"), [
    ("repeat must be 0", {"scalar": "RUN function=CONST repeat=1"}),
    ("repeat must be 0", {"scalar": "RUN function=CONST repeat_value=1"}),
    ("rotate come in pairs", {"vector": "RUN source=MEM rotate=1 repeat=2 factor1=SIGNED"}),
    ("masks 5 passes by their number; square counts 4", {"vector": "RUN repeat=4 mask=POSITION"}),
    ("factor1 must be SIGNED", {"vector": "RUN source=MEM rotate=1 repeat=1"}),
    ("factor1 must be SIGNED", {"vector": "RUN source=MEM rotate=1 repeat=1 factor1=UNSIGNED"}),
    ("source must be MEM", {"vector": "RUN rotate=1 repeat=1"}),
    ("addend must be ZERO", {"vector": "RUN source=MEM rotate=1 repeat=1 addend=MEM"}),
    ("factor2 cannot be MEM", {"vector": "RUN source=MEM rotate=1 repeat=1 factor2=MEM"}),
    ("first must be 0", {"vector": "RUN source=MEM rotate=1 repeat=1 reduce=MAX first=1"}),
    ("NOP has no use for repeat", {"matrix": "NOP repeat=1"}),
    ("LOOP_INNER has no use for pace", {"vector": "LOOP_INNER pace=1\nRUN end_inner=1"}),
    ("LOOP_OUTER has no use for src", {"vector": "LOOP_OUTER src=1\nRUN end_outer=1"}),
    ("LOOP_INNER has no use for end_inner", {"vector": "LOOP_INNER end_inner=1"}),
    ("END has no use for slot", {"matrix": "END slot=1"}),
    ("program has 300 words", {"matrix": "NOP\n" * 299}),
    ("opens an outer loop inside", {"scalar": "LOOP_INNER\nLOOP_OUTER\nNOP end_outer=1\nNOP end_inner=1"}),
    ("opens an outer loop inside", {"scalar": "LOOP_OUTER\nLOOP_OUTER\nNOP end_outer=1"}),
    ("opens an inner loop inside", {"scalar": "LOOP_INNER\nLOOP_INNER\nNOP end_inner=1"}),
    ("inner loop that is not open", {"scalar": "NOP end_inner=1"}),
    ("outer loop that is not open", {"scalar": "NOP end_outer=1"}),
    ("ends the outer loop inside the inner", {"scalar": "LOOP_OUTER\nLOOP_INNER\nNOP end_outer=1\nNOP end_inner=1"}),
    ("ends the queue inside the loop", {"scalar": "LOOP_INNER\nNOP"}),
    ("ends the queue inside the loop", {"scalar": "LOOP_OUTER\nEND_PROMPT\nNOP end_outer=1"}),
    ("still running", {
        "scalar": "LOOP_OUTER repeat=1023\nLOOP_INNER repeat=1023\nNOP wait=1023 end_inner=1 end_outer=1"}),
    ("and those are ready from cycle", {"scalar": "NOP wait_value=1"}),
    ("and those are ready from cycle", {"matrix": f"NOP wait={t('values_ready') - 3}\nRUN outer_value=1 clear=1"}),
])  # fmt: skip
def test_words_and_control(match: str, programs: dict[str, Any]):
    rejected(match, **programs)


def test_words_are_decoded_before_anything_runs():
    broken = image()
    for queue, bits in ((MATRIX, 7), (VECTOR, 1 << word_bits(SQUARE, VECTOR))):
        bad = replace(broken, programs={**broken.programs, queue.name: [bits]})
        with pytest.raises(IllegalProgram, match=f"{queue.name} word 0 is no instruction"):
            CycleSimulator(bad)


def test_key_chunk_out_of_range():
    """Three chunks need two bits, which hold four; sizes are powers of two, so only one chunk leaves a bit over."""
    rejected("chunk must be below 1", vector="RUN store=KEYS chunk=1")
    simulator(WIDE, vector="RUN store=KEYS chunk=3")


def test_program_without_end():
    made = image()
    with pytest.raises(IllegalProgram, match="runs off its end after 1 words"):
        CycleSimulator(replace(made, programs={**made.programs, "scalar": [0]})).step(3, classify=False)
    with pytest.raises(IllegalProgram, match="runs off its end after 0 words"):
        CycleSimulator(replace(made, programs={**made.programs, "vector": []})).step(3, classify=False)


# The end of a token ---------------------------------------------------------------------------------------------------


def ends(wait: int) -> str:
    return f"END wait={wait}"


@pytest.mark.parametrize(("space", "vector", "read"), [
    ("vector memory", X, 1 + READ), ("activation", f"{X} store=ACT dst=4", 1 + MATRIX_READ),
    ("reduce", "RUN wait=19 reduce=SUM first=1", 1 + 1)])
def test_nothing_outlives_the_token_so_far_that_the_next_sees_it_half(space: str, vector: str, read: int):
    times = timing(SQUARE)
    visible = {"vector memory": MEMORY, "activation": ACT, "reduce": REDUCE}[space]
    # The vector queue ends `wait` cycles after cycle 21; the token that many more as the overhead says.
    least = 20 + visible - read - times.token_overhead - 21
    quick: dict[str, Any] = {"matrix": f"{ACC}\nEND", "scalar": "END"}
    run(vector=f"{vector}\n{ends(least)}", **quick)
    rejected("lands after the token's end", vector=f"{vector}\n{ends(least - 1)}", **quick)


def test_argmax_is_done_when_the_token_ends():
    times = timing(SQUARE)
    least = times.token_visible - times.token_read - 1
    quick: dict[str, Any] = {"matrix": f"{ACC}\nEND", "scalar": "END"}
    word = "RUN wait=19 reduce=ARGMAX first=1"
    simulator(vector=f"{word}\n{ends(least)}", **quick).step(3, classify=True)
    rejected("lands after the token's end", classify=True, vector=f"{word}\n{ends(least - 1)}", **quick)


def test_a_classified_token_needs_argmax():
    rejected("ends without ARGMAX", classify=True)


# Images ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("match", "change"), [
    ("banks is", {"banks": np.zeros((64, 4, 5), np.int8)}), ("banks is", {"banks": np.zeros((65, 4, 4), np.int8)}),
    ("act is", {"act": np.zeros((33, 4), np.int8)}), ("params is", {"params": np.zeros((33, 4), np.uint8)}),
    ("constants", {"constants": np.zeros(65, np.uint8)}),
    ("value 0 is not zero", {"values": np.ones((4, 4), np.uint16)}),
    ("exceeds 4 bits", {"values": np.full((4, 4), 16, np.uint16) * np.array([0, 1, 1, 1], np.uint16)}),
    ("17 positions", {"context": 17}),
])  # fmt: skip
def test_images_of_another_machine(match: str, change: dict[str, Any]):
    with pytest.raises(IllegalProgram, match=match):
        CycleSimulator(replace(image(), **change))


def test_positions_and_tokens_out_of_range():
    made = simulator()
    with pytest.raises(ValueError, match="token 64"):
        made.step(64)
    for _ in range(16):
        made.step(1, classify=False)
    with pytest.raises(ValueError, match="position 16"):
        made.step(1, classify=False)


def test_empty_programs_are_legal():
    assert run().step(3, classify=False).cycles == 1 + DRAIN + t("token_overhead")
