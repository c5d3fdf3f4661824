"""The host's side of the byte protocol, over anything that carries bytes: a Verilated core, a serial port.

`Driver` knows requests and answers; `memory_writes` turns an image into what has to be written.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from compiler.image import Image
from rtl.config import Config
from rtl.protocol import ERROR, READABLE, VERSION, Request, Space, record_bytes, status_bytes, word_bytes

BLOCK_BYTES = 1024  # granularity in which zeros are left out of a load
MARK_BYTES = 16  # bytes that are no request; more FF in a row than any record can hold
RUN_LIMIT = 0xFFFF  # tokens of one RUN request
WRITE_BYTES = 1 << 20  # of one WRITE request: a transport gives up on what takes too long


class Transport(Protocol):
    """A way to a machine: bytes in order, none lost."""

    def send(self, data: bytes) -> None:
        """Hand over all of the data."""
        ...

    def receive(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        ...


class ProtocolError(RuntimeError):
    """The machine answered something that the protocol does not allow: wrong bitstream, lost bytes, another version."""


class BankError(RuntimeError):
    """Two bits have flipped in one row of the banks, which the machine detects and cannot correct."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """What STATUS tells: next position and last record's token of each sequence, cycles since RESET modulo 2**32.

    corrected, uncorrectable: rows of the banks read since RESET in which a bit, or two, had flipped; 65535 and more are
    one number. 0 on a machine without `Config.ecc`, which does not look.
    """

    positions: tuple[int, ...]
    tokens: tuple[int, ...]
    cycles: int
    corrected: int = 0
    uncorrectable: int = 0


@dataclass(frozen=True, kw_only=True)
class Write:
    """Words of one space, from an address on."""

    space: Space
    address: int
    data: bytes


def memory_writes(image: Image, *, skip_zeros: bool) -> Iterator[Write]:
    """What loads an image.

    Parameters
    ----------
    image : the compiled model.
    skip_zeros : leave out what is zero anyway in a machine that has just been configured.
    """
    cfg = image.config
    contents = {
        Space.BANK: image.banks.astype(np.int8).tobytes(),
        Space.ACT: image.act.astype(np.int8).tobytes(),
        Space.PARAM: image.params.astype(np.uint8).tobytes(),
        Space.CONSTANT: image.constants.astype(np.uint8).tobytes(),
        Space.VALUES: image.values.astype("<u2").tobytes(),
        Space.REGISTER: np.array(image.registers.words(cfg), "<u2").tobytes(),
    }
    for name, space in (
        ("matrix", Space.MATRIX_PROGRAM), ("vector", Space.VECTOR_PROGRAM), ("scalar", Space.SCALAR_PROGRAM)
    ):
        size = word_bytes(cfg, space)
        contents[space] = b"".join(word.to_bytes(size, "little") for word in image.programs[name])
    for space, data in contents.items():
        if not skip_zeros:
            yield Write(space=space, address=0, data=data)
            continue
        size = word_bytes(cfg, space)
        block = max(1, BLOCK_BYTES // size) * size
        for start, end in _busy(data, block):
            yield Write(space=space, address=start // size, data=data[start:end])


def _busy(data: bytes, block: int) -> Iterator[tuple[int, int]]:
    """Stretches of whole blocks that are not all zero."""
    start: int | None = None
    for at in range(0, len(data), block):
        if any(data[at:at + block]):
            start = at if start is None else start
        elif start is not None:
            yield start, at
            start = None
    if start is not None:
        yield start, len(data)


class Driver:
    """A machine that can be loaded, stepped and read.

    Parameters
    ----------
    cfg : which machine it is.
    transport : the way to it.
    """

    def __init__(self, cfg: Config, transport: Transport) -> None:
        self._cfg, self._transport = cfg, transport
        self._running = False  # records of a RUN are still to come
        self._owed = 0  # so many at most

    def load(self, image: Image, *, skip_zeros: bool = False) -> None:
        """Write everything the image holds."""
        for write in memory_writes(image, skip_zeros=skip_zeros):
            self.write(write.space, write.address, write.data)

    def write(self, space: Space, address: int, data: bytes) -> None:
        """Write whole words from an address on."""
        size = word_bytes(self._cfg, space)
        if len(data) % size:
            raise ValueError(f"{len(data)} bytes are no whole words of {space.name}")
        part = max(1, WRITE_BYTES // size) * size
        for start in range(0, len(data), part):
            piece, first = data[start:start + part], address + start // size
            count = len(piece) // size
            self._send(Request.WRITE, bytes([space]), first.to_bytes(4, "little"), count.to_bytes(4, "little"), piece)
            self._expect(bytes([Request.WRITE]))

    def read(self, space: Space, address: int, count: int) -> npt.NDArray[np.int8] | npt.NDArray[np.int16]:
        """Words from an address on: (count, taps) int8 of BANK, (count,) int16 of VECTOR, (count,) int8 of ACT.

        Raises BankError where the banks hold what cannot be corrected.
        """
        if space not in READABLE:
            raise ValueError(f"{space.name} cannot be read back; {', '.join(item.name for item in READABLE)} can")
        self._send(Request.READ, bytes([space]), address.to_bytes(4, "little"), count.to_bytes(4, "little"))
        data = self._transport.receive(count * word_bytes(self._cfg, space))
        if self._cfg.ecc and space is Space.BANK:
            self.check_banks()
        if space is Space.VECTOR:
            return np.frombuffer(data, "<i2").astype(np.int16)
        words = np.frombuffer(data, np.int8)
        return words.reshape(count, self._cfg.taps) if space is Space.BANK else words

    def reset(self) -> None:
        """Back to position 0."""
        self._send(Request.RESET)
        self._expect(bytes([Request.RESET]))

    def step(self, tokens: Sequence[int], *, classify: bool,
             restart: Sequence[int] = ()) -> tuple[tuple[int, ...], int]:
        """Run one token of each sequence at its current position.

        tokens: of the first sequences; the others idle at position 0. restart: sequences that begin anew.
        Returns the next tokens of these sequences (without classifier: these) and the cycles.
        Raises BankError where the banks held what could not be corrected; so does `run`.
        """
        idle = range(len(tokens), self._cfg.sequences)
        flags = classify | sum(2 << sequence for sequence in {*restart, *idle})
        every = [*tokens, *(0 for _ in idle)]
        self._send(Request.STEP, bytes([flags]), *(token.to_bytes(2, "little") for token in every))
        found, cycles = self._record()
        return found[:len(tokens)], cycles

    def run(self, count: int) -> Generator[tuple[tuple[int, ...], int]]:
        """Generate: each token is the winner of the one before. Yields all sequences' winners, and cycles.

        The machine runs on between two of them. Closing the generator, or any other request, stops it.
        """
        while count:
            part = min(count, RUN_LIMIT)
            self._send(Request.RUN, part.to_bytes(2, "little"))
            self._running, self._owed = True, part
            try:
                for left in reversed(range(part)):
                    if not self._running:
                        raise ProtocolError("this run was ended by another request")
                    record = self._record()
                    self._running, self._owed = left > 0, left
                    yield record
            finally:
                self.settle()
            count -= part

    def status(self) -> Status:
        """Position, token and cycle count."""
        self._send(Request.STATUS)
        data = self._transport.receive(status_bytes(self._cfg))
        if data[0] != VERSION:
            raise ProtocolError(f"the machine speaks version {data[0]} of the protocol; this driver speaks {VERSION}")
        half = self._cfg.sequences
        *numbers, = np.frombuffer(data[1:1 + 4 * half], "<u2").tolist()
        cycles, *counted = np.frombuffer(data[1 + 4 * half:5 + 4 * half], "<u4").tolist() + np.frombuffer(
            data[5 + 4 * half:], "<u2").tolist()
        return Status(positions=tuple(numbers[:half]), tokens=tuple(numbers[half:]), cycles=cycles,
                      **dict(zip(("corrected", "uncorrectable"), counted, strict=False)))

    def check_banks(self) -> None:
        """Raises BankError where a row that was read since RESET could not be corrected."""
        if count := self.status().uncorrectable:
            raise BankError(f"bank error: {count} reads of a row with two flipped bits, which cannot be corrected; "
                            "load the image again and start anew")

    def settle(self) -> None:
        """End a RUN that is under way and drop its records."""
        if self._running:
            self._running = False
            # How many records are on their way is unknown; what follows STOP's answer marks the end.
            self._transport.send(bytes([Request.STOP]) + bytes(MARK_BYTES))
            tail, most = b"", self._owed * record_bytes(self._cfg) + 1 + MARK_BYTES
            while not tail.endswith(bytes([Request.STOP]) + bytes([ERROR]) * MARK_BYTES):
                if not most:
                    raise ProtocolError("the machine was told to stop, and sends more than a run can have left")
                tail, most = (tail + self._transport.receive(1))[-2 * MARK_BYTES:], most - 1

    def _send(self, request: Request, *parts: bytes) -> None:
        self.settle()
        self._transport.send(b"".join([bytes([request]), *parts]))

    def _record(self) -> tuple[tuple[int, ...], int]:
        data = self._transport.receive(record_bytes(self._cfg))
        if self._cfg.ecc and not any(data[-4:]):
            self.check_banks()
            raise ProtocolError("the machine says that a token took 0 cycles")
        return tuple(np.frombuffer(data[:-4], "<u2").tolist()), int.from_bytes(data[-4:], "little")

    def _expect(self, answer: bytes) -> None:
        if (got := self._transport.receive(len(answer))) != answer:
            raise ProtocolError(f"the machine answered {got.hex()} where the protocol has {answer.hex()}")
