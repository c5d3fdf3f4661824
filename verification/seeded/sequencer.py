"""Faults of the sequencers and the control unit behind them."""

from __future__ import annotations

from typing import Any

import rtl.issue_matrix
import rtl.issue_vector
import rtl.sequencer
import rtl.small_sequencer
from verification.seeded.common import PRESET, Bug, Patch, replace_port


def a_wait_is_cut_off(patch: Patch) -> None:
    patch.setattr(rtl.sequencer, "total_bits", lambda cfg, queue, name: 4)


def the_outer_loop_forgets_a_field(patch: Patch) -> None:
    _forget(patch, rtl.sequencer._Loop)


def the_small_outer_loop_forgets_a_field(patch: Patch) -> None:
    _forget(patch, rtl.small_sequencer._Loop)


def _forget(patch: Patch, loop: Any) -> None:
    right = loop.open

    def wrong(self: Any, m: Any, *word: Any) -> None:
        right(self, m, *word)
        for name in list(self.stride.shape().members)[:1]:
            m.d.sync += self.stride[name].eq(0)

    patch.setattr(loop, "open", wrong)


def a_dynamic_value_is_the_next_one(patch: Patch) -> None:
    right = rtl.small_sequencer.dynamic_value
    patch.setattr(rtl.small_sequencer, "dynamic_value", lambda unit, index: right(unit, index ^ 1))


def rope_is_the_first_sequences(patch: Patch) -> None:
    patch.setattr(rtl.issue_vector, "of_sequence", lambda values, sequence: values[0])


def the_second_expert_is_the_first(patch: Patch) -> None:
    replace_port(patch, rtl.issue_matrix.MatrixIssue, "offset", lambda self: [
        self.offset[at - at % self.cfg.choices] for at in range(len(self.offset))])


def the_first_sequences_token_is_gathered(patch: Patch) -> None:
    patch.setattr(rtl.issue_matrix, "of_sequence", lambda values, sequence: values[0])


BUGS: tuple[Bug, ...] = (
    ("sequencer", PRESET, the_second_expert_is_the_first),
    ("sequencer", PRESET, a_wait_is_cut_off),
    ("sequencer", PRESET, the_outer_loop_forgets_a_field),
    ("sequencer", PRESET, rope_is_the_first_sequences),
    ("sequencer", PRESET, the_first_sequences_token_is_gathered),
    ("sequencer", "icebreaker", the_small_outer_loop_forgets_a_field),
    ("sequencer", "icebreaker", a_dynamic_value_is_the_next_one))
"""Bench, preset, fault."""
