"""Vector unit: what the golden primitives say, each access in the cycle that rtl.timing gives."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import cocotb
import numpy as np

from rtl.config import Config
from rtl.isa import MATRIX, Mask, Reduce, Store
from rtl.ports import field_bits
from rtl.timing import SPREAD, timing
from rtl.vector import Vector
from sim.golden.primitives import Int
from verification import vector_cases as cases
from verification.ports import Ports
from verification.runner import bench_parameters
from verification.settings import generator, shallow
from verification.vector_model import Pass, VectorModel

RANDOM_PASSES = 150
MOVES = ("valid", "src", "param", "dst", "slot", "index", "odd", "first")
"""What may be another in the cycle after a pass's issue, also where a pass takes several."""


@dataclass
class Expected:
    """By cycle: rows written to vector memory, 8-bit outputs, and the reduce registers and winners from then on."""

    written: dict[int, tuple[int, Int]] = field(default_factory=dict[int, tuple[int, Int]])
    acts: dict[int, tuple[Pass, Int]] = field(default_factory=dict[int, tuple[Pass, Int]])
    banked: dict[int, tuple[Pass, Int]] = field(default_factory=dict[int, tuple[Pass, Int]])
    registers: dict[int, tuple[dict[int, int], dict[int, int]]] = field(
        default_factory=dict[int, tuple[dict[int, int], dict[int, int]]])
    indices: VectorModel | None = None  # which knows when index registers change


def expected(cfg: Config, schedule: dict[int, Pass], positions: list[int], oldest: list[int]) -> Expected:
    """What passes issued in these cycles do, and when."""
    times, model, found = timing(cfg), VectorModel(cfg, positions, oldest), Expected()
    for cycle, one in sorted(schedule.items()):
        fields = one.fields
        if fields["mask"] == Mask.CHOSEN.value and model.index(
                fields["sequence"], 1, cycle + times.vector_read) is None:
            fields["mask"] = Mask.NONE.value  # nor of an index register that nothing has written
        known = fields["sequence"] in model.started if fields["reduce"] == Reduce.ARGMAX.value else (
            fields["target"] in model.registers)
        if not known and not one.held:
            fields["first"] = 1  # nothing is known of a register that no pass has begun
        wide, narrow = model.run(one, cycle)
        if fields["write"] and not one.held:
            found.written[cycle + times.memory_visible - 1] = (fields["dst"], wide)
        if fields["store"] == Store.ACT.value and not one.held:
            found.acts[cycle + times.act_visible - 1] = (one, narrow)
        elif fields["store"] and not one.held:
            found.banked[cycle + times.bank_write - SPREAD * int(cfg.spread)] = (one, narrow)
        found.registers[cycle + times.reduce_visible] = (dict(model.registers), dict(model.tokens))
    found.indices = model
    assert times.bank_visible == times.bank_write + 1
    assert times.reduce_visible == times.token_visible
    return found


