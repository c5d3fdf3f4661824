"""Noise: rows as the golden model draws them, each when its pass is in `select`, at every pace that is legal."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from rtl.config import Config
from rtl.isa import Addend
from rtl.timing import NOISE_ROWS, timing
from sim.golden.noise import Noise
from verification.noise_unit import NoiseUnit, register_words, soonest
from verification.ports import Ports
from verification.runner import bench_parameters
from verification.settings import generator, shallow

TOKENS = 5


class Player:
    """Tokens on the design and on the golden model."""

    def __init__(self, dut: Any, cfg: Config, rng: random.Random) -> None:
        self.ports, self.cfg, self.rng = Ports(dut, NoiseUnit(cfg)), cfg, rng
        self.pass_fields = {name: 0 for name, _ in NoiseUnit(cfg).signature.members["issue"].shape}
        self.golden: list[Noise] = []

    async def load(self, mantissa: int, shift: int) -> None:
        """New seeds, and a temperature."""
        seeds = [self.rng.getrandbits(64) for _ in range(self.cfg.sequences)]
        for address, word in enumerate(register_words(seeds, mantissa, shift)):
            self.ports.set(load__address=address, load__data=word, load__en=1)
            await self._cycle()
        self.ports.set(load__en=0)
        self.golden = [Noise(seed, mantissa=mantissa, shift=shift) for seed in seeds]

    async def token(self, restart: set[int]) -> None:
        """A token, in which those sequences begin anew; some sequences take rows."""
        self.ports.set(restart=sum(1 << sequence for sequence in restart))
        await self._cycle()
        self.ports.set(restart=0, go=1)
        await self._cycle()
        self.ports.set(go=0)
        for number, noise in enumerate(self.golden):
            if number in restart:
                noise.restart()
            noise.begin()
        schedule = self._schedule()
        late, expected = timing(self.cfg).noise_read, dict[int, list[int]]()
        for cycle in range(1, max(schedule, default=0) + late + 1):
            sequence = schedule.get(cycle)
            if sequence is not None:
                expected[cycle + late] = self.golden[sequence].draw(self.cfg.lanes).tolist()
            self.ports.set(issue=self._pass(sequence))
            await self.ports.settle()
            if cycle in expected:
                self.ports.expect("row", expected[cycle])
            await self.ports.edge()
        self.ports.set(issue=self._pass(None))

    def _schedule(self) -> dict[int, int]:
        """Sequences by the cycle of a pass that takes a row: bursts, as soon as may be, and later."""
        found: dict[int, int] = {}
        t = timing(self.cfg)
        for sequence in range(self.cfg.sequences):
            taken: list[int] = []
            for _ in range(self.rng.choice((0, 1, NOISE_ROWS, 3 * NOISE_ROWS))):
                busy = {cycle - t.noise_ready for cycle in found}
                taken.append(soonest(taken, NOISE_ROWS, t.noise_apart, busy))
                if self.rng.random() < 0.1:
                    taken[-1] += self.rng.randrange(t.noise_apart)
                    while taken[-1] in busy:
                        taken[-1] += 1
            found |= {cycle + t.noise_ready: sequence for cycle in taken}
        return found

    def _pass(self, sequence: int | None) -> dict[str, int]:
        """A pass that takes a row, or another one, or none."""
        rng, fields = self.rng, dict(self.pass_fields)
        fields |= {"valid": 1, "addend": Addend.NOISE.value} if sequence is not None else rng.choice((
            {"valid": 1, "addend": rng.randrange(3)}, {"valid": 0, "addend": Addend.NOISE.value}))
        if self.cfg.sequences > 1:
            fields["sequence"] = rng.randrange(self.cfg.sequences) if sequence is None else sequence
        return fields

    async def _cycle(self) -> None:
        await self.ports.settle()
        await self.ports.edge()


@cocotb.test()
async def tokens_as_golden(dut: Any) -> None:
    parameters = bench_parameters()
    cfg, rng = shallow(parameters["preset"]), generator(parameters)
    bench = Player(dut, cfg, rng)
    await bench.ports.start()
    for mantissa, shift in ((rng.randrange(128, 256), rng.randrange(4, 10)), (255, 0), (1, 15), (0, 3)):
        await bench.load(mantissa, shift)
        await bench.token(set(range(cfg.sequences)))
        for _ in range(TOKENS - 1):
            await bench.token({sequence for sequence in range(cfg.sequences) if rng.random() < 0.3})
