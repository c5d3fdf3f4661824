"""The three queues: what they issue in which cycle, against the cycle simulator's walk through the same programs."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from rtl.config import Config, log2, preset
from rtl.isa import MATRIX, QUEUES, VECTOR
from rtl.issue_matrix import column_bits
from rtl.ports import index_bits, operation_layout, pass_layout
from rtl.protocol import program_space, word_bytes
from rtl.timing import timing
from sim.cycle.access import index_cell
from sim.cycle.timeline import Timeline
from verification.ports import Ports
from verification.queues import Queues
from verification.random_programs import ProgramMaker, is_bank_store, timeline
from verification.runner import bench_parameters
from verification.settings import generator
from verification.small_model import SHAPES, small_image

ROUNDS = 5
Issues = dict[str, dict[int, dict[str, Any]]]
"""Queue -> cycle -> fields of what it issues."""


def issues(cfg: Config, found: Timeline, *, columns: list[int], ropes: list[int], offsets: list[int]) -> Issues:
    """A timeline as the layouts of rtl.ports have it, with the offsets that each sequence's token, position and choice
    of experts add."""
    row_mask, act_mask = ((1 << QUEUES[0].by_name[name].bits(cfg)) - 1 for name in ("row", "act"))
    made: Issues = {queue.name: {} for queue in QUEUES}
    for output in found.outputs:
        column = columns[output.word.fields["sequence"]] if output.gather else 0
        row, act = column >> log2(cfg.taps), column % cfg.taps
        if output.choice:
            row = offsets[index_cell(cfg, output.word)]
        for number, (bank_row, words) in enumerate(zip(output.rows, output.acts, strict=True)):
            made["matrix"][output.cycle + number] = {
                "valid": 1, "row": int(bank_row) + row & row_mask, "slot": output.slot,
                "clear": int(output.clear and number == 0), "plane": output.word.fields["plane"],
                "act": [int(word) + act & act_mask for word in words]}
    for one in found.passes:
        fields = {name: one.word.fields[name] for name in pass_layout(cfg).members if name in one.word.fields}
        turned = fields["rotate"]
        param = one.param + (ropes[fields["sequence"]] if one.word.fields["rope"] else 0)
        made["vector"][one.cycle] = fields | {
            "valid": 1, "slot": one.slot, "src": one.src, "param": param & (1 << VECTOR.by_name["param"].bits(cfg)) - 1,
            "dst": one.bank if is_bank_store(fields["store"]) else one.dst, "scalar": one.scalars[0],
            "target": one.target, "first": int(one.first), "odd": int(one.swapped),
            "index": (2 * one.index + one.swapped if turned else one.index) % (1 << index_bits(cfg))}
    for one in found.operations:
        fields = {name: one.word.fields[name] for name in operation_layout(cfg).members if name in one.word.fields}
        made["scalar"][one.cycle] = fields | {
            "valid": 1, "reduce": one.reduce, "dst": one.dst, "constant": one.constant}
    return made


class Token:
    """Programs on the design, and what they must do."""

    def __init__(self, dut: Any, cfg: Config) -> None:
        self.ports, self.cfg = Ports(dut, Queues(cfg)), cfg

    async def load(self, programs: dict[str, list[int]]) -> None:
        """Write all three programs; they lie side by side, so one cycle writes a word of each."""
        sizes = {queue.name: word_bytes(self.cfg, program_space(queue)) for queue in QUEUES}
        for address in range(max(map(len, programs.values()))):
            for byte in range(max(sizes.values()) if self.cfg.small_control else 1):
                for name, words in programs.items():
                    word, at = words[min(address, len(words) - 1)], min(byte, sizes[name] - 1)
                    if self.cfg.small_control:
                        word = word >> 8 * at & 0xFF
                        self.ports.set(**{f"{name}_load__byte": at})
                    self.ports.set(**{f"{name}_load__address": min(address, len(words) - 1),
                                      f"{name}_load__data": word, f"{name}_load__en": 1})
                await self.step()
        self.ports.set(**{f"{name}_load__en": 0 for name in programs})
        for _ in range(1 + max(self.cfg.parts(name) for name in programs)):  # the first words are read
            await self.step()

    async def step(self) -> None:
        await self.ports.settle()
        await self.ports.edge()

    async def run(self, found: Timeline, values: list[int], *, classify: bool, columns: list[int],
                  ropes: list[int], offsets: list[int]) -> None:
        """One token, compared in every cycle until all queues are idle, and a few more."""
        ports, wanted = self.ports, issues(self.cfg, found, columns=columns, ropes=ropes, offsets=offsets)
        if self.cfg.choices:
            ports.set(offset=offsets)
        if self.cfg.linear_values:
            ports.set(bucket=values[1])
        for index, value in enumerate([] if self.cfg.linear_values else values):
            ports.set(values__index=index, values__found={"value": value, "some": int(value > 0)}, values__en=1)
            await self.step()
        if not self.cfg.linear_values:
            ports.set(values__en=0)
        ports.set(classify=int(classify), column=columns, rope=ropes, go=1)
        await ports.settle()
        for queue in QUEUES:
            ports.expect(f"{queue.name}_idle", 1)
        await ports.edge()
        ports.set(go=0)
        ports.cycle = 0  # to count as the token does: go was cycle 0
        for cycle in range(1, max(found.ends.values()) + 4):
            ports.cycle = cycle
            await ports.settle()
            for queue in QUEUES:
                name = queue.name
                ports.expect(f"{name}_idle", int(cycle >= found.ends[name]))
                if (fields := wanted[name].get(cycle)) is not None:
                    ports.expect(name, fields)
                elif ports.valid(name):
                    raise AssertionError(f"cycle {cycle}: the {name} queue issues {ports.get(name)}, expected nothing")
            await ports.edge()


@cocotb.test()
async def random_programs(dut: Any) -> None:
    cfg, rng = preset(bench_parameters()["preset"]), generator(bench_parameters())
    maker, token = ProgramMaker(cfg, rng), Token(dut, cfg)
    await token.ports.start()
    done = 0
    while done < ROUNDS:
        programs, values = {queue.name: maker.program(queue) for queue in QUEUES}, maker.values()
        classified = timeline(cfg, programs, values, QUEUES, classify=True)
        prompt = timeline(cfg, programs, values, QUEUES, classify=False)
        if classified is None or prompt is None:
            continue
        await token.load(programs)
        for found, classify in ((prompt, False), (classified, True), (prompt, False)):
            columns, ropes = (rng.sample(range(1 << bits), cfg.sequences)
                              for bits in (column_bits(cfg), VECTOR.by_name["param"].bits(cfg)))
            offsets = [rng.getrandbits(MATRIX.by_name["row"].bits(cfg)) for _ in range(cfg.sequences * cfg.choices)]
            await token.run(found, values, classify=classify, columns=columns, ropes=ropes, offsets=offsets)
        done += 1


@cocotb.test()
async def a_compiled_model(dut: Any) -> None:
    """What the compiler really makes: both shapes, one sequence and all, first and last bucket of positions."""
    cfg, rng = preset(bench_parameters()["preset"]), generator(bench_parameters())
    token = Token(dut, cfg)
    await token.ports.start()
    for shape, sequences in sorted({(shape, sequences) for shape in SHAPES for sequences in (1, cfg.sequences)}):
        image = small_image(cfg, shape, rng.getrandbits(32), sequences=sequences)
        await token.load(image.programs)
        for position in (0, image.context - 1):
            classify = position > 0
            values = np.array(image.values[position // cfg.bucket_positions]).tolist()
            found = timeline(cfg, image.programs, values, QUEUES, classify=classify)
            assert found is not None and found.cycles == image.cycles[int(classify), position]
            assert found.cycles == max(found.ends.values()) + timing(cfg).token_overhead
            registers = image.registers
            positions = [position, *(rng.randint(0, position) for _ in range(1, cfg.sequences))]
            tokens = [rng.randrange(SHAPES[shape].vocab) for _ in positions]
            await token.run(found, values, classify=classify, ropes=[one * registers.rope_step for one in positions],
                            columns=[one << registers.embed_shift for one in tokens],
                            offsets=[0] * (cfg.sequences * cfg.choices))
