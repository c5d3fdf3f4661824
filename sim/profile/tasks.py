"""Tasks: the pieces of a token's work that can only move as a whole, each with its name and its cycles.

A task is one output of the matrix unit, one pass of the vector unit (or the pair of a rotation), or one scalar
operation. The outputs of a word whose number depends on the position are one task, and so are the passes of such a
word: the compiler knows no smaller piece of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.labels import Label, Labels
from sim.cycle.program import Run
from sim.cycle.timeline import Timeline

UNITS = ("matrix", "vector", "scalar")


@dataclass(frozen=True, eq=False)
class Task:
    """A piece of work.

    Members:
        number: in the list of all tasks, unit by unit. unit: "matrix", "vector" or "scalar".
        name: the operation's, as `wq[3]`; of an unlabelled image the word's. layer: None outside of the layers.
        label: None in an unlabelled image. run: the execution of the word that it belongs to.
        start: issue cycle. end: the cycle after its last one in the queue. events: outputs, passes or 1.
        controls: LOOP, NOP and END_PROMPT words between the task before it in the queue and this one.
    """

    number: int
    unit: str
    name: str
    layer: int | None
    label: Label | None
    run: Run
    start: int
    end: int
    events: int
    controls: int

    @property
    def kind(self) -> str:
        """The name without its number: `wq`."""
        return self.name.partition("[")[0]

    @property
    def moves(self) -> bool:
        """Whether its size depends on the position: one that must keep pace with its accumulators' reader."""
        f = self.run.word.fields
        return bool(f.get("outer_value", 0) if self.unit == "matrix" else f["repeat_value"])

    def __str__(self) -> str:
        return f"{self.unit} {self.name}"


def tasks(timeline: Timeline, labels: Labels | None, blocks: int, *, classify: bool, beats: int = 1) -> list[Task]:
    """All tasks of a token, unit by unit, each unit's in the order of issue.

    blocks: attention blocks in use; beats: cycles of a pass. Labels that do not fit the program name nothing.
    """
    made: list[Task] = []
    for unit in UNITS:
        runs = timeline.walks[unit].runs
        pieces = [piece for run in runs for piece in _pieces(unit, run, beats)]
        names: list[tuple[Label, int | None]] = []
        if labels is not None:
            names = list(labels.events(unit, blocks, classify=classify))
        labelled = len(names) == sum(events for _, _, _, events in pieces)
        event = 0
        before: Run | None = None
        for run, start, end, events in pieces:
            label, layer = names[event] if labelled else (None, None)
            name = f"word {run.word.index}" if label is None else label.name
            made.append(Task(len(made), unit, name, layer, label, run, start, end, events,
                             0 if run is before else run.controls))
            event, before = event + events, run
    return made


def _pieces(unit: str, run: Run, beats: int) -> Iterator[tuple[Run, int, int, int]]:
    """Run, start, end and events of each task of a run."""
    f, cycle, rounds = run.word.fields, run.cycle, run.rounds
    if unit == "matrix":
        if f["outer_value"]:
            yield run, cycle, cycle + run.outputs * rounds, run.outputs
            return
        for output in range(run.outputs):
            yield run, cycle + output * rounds, cycle + (output + 1) * rounds, 1
        return
    pace = f.get("pace", 0) + 1
    if unit == "vector" and not f["repeat_value"] and not f["rotate"]:
        for number in range(rounds):
            yield run, cycle + number * pace, cycle + number * pace + beats, 1
        return
    yield run, cycle, cycle + (rounds - 1) * pace + (beats if unit == "vector" else 1), rounds
