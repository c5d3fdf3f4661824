"""Traces: the image's and the gateware's are the same, and a difference is found."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from compiler.image import Image
from rtl.config import preset
from rtl.encoding import Insn, decode, encode
from rtl.isa import SCALAR, Op
from sim.profile.profile import checked_timeline
from sim.profile.trace import Issue, difference, image_events, trace_bytes
from verification.small_model import SHAPES, small_image

SEED = 11


@cache
def image_of(shape: str) -> Image:
    return small_image(preset("tiny"), shape, SEED)


def from_image(image: Image, position: int, *, classify: bool) -> list[Issue]:
    return image_events(image, checked_timeline(image, position, classify=classify), position)


def waits_longer(image: Image) -> Image:
    """The scalar queue's last operation comes a cycle later."""
    words = list(image.programs["scalar"])
    at = max(i for i, word in enumerate(words) if decode(image.config, SCALAR, word)["op"] is Op.RUN)
    insn = decode(image.config, SCALAR, words[at])
    words[at] = encode(image.config, Insn(SCALAR, {**insn.fields, "wait": insn.number("wait") + 1}))
    return replace(image, programs={**image.programs, "scalar": words})


def test_a_trace_is_what_perfetto_reads() -> None:
    image = image_of("two layers")
    timeline = checked_timeline(image, 7, classify=True)
    content: dict[str, Any] = json.loads(trace_bytes(image, image_events(image, timeline, 7), 7, classify=True))
    events = content["traceEvents"]
    tracks = {one["tid"]: one["args"]["name"] for one in events if one["name"] == "thread_name"}
    assert tracks == {0: "matrix", 1: "vector", 2: "scalar"}
    spans = [one for one in events if one["ph"] == "X"]
    assert len(spans) == len(timeline.outputs) + len(timeline.passes) + len(timeline.operations)
    for track in tracks:
        mine = [(one["ts"], one["ts"] + one["dur"]) for one in spans if one["tid"] == track]
        assert mine == sorted(mine) and all(a[1] <= b[0] for a, b in pairwise(mine))
        assert mine[-1][1] <= timeline.cycles
    assert {one["name"] for one in spans} >= {"wq[0]", "scores[0]", "rsqrt", "classifier[4]"}
    assert {one["args"].get("layer") for one in spans} == {None, 0, 1}


def test_the_bytes_follow_from_the_events() -> None:
    image, events = image_of("one layer"), from_image(image_of("one layer"), 3, classify=True)
    first = trace_bytes(image, events, 3, classify=True)
    assert trace_bytes(image, list(events), 3, classify=True) == first
    assert trace_bytes(image, [events[0]._replace(cycle=2), *events[1:]], 3, classify=True) != first


def test_differences_are_found() -> None:
    events = from_image(image_of("one layer"), 3, classify=True)
    assert difference(events, events) is None
    text = difference(events, [events[0]._replace(cycle=2), *events[1:]])
    assert text is not None and text.startswith("matrix: cycle 2, 1 long, row=") and "expected cycle 1, 1 long" in text
    assert difference(events, events[:-1]) == "scalar: {} issues, expected {}".format(
        *(sum(one.unit == "scalar" for one in some) for some in (events[:-1], events)))
    other = next(i for i, one in enumerate(events) if one.unit == "vector")
    changed = events[other]._replace(facts={**events[other].facts, "dst": 63})
    text = difference(events, [*events[:other], changed, *events[other + 1:]])
    assert text is not None and text.startswith("vector: ") and "dst=63" in text


@pytest.mark.slow
def test_image_and_gateware_make_the_same_trace() -> None:
    from sim.profile.watch import rtl_events
    for shape in SHAPES:
        image = image_of(shape)
        for position, classify in ((0, True), (4, False), (9, True), (image.context - 1, True)):
            expected, found = from_image(image, position, classify=classify), rtl_events(
                image, position, classify=classify)
            assert difference(expected, found) is None, (shape, position)
            assert trace_bytes(image, expected, position, classify=classify) == trace_bytes(
                image, found, position, classify=classify)
    image = image_of("one layer")
    found = rtl_events(waits_longer(image), 9, classify=True)
    text = difference(from_image(image, 9, classify=True), found)
    assert text is not None and text.startswith("scalar: cycle")
