"""Sessions with a virtual board over a line that is not to be trusted: `python -m fpga.link.soak --faults 1000`.

Each session connects anew, to whatever state the last one left the board in. It loads a model, reads back what can be
read, and generates; or its host is killed in the middle of loading something else; or somebody pulls the cable for
good. What must never be: a wrong token or cycle count, a byte that was acknowledged and is not there, an answer that
makes no sense, a wait beyond the stated time-outs. A host that says in time that nothing answers is in order; it is
counted. The first thing that must not be ends the soak.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from compiler.errors import InputError
from compiler.image import Image
from fpga.faults import Fault, NoisyLine
from fpga.link.frames import Frame, Kind
from fpga.link.host import Link, LinkError, NoAnswer, Patience, Statistics, open_port
from fpga.virtual import BAUD, VirtualBoard
from rtl.protocol import Space
from sim.commands.common import compile_named
from sim.device import GoldenDevice
from sim.driver import Driver, ProtocolError

RATE = 1 / 2500
"""Chance of a fault at each byte: every tenth of the longest frames and answers is hit, some 40 a session."""
KILLED, PULLED = 0.3, 0.08
"""Chances of a session that its host is killed while loading, and that the cable is pulled at any time."""
PATIENCE = Patience(reply_s=0.3, reply_max_s=2.0, gap_s=0.02, stall_s=20.0)
TOKENS = 24
SLACK_S = 2.0  # that a busy machine may add to a time-out before it counts as missed


class Killed(Exception):
    """Stands for the host's death."""


class WatchedLink(Link):
    """A link that knows how long its longest exchange took, and calls `at_end` before the byte where it is due."""

    longest_s = 0.0
    left: int | None = None  # bytes until then
    at_end: Callable[[], None]

    def send(self, data: bytes) -> None:
        if self.left is not None and len(data) >= self.left:
            super().send(data[:self.left])
            data, self.left = data[self.left:], None
            self.at_end()
        elif self.left is not None:
            self.left -= len(data)
        super().send(data)

    def _exchange(self, kind: Kind, payload: bytes, attempts: int) -> Frame:
        start = time.monotonic()
        try:
            return super()._exchange(kind, payload, attempts)
        finally:
            self.longest_s = max(self.longest_s, time.monotonic() - start)


@dataclass(kw_only=True)
class Tally:
    """What happened.

    Members
    -------
    sessions : begun. complete : whose tokens were all compared. killed : whose host died while loading.
    pulled : whose cable was pulled. gave_up : the others whose host said that nothing answers.
    wrong_tokens : tokens or cycle counts that are not golden's. lost : bytes that were acknowledged and not there.
    nonsense : sessions that ended in an answer that makes no sense, or that had to come and did not.
    hangs : exchanges that took longer than stated. longest_s : the longest one. said : the last error's text.
    """

    faults: Counter[Fault] = field(default_factory=Counter[Fault])
    sessions: int = 0
    complete: int = 0
    killed: int = 0
    pulled: int = 0
    gave_up: int = 0
    tokens: int = 0
    wrong_tokens: int = 0
    lost: int = 0
    nonsense: int = 0
    hangs: int = 0
    longest_s: float = 0.0
    said: str = ""
    line: Counter[str] = field(default_factory=Counter[str])

    @property
    def bad(self) -> bool:
        """Something happened that must not."""
        return bool(self.wrong_tokens or self.lost or self.nonsense or self.hangs)

    @property
    def count(self) -> int:
        """Faults so far: those of bytes, killed hosts and pulled cables."""
        return sum(self.faults.values()) + self.killed + self.pulled

    def add(self, seen: Statistics) -> None:
        self.line.update(asdict(seen))


def soak(image: Image, *, faults: int, seed: int, rate: float = RATE, kind: type[WatchedLink] = WatchedLink,
         library: Path | None = None, tell: Callable[[Tally], None] = lambda tally: None) -> Tally:
    """Sessions until so many faults have been and one was complete, or something was that must not be.

    Parameters
    ----------
    image : what is loaded; of one sequence.
    rate : chance of a fault at each byte.
    kind, library : another host, another board: those with a seeded bug.
    tell : called after each session.
    """
    golden, expected, token = GoldenDevice(image), list[int](), 1
    for _ in range(TOKENS):
        expected.append(token := golden.step(token, classify=True).token)
    lines = NoisyLine(2 * seed, rate), NoisyLine(2 * seed + 1, rate)
    rng, tally = random.Random(seed), Tally()
    with VirtualBoard(image.config, to_board=lines[0], to_host=lines[1], library=library) as board:
        while not tally.bad and (tally.count < faults or not tally.complete):
            tally.sessions += 1
            with closing(open_port(board.port, BAUD, gap_s=PATIENCE.gap_s)) as port:
                _one(lambda port=port: kind(port, name=board.port, baud=BAUD, cfg=image.config, patience=PATIENCE),
                     lines, image, expected, rng, tally)
            tally.faults = lines[0].done + lines[1].done
            tell(tally)
    return tally


