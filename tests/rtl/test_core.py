"""A small program by hand on the whole Verilated machine: matrix, vector and scalar unit, caches, gather, sequences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from compiler.image import Image, Registers
from rtl.config import PRESETS, Config
from rtl.encoding import Insn, encode
from rtl.isa import (
    MATRIX,
    QUEUES,
    SCALAR,
    VECTOR,
    Factor1,
    Factor2,
    Mask,
    Op,
    Queue,
    Reduce,
    ScalarFunction,
    Source,
    Store,
)
from rtl.protocol import Space
from rtl.timing import timing
from sim.rtl_device import RtlDevice
from tests.rtl import oracle
from tests.rtl.expand import expand

ROPE_STEP, KEY_STEP, EMBED_SHIFT = 3, 2, 3
LONGER = 4  # cycles that a block's sums take more with the largest dynamic value


def run(queue: Queue, **fields: object) -> Insn:
    return Insn(queue, {"op": Op.RUN, **fields})  # type: ignore[arg-type]


def end(queue: Queue, **fields: object) -> Insn:
    return Insn(queue, {"op": Op.END, **fields})  # type: ignore[arg-type]


def outputs(cfg: Config) -> int:
    """Outputs of a block: each has an accumulator."""
    return min(3, cfg.slots)


def block(cfg: Config, sequence: int) -> dict[str, list[Insn]]:
    """One gathered output, two sums of a length that depends on the furthest position; scale, sum, store, mask, and
    scale again. Each sequence has rows, registers and caches of its own; accumulators are used again."""
    t = timing(cfg)
    start = 1 + t.values_ready + 10 + LONGER * cfg.sequences + t.acc_visible  # of the first vector pass
    row, out, own = 6 + 16 * sequence, 120 + 8 * sequence, {"sequence": sequence}
    apart, pace = (3 if cfg.groups > 1 else 0), cfg.beats - 1
    return {
        "matrix": [
            run(MATRIX, gather=1, clear=1, row=4, act=8, group_step=apart, **own),
            Insn(MATRIX, {"wait": t.values_ready - 1}),
            run(MATRIX, repeat=1, repeat_value=1, outer=outputs(cfg) - 2, row=20, row_step=5, act=30, act_step=1,
                group_step=apart, slot=1, clear=1)],
        "vector": [
            run(VECTOR, wait=start - 1, repeat=outputs(cfg) - 1, pace=pace, source=Source.ACC, inc_slot=1,
                factor1=Factor1.UNSIGNED, param=2, inc_param=1, s0=3, s1=5, write=1, dst=row, inc_dst=1,
                reduce=Reduce.SUM, first=1, target=1 + sequence),
            run(VECTOR, wait=t.memory_visible, source=Source.MEM, src=row, rope=1, factor1=Factor1.SIGNED, param=40,
                s1=4, s3=3, store=Store.KEYS, dst=40 + 14 * sequence, **own),
            run(VECTOR, source=Source.MEM, src=row + 1, s3=6, store=Store.VALUES, dst=50 + 10 * sequence, **own),
            run(VECTOR, repeat=outputs(cfg) - 1, pace=pace, source=Source.MEM, src=row, inc_src=1, mask=Mask.POSITION,
                write=1, dst=row + 4, inc_dst=1, **own),
            run(VECTOR, wait=40, repeat=outputs(cfg) - 1, pace=3, source=Source.MEM, src=row, inc_src=1,
                factor2=Factor2.SCALAR, scalar=3 + sequence, s2=10, s3=5, write=1, store=Store.ACT, dst=out,
                inc_dst=1)],
        "scalar": [
            run(SCALAR, wait=start + 2 + t.reduce_visible, function=ScalarFunction.RECIP, reduce=1 + sequence, bias=5,
                adjust=-18, dst=3 + sequence)],
    }


def fitting(cfg: Config, words: Sequence[Insn]) -> list[Insn]:
    """The words, with NOPs for what a wait is too long."""
    found: list[Insn] = []
    for insn in words:
        most = (1 << insn.queue.by_name["wait"].bits(cfg)) - 1
        wait = insn.number("wait")
        while wait > most:
            here = min(most, wait - cfg.fetch(insn.queue.name))
            found.append(Insn(insn.queue, {"wait": here}))
            wait -= here + cfg.fetch(insn.queue.name)
        found.append(Insn(insn.queue, {**insn.fields, "wait": wait}))
    return found


def winner(sequence: int, index: int) -> Insn:
    """A pass of a sequence's ARGMAX."""
    return run(VECTOR, source=Source.MEM, src=120 + 8 * sequence + index, reduce=Reduce.ARGMAX, first=int(index == 0),
               sequence=sequence)


