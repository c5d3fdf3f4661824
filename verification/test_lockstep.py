"""Random programs in lock step: a slice with a new seed, and seeded bugs in the simulator, each of which is found."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest

from compiler.image import Image
from rtl.config import PRESETS
from rtl.isa import Op, Plane
from rtl.protocol import Space
from sim.cycle import CycleSimulator, execute
from sim.cycle.execute import Execution
from sim.cycle.program import IllegalProgram
from sim.golden import primitives as golden
from sim.golden.noise import Noise
from sim.rtl_device import RtlDevice
from verification.legal_programs import insns_of
from verification.lockstep import Tally, attempt, main, run
from verification.lockstep_points import control_points, known_points
from verification.lockstep_shrink import listing, shrink
from verification.lockstep_trial import Trial, refilled, trial_of
from verification.plan import all_points
from verification.random_configs import RULES, config_of, random_config
from verification.settings import new_seed

POOL = 24
"""Programs of which some must find each seeded bug."""


class Tape:
    """A machine that answers as another did."""

    def __init__(self, answers: list[Any]) -> None:
        self._answers = iter(answers)

    def step(self, tokens: Sequence[int], classify: bool, restart: Sequence[int] = ()) -> Any:
        return next(self._answers)

    def read(self, space: Space, address: int, count: int) -> Any:
        return next(self._answers)


class Recorder(RtlDevice):
    """Keeps its answers."""

    def __init__(self, image: Image) -> None:
        super().__init__(image)
        self.answers: list[Any] = []

    def step(self, tokens: Sequence[int], classify: bool, restart: Sequence[int] = ()) -> Any:
        self.answers.append(super().step(tokens, classify, restart))
        return self.answers[-1]

    def read(self, space: Space, address: int, count: int) -> Any:
        self.answers.append(super().read(space, address, count))
        return self.answers[-1]


def playing(answers: list[Any]) -> Callable[[Image], AbstractContextManager[Tape]]:
    @contextmanager
    def opened(image: Image) -> Generator[Tape]:
        yield Tape(answers)
    return opened


@pytest.fixture(scope="module")
def pool() -> list[tuple[Trial, list[Any]]]:
    """Programs of tiny, each with two fillings, and what the RTL answered."""
    made: list[tuple[Trial, list[Any]]] = []
    for number in range(POOL):
        try:
            trial, _ = trial_of("tiny", 1, number)
            for one in (trial, refilled(trial, random.Random(number))):
                with Recorder(one.image) as rtl:
                    @contextmanager
                    def opened(image: Image, rtl: Recorder = rtl) -> Generator[Recorder]:
                        yield rtl
                    assert run(one, open_rtl=opened) is None
                    made.append((one, rtl.answers))
        except IllegalProgram:
            continue
    assert len(made) > POOL
    return made


@pytest.mark.slow
@pytest.mark.parametrize("other", [False, True], ids=["tiny", "other"])
def test_random_programs_run_alike(*, other: bool) -> None:
    """On tiny, and on another preset, which the seed chooses."""
    seed = new_seed()
    name = random.Random(seed).choice([name for name in PRESETS if name != "tiny"]) if other else "tiny"
    tally = Tally(preset=name, config=PRESETS[name])
    for number in range(30):
        attempt(name, seed, number, tally)
        if tally.programs == 2:
            break
    assert not tally.failed, "\n".join(tally.failed)
    assert tally.programs and tally.instructions > 20 and tally.tight


# --------------------------------------------------------------------------------------------------------- seeded bugs


def _scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    right = golden.scale
    monkeypatch.setattr(golden, "scale", lambda b, f2, *, s2: right(b, f2, s2=s2) + (s2 == 1))


def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "sat16", lambda x: np.clip(x, -32768, 32766))


def _mask(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Execution._unmasked

    def unmasked(self: Execution, one: Any) -> Any:
        self.positions = [position + 1 for position in self.positions]
        try:
            return right(self, one)
        finally:
            self.positions = [position - 1 for position in self.positions]
    monkeypatch.setattr(Execution, "_unmasked", unmasked)


def _window(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Execution.__init__

    def init(self: Execution, *given: Any, **named: Any) -> None:
        right(self, *given, **named)
        self.oldest = [max(0, position - 1) for position in self.oldest]
    monkeypatch.setattr(Execution, "__init__", init)


def _below(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Execution._kept
    monkeypatch.setattr(Execution, "_kept", lambda self, one, memory, scalars: right(
        self, one, np.full_like(memory, 32767), scalars))


def _search(monkeypatch: pytest.MonkeyPatch) -> None:
    right = golden.search
    monkeypatch.setattr(golden, "search", lambda reduce, a, *, bias, adjust: right(
        1 << 16, a, bias=0, adjust=adjust))


def _tie(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Execution._argmax
    monkeypatch.setattr(Execution, "_argmax", lambda self, word, first, found: right(
        self, word, first, (found[0], min(found[1] + 1, self.cfg.lanes - 1))))


def _noise(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Noise.draw
    monkeypatch.setattr(Noise, "draw", lambda self, count: np.roll(right(self, count), 1))


def _gather(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Execution._gathered

    def gathered(self: Execution, chunk: Any) -> Any:
        rows, acts = right(self, chunk)
        return rows, [np.maximum(act - 1, 0) for act in acts]
    monkeypatch.setattr(Execution, "_gathered", gathered)


def _plane(monkeypatch: pytest.MonkeyPatch) -> None:
    right = execute._weights
    monkeypatch.setattr(execute, "_weights", lambda rows, plane: right(
        rows, Plane.BYTES.value if plane == Plane.HIGH.value else plane))


def _rope(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Execution.__init__

    def init(self: Execution, *given: Any, **named: Any) -> None:
        right(self, *given, **named)
        self.ropes = [0] * len(self.ropes)
    monkeypatch.setattr(Execution, "__init__", init)


def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Execution.__init__

    def init(self: Execution, *given: Any, **named: Any) -> None:
        right(self, *given, **named)
        self.key_rows = [row + 1 for row in self.key_rows]
    monkeypatch.setattr(Execution, "__init__", init)


def _sum(monkeypatch: pytest.MonkeyPatch) -> None:
    right = golden.reduce_sum
    monkeypatch.setattr(golden, "reduce_sum", lambda values: right(values) + 1)


def _negate(monkeypatch: pytest.MonkeyPatch) -> None:
    right = golden.negate
    monkeypatch.setattr(golden, "negate", lambda reduce: right(reduce)._replace(mantissa=right(reduce).mantissa ^ 1))


def _reduce(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "reduce_maxabs", golden.reduce_max)


def _combine(monkeypatch: pytest.MonkeyPatch) -> None:
    right = golden.combine
    monkeypatch.setattr(golden, "combine", lambda a, b, *, adjust: right(a, b, adjust=adjust + 1))


def _expert(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Execution._choose

    def choose(self: Execution, choice: Any) -> None:
        right(self, choice)
        choice.index = max(0, choice.index - 1)
    monkeypatch.setattr(Execution, "_choose", choose)


def _cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    right = CycleSimulator.advance

    def advance(self: CycleSimulator, tokens: Any, *, classify: bool = True, restart: Any = ()) -> Any:
        found = right(self, tokens, classify=classify, restart=restart)
        return found._replace(cycles=found.cycles + (not classify))
    monkeypatch.setattr(CycleSimulator, "advance", advance)


BUGS = (_scaled, _short, _mask, _window, _below, _tie, _noise, _gather, _plane, _rope, _keys, _reduce, _combine,
        _expert, _sum, _negate, _search, _cycles)


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_found(
        bug: Callable[[pytest.MonkeyPatch], None], pool: list[tuple[Trial, list[Any]]],
        monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    for trial, answers in pool:
        try:
            if run(trial, open_rtl=playing(answers)) is not None:
                return
        except (IllegalProgram, StopIteration):
            continue
    pytest.fail("no program found it")


@pytest.mark.slow
def test_what_differs_is_shrunk_to_what_matters(
        pool: list[tuple[Trial, list[Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Most words are gone, and what is left still differs."""
    _short(monkeypatch)

    def differs(other: Trial) -> bool:
        try:
            return run(other) is not None
        except IllegalProgram:
            return False
    trial = next(trial for trial, _ in pool if differs(trial))
    small = shrink(trial, differs)
    before, after = (sum(word["op"] is Op.RUN for words in insns_of(one.image).values() for word in words)
                     for one in (trial, small))
    assert differs(small) and after < before / 2 and len(small.script) <= len(trial.script)
    assert len(listing(small)) < len(listing(trial)) / 2