class Player:
    """A schedule on the design: operands are right in one cycle and noise in all others."""

    def __init__(self, dut: Any, cfg: Config, rng: random.Random, positions: list[int]) -> None:
        self.ports, self.cfg, self.rng, self.positions = Ports(dut, Vector(cfg)), cfg, rng, positions
        self.row_bits = field_bits(cfg, MATRIX, "row")["row"].width
        self.key_offsets = rng.sample(range(32), cfg.sequences)
        back = (0, 1, cfg.lanes - 1, cfg.lanes, 2 * cfg.lanes) if cfg.windows else (1 << cfg.position_bits,)
        self.oldest = [max(0, position - rng.choice(back)) for position in positions]
        self.noise = cases.with_operands(cfg, rng, cases.random_fields(cfg, rng, positions))

    async def play(self, passes: Iterable[tuple[int, Pass]]) -> None:
        """Issue passes in the given cycles, or as much further apart as they must be."""
        schedule = {cycle * self.cfg.beats: one for cycle, one in passes}
        found, times, ports = expected(self.cfg, schedule, self.positions, self.oldest), timing(self.cfg), self.ports
        known: dict[int, int] = {}
        tokens: dict[int, int] = {}
        asked = 0
        await ports.start()
        ports.set(position=self.positions, key_offset=self.key_offsets)
        if self.cfg.windows:
            ports.set(oldest=self.oldest)
        for cycle in range(max(schedule) + times.reduce_visible + 3):
            issued = schedule.get(cycle)
            still = {}  # where a pass takes several cycles, what does not move stands still in the next one
            if self.cfg.beats > 1 and (recent := schedule.get(cycle - 1)):
                still = {name: value for name, value in recent.fields.items() if name not in MOVES}
            ports.set(issue=issued.fields if issued else self.noise.fields | still | {"valid": 0})
            addressed = schedule.get(cycle - times.vector_read)
            row_asked = schedule.get(cycle - times.vector_read + int(self.cfg.spread))
            scalars = (addressed or self.noise).scalars
            ports.set(scalars=[scalar._asdict() for scalar in scalars])
            if not self.cfg.serial_vector:
                ports.set(exponents=[scalar.exponent for scalar in scalars for _ in range(self.cfg.group_lanes)],
                          out_exponent=(addressed or self.noise).out_exponent)
            elif begun := schedule.get(cycle - times.vector_read - 1):  # its second look at the one read port
                ports.set(scalars=[{"mantissa": 0x2345, "exponent": begun.out_exponent}])
            reads = (cycle - times.vector_read - 1 - beat for beat in range(self.cfg.beats))
            read = next((schedule[at] for at in reads if at in schedule), self.noise)
            param = schedule.get(cycle - times.vector_read, self.noise) if self.cfg.spread else read  # a cycle before
            ports.set(memory_read_data=read.memory, param_data=param.params)
            if self.cfg.noise_rate:
                ports.set(noise_row=(schedule.get(cycle - times.noise_read) or self.noise).noise)
            accumulated = schedule.get(cycle - times.acc_read)
            index = self.rng.randrange(self.cfg.reduces) if self.rng.random() < 0.3 else self.rng.randrange(2)
            ports.set(acc=(accumulated or self.noise).acc, reduce_index=index)
            await ports.settle()
            self._addresses(issued, addressed, row_asked, accumulated)
            self._results(found, cycle)
            late = int(self.cfg.serial_vector)  # registers in a memory
            partly = any(cycle + lane in found.registers for lane in range(self.cfg.beats - 1))  # not all lanes yet
            if not late:
                known, tokens = found.registers.get(cycle, (known, tokens))
            if asked in known and not partly and (not late or ports.get("reduce_found")):
                ports.expect("reduce_value", known[asked], f"register {asked}")
            if late:
                known, tokens = found.registers.get(cycle, (known, tokens))
            winners = ports.get("token")
            for sequence, token in tokens.items():
                soon = any(cycle + lane in found.registers for lane in range(1, self.cfg.beats))
                assert soon or winners[sequence] == token, (
                    f"cycle {cycle}: token {sequence}: found {winners[sequence]}, expected {token}")
            self._indices(found, cycle)
            asked = index
            await ports.edge()

    def _indices(self, found: Expected, cycle: int) -> None:
        """Index registers, each from the cycle on in which it can be seen."""
        assert found.indices is not None
        chosen = self.ports.get("chosen") if self.cfg.choices else []
        for cell, value in enumerate(chosen):
            sequence, number = divmod(cell, self.cfg.choices)
            known = found.indices.index(sequence, number + 1, cycle)
            assert known in (None, value), (
                f"cycle {cycle}: index register {number + 1} of sequence {sequence}: found {value}, expected {known}")

    def _addresses(self, issued: Pass | None, addressed: Pass | None, row_asked: Pass | None,
                   accumulated: Pass | None) -> None:
        """row_asked: the pass whose rows of vector and parameter memory are asked for; with `spread` a cycle before."""
        ports, cfg = self.ports, self.cfg
        for port in ("memory_read_enable", "param_enable"):
            ports.expect(port, int(row_asked is not None))
        if row_asked:
            ports.expect("memory_read_row", row_asked.fields["src"])
            ports.expect("param_row", row_asked.fields["param"])
        if addressed:
            fields = addressed.fields
            if cfg.serial_vector:
                ports.expect("scalar_index", [fields["out_scalar"]])
            else:
                ports.expect("out_index", fields["out_scalar"])
                ports.expect("scalar_index", [
                    (fields["scalar"] + group * fields["grouped"]) % cfg.scalars for group in range(cfg.groups)])
        if cfg.serial_vector and issued:
            ports.expect("scalar_index", [issued.fields["scalar"]])
        if accumulated:
            ports.expect("acc_slot", accumulated.fields["slot"])

    def _results(self, found: Expected, cycle: int) -> None:
        ports, cfg = self.ports, self.cfg
        told = cycle + int(cfg.spread)  # row and enable come before the data
        ports.expect("memory_write_enable", int(told in found.written))
        if told in found.written:
            ports.expect("memory_write_row", found.written[told][0] % cfg.vector_rows)
        if cycle in found.written:
            ports.expect("memory_write_data", found.written[cycle][1])
        ports.expect("act_enable", int(cycle in found.acts))
        if cycle in found.acts:
            one, narrow = found.acts[cycle]
            ports.expect("act_vector", one.fields["dst"] % cfg.act_vectors)
            ports.expect("act_data", narrow)
        one, narrow = found.banked.get(cycle, (self.noise, np.zeros(cfg.lanes, np.int64)))
        self._bank(Store(one.fields["store"]) if cycle in found.banked else Store.NONE, one.fields, narrow)

    def _bank(self, store: Store, fields: dict[str, int], narrow: Int) -> None:
        """K: part of the vector to one lane's row. V: one byte of every lane's."""
        cfg, ports, sequence = self.cfg, self.ports, fields["sequence"]
        position = self.positions[sequence]
        enables = np.zeros((cfg.lanes, cfg.taps), np.int64)
        row, first, part = fields["dst"], 0, narrow
        if store is Store.KEYS:
            chunk, lane, row = fields["chunk"], position % cfg.lanes, row + self.key_offsets[sequence]
            if cfg.lanes > cfg.taps:
                part = narrow[chunk * cfg.taps:(chunk + 1) * cfg.taps]
            elif cfg.lanes < cfg.taps:
                first = chunk * cfg.lanes
            enables[lane, first:first + len(part)] = 1
        elif store is Store.VALUES:
            row += position // cfg.taps
            enables[:, position % cfg.taps] = 1
        ports.expect("bank_enable", [sum(int(bit) << tap for tap, bit in enumerate(lane)) for lane in enables])
        if enables.any():
            ports.expect("bank_row", row % (1 << self.row_bits))
            ports.expect("bank_shared", int(store is Store.KEYS))
        if store is Store.KEYS:
            found = ports.get("bank_chunk")[first:first + len(part)]
            assert found == part.tolist(), f"cycle {ports.cycle}: bank_chunk: found {found}, expected {part}"
        elif store is Store.VALUES:
            ports.expect("act_data", narrow)


