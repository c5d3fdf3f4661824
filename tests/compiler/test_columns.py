"""Dynamic values: every wait covers its gap, within the slack where a value is left or one fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.columns import MOST_VALUES, Columns, Wait
from compiler.ir import CompileError, Ints

BUCKETS = 4


def column(*values: int) -> Ints:
    return np.array(values, np.int64)


def length(columns: Columns, wait: Wait) -> Ints:
    """The idle cycles of a wait: the immediate, which counts the NOPs of further values, and all its values."""
    assert wait.cycles >= len(wait.more)
    values = [columns.columns[number] for number in (wait.value, *wait.more)]
    return wait.cycles + np.sum(values, axis=0)


gaps = st.lists(st.integers(0, 60), min_size=BUCKETS, max_size=BUCKETS).map(lambda values: column(*values))


@given(st.lists(gaps, max_size=3), st.lists(st.tuples(gaps, gaps), min_size=1, max_size=8), st.integers(2, 8),
       st.integers(0, 3))
def test_a_wait_is_never_shorter_than_its_gap(given_columns: list[Ints], asked: list[tuple[Ints, Ints]], limit: int,
                                              reserve: int):
    columns = Columns(BUCKETS, None, 12, given_columns)
    columns.limit = len(columns.columns) + limit
    for gap, slack in asked:
        room = columns.room
        wait, said = columns.cover(gap, slack, reserve)
        assert np.array_equal(said, length(columns, wait))
        assert (said >= gap).all()
        assert len(wait.more) < MOST_VALUES
        if room > reserve:  # with a value to spare nothing is late
            assert (said <= gap + slack).all()
        assert columns.room >= min(room, reserve)
        assert not columns.columns[0].any()


@pytest.mark.parametrize(("gap", "slack", "expected", "made"), [
    ((5, 5, 5, 5), (0, 0, 0, 0), Wait(5), 0),
    ((0, 0, 0, 0), (0, 0, 0, 0), Wait(0), 0),
    ((1, 2, 3, 4), (0, 0, 0, 0), Wait(1, 1), 0),  # the column that is there
    ((1, 3, 5, 7), (0, 0, 0, 0), Wait(1, 1, (1,)), 0),  # the same twice; the NOP's cycle is the immediate
    ((0, 2, 4, 6), (0, 0, 0, 0), Wait(0, 2), 1),  # no cycle for a NOP: a new column
    ((1, 1, 1, 9), (8, 8, 8, 0), Wait(6, 1), 0),  # within the slack, and the shortest such
    ((3, 1, 1, 2), (0, 0, 0, 0), Wait(1, 2), 1),
])
def test_the_wait_chosen(gap: tuple[int, ...], slack: tuple[int, ...], expected: Wait, made: int):
    columns = Columns(BUCKETS, 8, 12, [column(0, 1, 2, 3)])
    wait, _ = columns.cover(column(*gap), column(*slack), 0)
    assert wait == expected
    assert len(columns.columns) == 2 + made


def test_without_a_value_left_the_wait_is_late_as_little_as_can_be():
    columns = Columns(BUCKETS, 2, 12, [column(0, 1, 2, 3)])
    wait, said = columns.cover(column(0, 0, 0, 5), column(0, 0, 0, 0), 0)
    assert wait == Wait(2, 1)
    assert said.tolist() == [2, 3, 4, 5]


def test_a_column_is_made_once():
    columns = Columns(BUCKETS, 3, 12, [])
    assert columns.add(column(1, 2, 3, 4)) == columns.add(column(1, 2, 3, 4)) == 1
    assert columns.find(column(0, 0, 0, 0)) == 0
    assert columns.find(column(0, 0, 0, 1)) is None


@pytest.mark.parametrize("values", [(0, 0, 0, 16), (0, 0, 0, -1)])
def test_a_column_must_fit_its_bits(values: tuple[int, ...]):
    with pytest.raises(CompileError, match="no room"):
        Columns(BUCKETS, 4, 4, []).add(column(*values))


def test_no_more_columns_than_there_are():
    columns = Columns(BUCKETS, 2, 12, [column(0, 1, 2, 3)])
    with pytest.raises(CompileError, match="no room"):
        columns.add(column(1, 1, 1, 2))


@given(
    columns=st.lists(st.lists(st.integers(0, 40), min_size=4, max_size=4), max_size=5),
    gap=st.lists(st.integers(-5, 60), min_size=4, max_size=4),
    apart=st.lists(st.integers(-30, 30), min_size=4, max_size=4))
def test_a_length_that_two_waits_can_say(columns: list[list[int]], gap: list[int], apart: list[int]):
    """What a matmul and its partner wait: exactly sayable for both, and nowhere too short."""
    made = Columns(4, 16, 12, [np.array(column) for column in columns])
    length = made.cover_both(np.array(gap), np.array(apart))
    assert (length >= gap).all()
    nothing = np.zeros(4, np.int64)
    for exact in (length, length + apart):
        assert np.array_equal(made.cover(exact, nothing, 0)[1], exact)


def test_two_waits_without_room():
    made = Columns(2, 1, 12, [])
    with pytest.raises(CompileError, match="no room"):
        made.cover_both(np.array([0, 3]), np.array([5, 0]))


def test_what_must_be_exact_may_add_up_more_values_where_there_are_few():
    """The smallest machine's columns, and waits of a pair that three of them cannot say."""
    columns = Columns(2, 4, 12, [column(0, 1), column(0, 2), column(0, 4)])
    gap, apart = column(5, 5), column(0, 15)
    with pytest.raises(CompileError):
        columns.cover_both(gap, apart)
    said = columns.cover_both(gap, apart, most=columns.most_exact)
    assert (said >= gap).all()
    for wanted in (said, said + apart):
        wait, found = columns.cover(wanted, column(0, 0), 0, most=columns.most_exact)
        assert np.array_equal(found, wanted)
        assert np.array_equal(length(columns, wait), wanted)
    many = Columns(2, 32, 12, [column(0, number) for number in range(1, 32)])
    assert many.most_exact == MOST_VALUES  # the sums of more would be too many to look through
