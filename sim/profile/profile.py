"""Profile: one token of an image taken apart, see docs/profile.md."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.errors import InputError
from compiler.image import Image
from sim.cycle import CycleSimulator, IllegalProgram
from sim.cycle.access import collect
from sim.cycle.timeline import Timeline
from sim.profile.bounds import Bounds
from sim.profile.chain import Link, chain
from sim.profile.idle import Gap, gaps
from sim.profile.losses import Loss, losses
from sim.profile.tasks import Task, tasks


@dataclass(frozen=True)
class Profile:
    """A token of an image.

    Members:
        tasks: all of them, unit by unit. gaps: the matrix unit's idle cycles. losses: of its busy ones, by kind.
        chain: what bounds the token, from its start to its end.
        cycles = busy + idle; busy * peak_macs = the sum of `losses`, of which `useful` is the image's.
    """

    image: Image
    position: int
    classify: bool
    timeline: Timeline
    tasks: list[Task]
    gaps: list[Gap]
    losses: dict[str, Loss]
    chain: list[Link]

    @property
    def cycles(self) -> int:
        return self.timeline.cycles

    @property
    def busy(self) -> int:
        """Cycles in which the matrix unit makes a step."""
        return sum(task.end - task.start for task in self.tasks if task.unit == "matrix")

    @property
    def useful(self) -> int:
        """Multiply-accumulates that the model asks for."""
        return self.image.sequences * int(self.image.useful_macs[int(self.classify), self.position])

    @property
    def floor(self) -> float:
        """Cycles that these take at peak."""
        return self.useful / self.image.config.peak_macs

    @property
    def issues(self) -> dict[str, int]:
        """Cycles in which each unit begins something: steps, passes, operations."""
        return {"matrix": self.busy, "vector": len(self.timeline.passes), "scalar": len(self.timeline.operations)}


def checked_timeline(image: Image, position: int, *, classify: bool) -> Timeline:
    """The work of a token. Raises InputError for a position that the image has not, or a program with a hazard."""
    if not 0 <= position < image.context:
        raise InputError(f"there is no position {position}; this image has 0 to {image.context - 1}")
    try:
        return CycleSimulator(image).timeline(position, classify=classify)
    except IllegalProgram as error:
        raise InputError(f"this image's program is illegal: {error}") from None


def profile(image: Image, position: int, *, classify: bool = True) -> Profile:
    """Take a token apart. Raises InputError as `checked_timeline` and `sim.profile.losses.losses` do."""
    timeline = checked_timeline(image, position, classify=classify)
    cfg = image.config
    made = tasks(timeline, image.labels, position // cfg.bucket_positions + 1, classify=classify, beats=cfg.beats)
    bounds = Bounds(cfg, timeline, made, collect(cfg, timeline), position=position, key_step=image.registers.key_step)
    useful = image.sequences * int(image.useful_macs[int(classify), position])
    return Profile(image, position, classify, timeline, made, gaps(bounds, timeline),
                   losses(cfg, bounds.unit("matrix"), position, useful), chain(bounds, timeline))
