"""Faults of the noise."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Cat, Const

import rtl.issue_noise
import rtl.noise
from rtl.timing import timing
from verification.seeded.common import PRESET, Bug, Patch, replace_port


def a_restart_keeps_the_state(patch: Patch) -> None:
    replace_port(patch, rtl.noise.Noise, "restart", lambda self: Const(0, self.cfg.sequences))


def tokens_begin_where_the_one_before_began(patch: Patch) -> None:
    right = rtl.noise.following
    patch.setattr(rtl.noise, "following", lambda m, state, name, *shifts: state if shifts else right(m, state, name))


def every_seed_is_the_first_sequences(patch: Patch) -> None:
    patch.setattr(rtl.noise, "SEED_WORDS", 0)


def the_temperature_is_ignored(patch: Patch) -> None:
    right = rtl.noise.partial_products
    patch.setattr(rtl.noise, "partial_products", lambda a, b: right(a, Cat(Const(128, len(b)))))


def more_zeros_add_nothing(patch: Patch) -> None:
    patch.setattr(rtl.noise, "far_entry", lambda more: 0)


def a_row_is_not_made_anew(patch: Patch) -> None:
    right = rtl.issue_noise.Mux
    patch.setattr(rtl.issue_noise, "Mux", lambda when, a, b: b if isinstance(a, int) else right(when, a, b))


def a_row_comes_a_cycle_late(patch: Patch) -> None:
    patch.setattr(rtl.issue_noise, "timing", lambda cfg: replace(timing(cfg), noise_read=timing(cfg).noise_read + 1))


def passes_of_any_sequence_take_rows(patch: Patch) -> None:
    replace_port(patch, rtl.issue_noise.NoiseIssue, "issue", lambda self: SimpleNamespace(
        valid=self.issue.valid, addend=self.issue.addend, sequence=_Any()))


class _Any:
    """Equal to everything."""

    def __eq__(self, other: object) -> Any:
        return Const(1)

    __hash__ = None  # type: ignore[assignment]


BUGS: tuple[Bug, ...] = (
    ("noise", PRESET, a_restart_keeps_the_state),
    ("noise", PRESET, tokens_begin_where_the_one_before_began),
    ("noise", PRESET, every_seed_is_the_first_sequences),
    ("noise", PRESET, the_temperature_is_ignored),
    ("noise", PRESET, more_zeros_add_nothing),
    ("noise", PRESET, a_row_is_not_made_anew),
    ("noise", PRESET, a_row_comes_a_cycle_late),
    ("noise", PRESET, passes_of_any_sequence_take_rows))
"""Bench, preset, fault."""
