"""Functional coverage of programs that ran: members and fields of instructions, in which company, with what result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from compiler.image import Image
from rtl.config import Config
from rtl.encoding import Insn
from rtl.isa import QUEUES, Op, members
from sim.cycle.plan import Event, Job, Plan
from sim.cycle.timeline import Operation, Pass, Timeline
from sim.golden.primitives import EXPONENT_MAX

CORNERS = {"f": (-32768, 0, 32767), "o": (-128, 0, 127)}
"""Results of a pass: saturated on either side, and 0."""
POSITIONS = ("0", "1", "lanes - 1", "lanes", "last")


def points_of(image: Image, timeline: Timeline, positions: Sequence[int], points: Counter[str]) -> None:
    """Adds what a token has reached. Names of the plan: `queue.field`, for a value that is not 0, and
    `queue.field=MEMBER`. Beside them the ends of fields, operands, operations and reductions together, and corners of
    positions.

    positions: of each sequence's next token.
    """
    cfg = image.config
    for queue, runs in timeline.runs.items():
        for run in runs:
            insn = run.word.insn
            _fields(cfg, insn, points)
            if queue == "matrix" and insn["choice"]:
                points[_index_point(insn.number("sequence"), insn.number("choice"))] += 1
            if queue == "vector":
                points["pass " + " ".join(_member(insn, name) for name in SHAPE)] += 1
                points[f"reduce {_member(insn, 'reduce')} {_member(insn, 'mask')}"] += 1
    for position in positions:
        corners = (0, 1, cfg.lanes - 1, cfg.lanes, image.context - 1)
        for name, corner in zip(POSITIONS, corners, strict=True):
            points[f"position {name}"] += position - 1 == corner


def _index_point(sequence: int, choice: int) -> str:
    """A matrix word reads the rows that an index register names."""
    return f"matrix index register {choice} of sequence {sequence}"


SHAPE = ("source", "factor1", "factor2", "addend", "function")


def _member(insn: Insn, name: str) -> str:
    return insn[name].name  # type: ignore[union-attr]


def _fields(cfg: Config, insn: Insn, points: Counter[str]) -> None:
    queue = insn.queue.name
    for item in insn.queue.fields:
        if item.enum is not None:
            points[f"{queue}.{item.name}={_member(insn, item.name)}"] += 1
        elif value := insn.number(item.name):
            bits = item.bits(cfg)
            points[f"{queue}.{item.name}"] += 1
            if bits > 1 and value == (1 << bits - item.signed) - 1:
                points[f"{queue}.{item.name} largest"] += 1
            if item.signed and value == -1 << bits - 1:
                points[f"{queue}.{item.name} smallest"] += 1


def control_points(insns: Mapping[str, Sequence[Insn]], points: Counter[str]) -> None:
    """The words of a program that are no RUN, once each, and how loops lie in each other."""
    for queue, words in insns.items():
        outer = False
        for word in words:
            op = word["op"]
            if op is not Op.RUN:
                points[f"{queue}.op={op.name}"] += 1  # type: ignore[union-attr]
                for item in word.queue.fields:
                    if item.enum is None and word[item.name]:
                        points[f"{queue}.{item.name}"] += 1
            if op in (Op.LOOP_OUTER, Op.LOOP_INNER):
                depth = "outer" if op is Op.LOOP_OUTER else "inner in outer" if outer else "inner alone"
                rounds = "dynamic" if word["repeat_value"] else "many" if word["repeat"] else "one"
                points[f"{queue} loop {depth}, {rounds}"] += 1
                outer |= op is Op.LOOP_OUTER
            outer &= not word["end_outer"]


def result_points(plan: Plan, points: Counter[str]) -> None:
    """Corners of what the passes and operations of a token made, by operand and operation."""
    for event, job in plan:
        if event is Event.PASS and isinstance(job, Job) and isinstance(job.one, Pass) and not job.one.held:
            one = job.one
            members = [f"{name} {_member(one.word.insn, name)}" for name in (*SHAPE, "reduce", "mask")]
            for name, values in (("f", job.wide), ("o", job.narrow if one.mode.store.value else None)):
                for corner in CORNERS[name] if values is not None else ():
                    if (values == corner).any():
                        points.update(f"{member}: {name} {corner}" for member in members)
        elif event is Event.OPERATION and isinstance(job, Job) and isinstance(job.one, Operation):
            for corner in (0, EXPONENT_MAX):
                points[f"scalar {job.one.function.name}: exponent {corner}"] += job.wide.exponent == corner


def known_points(cfg: Config) -> Iterator[str]:
    """Names of those points beside the plan's that a machine can be asked for; what cannot be is left out."""
    yield from (f"position {name}" for name in POSITIONS)
    yield from (_index_point(sequence, choice + 1) for sequence in range(cfg.sequences)
                for choice in range(cfg.choices))
    for queue in QUEUES:
        for item in queue.fields:
            # A program that waits or counts so long would take too long; steps and loops of memory leave it.
            if item.enum is None and item.bits(cfg) > 1 and item.name not in ENDLESS:
                yield f"{queue.name}.{item.name} largest"
        for depth in ("outer", "inner in outer", "inner alone"):
            if depth == "outer" or not (cfg.small_control and queue.name == "scalar"):
                yield from (f"{queue.name} loop {depth}, {rounds}" for rounds in ("one", "many", "dynamic"))
    vector = QUEUES[1]
    for name in (*SHAPE, "reduce", "mask"):
        for member in members(cfg, vector.by_name[name]):
            for result, corners in CORNERS.items():
                for corner in corners:
                    if corner not in NEVER.get((member.name, result), ()):
                        yield f"{name} {member.name}: {result} {corner}"


ENDLESS = ("wait", "repeat", "outer", "pace", "row", "act", "dst", "sequence", "choice", "wait_value", "repeat_value",
           "outer_value")
NEVER = {("SILU", "f"): (-32768, 32767), ("EXP2", "f"): (-32768, 32767), ("EXP2", "o"): (-128,)}
"""Results that tables do not have."""
