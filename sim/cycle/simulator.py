"""The machine as a whole: an image, its state, and one token after another."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from compiler.image import Image
from rtl.isa import QUEUES
from sim.cycle.access import Accesses, Space, collect
from sim.cycle.check import OVERLAP, Loaded, check_position, check_timeline
from sim.cycle.execute import Execution, State
from sim.cycle.loaded import check_shapes, loaded_memories
from sim.cycle.moved import check_moved
from sim.cycle.plan import Plan, make_plan
from sim.cycle.program import Word, decode_program
from sim.cycle.timeline import Timeline, expand


class Step(NamedTuple):
    """What a token gave: the winner (for a token without classifier the token itself) and its cycles."""

    token: int
    cycles: int


class Steps(NamedTuple):
    """The same of all sequences at once."""

    tokens: tuple[int, ...]
    cycles: int


@dataclass(frozen=True)
class _Prepared:
    timeline: Timeline
    accesses: Accesses
    plan: Plan


class CycleSimulator:
    """Runs an image cycle by cycle.

    Parameters
    ----------
    image: what a machine would be loaded with.
    overlap: spaces in which an old value may be read while a write to its cell is on its way, see `sim.cycle.check`.
    poison: seed of noise for all memory that no correct program depends on; None leaves it zero.

    Members
    -------
    positions: of each sequence's next token; position: the first one's.
    state: every memory and register, see `sim.cycle.execute.State`.
    worked: the last token's timeline and plan, with what each job of that made; None before the first.

    Raises
    ------
    IllegalProgram: at once for words that are no instructions, at `step` for what goes wrong in that token.
    """

    def __init__(self, image: Image, *, overlap: Collection[Space] = OVERLAP, poison: int | None = None) -> None:
        self.image, self.config = image, image.config
        self._overlap, self._poison = frozenset(overlap), poison
        check_shapes(image)
        self.programs: dict[str, list[Word]] = {
            queue.name: decode_program(image.config, queue, image.programs[queue.name]) for queue in QUEUES}
        self._prepared: dict[tuple[int, bool], _Prepared] = {}
        self._checked: set[tuple[tuple[int, ...], bool]] = set()
        self._loaded: Loaded | None = None
        self.worked: tuple[Timeline, Plan] | None = None
        self.reset()

    def reset(self) -> None:
        """Back to position 0 with the memories as the image has them."""
        self.state = State(self.image)
        if self._poison is not None:
            self.state.poison(self._memories().cache, self._poison)
        self.positions = [0] * self.config.sequences

    @property
    def position(self) -> int:
        """Of the first sequence's next token."""
        return self.positions[0]

    def timeline(self, position: int, *, classify: bool) -> Timeline:
        """The work of a token at a position, checked."""
        return self._prepare((position,) * self.config.sequences, classify=classify).timeline

    def step(self, token: int, *, classify: bool = True) -> Step:
        """Run one token of the first sequence at its current position; others, if there are any, idle."""
        (winner,), cycles = self.advance([token], classify=classify)
        return Step(winner, cycles)

    def advance(self, tokens: Sequence[int], *, classify: bool = True, restart: Sequence[int] = ()) -> Steps:
        """Run one token of each sequence at its current position.

        tokens: of the first sequences; the others idle at position 0. restart: sequences that begin anew.
        """
        count = len(tokens)
        for sequence in {*restart, *range(count, self.config.sequences)}:
            self.positions[sequence] = 0
            if self.state.noise:
                self.state.noise[sequence].restart()
        for token, position in zip(tokens, self.positions, strict=False):
            if not 0 <= token < 1 << self.config.token_bits:
                raise ValueError(f"token {token} does not fit {self.config.token_bits} bits")
            if position >= self.image.context:
                raise ValueError(f"position {position} is past the context of {self.image.context}")
        prepared = self._prepare(tuple(self.positions), classify=classify)
        every = [*tokens, *[0] * (self.config.sequences - count)]
        self._check_tokens(prepared, every)
        for noise in self.state.noise:
            noise.begin()
        Execution(self.state, positions=self.positions, tokens=every).run(prepared.plan)
        self.worked = prepared.timeline, prepared.plan
        self.positions = [position + 1 for position in self.positions]
        found = tuple(self.state.found[:count])
        return Steps(found if classify else tuple(tokens), prepared.timeline.cycles)

    def _prepare(self, positions: tuple[int, ...], *, classify: bool) -> _Prepared:
        cfg, bucket = self.config, max(positions) // self.config.bucket_positions
        if (bucket, classify) not in self._prepared:
            timeline, accesses = self._expand(bucket, classify=classify)
            check_timeline(cfg, timeline, accesses, self._memories(), classify=classify, overlap=self._overlap)
            self._prepared[bucket, classify] = _Prepared(timeline, accesses, make_plan(cfg, timeline))
        prepared = self._prepared[bucket, classify]
        if (positions, classify) not in self._checked:
            registers = self.image.registers
            check_position(cfg, prepared.timeline, prepared.accesses, self._memories(), positions=positions,
                           key_step=registers.key_step, rope_step=registers.rope_step)
            self._checked.add((positions, classify))
        return prepared

    def _check_tokens(self, prepared: _Prepared, tokens: Sequence[int]) -> None:
        registers = self.image.registers
        check_moved(self.config, prepared.timeline, prepared.accesses, positions=self.positions, tokens=tokens,
                    key_step=registers.key_step, embed_shift=registers.embed_shift, expert_rows=registers.expert_rows)

    def _expand(self, bucket: int, *, classify: bool) -> tuple[Timeline, Accesses]:
        values = [int(value) for value in self.image.values[bucket]]
        timeline = expand(self.config, self.programs, values, classify=classify)
        return timeline, collect(self.config, timeline)

    def _memories(self) -> Loaded:
        if self._loaded is None:
            self._loaded = loaded_memories(self.image, self._expand(0, classify=False)[1].stores)
        return self._loaded