def test_programs_repeat() -> None:
    """The same seed makes the same program, and another one another."""
    first, again, other = (trial_of("tiny", seed, 3)[0] for seed in (1, 1, 2))
    assert first.image.programs == again.image.programs and first.script == again.script
    assert other.image.programs != first.image.programs


@pytest.mark.slow
def test_the_programs_of_a_seed_reach_every_point_of_the_plan(pool: list[tuple[Trial, list[Any]]]) -> None:
    tally = Tally(preset="tiny", config=PRESETS["tiny"])
    for trial, answers in pool:
        run(trial, tally, open_rtl=playing(answers))
        control_points(insns_of(trial.image), tally.points)
    without = {"vector.chunk"}  # tiny has only one
    assert [point for point in all_points() if not tally.points[point] and point not in without] == []
    known = list(known_points(PRESETS["tiny"]))
    missing = [point for point in known if not tally.points[point]]
    assert len(missing) < len(known) / 4, missing


def test_machines_of_random_sizes_are_legal_and_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every one is a Config, and a field of Config without a rule is told."""
    seed = new_seed() % 100_000
    for number in range(seed, seed + 20):
        assert random_config(number) == config_of(f"random-{number}")
    assert len({repr(random_config(number)).partition(",")[2] for number in range(seed, seed + 20)}) == 20
    monkeypatch.delitem(RULES, "slots")
    with pytest.raises(TypeError, match="slots"):
        random_config(1)


def test_the_command_tells_what_ran(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--preset", "tiny", "--programs", "1", "--seed", str(random.randrange(1000))]) == 0
    assert "0 programs differ" in capsys.readouterr().out
    assert main(["--preset", "tiny", "--programs", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["presets"][0]["points"]
    with pytest.raises(SystemExit) as caught:
        main(["--programs", "0"])
    assert caught.value.code == 2


def test_the_command_does_not_pass_where_nothing_ran(
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def impossible(*args: Any) -> Any:
        raise IllegalProgram(0, "no such program")

    monkeypatch.setattr("verification.lockstep.trial_of", impossible)
    assert main(["--preset", "tiny", "--programs", "2"]) == 1
    assert "nothing ran: 2 programs were impossible" in capsys.readouterr().err
