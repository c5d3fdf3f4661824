"""One text told by a machine in which a bit flips on the way, and what came of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from compiler.image import Image
from compiler.layout import lay_out
from rtl.config import preset
from rtl.ecc import row_bits
from rtl.protocol import Request, Space
from rtl.verilog import generate
from sim.device import GoldenDevice
from sim.driver import BankError, Driver, ProtocolError
from sim.open_core import OpenCore, State
from sim.verilate import OPTIMISE, CoreTimeout, build, cached_verilog
from verification.small_model import small_image

PROMPT, TOLD = 3, 4
"""Tokens of a text: those that it begins with, and those that the machine runs to by itself."""
PATIENCE = 20_000
"""Cycles without an answer that the host waits for: a token takes some hundred."""
SHAPE = "two layers"


class Kind(StrEnum):
    """What is flipped: a bit of the banks, two bits of one word of a bank, a bit of another memory, or a register's."""

    BANK = "bank"
    PAIR = "pair"
    MEMORY = "memory"
    REGISTER = "register"


class Outcome(StrEnum):
    """What came of it.

    MASKED: the right tokens in the promised cycles, and nobody noticed. CORRECTED: the same, and the machine counted.
    DETECTED: the machine stopped with a bank error. NOTICED: the host saw no answer, an unknown one, or other cycles
    than promised. All tokens before that were right, or it is WRONG: so is what the host took for right and is not.
    """

    MASKED = "masked"
    CORRECTED = "corrected"
    DETECTED = "detected"
    NOTICED = "noticed by the host"
    WRONG = "silently wrong"


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Bits of a row that flip, so many clocks after a request was sent. request: which one of the text's."""

    state: State
    row: int
    bits: tuple[int, ...]
    request: int
    clocks: int

    def __str__(self) -> str:
        where = self.state.scope.partition(".")[2]
        return (f"{where}.{self.state.name} row {self.row} bits {', '.join(map(str, self.bits))}, "
                f"{self.clocks} cycles into request {self.request}")


@dataclass(frozen=True, kw_only=True)
class Result:
    """replaced: the word was written anew before its text ended. later: a bank's word was read by the host after the
    text, for the first time since the flip, and what came of that; None where it was not for the host to read."""

    flip: Flip
    outcome: Outcome
    replaced: bool = False
    later: Outcome | None = None

    @property
    def as_promised(self) -> bool:
        """Of banks with ECC: corrected or detected, whoever reads it, or gone before anybody has."""
        promised = Outcome.DETECTED if len(self.flip.bits) > 1 else Outcome.CORRECTED
        if self.replaced and self.outcome is Outcome.MASKED:
            return True
        return promised in (self.outcome, self.later) and Outcome.WRONG not in (self.outcome, self.later)


class _Struck:
    """A machine's byte streams, with something that happens so many clocks after a request that is a step or run."""

    def __init__(self, core: OpenCore) -> None:
        self.core, self.requests = core, 0
        self.strike: tuple[int, int, Callable[[], None]] | None = None

    def send(self, data: bytes) -> None:
        self.core.send(data, max_cycles=PATIENCE + 64 * len(data))
        if data[0] in (Request.STEP, Request.RUN):
            if self.strike and self.strike[0] == self.requests:
                self.core.run(self.strike[1])
                self.strike[2]()
            self.requests += 1

    def receive(self, count: int) -> bytes:
        return self.core.receive(count, max_cycles=PATIENCE + 64 * count)


