"""One interface to everything that runs a model: the golden model, the cycle simulator, the Verilated RTL, a board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from compiler.errors import InputError
from compiler.image import Image
from rtl.config import Config
from rtl.protocol import Space
from sim.cycle import CycleSimulator
from sim.cycle.execute import noises
from sim.golden import Golden

Int = npt.NDArray[np.int64]


class Record(NamedTuple):
    """What a token gave.

    Members:
        token: the winner; for a token without classifier the token itself.
        cycles: that it took, as the device counted them; None on a device that has no cycles.
    """

    token: int
    cycles: int | None


class Records(NamedTuple):
    """The same of all sequences at once.

    Members:
        tokens: of each sequence. cycles: that they took together.
    """

    tokens: tuple[int, ...]
    cycles: int | None


class Device(Protocol):
    """Runs one token after another. `name` is what the command line calls it."""

    name: str

    def reset(self) -> None:
        """The next token is at position 0."""
        ...

    def advance(self, tokens: Sequence[int], *, classify: bool, restart: Sequence[int] = ()) -> Records:
        """Run one token of each of the image's sequences at its next position; those in `restart` begin anew."""
        ...

    def step(self, token: int, *, classify: bool) -> Record:
        """The same for an image of one sequence."""
        ...

    def tensor(self, name: str) -> Int | None:
        """A tensor after the last token, in the model's own order; None where the device cannot tell."""
        ...


@runtime_checkable
class Remarks(Protocol):
    """A device that has something to say of itself."""

    def remarks(self, cycles_a_step: float) -> list[tuple[str, str]]:
        """Name and text of each, given the mean cycles of a step."""
        ...


def tensor_cells(cfg: Config, entry: dict[str, Any]) -> tuple[str, range]:
    """Where a tensor of `Image.tensors` lies: its space ("vector" or "act"), and the elements (lanes of rows) in it."""
    start = int(entry["first"]) * cfg.lanes
    return str(entry["space"]), range(start, start + len(entry["index"]))


def tensor_order(entry: dict[str, Any], elements: npt.NDArray[Any]) -> Int:
    """The machine's elements of a tensor in the model's order, padding left out."""
    index = np.array(entry["index"], np.int64)
    made = np.zeros(int(index.max(initial=-1)) + 1, np.int64)
    made[index[index >= 0]] = elements[index >= 0]
    return made


class _Single:
    """`step` in terms of `advance`."""

    def advance(self, tokens: Sequence[int], *, classify: bool, restart: Sequence[int] = ()) -> Records:
        raise NotImplementedError

    def step(self, token: int, *, classify: bool) -> Record:
        (winner,), cycles = self.advance([token], classify=classify)
        return Record(winner, cycles)


def sequence_of(name: str) -> tuple[int, str]:
    """The sequence and the plain name of a tensor: "1:final.x8" is the second one's."""
    number, colon, plain = name.rpartition(":")
    return (int(number), plain) if colon else (0, name)


class GoldenDevice(_Single):
    """The golden model, once for each sequence. It has no cycles."""

    name = "golden"

    def __init__(self, image: Image) -> None:
        if image.model is None:
            raise InputError("this image does not carry its model, which the golden device runs; compile it again")
        noise = noises(image) or [None] * image.sequences
        self._golden = [Golden(image.model, noise[number], image.top_k) for number in range(image.sequences)]
        self._context = image.context
        self._traces: list[dict[str, Int]] | None = None

    def reset(self) -> None:
        for golden in self._golden:
            golden.reset()

    def keep_tensors(self) -> None:
        """From now on, keep every tensor of the last token."""
        self._traces = [{} for _ in self._golden]

    def advance(self, tokens: Sequence[int], *, classify: bool, restart: Sequence[int] = ()) -> Records:
        winners: list[int] = []
        for number, (golden, token) in enumerate(zip(self._golden, tokens, strict=True)):
            if number in restart:
                golden.reset()
            if golden.position >= self._context:
                raise ValueError(f"position {golden.position} is past the context of {self._context}")
            trace = self._traces[number] if self._traces is not None else None
            if trace is not None:
                trace.clear()
            winner = golden.step(token, classify=classify, trace=trace)
            winners.append(token if winner is None else winner)
        return Records(tuple(winners), None)

    def tensor(self, name: str) -> Int | None:
        """Under the golden model's names, once `keep_tensors` was called."""
        sequence, plain = sequence_of(name)
        found = self._traces[sequence].get(plain) if self._traces else None
        return None if found is None else found.reshape(-1)


