"""Losses: where the multiply-accumulates of a token's busy cycles go that the model did not ask for.

A step multiplies lanes x taps numbers, whatever they are. Counted are those that belong to channels that do not exist
(padding of lanes and of taps), to positions past the present one (masked), and to look-ups, which multiply by one-hot
words. What remains must be what the image calls useful, to the last multiply-accumulate.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

from compiler.errors import InputError
from rtl.config import Config
from sim.profile.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Multiply-accumulates of busy cycles: useful ones and the others by reason."""

    useful: int = 0
    lanes: int = 0
    taps: int = 0
    masked: int = 0
    lookup: int = 0
    unknown: int = 0  # of an unlabelled image

    def __add__(self, other: Loss) -> Loss:
        names = Loss.__dataclass_fields__
        return Loss(**{name: getattr(self, name) + getattr(other, name) for name in names})

    @property
    def total(self) -> int:
        return sum(astuple(self))


def loss(cfg: Config, task: Task, position: int) -> Loss:
    """The multiply-accumulates of a matmul by what they are good for."""
    label, lanes, present = task.label, cfg.lanes, position + 1
    total = (task.end - task.start) * cfg.peak_macs
    if label is None:
        return Loss(unknown=total)
    inputs = task.run.rounds * cfg.taps  # of one output
    if label.lanes is None:
        taps = label.taps or 0
        return Loss(useful=present * taps, masked=(task.events * lanes - present) * inputs,
                    taps=present * (inputs - taps))
    if label.taps is None:
        return Loss(useful=label.lanes * present, lanes=(lanes - label.lanes) * inputs,
                    masked=label.lanes * (inputs - present))
    if label.lanes == 0:
        return Loss(lookup=total)
    return Loss(useful=label.lanes * label.taps, lanes=(lanes - label.lanes) * inputs,
                taps=label.lanes * (inputs - label.taps))


def losses(cfg: Config, matmuls: list[Task], position: int, useful: int) -> dict[str, Loss]:
    """The same by kind of matmul, in the order of their first issue.

    Raises InputError where the labels contradict the image's count of useful multiply-accumulates.
    """
    kinds: dict[str, Loss] = {}
    for task in matmuls:
        kinds[task.kind] = kinds.get(task.kind, Loss()) + loss(cfg, task, position)
    total = sum(kinds.values(), Loss())
    if not total.unknown and total.useful != useful:
        raise InputError(f"the image's labels make {total.useful} useful multiply-accumulates at position {position}, "
                         f"the image says {useful}; compile the model again")
    return kinds
