"""A program whose cycles and winners are known without a model, for tests of the protocol."""

from __future__ import annotations

from dataclasses import dataclass

from rtl.config import Config
from rtl.encoding import Insn, encode
from rtl.isa import MATRIX, SCALAR, VECTOR, Op, Reduce, Source
from rtl.protocol import VERSION, Space, word_bytes
from rtl.timing import timing
from sim.driver import Driver


@dataclass(frozen=True)
class Machine:
    """A machine with a program of known length and winners: the last lane for the first sequence, and so on down."""

    cfg: Config

    @property
    def cycles(self) -> int:
        """Of a token with classifier."""
        return 60 + timing(self.cfg).token_overhead

    @property
    def prompt_cycles(self) -> int:
        """Of a token without."""
        return 21 + timing(self.cfg).token_overhead

    @property
    def winners(self) -> tuple[int, ...]:
        return tuple(self.cfg.lanes - 1 - sequence for sequence in range(self.cfg.sequences))

    @property
    def programs(self) -> dict[Space, list[Insn]]:
        """Row s of vector memory holds its maximum in the lane that shall win for sequence s."""
        sequences = range(self.cfg.sequences)
        argmax: dict[str, object] = {"op": Op.RUN, "source": Source.MEM, "reduce": Reduce.ARGMAX, "first": 1}
        return {
            Space.MATRIX_PROGRAM: [Insn(MATRIX, {"op": Op.END})],
            Space.VECTOR_PROGRAM: [
                Insn(VECTOR, {"op": Op.END_PROMPT, "wait": 20}),
                *(Insn(VECTOR, {**argmax, "src": s, "sequence": s}) for s in sequences),  # type: ignore[dict-item]
                Insn(VECTOR, {"wait": 17}),
                Insn(VECTOR, {"op": Op.END, "wait": 20 - self.cfg.beats * len(sequences)})],
            Space.SCALAR_PROGRAM: [Insn(SCALAR, {"op": Op.END})]}

    def load(self, driver: Driver) -> None:
        for space, words in self.programs.items():
            size = word_bytes(self.cfg, space)
            driver.write(space, 0, b"".join(encode(self.cfg, word).to_bytes(size, "little") for word in words))
        rows = [99 if lane == winner else lane for winner in self.winners for lane in range(self.cfg.lanes)]
        driver.write(Space.VECTOR, 0, pairs(*rows))

    def record(self, tokens: tuple[int, ...], cycles: int) -> bytes:
        assert len(tokens) == self.cfg.sequences
        return pairs(*tokens) + cycles.to_bytes(4, "little")

    @property
    def winners_record(self) -> bytes:
        """Of a token with classifier."""
        return self.record(self.winners, self.cycles)

    def tokens(self, first: int) -> tuple[int, ...]:
        """A different one for each sequence."""
        return tuple(first + 7 * sequence for sequence in range(self.cfg.sequences))

    def status(self, positions: tuple[int, ...], tokens: tuple[int, ...], cycles: int) -> bytes:
        return bytes([VERSION]) + pairs(*positions) + pairs(*tokens) + cycles.to_bytes(4, "little")


def pairs(*numbers: int) -> bytes:
    """Two bytes each."""
    return b"".join(number.to_bytes(2, "little") for number in numbers)
