"""When words are current: waits, rounds, loops, dynamic values, and what a token takes."""

from __future__ import annotations

import pytest

from sim.cycle import CycleSimulator
from tests.sim.programs import SQUARE, simulator, t

READY = t("values_ready")
CONST = "RUN function=CONST"
WINNER = f"RUN wait=10 source=ACC write=1\nRUN wait={t('memory_visible')} source=MEM reduce=ARGMAX first=1"
"""With an accumulator, a vector program that every token with classifier needs."""


def scalar_cycles(made: CycleSimulator, position: int = 0, *, classify: bool = False) -> list[int]:
    return [one.cycle for one in made.timeline(position, classify=classify).operations]


@pytest.mark.parametrize(("program", "cycles", "end"), [
    (f"{CONST}\n{CONST}\nEND wait=9", [1, 2], 12),
    (f"{CONST} wait=3\n{CONST} wait=1\nEND wait=9", [4, 6], 16),
    (f"NOP\n{CONST}\nEND wait=9", [2], 12),
    (f"NOP wait=5\n{CONST}\nEND wait=9", [7], 17),
    (f"LOOP_INNER repeat=2\n{CONST} end_inner=1\nEND wait=9", [2, 3, 4], 14),
    (f"LOOP_INNER wait=2\n{CONST} end_inner=1\n{CONST}\nEND wait=9", [4, 5], 15),
    (f"LOOP_INNER repeat=1\n{CONST} wait=1\n{CONST} wait=2 end_inner=1\nEND wait=9", [3, 6, 8, 11], 21),
    (f"LOOP_INNER repeat=1\n{CONST}\nNOP wait=1 end_inner=1\nEND wait=9", [2, 5], 17),
    (f"LOOP_OUTER repeat=1\n{CONST}\nLOOP_INNER repeat=1\n{CONST} end_inner=1\n{CONST} end_outer=1\nEND wait=9",
     [2, 4, 5, 6, 7, 9, 10, 11], 21),
    (f"LOOP_OUTER repeat=1\nLOOP_INNER repeat=1\n{CONST} end_inner=1 end_outer=1\nEND wait=9", [3, 4, 6, 7], 17),
    (f"LOOP_OUTER repeat=1\n{CONST} end_outer=1\nLOOP_INNER repeat=1\n{CONST} end_inner=1\nEND wait=9",
     [2, 3, 5, 6], 16),
])  # fmt: skip
def test_scalar_words(program: str, cycles: list[int], end: int):
    made = simulator(scalar=program)
    assert scalar_cycles(made) == cycles
    assert made.timeline(0, classify=False).ends["scalar"] == end
    # The other queues end in cycle 1 + DRAIN.
    assert made.step(3, classify=False).cycles == max(end, 25) + t("token_overhead")


def test_dynamic_values_by_bucket():
    """Value 1 is 5 in the first bucket and 6 in the second."""
    made = simulator(scalar=f"NOP wait={READY}\n{CONST} wait=2 wait_value=1\n"
                            f"LOOP_INNER repeat_value=1\n{CONST} end_inner=1", values={1: 5})
    first = READY + 2
    assert scalar_cycles(made, 0) == [first + 7, *range(first + 9, first + 15)]
    assert scalar_cycles(made, 3) == scalar_cycles(made, 0)
    assert scalar_cycles(made, 4) == [first + 8, *range(first + 10, first + 17)]


def test_end_prompt_is_for_tokens_without_classifier():
    made = simulator(scalar=f"{CONST}\nEND_PROMPT wait=30\n{CONST}\nEND wait=40", matrix="RUN clear=1", vector=WINNER)
    assert made.timeline(0, classify=False).ends["scalar"] == 32
    assert made.timeline(0, classify=True).ends["scalar"] == 74
    assert scalar_cycles(made, classify=True) == [1, 33]


def test_vector_passes_keep_their_pace():
    vector = ("RUN wait=10 source=ACC write=1 dst=0 inc_dst=1 repeat=3 pace=4\n"
              "RUN source=ACC write=1 dst=9")
    made = simulator(matrix="RUN clear=1", vector=vector)
    assert [one.cycle for one in made.timeline(0, classify=False).passes] == [11, 16, 21, 26, 27]