def player(dut: Any) -> Player:
    parameters = bench_parameters()
    cfg, rng = shallow(parameters["preset"]), generator(parameters)
    return Player(dut, cfg, rng, rng.sample(range(1 << cfg.position_bits), cfg.sequences))


@cocotb.test()
async def every_member_back_to_back(dut: Any) -> None:
    bench = player(dut)
    await bench.play(enumerate(cases.members(bench.cfg, bench.rng, bench.positions)))


@cocotb.test()
async def every_shift_and_table_entry(dut: Any) -> None:
    bench = player(dut)
    await bench.play(enumerate(cases.shifts(bench.cfg, bench.rng) + cases.tables(bench.cfg)))


@cocotb.test()
async def random_passes_with_pauses(dut: Any) -> None:
    bench = player(dut)
    schedule: dict[int, Pass] = {}
    cycle = 0
    for _ in range(RANDOM_PASSES):
        cycle += bench.rng.choice([1, 1, 1, 2, 5])
        if bench.rng.random() < 0.2:
            schedule[cycle], second = cases.pair(bench.cfg, bench.rng, bench.positions)
            schedule[cycle := cycle + bench.rng.choice([1, 3])] = second
        else:
            fields = cases.random_fields(bench.cfg, bench.rng, bench.positions)
            schedule[cycle] = cases.with_operands(bench.cfg, bench.rng, fields)
    await bench.play(schedule.items())