class Campaign:
    """A preset's machine with a small model, for as many trials as one likes.

    Parameters
    ----------
    name : of the preset, also with ECC. seed : of the model and of all trials.
    verilog : another text of the same machine: with a seeded bug. optimise : flags of the C++ compiler.
    """

    def __init__(self, name: str, seed: int, verilog: str | None = None, optimise: Sequence[str] = OPTIMISE) -> None:
        self.config, self.seed, self.optimise = preset(name), seed, optimise
        self.verilog = verilog or cached_verilog(lambda: generate(self.config), facts=repr(self.config))
        self.image: Image = small_image(self.config, SHAPE, seed)
        self.expected = self._golden()
        self._machine: tuple[OpenCore, _Struck, Driver] | None = None

    @cached_property
    def library(self) -> Path:
        return build(self.verilog, opened=True, optimise=self.optimise)

    @cached_property
    def rows(self) -> int:
        """Rows of the banks that the image uses: matrices and caches."""
        assert self.image.model is not None
        return lay_out(self.image.model, self.config, self.image.context).bank.used

    @property
    def prompt(self) -> list[int]:
        return list(range(1, PROMPT + 1))

    def _golden(self) -> list[tuple[int, int]]:
        """Token and cycles of each position, as they should be."""
        golden, made = GoldenDevice(self.image), list[tuple[int, int]]()
        for position in range(PROMPT + TOLD):
            token = self.prompt[position] if position < PROMPT else made[-1][0]
            classify = position >= PROMPT - 1
            made.append((golden.step(token, classify=classify).token, int(self.image.cycles[int(classify), position])))
        return made

    # ------------------------------------------------------------------------------------------------------ the flip

    def flip(self, kind: Kind, number: int) -> Flip:
        """The flip of a trial, the same each time. Every bit of the kind is as likely, and every cycle of the text."""
        rng = random.Random(f"{self.seed} {kind} {number}")
        core = self._open()[0]
        of_banks = [state for state in core.states if ".banks." in state.scope and state.rows > 1]
        if kind in (Kind.BANK, Kind.PAIR):
            state, row = rng.choice(of_banks), rng.randrange(self.rows)
            bits = tuple(rng.sample(range(row_bits(self.config)), 2 if kind is Kind.PAIR else 1))
        else:
            some = [state for state in core.states
                    if (state.rows > 1) == (kind is Kind.MEMORY) and state not in of_banks]
            (state,) = rng.choices(some, [state.rows * state.bits for state in some])
            row, bits = rng.randrange(state.rows), (rng.randrange(state.bits),)
        at, request = rng.randrange(sum(cycles for _, cycles in self.expected)), 0
        while request < PROMPT and at >= self.expected[request][1]:
            at -= self.expected[request][1]
            request += 1
        return Flip(state=state, row=row, bits=bits, request=request, clocks=at)

    def trial(self, kind: Kind, number: int) -> Result:
        """Tell the text with this flip."""
        flip = self.flip(kind, number)
        core, struck, driver = self._open()
        flipped = 0

        def strike() -> None:
            nonlocal flipped
            for bit in flip.bits:
                core.flip(flip.state, flip.row, bit)
            flipped = core.word(flip.state, flip.row)

        struck.requests, struck.strike = 0, (flip.request, flip.clocks, strike)
        outcome = self.tell(driver)
        if kind in (Kind.MEMORY, Kind.REGISTER):
            self.close()  # nobody knows what it did
            return Result(flip=flip, outcome=outcome)
        replaced, later = core.word(flip.state, flip.row) != flipped, None
        if not replaced:
            if outcome is Outcome.MASKED:
                later = self.read(driver, flip, flipped)
            for bit in flip.bits:
                core.flip(flip.state, flip.row, bit)
        if Outcome.NOTICED in (outcome, later):
            self.close()  # it does not hear
        return Result(flip=flip, outcome=outcome, replaced=replaced, later=later)

    # ------------------------------------------------------------------------------------------------------ the text

    def tell(self, driver: Driver) -> Outcome:
        """The text, and what the host thinks of it."""
        made: list[tuple[int, int]] = []
        try:
            driver.reset()
            for number, token in enumerate(self.prompt):
                (found, *_), cycles = driver.step([token], classify=number == PROMPT - 1)
                made.append((found, cycles))
            made += [(found[0], cycles) for found, cycles in driver.run(TOLD)]
            status = driver.status()
        except BankError:
            return Outcome.DETECTED if self._right(made) else Outcome.WRONG
        except (ProtocolError, CoreTimeout):
            return Outcome.NOTICED if self._right(made) else Outcome.WRONG
        if not self._right(made):
            return Outcome.WRONG
        if [cycles for _, cycles in made] != [cycles for _, cycles in self.expected]:
            return Outcome.NOTICED
        if status.uncorrectable:
            return Outcome.WRONG  # it should have stopped
        return Outcome.CORRECTED if status.corrected else Outcome.MASKED

    def _right(self, made: list[tuple[int, int]]) -> bool:
        """Whether every token is, up to the first that did not take its cycles: that one the host does not trust."""
        for (token, cycles), (expected, promised) in zip(made, self.expected, strict=False):
            if cycles != promised:
                return True
            if token != expected:
                return False
        return True

    def read(self, driver: Driver, flip: Flip, flipped: int) -> Outcome:
        """The host reads the word, which is what it has been since the flip."""
        lane, taps = int(flip.state.scope.rpartition("_")[2]), self.config.taps
        right = flipped
        for bit in flip.bits:
            right ^= 1 << bit
        try:
            found = driver.read(Space.BANK, flip.row * self.config.lanes + lane, 1)
            corrected = driver.status().corrected
        except BankError:
            return Outcome.DETECTED
        except (ProtocolError, CoreTimeout):
            return Outcome.NOTICED
        if int.from_bytes(found.tobytes(), "little") != right % (1 << 8 * taps):
            return Outcome.WRONG
        return Outcome.CORRECTED if corrected else Outcome.MASKED

    # --------------------------------------------------------------------------------------------------- the machine

    def _open(self) -> tuple[OpenCore, _Struck, Driver]:
        """The machine with the image in it."""
        if self._machine is None:
            core = OpenCore(self.library, self.verilog)
            struck = _Struck(core)
            driver = Driver(self.config, struck)
            driver.load(self.image, skip_zeros=True)
            self._machine = core, struck, driver
        return self._machine

    def close(self) -> None:
        """The next trial has a new machine."""
        if self._machine is not None:
            self._machine[0].close()
        self._machine = None