def test_matrix_steps_follow_each_cycle():
    word = "RUN wait=2 repeat=2 outer=1 row=1 row_step=5 act=2 act_step=1 group_step=3 clear=1 slot=3"
    made = simulator(matrix=f"{word}\nRUN clear=1")
    outputs = made.timeline(0, classify=False).outputs
    assert [(one.cycle, one.slot) for one in outputs] == [(3, 3), (6, 0), (9, 0)]
    assert [one.rows.tolist() for one in outputs] == [[1, 2, 3], [6, 7, 8], [0]]
    assert outputs[1].acts.tolist() == [[3, 6], [4, 7], [5, 8]]


def test_matrix_counts_add_dynamic_values():
    matrix = f"NOP wait={READY}\nRUN repeat=1 repeat_value=1 outer_value=2 row_step=4 clear=1"
    made = simulator(matrix=matrix, values={1: 1, 2: 2})
    outputs = made.timeline(0, classify=False).outputs
    assert [len(one.rows) for one in outputs] == [3, 3, 3]


def test_steps_backwards_are_modulo_the_address_width():
    made = simulator(matrix="RUN outer=2 row=20 row_step=60 act=9 act_step=31 clear=1")
    assert [one.rows.tolist() for one in made.timeline(0, classify=False).outputs] == [[20], [16], [12]]
    assert [one.acts[0, 0] for one in made.timeline(0, classify=False).outputs] == [9, 8, 7]


def test_loops_move_strided_addresses():
    made = simulator(matrix="LOOP_OUTER repeat=1 row=10\nLOOP_INNER repeat=1 row=2 act=3 slot=1\n"
                            "RUN row=1 act=1 clear=1 end_inner=1\nRUN row=5 clear=1 end_outer=1\nRUN row=7 clear=1")
    outputs = made.timeline(0, classify=False).outputs
    assert [int(one.rows[0]) for one in outputs] == [1, 3, 5, 11, 13, 15, 7]
    assert [int(one.acts[0, 0]) for one in outputs] == [1, 4, 0, 1, 4, 0, 0]
    assert [one.slot for one in outputs] == [0, 1, 0, 0, 1, 0, 0]


def test_outer_loop_moves_parameters_bank_rows_and_constants_only():
    vector = ("LOOP_OUTER repeat=1 param=5 dst=10\n"
              "RUN wait=10 source=ACC factor1=UNSIGNED param=2 write=1 dst=3\n"
              "RUN source=ACC factor1=UNSIGNED param=2 rope=1 store=KEYS dst=42 end_outer=1")
    scalar = "LOOP_OUTER repeat=1 constant=7\nRUN function=CONST constant=1 end_outer=1"
    made = simulator(matrix="RUN clear=1", vector=vector, scalar=scalar)
    line = made.timeline(0, classify=False)
    assert [(one.param, one.dst, one.bank) for one in line.passes] == [(2, 3, 3), (2, 42, 42), (7, 3, 13), (2, 52, 52)]
    assert [one.constant for one in line.operations] == [1, 8]


def test_rotate_counts_pairs():
    made = simulator(
        matrix="RUN clear=1",
        vector=f"RUN wait=10 source=ACC write=1 repeat=1 inc_dst=1\nNOP wait={t('memory_visible')}\n"
               "RUN source=MEM rotate=1 repeat=3 pace=1 inc_param=1 inc_src=1 inc_dst=1 factor1=SIGNED write=1 dst=20")
    passes = made.timeline(0, classify=False).passes[2:]
    assert [(one.src, one.param, one.dst, one.held, one.swapped, one.index) for one in passes] == [
        (0, 0, 20, True, False, 0), (0, 0, 20, False, True, 0), (1, 1, 21, True, False, 1), (1, 1, 21, False, True, 1)]


def test_timelines_depend_on_bucket_and_mode_alone():
    made = simulator(scalar=CONST)
    assert made.timeline(1, classify=False) is made.timeline(0, classify=False)
    assert made.timeline(SQUARE.bucket_positions, classify=False) is not made.timeline(0, classify=False)
