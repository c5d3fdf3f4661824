"""Functional coverage of programs that ran: which members and fields of instructions, and in which company."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from compiler.image import Image
from rtl.isa import Insn, Op
from sim.cycle.timeline import Timeline


def points_of(image: Image, timeline: Timeline, positions: Sequence[int], points: Counter[str]) -> None:
    """Adds what a token has reached. Names of the plan: `queue.field`, for a value that is not 0, and
    `queue.field=MEMBER`. Beside them operands, operations and reductions together, loops, and corners of positions.

    positions: of each sequence's next token.
    """
    cfg = image.config
    for queue, runs in timeline.runs.items():
        for run in runs:
            insn = run.word.insn
            for item in insn.queue.fields:
                value = insn[item.name]
                if item.enum is not None:
                    points[f"{queue}.{item.name}={value.name}"] += 1  # type: ignore[union-attr]
                elif value:
                    points[f"{queue}.{item.name}"] += 1
            if queue == "vector":
                shape = (insn[name].name for name in ("source", "factor1", "factor2", "addend", "function"))  # type: ignore[union-attr]
                points["pass " + " ".join(shape)] += 1
                points[f"reduce {insn['reduce'].name} {insn['mask'].name}"] += 1  # type: ignore[union-attr]
    for position in positions:
        for name, corner in (("0", 0), ("1", 1), ("lanes - 1", cfg.lanes - 1), ("lanes", cfg.lanes),
                             ("last", image.context - 1)):
            points[f"position {name}"] += position - 1 == corner


def control_points(insns: Mapping[str, Sequence[Insn]], points: Counter[str]) -> None:
    """The words of a program that are no RUN, once each."""
    for queue, words in insns.items():
        for word in words:
            if (op := word["op"]) is not Op.RUN:
                points[f"{queue}.op={op.name}"] += 1  # type: ignore[union-attr]
                for item in word.queue.fields:
                    if item.enum is None and word[item.name]:
                        points[f"{queue}.{item.name}"] += 1