def _one(connect: Callable[[], WatchedLink], lines: tuple[NoisyLine, NoisyLine], image: Image, expected: list[int],
         rng: random.Random, tally: Tally) -> None:
    """One session, into the tally."""
    fate, pulled, link = rng.random(), False, None

    def kill() -> None:
        raise Killed

    def pull() -> None:
        nonlocal pulled
        pulled = lines[0].unplugged = lines[1].unplugged = True

    try:
        link = connect()
        if fate < KILLED:
            link.left, link.at_end = rng.randrange(1, 20_000), kill
        elif fate < KILLED + PULLED:
            link.left, link.at_end = rng.randrange(1, 30_000), pull
        _session(link, image, expected, rng, tally, to_be_killed=fate < KILLED)
        tally.complete += 1
        tally.nonsense += pulled  # there must have been an answer from nowhere
    except Killed:
        tally.killed += 1
    except NoAnswer:
        if pulled:
            tally.pulled += 1
        else:
            tally.gave_up += 1
    except (LinkError, ProtocolError, InputError) as error:
        tally.nonsense += 1
        tally.said = str(error)
    finally:
        lines[0].unplugged = lines[1].unplugged = False
    if link is not None:
        tally.add(link.statistics)
        tally.longest_s = max(tally.longest_s, link.longest_s)
        tally.hangs += link.longest_s > PATIENCE.limit_s(BAUD) + SLACK_S


def _session(link: WatchedLink, image: Image, expected: list[int], rng: random.Random, tally: Tally, *,
             to_be_killed: bool) -> None:
    driver, banks = Driver(image.config, link), image.banks.astype(np.int8).reshape(-1, image.config.taps)
    while to_be_killed:
        driver.write(Space.BANK, 0, (~banks).tobytes())  # so that nothing of an earlier load is of use to a later one
    driver.load(image)
    tally.lost += int(np.count_nonzero(driver.read(Space.BANK, 0, len(banks)) != banks))
    driver.reset()
    streamed = rng.random() < 0.5
    for (winners, cycles), want, promised in zip(
            _generate(driver, expected, streamed=streamed), expected, image.cycles[1].tolist(), strict=False):
        tally.tokens += 1
        tally.wrong_tokens += winners[0] != want or cycles != promised


def _generate(driver: Driver, expected: list[int], *, streamed: bool) -> Iterator[tuple[tuple[int, ...], int]]:
    """Records: on chip after the first token, or each token given by the host."""
    yield driver.step([1], classify=True)
    if streamed:
        yield from driver.run(len(expected) - 1)
    else:
        for token in expected[:-1]:
            yield driver.step([token], classify=True)


def report(tally: Tally, seed: int, seconds: float) -> str:
    """The tally for people."""
    line, faults = tally.line, {kind.value: count for kind, count in tally.faults.items()}
    faults |= {"killed host": tally.killed, "pulled cable": tally.pulled}
    rows = {
        "faults injected": f"{tally.count}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items())),
        "sessions": f"{tally.sessions}: {tally.complete} complete, {tally.killed} killed, {tally.pulled} pulled, "
                    f"{tally.gave_up} others gave up in time",
        "frames": f"{line['frames']}, {line['repeated']} repeated ({line['timeouts']} without answer, "
                  f"{line['damaged']} damaged answers), {line['stale']} late answers left out",
        "payload": f"{line['sent']} bytes to the board, {line['received']} from it",
        "wrong tokens": f"{tally.wrong_tokens} of {tally.tokens}",
        "lost or wrong bytes": f"{tally.lost}",
        "nonsense": f"{tally.nonsense} {tally.said}".strip(),
        "hangs": f"{tally.hangs}; longest exchange {tally.longest_s:.1f} s, stated {PATIENCE.limit_s(BAUD):.1f} s"}
    return f"seed {seed}, {seconds:.0f} s\n" + "\n".join(f"{what:<21} {found}" for what, found in rows.items())


def main() -> None:
    """Command line; exit code 1 where anything happened that must not."""
    parser = argparse.ArgumentParser(prog="python -m fpga.link.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=RATE, help="chance of a fault at each byte")
    parser.add_argument("--model", default="random:small")
    parser.add_argument("--preset", default="tiny")
    args = parser.parse_args()
    start = time.monotonic()

    def tell(tally: Tally) -> None:
        sys.stderr.write(f"{tally.count} faults, {tally.sessions} sessions, {tally.wrong_tokens} wrong, "
                         f"{tally.lost} lost, {tally.nonsense} nonsense, {tally.hangs} hangs\n")

    image = compile_named(args.model, args.preset)
    tally = soak(image, faults=args.faults, seed=args.seed, rate=args.rate, tell=tell)
    print(report(tally, args.seed, time.monotonic() - start))
    sys.exit(tally.bad)


if __name__ == "__main__":
    main()
