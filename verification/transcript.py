"""What a host said to a Verilated machine and what it heard, recorded once and played to other machines.

A run that was compared with golden is a test of any machine that ought to be the same: it must hear the same bytes. To
play one takes no golden model, no compiler and no Python a token, so thousands of machines can be tested with it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from sim.verilate import VerilatedCore

PATIENCE_CYCLES = 2000
"""That another machine may take longer than the recorded one did, twice, before it counts as hanging."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of a core's. what : the method. given : its arguments. answer : what came back. cycles : it took."""

    what: str
    given: tuple[Any, ...]
    answer: Any = None
    cycles: int = 0


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """All calls of one core, in their order. library : the machine that was recorded."""

    library: Path
    calls: list[Call]


class RecordingCore(VerilatedCore):
    """A core that keeps what is said to it. `transcripts`, where it puts that, is the class's: set by `recording`."""

    transcripts: list[Transcript]

    def __init__(self, library: Path, **options: Any) -> None:
        self._calls = list[Call]()
        self.transcripts.append(Transcript(library=library, calls=self._calls))
        super().__init__(library, **options)

    def reset(self, cycles: int = 2) -> None:
        self._calls.append(Call(what="reset", given=(cycles,)))
        super().reset(cycles)

    def stall(self, *, rx: float = 0.0, tx: float = 0.0, seed: int = 1) -> None:
        self._calls.append(Call(what="stall", given=(rx, tx, seed)))
        super().stall(rx=rx, tx=tx, seed=seed)

    def _clock(self, data: bytes, wanted: int, max_cycles: int) -> tuple[int, int]:
        before = self.cycles
        answer = super()._clock(data, wanted, max_cycles)
        spent = self.cycles - before
        self._calls.append(Call(what="clock", given=(data, wanted, max_cycles), answer=answer, cycles=spent))
        return answer

    def _fetch(self, count: int) -> bytes:
        answer = super()._fetch(count)
        self._calls.append(Call(what="fetch", given=(count,), answer=answer))
        return answer


@contextmanager
def recording() -> Generator[list[Transcript]]:
    """While inside, every core that is made through sim.verilate or sim.rtl_device adds a transcript to the list."""
    made: list[Transcript] = []
    kind = type("Recording", (RecordingCore,), {"transcripts": made})
    with mock.patch("sim.verilate.VerilatedCore", kind), mock.patch("sim.rtl_device.VerilatedCore", kind):
        yield made


def play(calls: Sequence[Call], core: VerilatedCore) -> int | None:
    """The number of the first call that another core answers otherwise, or not in time; None if there is none."""
    for number, call in enumerate(calls):
        if call.what == "reset":
            core.reset(*call.given)
        elif call.what == "stall":
            rx, tx, seed = call.given
            core.stall(rx=rx, tx=tx, seed=seed)
        elif call.what == "fetch":
            if core._fetch(*call.given) != call.answer:
                return number
        else:
            data, wanted, most = call.given
            if core._clock(data, wanted, min(most, 2 * call.cycles + PATIENCE_CYCLES)) != call.answer:
                return number
    return None