def program(cfg: Config) -> dict[str, list[Insn]]:
    """The blocks of all sequences one after the other, then their ARGMAX turn by turn."""
    t, sequences = timing(cfg), range(cfg.sequences)
    words: dict[str, list[Insn]] = {queue.name: [] for queue in QUEUES}
    for sequence in sequences:
        made = block(cfg, sequence)
        phase = expand(cfg, VECTOR, [*made["vector"], end(VECTOR)], [0, 0], classify=False)[1]
        for queue in QUEUES:
            found = made[queue.name]
            length = expand(cfg, queue, [*found, end(queue)], [0, 0], classify=False)[1]
            rest = phase - length + 1 - cfg.fetch(queue.name)
            words[queue.name] += found if queue is VECTOR else [*found, Insn(queue, {"wait": rest})]
        words["vector"].append(Insn(VECTOR))
    words["vector"] += [
        Insn(VECTOR, {"op": Op.END_PROMPT, "wait": t.act_visible}),
        *(winner(sequence, index) for index in range(outputs(cfg)) for sequence in sequences),
        end(VECTOR, wait=t.token_visible)]
    words["matrix"].append(end(MATRIX))
    words["scalar"].append(end(SCALAR))
    return {name: fitting(cfg, found) for name, found in words.items()}


def image(cfg: Config) -> Image:
    """The program with random memories."""
    rng = np.random.default_rng(5)
    bank_rows = min(cfg.bank_rows, 64)
    banks = np.zeros((cfg.bank_rows, cfg.lanes, cfg.taps), np.int8)
    banks[:bank_rows] = rng.integers(-128, 128, banks[:bank_rows].shape)
    values = np.zeros((cfg.buckets, cfg.values), np.uint16)
    values[:, 1] = np.arange(cfg.buckets) % 3
    if cfg.linear_values:
        values[:] = cfg.linear_table()
    return Image(
        config=cfg, programs={name: [encode(cfg, insn) for insn in words] for name, words in program(cfg).items()},
        banks=banks, act=rng.integers(-128, 128, (cfg.act_rows, cfg.act_width)).astype(np.int8),
        params=rng.integers(0, 256, (cfg.param_rows, cfg.lanes)).astype(np.uint8),
        constants=np.zeros(cfg.constants, np.uint8), values=values,
        registers=Registers(key_step=KEY_STEP, rope_step=ROPE_STEP, embed_shift=EMBED_SHIFT),
        context=1 << cfg.position_bits,
        cycles=np.zeros((2, 1), np.int64), useful_macs=np.zeros((2, 1), np.int64))