class CycleDevice(_Single):
    """The cycle simulator; `poison` as there."""

    name = "cycle"

    def __init__(self, image: Image, *, poison: int | None = None) -> None:
        self.simulator = CycleSimulator(image, poison=poison)

    def reset(self) -> None:
        self.simulator.reset()

    def advance(self, tokens: Sequence[int], *, classify: bool, restart: Sequence[int] = ()) -> Records:
        return Records(*self.simulator.advance(tokens, classify=classify, restart=restart))

    def tensor(self, name: str) -> Int | None:
        entry = self.simulator.image.tensors.get(name)
        if entry is None:
            return None
        space, cells = tensor_cells(self.simulator.config, entry)
        state = self.simulator.state
        memory = state.memory.reshape(-1) if space == "vector" else state.act
        return tensor_order(entry, memory[cells.start:cells.stop])


class VerilatedDevice(_Single):
    """The Verilated RTL, see `sim.rtl_device`."""

    name = "rtl"

    def __init__(self, image: Image) -> None:
        from sim.rtl_device import RtlDevice  # generates the gateware, which the other devices do without
        self.rtl = RtlDevice(image)

    def reset(self) -> None:
        self.rtl.reset()

    def advance(self, tokens: Sequence[int], *, classify: bool, restart: Sequence[int] = ()) -> Records:
        return Records(*self.rtl.step(tokens, classify, restart))

    def tensor(self, name: str) -> Int | None:
        entry = self.rtl.image.tensors.get(name)
        if entry is None:
            return None
        space, cells = tensor_cells(self.rtl.image.config, entry)
        elements = self.rtl.read(Space.VECTOR if space == "vector" else Space.ACT, cells.start, len(cells))
        return tensor_order(entry, elements)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A board's serial port, as it was asked for; None where it was not.

    Members:
        port: its name. baud: bits a second.
    """

    port: str | None = None
    baud: int | None = None


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A device by its name: what opens it, and the preset of the machine that it is, where it is only one."""

    make: Callable[[Image, Line], Device]
    preset: str | None = None
    has_line: bool = False


def _simulation(make: Callable[[Image], Device]) -> Kind:
    return Kind(make=lambda image, line: make(image))


_DEVICES = {name: _simulation(make) for name, make in (
    ("golden", GoldenDevice), ("cycle", CycleDevice), ("rtl", VerilatedDevice))}
DEVICES = tuple(_DEVICES)
"""The devices that are always there, and can be any machine."""


def register_device(name: str, kind: Kind) -> None:
    """Make a device known by its name: the packages above this one have boards. The last one of a name counts."""
    _DEVICES[name] = kind


def device_kind(name: str) -> Kind:
    """The device of that name. Raises InputError naming the known ones."""
    if name not in _DEVICES:
        raise InputError(f"unknown device {name!r}; known devices: {', '.join(_DEVICES)}")
    return _DEVICES[name]


def open_device(name: str, image: Image, line: Line | None = None) -> Device:
    """A device with an image in it.

    Raises InputError for a name that is none, for a line to a device that has none, and what the device itself raises.
    """
    kind, line = device_kind(name), line or Line()
    if not kind.has_line and line != Line():
        raise InputError(f"the {name} device has no serial port; leave --port and --baud out")
    if kind.preset is not None and kind.preset != image.config.name:
        raise InputError(f"the {name} device is a {kind.preset}, the image is for {image.config.name}; "
                         f"compile the model with --preset {kind.preset}")
    return kind.make(image, line)
