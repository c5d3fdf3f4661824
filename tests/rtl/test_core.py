"""A small program by hand on the whole Verilated machine: matrix, vector and scalar unit, caches, gather, RUN."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from compiler.image import Image, Registers
from rtl.config import PRESETS, Config
from rtl.isa import (
    MATRIX,
    QUEUES,
    SCALAR,
    VECTOR,
    Factor1,
    Factor2,
    Insn,
    Op,
    Queue,
    Reduce,
    ScalarFunction,
    Source,
    Store,
    encode,
)
from rtl.protocol import Space
from rtl.timing import timing
from sim.rtl_device import RtlDevice
from tests.rtl import oracle
from tests.rtl.expand import expand

ROPE_STEP, KEY_STEP, EMBED_STEP = 3, 2, 5


def run(queue: Queue, **fields: object) -> Insn:
    return Insn(queue, {"op": Op.RUN, **fields})  # type: ignore[arg-type]


def end(queue: Queue, **fields: object) -> Insn:
    return Insn(queue, {"op": Op.END, **fields})  # type: ignore[arg-type]


def program(cfg: Config) -> dict[str, list[Insn]]:
    """One gathered output, two sums of a length that depends on the position; scale, sum, store, and scale again."""
    t = timing(cfg)
    start = 1 + t.values_ready + 10 + t.acc_visible  # of the first vector pass
    return {
        "matrix": [
            run(MATRIX, gather=1, clear=1, row=4, act=8, group_step=3 % cfg.groups * 3),
            run(MATRIX, wait=t.values_ready, repeat=1, repeat_value=1, outer=1, row=20, row_step=5, act=30, act_step=1,
                group_step=3, slot=1, clear=1),
            end(MATRIX)],
        "vector": [
            run(VECTOR, wait=start - 1, repeat=2, source=Source.ACC, inc_slot=1, factor1=Factor1.UNSIGNED, param=2,
                inc_param=1, s0=3, s1=5, write=1, dst=6, inc_dst=1, reduce=Reduce.SUM, first=1, target=1),
            run(VECTOR, wait=t.memory_visible, source=Source.MEM, src=6, rope=1, factor1=Factor1.SIGNED, param=40, s1=4,
                s3=3, store=Store.KEYS, dst=40),
            run(VECTOR, source=Source.MEM, src=7, s3=6, store=Store.VALUES, dst=50),
            run(VECTOR, wait=40, repeat=2, pace=3, source=Source.MEM, src=6, inc_src=1, factor2=Factor2.SCALAR,
                scalar=3, s2=10, s3=5, write=1, store=Store.ACT, dst=120, inc_dst=1),
            Insn(VECTOR, {"op": Op.END_PROMPT, "wait": t.act_visible}),
            run(VECTOR, repeat=2, source=Source.MEM, src=120, inc_src=1, reduce=Reduce.ARGMAX, first=1),
            end(VECTOR, wait=t.token_visible)],
        "scalar": [
            run(SCALAR, wait=start + 2 + t.reduce_visible, function=ScalarFunction.RECIP, reduce=1, bias=5, adjust=-18,
                dst=3),
            end(SCALAR)],
    }


def image(cfg: Config) -> Image:
    """The program with random memories."""
    rng = np.random.default_rng(5)
    bank_rows = min(cfg.bank_rows, 64)
    banks = np.zeros((cfg.bank_rows, cfg.lanes, cfg.taps), np.int8)
    banks[:bank_rows] = rng.integers(-128, 128, banks[:bank_rows].shape)
    values = np.zeros((cfg.buckets, cfg.values), np.uint16)
    values[:, 1] = np.arange(cfg.buckets) % 3
    return Image(
        config=cfg, programs={name: [encode(cfg, insn) for insn in words] for name, words in program(cfg).items()},
        banks=banks, act=rng.integers(-128, 128, (cfg.act_rows, cfg.act_width)).astype(np.int8),
        params=rng.integers(0, 256, (cfg.param_rows, cfg.lanes)).astype(np.uint8),
        constants=np.zeros(cfg.constants, np.uint8), values=values,
        registers=Registers(key_step=KEY_STEP, rope_step=ROPE_STEP, embed_step=EMBED_STEP),
        context=1 << cfg.position_bits,
        cycles=np.zeros((2, 1), np.int64), useful_macs=np.zeros((2, 1), np.int64))


class Model:
    """What the program computes, from docs/numerics.md and the field descriptions in rtl/isa.py."""

    def __init__(self, cfg: Config) -> None:
        self.cfg, self.words = cfg, program(cfg)
        made = image(cfg)
        self.banks, self.params, self.values = made.banks.astype(int), made.params.astype(int), made.values
        self.act = made.act.reshape(-1).astype(int)
        self.memory: dict[int, list[int]] = {}
        self.vector = oracle.VectorOracle(cfg.lanes, cfg.reduces, cfg.token_bits)

    def sums(self, row: int, act: int, steps: int, group_step: int) -> list[int]:
        cfg, words = self.cfg, self.act.reshape(-1, self.cfg.taps)
        groups = [lane // cfg.group_lanes for lane in range(cfg.lanes)]
        return [int(sum(
            self.banks[row + step, lane] @ words[act + step + group * group_step] for step in range(steps)
        )) for lane, group in enumerate(groups)]

    def one_pass(self, number: int, index: int, position: int, **given: list[int]) -> tuple[list[int], list[int]]:
        insn, lanes = self.words["vector"][number], self.cfg.lanes
        fields = {item.name: insn.number(item.name) for item in VECTOR.own} | {"index": index, "odd": 0}
        fields["first"] *= index == 0
        zero = [0] * lanes
        operands = {"acc": zero, "memory": zero, "params": zero, "mantissas": zero, "exponents": zero} | given
        return self.vector.run(oracle.Pass(fields, **operands, out_exponent=0, position=position))

    def token(self, token: int, position: int, *, classify: bool) -> tuple[int, int]:
        """Winner and cycles."""
        cfg = self.cfg
        values = [int(value) for value in self.values[position // cfg.bucket_positions]]
        column = token * EMBED_STEP
        steps = 2 + values[1]
        gather_step = 3 % cfg.groups * 3
        accs = [self.sums(4 + column // cfg.taps, 8 + column % cfg.taps, 1, gather_step)]
        accs += [self.sums(20 + 5 * output, 30 + output, steps, 3) for output in range(2)]
        for index, acc in enumerate(accs):
            params = self.params[2 + index].tolist()
            self.memory[6 + index], _ = self.one_pass(0, index, position, acc=acc, params=params)

        params = self.params[40 + position * ROPE_STEP].tolist()
        _, keys = self.one_pass(1, 0, position, memory=self.memory[6], params=params)
        row, lane = 40 + position // cfg.lanes * KEY_STEP, position % cfg.lanes
        stored = min(cfg.taps, cfg.lanes)
        self.banks[row, lane, :stored] = keys[:stored]
        _, column_out = self.one_pass(2, 0, position, memory=self.memory[7])
        self.banks[50 + position // cfg.taps, :, position % cfg.taps] = column_out

        mantissa, exponent = oracle.scalar(
            ScalarFunction.RECIP, reduce=self.vector.registers[1] & 0xFFFFFFFF, bias=5, adjust=-18)
        for index in range(3):
            self.memory[120 + index], out = self.one_pass(
                3, index, position, memory=self.memory[6 + index], mantissas=[mantissa] * cfg.lanes,
                exponents=[exponent] * cfg.lanes)
            self.act[(120 + index) * cfg.lanes:][:cfg.lanes] = out
        if classify:
            for index in range(3):
                self.one_pass(5, index, position, memory=self.memory[120 + index])
        idle = max(expand(queue, self.words[queue.name], values, classify=classify)[1] for queue in QUEUES)
        return self.vector.token if classify else token, idle + timing(cfg).token_overhead


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
    with RtlDevice(image(cfg)) as device:
        model = Model(cfg)
        position = 0
        for token, classify in [(0, False), (6, False), (2, True)]:
            expected = model.token(token, position, classify=classify)
            assert device.step(token, classify) == expected
            compare_memories(device, model)
            position += 1
        # Now every token is the winner of the one before; the last positions are in the second bucket.
        token, count = expected[0], cfg.bucket_positions
        for record in device.run(count):
            expected = model.token(token, position, classify=True)
            assert record == expected
            token, position = expected[0], position + 1
        compare_memories(device, model)
        assert device.status().position == position and device.status().token == token

        device.reset()
        assert device.step(3, True) == model.token(3, 0, classify=True)


@pytest.mark.slow
def test_clocks_between_records_are_the_cycles_they_report() -> None:
    cfg = PRESETS["tiny"]
    with RtlDevice(image(cfg)) as device:
        device.step(1, True)
        clocks, total = [], device.status().cycles
        for _, cycles in device.run(6):
            clocks.append((device.clocks, cycles))
        for (before, _), (after, cycles) in pairwise(clocks):
            assert after - before == cycles  # back to back: nothing between two tokens
        assert device.status().cycles == total + sum(cycles for _, cycles in clocks)