class Model:
    """What the program computes, from docs/numerics.md and the field descriptions in rtl/isa.py."""

    def __init__(self, cfg: Config) -> None:
        self.cfg, self.words = cfg, program(cfg)
        self.positions = [0] * cfg.sequences
        made = image(cfg)
        self.banks, self.params, self.values = made.banks.astype(int), made.params.astype(int), made.values
        self.act = made.act.reshape(-1).astype(int)
        self.memory: dict[int, list[int]] = {}
        self.vector = oracle.VectorOracle(cfg.lanes, cfg.reduces, cfg.token_bits, cfg.sequences)

    def sums(self, row: int, act: int, steps: int, group_step: int) -> list[int]:
        cfg, words = self.cfg, self.act.reshape(-1, self.cfg.taps)
        groups = [lane // cfg.group_lanes for lane in range(cfg.lanes)]
        return [int(sum(
            self.banks[row + step, lane] @ words[act + step + group * group_step] for step in range(steps)
        )) for lane, group in enumerate(groups)]

    def one_pass(self, insn: Insn, index: int, **given: list[int]) -> tuple[list[int], list[int]]:
        lanes = self.cfg.lanes
        fields = {item.name: insn.number(item.name) for item in VECTOR.own} | {"index": index, "odd": 0}
        fields["first"] *= index == 0
        zero = [0] * lanes
        operands = {"acc": zero, "memory": zero, "params": zero, "mantissas": zero, "exponents": zero} | given
        return self.vector.run(oracle.Pass(fields, **operands, out_exponent=0, positions=self.positions))

    def token(
        self, tokens: Sequence[int], *, classify: bool, restart: Sequence[int] = ()
    ) -> tuple[tuple[int, ...], int]:
        """Winners and cycles."""
        self.positions = [0 if number in restart else place for number, place in enumerate(self.positions)]
        values = [int(value) for value in self.values[max(self.positions) // self.cfg.bucket_positions]]
        for sequence, token in enumerate(tokens):
            self.one_block(sequence, token, 2 + values[1])
        for index in range(outputs(self.cfg) if classify else 0):
            for sequence in range(len(tokens)):
                self.one_pass(winner(sequence, index), 0, memory=self.memory[120 + 8 * sequence + index])
        idle = max(expand(
            self.cfg, queue, self.words[queue.name], values, classify=classify)[1] for queue in QUEUES)
        self.positions = [position + 1 for position in self.positions]
        return tuple(self.vector.tokens if classify else tokens), idle + timing(self.cfg).token_overhead

    def one_block(self, sequence: int, token: int, steps: int) -> None:
        """The words of `block`, with sums over so many steps."""
        cfg, words = self.cfg, block(self.cfg, sequence)["vector"]
        position, row, out = self.positions[sequence], 6 + 16 * sequence, 120 + 8 * sequence
        column, apart = token << EMBED_SHIFT, 3 if cfg.groups > 1 else 0
        accs = [self.sums(4 + column // cfg.taps, 8 + column % cfg.taps, 1, apart)]
        accs += [self.sums(20 + 5 * output, 30 + output, steps, apart) for output in range(outputs(cfg) - 1)]
        for index, acc in enumerate(accs):
            params = self.params[2 + index].tolist()
            self.memory[row + index], _ = self.one_pass(words[0], index, acc=acc, params=params)

        params = self.params[40 + position * ROPE_STEP].tolist()
        _, keys = self.one_pass(words[1], 0, memory=self.memory[row], params=params)
        stored = min(cfg.taps, cfg.lanes)
        key_row = 40 + 14 * sequence + position // cfg.lanes * KEY_STEP
        self.banks[key_row, position % cfg.lanes, :stored] = keys[:stored]
        _, column_out = self.one_pass(words[2], 0, memory=self.memory[row + 1])
        self.banks[50 + 10 * sequence + position // cfg.taps, :, position % cfg.taps] = column_out
        for index in range(outputs(cfg)):
            self.memory[row + 4 + index], _ = self.one_pass(words[3], index, memory=self.memory[row + index])

        mantissa, exponent = oracle.scalar(
            ScalarFunction.RECIP, reduce=self.vector.registers[1 + sequence] & 0xFFFFFFFF, bias=5, adjust=-18)
        for index in range(outputs(cfg)):
            self.memory[out + index], narrow = self.one_pass(
                words[4], index, memory=self.memory[row + index], mantissas=[mantissa] * cfg.lanes,
                exponents=[exponent] * cfg.lanes)
            self.act[(out + index) * cfg.lanes:][:cfg.lanes] = narrow


def compare_memories(device: RtlDevice, model: Model) -> None:
    cfg = model.cfg
    for row, vector in model.memory.items():
        assert device.read(Space.VECTOR, row * cfg.lanes, cfg.lanes).tolist() == vector
    rows = min(cfg.bank_rows, 64)
    assert (device.read(Space.BANK, 0, rows * cfg.lanes).reshape(rows, cfg.lanes, cfg.taps) == model.banks[:rows]).all()
    assert device.read(Space.ACT, 0, len(model.act)).tolist() == model.act.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_a_program_gives_the_specified_numbers_in_the_specified_cycles(name: str) -> None:
    cfg = PRESETS[name]
    every, last = range(cfg.sequences), cfg.sequences - 1
    with RtlDevice(image(cfg)) as device:
        model = Model(cfg)
        for token, classify in [(0, False), (6, False), (2, True)]:
            tokens = [token + sequence for sequence in every]
            expected = model.token(tokens, classify=classify)
            assert device.step(tokens, classify) == expected
            compare_memories(device, model)
        if last:  # from now on the last sequence is behind the others
            tokens = [5, *range(last)]
            expected = model.token(tokens, classify=True, restart=[last])
            assert device.step(tokens, True, restart=[last]) == expected
            compare_memories(device, model)
        # Now every token is the winner of the one before; the furthest position gets to the second bucket.
        for record in device.run(cfg.bucket_positions):
            expected = model.token(expected[0], classify=True)
            assert record == expected
        compare_memories(device, model)
        status = device.status()
        assert (status.positions, status.tokens) == (tuple(model.positions), expected[0])
        assert len(set(model.positions)) == min(cfg.sequences, 2)

        if last:  # the last sequence is the furthest
            expected = model.token(expected[0], classify=True, restart=[0])
            assert device.step(status.tokens, True, restart=[0]) == expected
        device.reset()
        tokens = [3 + sequence for sequence in every]
        assert device.step(tokens, True) == model.token(tokens, classify=True, restart=every)


@pytest.mark.slow
def test_clocks_between_records_are_the_cycles_they_report() -> None:
    cfg = PRESETS["tiny"]
    with RtlDevice(image(cfg)) as device:
        device.step([1], True)
        clocks, total = [], device.status().cycles
        for _, cycles in device.run(6):
            clocks.append((device.clocks, cycles))
        for (before, _), (after, cycles) in pairwise(clocks):
            assert after - before == cycles  # back to back: nothing between two tokens
        assert device.status().cycles == total + sum(cycles for _, cycles in clocks)
