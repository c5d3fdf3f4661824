"""Dependences and order, on operations made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.dependence import Edges, dependences
from compiler.ir import Accesses, CompileError, Ints, Operation, Section, Space, Touch
from compiler.order import order
from rtl.encoding import Insn
from rtl.isa import MATRIX, SCALAR, VECTOR, Queue

NOTHING: Ints = np.zeros(0, np.int64)
OTHERS = [space for space in Space if space not in (Space.ACT, Space.BANK)]


def touch(space: Space, *cells: tuple[int, int]) -> Touch:
    """Cells with their cycles."""
    numbers, cycles = zip(*cells, strict=True)
    return Touch(space, np.array(numbers, np.int64), np.array(cycles, np.int64))


def operation(reads: tuple[Touch, ...] = (), writes: tuple[Touch, ...] = (), *, queue: Queue = VECTOR,
              duration: int = 1, partner: Operation | None = None, lag: int = 0) -> Operation:
    accesses = Accesses(reads, writes, duration, 0, NOTHING)
    return Operation(name="made by hand", section=Section.BODY, insn=Insn(queue), reach=lambda insn, bucket: accesses,
                     partner=partner, lag=lag)


@pytest.mark.parametrize("space", Space)
@pytest.mark.parametrize(("first", "second", "separation"), [
    (("write", 9), ("read", 2), 7),  # the read sees it from cycle 9 on
    (("write", 2), ("read", 9), -7),  # negative: it may even be issued before
    (("read", 5), ("write", 3), 4),  # issued no earlier than the reader, in cycle 4
    (("read", 5), ("write", 1), 5),  # visible after the read: 5 + 1 > 5
    (("write", 9), ("write", 4), 6),  # the later one lasts
])
def test_separation(space: Space, first: tuple[str, int], second: tuple[str, int], separation: int):
    def made(kind: str, cycle: int) -> Operation:
        one = touch(space, (3, cycle))
        return operation((one,)) if kind == "read" else operation((), (one,))

    if space is Space.ACC and (first, second) == (("read", 5), ("write", 3)):
        separation = 3  # visible after the read is enough: 3 + 3 > 5
    assert dependences([made(*first), made(*second)], 0) == {(0, 1): separation}


@pytest.mark.parametrize("space", Space)
def test_what_two_read_or_what_lies_apart_does_not_matter(space: Space):
    reader = operation((touch(space, (3, 2)),))
    assert dependences([reader, operation((touch(space, (3, 5)),))], 0) == {}
    assert dependences([operation((), (touch(space, (4, 9)),)), reader], 0) == {}


@pytest.mark.parametrize("space", Space)
def test_the_tightest_cell_decides(space: Space):
    writer = operation((), (touch(space, (0, 5), (1, 6), (2, 7)),))
    reader = operation((touch(space, (0, 1), (1, 5), (2, 3)),))
    assert dependences([writer, reader], 0) == {(0, 1): 4}


@pytest.mark.parametrize("space", Space)
def test_a_write_between_hides_the_one_before(space: Space):
    write, read = operation((), (touch(space, (3, 9)),)), operation((touch(space, (3, 2)),))
    assert dependences([write, write, read], 0) == {(0, 1): 1, (1, 2): 7}


@pytest.mark.parametrize("space", OTHERS)
def test_a_write_waits_for_all_readers(space: Space):
    early, late = operation((touch(space, (3, 2)),)), operation((touch(space, (3, 8)),))
    write = operation((), (touch(space, (3, 5)),))
    expected = {(0, 2): 4, (1, 2): -2} if space is Space.ACC else {(0, 2): 7, (1, 2): 1}
    assert dependences([late, early, write], 0) == expected


@pytest.mark.parametrize("space", [Space.ACT, Space.BANK])
def test_readers_of_one_queue_stand_in_line(space: Space):
    """Only the matrix queue reads these, in order, so the last reader stands for all."""
    read, write = operation((touch(space, (3, 2)),), queue=MATRIX), operation((), (touch(space, (3, 5)),))
    assert dependences([read, read, write], 0) == {(1, 2): 1}


def test_an_accumulator_is_used_again_when_it_was_read():
    first = operation((), (touch(Space.ACC, (0, 5), (0, 8)),), queue=MATRIX)
    reader = operation((touch(Space.ACC, (0, 2)),))
    second = operation((), (touch(Space.ACC, (0, 5), (0, 8)),), queue=MATRIX)
    assert dependences([first, reader, second], 0) == {(0, 1): 6, (0, 2): 4, (1, 2): -2}


def test_a_partner_is_paced_and_not_held_by_its_accumulators():
    made = operation((), (touch(Space.ACC, (0, 5), (1, 6)),), queue=MATRIX)
    follower = operation((touch(Space.ACC, (0, 2), (1, 3)),), (touch(Space.VECTOR, (0, 4)),), partner=made, lag=3)
    assert (0, 1) not in dependences([made, follower], 0)


def test_an_operation_may_touch_what_it_wrote_itself():
    one = operation((touch(Space.VECTOR, (3, 1)),), (touch(Space.VECTOR, (3, 9)),))
    assert dependences([one], 0) == {}


# ------------------------------------------------------------------------------------------------------- order


def ordered(operations: list[Operation], edges: Edges, *, patient: bool = False) -> list[int]:
    return order(operations, edges, 0, patient=patient)


def test_what_can_start_first_comes_first():
    matmul = operation((), (), queue=MATRIX, duration=5)
    waits, ready = operation(), operation()
    assert ordered([matmul, waits, ready], {(0, 1): 9}) == [0, 2, 1]


def test_ties_go_to_the_longer_path():
    short, long, end = operation(), operation(), operation()
    assert ordered([short, long, end], {(1, 2): 20}) == [1, 0, 2]


def test_only_the_patient_leave_a_gap_for_something_urgent():
    matmul, long, urgent, end = operation(queue=MATRIX), operation(duration=8), operation(), operation(queue=SCALAR)
    edges = {(0, 2): 3, (2, 3): 30}  # the urgent one could start in cycle 3, while the long one runs
    assert ordered([matmul, long, urgent, end], edges) == [0, 1, 2, 3]
    assert ordered([matmul, long, urgent, end], edges, patient=True) == [0, 2, 1, 3]


def test_matmuls_keep_their_order():
    first, second = operation(queue=MATRIX), operation(queue=MATRIX)
    held = operation()
    assert [n for n in ordered([held, first, second], {(0, 1): 50}) if n] == [1, 2]


def test_a_partner_follows_its_matmul():
    made = operation(queue=MATRIX, duration=4)
    follower = operation(partner=made, lag=2, duration=4)
    other = operation(duration=3)
    assert ordered([made, follower, other], {}) in ([0, 1, 2], [2, 0, 1])


def test_circular_dependences_are_a_defect():
    with pytest.raises(CompileError, match="circular"):
        ordered([operation(), operation()], {(0, 1): 1, (1, 0): 1})
