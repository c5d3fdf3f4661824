"""Faults of the whole machine, and what its bench says of them."""

from __future__ import annotations

from collections.abc import Callable

import rtl.control
import rtl.small_host
from verification.seeded import vector
from verification.seeded.common import PRESET, Patch, choose


def a_cycle_counter_is_too_short(patch: Patch) -> None:
    patch.setattr(rtl.control, "COUNTER_BITS", 8)


def keys_go_to_the_next_lane(patch: Patch) -> None:
    choose(patch, "output", lambda self, values, sequence: values[sequence] ^ int(values is self.position))


def the_bucket_follows_the_first_sequence(patch: Patch) -> None:
    patch.setattr(rtl.control, "furthest", lambda positions: positions[0])


def the_small_host_answers_the_last_byte_first(patch: Patch) -> None:
    right = rtl.small_host.split_bytes
    patch.setattr(rtl.small_host, "split_bytes", lambda value, count: right(value, count)[::-1])


BUGS: list[tuple[str, Callable[[Patch], None], str]] = [
    (PRESET, a_cycle_counter_is_too_short, "AssertionError: cycles"),
    (PRESET, keys_go_to_the_next_lane, r"AssertionError: layer0\.k8 in the cache at position 0"),
    (PRESET, the_bucket_follows_the_first_sequence, "AssertionError: 1:layer0"),
    (PRESET, vector.rounding_truncates, r"AssertionError: layer0\.\w+.* differs at"),
    ("icebreaker", the_small_host_answers_the_last_byte_first, "Error: ")]
