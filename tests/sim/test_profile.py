"""Profiles of compiled models: every cycle accounted for, and bounds that are neither too early nor too late."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.image import Image
from compiler.labels import Labels
from rtl.config import PRESETS, preset
from rtl.encoding import Insn, decode, encode
from rtl.isa import QUEUES, Op
from sim.cycle import CycleSimulator, IllegalProgram
from sim.cycle.access import collect
from sim.profile import Profile, profile
from sim.profile.bounds import Bounds, Cause
from sim.profile.report import report
from sim.profile.tasks import Task, tasks
from verification.small_model import SHAPES, small_image

SEED = 5
WHERE = ((0, True), (3, False), (9, True), (17, True))


@cache
def image_of(name: str, shape: str) -> Image:
    return small_image(preset(name), shape, SEED)


def idle(made: Profile, cause: Cause) -> int:
    return sum(gap.cycles for gap in made.gaps if gap.cause is cause)


def changed(image: Image, **waits: dict[int, int]) -> Image:
    """The image with cycles added to the waits of words: queue=({word: cycles})."""
    programs = {name: list(words) for name, words in image.programs.items()}
    for queue in QUEUES:
        for index, cycles in waits.get(queue.name, {}).items():
            insn = decode(image.config, queue, programs[queue.name][index])
            programs[queue.name][index] = encode(
                image.config, Insn(queue, {**insn.fields, "wait": insn.number("wait") + cycles}))
    return replace(image, programs=programs)


def outer_loop(image: Image, queue_name: str) -> int:
    queue = next(one for one in QUEUES if one.name == queue_name)
    return next(at for at, word in enumerate(image.programs[queue_name])
                if decode(image.config, queue, word)["op"] is Op.LOOP_OUTER)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PRESETS)
def test_every_cycle_is_accounted_for(name: str, shape: str) -> None:
    image = image_of(name, shape)
    cfg = image.config
    for position, classify in WHERE:
        made = profile(image, position, classify=classify)
        assert made.cycles == image.cycles[int(classify), position]
        steps = {cycle for output in made.timeline.outputs for cycle in
                 range(output.cycle, output.cycle + len(output.rows))}
        gaps = [cycle for gap in made.gaps for cycle in range(gap.start, gap.start + gap.cycles)]
        assert sorted([*steps, *gaps]) == list(range(made.cycles)), "steps and gaps tile the token"
        assert made.busy == len(steps)
        assert sum(one.total for one in made.losses.values()) == len(steps) * cfg.peak_macs
        assert sum(one.useful for one in made.losses.values()) == image.useful_macs[int(classify), position]
        assert sum(one.unknown for one in made.losses.values()) == 0
        assert sum(link.cycles + link.late for link in made.chain) == made.cycles
        told = report(made)
        assert told["floor"] + sum(told["padding"].values()) + told["idle"] == told["cycles"]
        assert sum(row["cycles"] for row in told["idle_by_cause"]) == told["idle"]


def test_every_task_has_the_name_of_its_operation() -> None:
    image = image_of("tiny", "two layers")
    made = profile(image, 9)
    assert not [task for task in made.tasks if task.label is None]
    layers = [[str(task) for task in made.tasks if task.layer == layer] for layer in (0, 1)]
    assert layers[0] == layers[1]
    assert {"matrix wk[0]", "matrix wv[0]", "matrix av[0.0]", "vector rotate q[1]", "scalar recip[1]"} <= {*layers[0]}
    assert [task.name for task in made.tasks if task.unit == "matrix" and task.layer is None][-1] == "classifier[4]"
    assert {task.kind for task in made.tasks if task.unit == "scalar"} >= {"rsqrt", "recip", "block", "combine"}
    heads = [task for task in made.tasks if task.kind == "scores"]
    assert [task.events for task in heads] == [3] * 4  # two layers of two heads; position 9 is in the third block


def test_an_image_without_labels_can_be_profiled() -> None:
    image = replace(image_of("tiny", "one layer"), labels=None)
    made = profile(image, 9)
    assert made.tasks[0].name == "word 0"
    told = report(made)
    assert told["floor"] + told["padding"]["unknown"] + told["idle"] == told["cycles"]
    assert [gap.cycles for gap in made.gaps] == [gap.cycles for gap in profile(image_of("tiny", "one layer"), 9).gaps]


def test_labels_of_another_program_name_nothing() -> None:
    image = image_of("tiny", "one layer")
    assert image.labels is not None
    other = replace(image, labels=Labels(image.labels.layers + 1, image.labels.queues))
    assert {task.label for task in profile(other, 9).tasks} == {None}


def test_labels_that_contradict_the_image_are_refused() -> None:
    image = image_of("tiny", "one layer")
    assert image.labels is not None
    prologue, (first, *rest), epilogue = image.labels.queues["matrix"]
    assert first.lanes is not None
    wrong = ((prologue, (replace(first, lanes=first.lanes - 1), *rest), epilogue))
    labels = replace(image.labels, queues={**image.labels.queues, "matrix": wrong})
    with pytest.raises(InputError, match=r"the image's labels make \d+ useful multiply-accumulates"):
        profile(replace(image, labels=labels), 9)


@pytest.mark.parametrize("name", ["tiny", "icebreaker"])
def test_a_wait_seven_cycles_longer_is_seven_cycles_of_schedule(name: str) -> None:
    """All three queues start the layers seven cycles later, so nothing else changes.

    But a matmul of the layers that waited for the prologue, and for nothing of the layers, now finds all there: so much
    more is schedule.
    """
    image = image_of(name, "two layers")
    loops = {queue.name: outer_loop(image, queue.name) for queue in QUEUES}
    longer = changed(image, **{queue: {loop: 7} for queue, loop in loops.items()})
    before, after = profile(image, 9), profile(longer, 9)
    assert after.cycles == before.cycles + 7

    def in_layers(task: Task | None) -> bool:
        return task is not None and task.run.word.index > loops[task.run.word.queue.name]

    late = [gap for gap in before.gaps if in_layers(gap.task) and gap.cause is Cause.OPERAND]
    met = sum(min(gap.cycles, 7) for gap in late[1:] if gap.producer and not in_layers(gap.producer))
    assert met == (name == "icebreaker")  # one cycle, of one matmul
    more = {Cause.SCHEDULE: 7 + met, Cause.OPERAND: -met}
    for cause in Cause:
        assert idle(after, cause) == idle(before, cause) + more.get(cause, 0), cause
    assert sum(link.late for link in after.chain) == sum(link.late for link in before.chain) + 7


def bounds_of(image: Image, position: int) -> Bounds:
    timeline = CycleSimulator(image).timeline(position, classify=True)
    made = tasks(timeline, image.labels, position // image.config.bucket_positions + 1, classify=True)
    return Bounds(image.config, timeline, made, collect(image.config, timeline), position=position,
                  key_step=image.registers.key_step)


def movable(image: Image, found: Bounds) -> list[tuple[Task, int]]:
    """Tasks that are words of their own, executed once, with the word after them: that one can take up the slack."""
    words = [task.run.word.index for unit in ("matrix", "vector", "scalar") for task in found.unit(unit)]
    result: list[tuple[Task, int]] = []
    for task in found.tasks:
        queue, index = task.run.word.queue, task.run.word.index
        own = [one for one in found.unit(queue.name) if one.run.word.index == index]
        following = decode(image.config, queue, image.programs[queue.name][index + 1])
        once = len(own) == 1 and not task.moves and following["op"] is Op.RUN and not task.run.word.fields["wait_value"]
        if once and sum(one.run.word.index == index + 1 for one in found.unit(queue.name)) in (
                1, found.tasks[task.number + 1].events):
            result.append((task, index))
    assert words
    return result


@pytest.mark.parametrize("name", PRESETS)
def test_a_task_can_move_to_its_bound_and_no_further(name: str) -> None:
    """The cycle simulator, which knows nothing of bounds, accepts the one program and rejects the other."""
    image, position = image_of(name, "one layer"), 9
    found = bounds_of(image, position)
    legal = illegal = 0
    for task, index in movable(image, found):
        bound, wait = found.of(task), task.run.word.fields["wait"]
        if bound.cause not in (Cause.OPERAND, Cause.PORT) or bound.partner:
            continue
        for cycles in {task.start - bound.earliest, task.start - bound.earliest + 1}:
            if not 0 < cycles <= wait:
                continue
            other = changed(image, **{task.unit: {index: -cycles, index + 1: cycles}})
            if cycles == task.start - bound.earliest:
                CycleSimulator(other).timeline(position, classify=True)
                legal += 1
            else:
                with pytest.raises(IllegalProgram):
                    CycleSimulator(other).timeline(position, classify=True)
                illegal += 1
    assert illegal >= 3, (legal, illegal)


def test_positions_and_programs_that_are_none() -> None:
    image = image_of("tiny", "one layer")
    for position in (-1, image.context):
        with pytest.raises(InputError, match=rf"no position {position}; this image has 0 to 19"):
            profile(image, position)
    with pytest.raises(InputError, match="this image's program is illegal"):
        profile(changed(image, vector={outer_loop(image, "vector"): 200}), 0)


def test_a_model_of_the_tests_compiles_to_labels_of_all_its_events() -> None:
    image = image_of("ulx3s", "two layers")
    assert image.model is not None and image.labels is not None
    again = compile_model(image.model, image.config)
    assert again.labels == image.labels
