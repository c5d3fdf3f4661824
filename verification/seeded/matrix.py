"""Faults of the matrix unit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from amaranth.hdl import Cat

import rtl.matrix
import rtl.mesh
from rtl.timing import timing
from verification.seeded.common import PRESET, Bug, Patch


def a_sum_arrives_a_cycle_late(patch: Patch) -> None:
    patch.setattr(rtl.matrix, "timing", lambda cfg: replace(timing(cfg), acc_visible=timing(cfg).acc_visible + 1))


def a_sum_lacks_its_highest_bit(patch: Patch) -> None:
    exact = rtl.mesh.sum_shape
    patch.setattr(rtl.mesh, "sum_shape", lambda terms: type(exact(terms))(exact(terms).width - 1, signed=True))


def activations_skip_a_tap(patch: Patch) -> None:
    delays = rtl.mesh.delays

    def wrong(m: Any, value: Any, most: int, name: str) -> list[Any]:
        return delays(m, value & 0x7F if name == "act_0_1" else value, most, name)

    patch.setattr(rtl.mesh, "delays", wrong)


def the_planes_are_exchanged(patch: Patch) -> None:
    weight = rtl.matrix.weight
    patch.setattr(rtl.matrix, "weight", lambda byte, plane: weight(byte, Cat(plane[1], plane[0])))


def a_plane_is_that_of_the_step_before(patch: Patch) -> None:
    patch.setattr(rtl.matrix, "MEMORY", 0)


BUGS: tuple[Bug, ...] = (
    ("matrix", PRESET, a_sum_arrives_a_cycle_late),
    ("matrix", PRESET, a_sum_lacks_its_highest_bit),
    ("matrix", PRESET, activations_skip_a_tap),
    ("matrix", PRESET, the_planes_are_exchanged),
    ("matrix", PRESET, a_plane_is_that_of_the_step_before))
"""Bench, preset, fault."""
