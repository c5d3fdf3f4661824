"""Faults of the vector unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Cat, Const, Mux

import rtl.reduce
import rtl.serial_reduce
import rtl.serial_vector
import rtl.vector
from rtl.arithmetic import node
from verification.seeded.common import PRESET, Bug, Patch, choose, replace_port


def rounding_truncates(patch: Patch) -> None:
    rounds = rtl.vector.round_saturate
    patch.setattr(rtl.vector, "round_saturate", lambda m, doubled, bits: rounds(
        m, node(m, Cat(0, doubled[1:]).as_signed(), "truncated"), bits))


def saturation_wraps(patch: Patch) -> None:
    patch.setattr(rtl.vector, "saturate", lambda m, x, bits: node(m, x[:bits].as_signed(), f"clamped{bits}"))


def shifts_end_early(patch: Patch) -> None:
    patch.setattr(rtl.vector, "SHIFT_MOST", 31)


def a_tie_goes_to_the_higher_lane(patch: Patch) -> None:
    def combine(m: Any, adds: Any, a: Any, b: Any, bits: int = 32) -> Any:
        wins = node(m, b[:bits].as_signed() >= a[:bits].as_signed(), "wins")
        return node(m, Mux(adds, a + b, Mux(wins, b, a))[:32].as_signed(), "combined"), wins

    patch.setattr(rtl.reduce, "combine", combine)


def a_table_entry_is_wrong(patch: Patch) -> None:
    right = rtl.vector.silu_parts
    patch.setattr(rtl.vector, "silu_parts", lambda m, lane, x: right(
        m, lane, node(m, Mux(x == -77, -8, x)[:8].as_signed(), "changed")))


def masks_follow_the_first_sequence(patch: Patch) -> None:
    choose(patch, "compare", lambda self, values, sequence: values[0])


def keys_are_stored_in_the_first_sequences_row(patch: Patch) -> None:
    choose(patch, "output", lambda self, values, sequence: values[0 if values is self.key_offset else sequence])


def the_mask_of_the_chosen_hides_nothing(patch: Patch) -> None:
    _alter_pass(patch, lambda made: made | {"one_masked": Const(0)})


def the_lane_after_the_chosen_is_masked(patch: Patch) -> None:
    _alter_pass(patch, lambda made: made | {"masked_lane": made["masked_lane"] + 1})


def the_window_ends_with_a_row(patch: Patch) -> None:
    _alter_pass(patch, lambda made: made | {"first_seen": Const(0)})


def the_window_is_the_first_sequences(patch: Patch) -> None:
    right = rtl.vector.of_sequence
    choose(patch, "compare", lambda self, values, sequence: (
        values[0] if values is self.oldest else right(values, sequence)))


def nothing_is_below_a_threshold(patch: Patch) -> None:
    _alter_state(patch, below=lambda state: Const(0))


def _alter_state(patch: Patch, **changes: Callable[[Any], Any]) -> None:
    """What comes out of `Vector.shift`, changed."""
    shift = rtl.vector.Vector.shift

    def wrong(self: Any, m: Any, state: Any) -> Any:
        state = shift(self, m, state)
        vars(state).update({name: change(state) for name, change in changes.items()})
        return state

    patch.setattr(rtl.vector.Vector, "shift", wrong)


def _alter_pass(patch: Patch, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """What `Vector.compare` finds, changed."""
    compare = rtl.vector.Vector.compare
    patch.setattr(rtl.vector.Vector, "compare", lambda self, m, asked: change(compare(self, m, asked)))


def the_choice_of_an_expert_becomes_the_token(patch: Patch) -> None:
    replace_port(patch, rtl.reduce.Reduce, "choice", lambda self: Const(0, 2))


def sequences_share_a_winner(patch: Patch) -> None:
    replace_port(patch, rtl.reduce.Reduce, "sequence", lambda self: Const(0, 1))


def sizes_keep_their_sign(patch: Patch) -> None:
    replace_port(patch, rtl.serial_reduce.SerialReduce, "negative", lambda self: Const(0))


def what_is_held_moves_on(patch: Patch) -> None:
    add = rtl.serial_vector.add

    def wrong(m: Any, unit: Any, fields: Any, *others: Any) -> Any:
        right = fields.at
        fields.at = lambda cycle, name: Const(0) if name == "first_turn" else right(cycle, name)
        made = add(m, unit, fields, *others)
        fields.at = right
        return made

    patch.setattr(rtl.serial_vector, "add", wrong)


def parameters_are_asked_for_late(patch: Patch) -> None:
    address = rtl.vector.Vector.address
    patch.setattr(rtl.vector.Vector, "address", lambda self, m, reads, asked: address(self, m, asked, asked))


BUGS: tuple[Bug, ...] = (
    ("vector", PRESET, rounding_truncates),
    ("vector", PRESET, saturation_wraps),
    ("vector", PRESET, shifts_end_early),
    ("vector", PRESET, a_tie_goes_to_the_higher_lane),
    ("vector", PRESET, a_table_entry_is_wrong),
    ("vector", PRESET, masks_follow_the_first_sequence),
    ("vector", PRESET, keys_are_stored_in_the_first_sequences_row),
    ("vector", PRESET, sequences_share_a_winner),
    ("vector", PRESET, the_mask_of_the_chosen_hides_nothing),
    ("vector", PRESET, the_lane_after_the_chosen_is_masked),
    ("vector", PRESET, the_choice_of_an_expert_becomes_the_token),
    ("vector", PRESET, the_window_ends_with_a_row),
    ("vector", PRESET, the_window_is_the_first_sequences),
    ("vector", PRESET, nothing_is_below_a_threshold),
    ("vector", "ulx3s", parameters_are_asked_for_late),
    ("vector", "icebreaker", sizes_keep_their_sign),
    ("vector", "icebreaker", what_is_held_moves_on))
"""Bench, preset, fault."""
