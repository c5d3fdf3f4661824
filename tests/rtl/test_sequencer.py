"""Each queue's sequencer and issue logic against the expansion of tests/rtl/expand.py, cycle by cycle."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from amaranth import Module, Signal
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from rtl.config import PRESETS, Config
from rtl.encoding import Insn, encode
from rtl.isa import MATRIX, QUEUES, SCALAR, VECTOR, Factor1, Op, Queue
from rtl.issue_matrix import MatrixIssue, column_bits
from rtl.issue_scalar import ScalarIssue
from rtl.issue_vector import VectorIssue
from rtl.protocol import program_space
from rtl.sequencer import Sequencer
from tests.rtl import expand as model
from tests.rtl.bench import MACHINES, load_word


class Bench:
    """A sequencer with its issue logic, and what they issue in a token."""

    def __init__(self, cfg: Config, queue: Queue) -> None:
        self.cfg, self.queue = cfg, queue

    def run(
        self, tokens: Sequence[tuple[Sequence[Insn], Sequence[int], bool]], *, columns: Sequence[int] = (),
        ropes: Sequence[int] = (),
    ):
        """For each token (program, values, classify): what was issued, and the cycle of idleness.

        columns, ropes: of the first sequences; 0 of the others.
        """
        cfg, queue = self.cfg, self.queue
        m = Module()
        m.submodules.sequencer = sequencer = Sequencer(cfg, queue)
        kinds = {"matrix": MatrixIssue, "vector": VectorIssue, "scalar": ScalarIssue}
        m.submodules.issue = issue = kinds[queue.name](cfg)
        connect(m, sequencer.current, issue.current)
        port = {"matrix": "step", "vector": "issued", "scalar": "operation"}[queue.name]
        out = getattr(issue, port)
        flat = Signal(len(out.as_value()))
        m.d.comb += flat.eq(out.as_value())
        results = []

        async def bench(ctx):
            if queue is MATRIX:
                for sequence, column in enumerate(columns):
                    ctx.set(issue.column[sequence], column)
            if queue is VECTOR:
                for sequence, rope in enumerate(ropes):
                    ctx.set(issue.rope[sequence], rope)
            await ctx.tick()
            for program, values, classify in tokens:
                for address, insn in enumerate(program):
                    await load_word(ctx, cfg, sequencer.load, program_space(queue), address, encode(cfg, insn))
                for _ in range(cfg.fetch(queue.name) - 1):  # the first word is read
                    await ctx.tick()
                if cfg.linear_values:
                    assert values in cfg.linear_table()
                    ctx.set(sequencer.bucket, values[1])
                else:
                    for index, value in enumerate(values):
                        ctx.set(sequencer.values.index, index)
                        ctx.set(sequencer.values.found, {"value": value, "some": int(value > 0)})
                        ctx.set(sequencer.values.en, 1)
                        await ctx.tick()
                    ctx.set(sequencer.values.en, 0)
                ctx.set(sequencer.classify, classify)
                await ctx.tick()
                assert ctx.get(sequencer.idle)
                ctx.set(sequencer.go, 1)
                await ctx.tick()
                ctx.set(sequencer.go, 0)
                issued, cycle = [], 0
                for cycle in range(1, 20000):
                    now = out.shape().from_bits(ctx.get(flat))
                    if now["valid"]:
                        issued.append((cycle, _numbers(now)))
                    if ctx.get(sequencer.idle):
                        break
                    await ctx.tick()
                results.append((issued, cycle))
                await ctx.tick()
                assert ctx.get(sequencer.idle) and not ctx.get(flat) & 1

        simulator = Simulator(m)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()
        return results

    def expected(
        self, program: Sequence[Insn], values: Sequence[int], classify: bool, *, columns: Sequence[int],
        ropes: Sequence[int],
    ):
        words, idle = model.expand(self.cfg, self.queue, program, values, classify=classify)
        found = []
        for word in words:
            if self.queue is MATRIX:
                found += model.steps(self.cfg, word, values, columns=columns)
            elif self.queue is VECTOR:
                found += model.passes(self.cfg, word, ropes=ropes)
            else:
                found += model.operations(self.cfg, word)
        return found, idle


def _numbers(now) -> dict[str, int]:
    found = {}
    for name, _ in now.shape():
        if name == "act":
            found |= {f"act{group}": now["act"][group] for group in range(len(now["act"]))}
        else:
            found[name] = now[name]
    return found


def check(cfg: Config, queue: Queue, tokens, *, columns: Sequence[int], ropes: Sequence[int]) -> None:
    bench = Bench(cfg, queue)
    for result, token in zip(bench.run(tokens, columns=columns, ropes=ropes), tokens, strict=True):
        assert result == bench.expected(*token, columns=columns, ropes=ropes)


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
@pytest.mark.parametrize("name", MACHINES)
def test_random_programs_issue_as_specified(name: str, queue: Queue) -> None:
    cfg = MACHINES[name]
    rng = random.Random(f"{name} {queue.name}")
    tokens = []
    for _ in range(8):
        values = [0] + [rng.choice((0, 0, 1, 2, 3)) for _ in range(cfg.values - 1)]
        if cfg.linear_values:
            values = cfg.linear_table()[rng.randrange(4)]
        program = model.random_program(cfg, queue, rng)
        tokens += [(program, values, False), (program, values, True)]
    columns, ropes = (
        rng.sample(range(1 << bits), cfg.sequences) for bits in (column_bits(cfg), VECTOR.by_name["param"].bits(cfg)))
    check(cfg, queue, tokens, columns=columns, ropes=ropes)


def run(queue: Queue, **fields: object) -> Insn:
    return Insn(queue, {"op": Op.RUN, **fields})  # type: ignore[arg-type]


def op(queue: Queue, which: Op, **fields: object) -> Insn:
    return Insn(queue, {"op": which, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
def test_one_cycle_words_follow_one_another_without_a_gap(queue: Queue) -> None:
    cfg = PRESETS["tiny"]
    program = [run(queue) for _ in range(6)] + [op(queue, Op.END)]
    [(issued, idle)] = Bench(cfg, queue).run([(program, [0] * cfg.values, True)])
    assert [cycle for cycle, _ in issued] == [1, 2, 3, 4, 5, 6] and idle == 7


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
@pytest.mark.parametrize("loop", [Op.LOOP_INNER, Op.LOOP_OUTER])
def test_a_loop_of_a_single_word_has_no_gap(queue: Queue, loop: Op) -> None:
    cfg = PRESETS["tiny"]
    end = {"end_inner": 1} if loop is Op.LOOP_INNER else {"end_outer": 1}
    program = [op(queue, loop, repeat=4), run(queue, **end), op(queue, Op.END)]
    [(issued, idle)] = Bench(cfg, queue).run([(program, [0] * cfg.values, True)])
    assert [cycle for cycle, _ in issued] == [2, 3, 4, 5, 6] and idle == 7


def test_end_prompt_ends_only_a_token_without_classifier() -> None:
    cfg = PRESETS["tiny"]
    program = [run(SCALAR), op(SCALAR, Op.END_PROMPT, wait=3), run(SCALAR), op(SCALAR, Op.END)]
    values = [0] * cfg.values
    prompt, classified = Bench(cfg, SCALAR).run([(program, values, False), (program, values, True)])
    assert [cycle for cycle, _ in prompt[0]] == [1] and prompt[1] == 5
    assert [cycle for cycle, _ in classified[0]] == [1, 6] and classified[1] == 7


def test_a_wait_and_a_repeat_can_come_from_dynamic_values() -> None:
    cfg = PRESETS["ulx3s"]
    program = [
        run(VECTOR, wait=1, wait_value=2, repeat_value=3, pace=2, inc_src=1, factor1=Factor1.SIGNED),
        op(VECTOR, Op.END)]
    values = [0, 0, 4, 2] + [0] * (cfg.values - 4)
    [(issued, idle)] = Bench(cfg, VECTOR).run([(program, values, True)])
    assert [(cycle, now["src"]) for cycle, now in issued] == [(6, 0), (9, 1), (12, 2)] and idle == 13


def test_offsets_are_zero_again_after_a_loop_and_in_the_next_token() -> None:
    cfg = PRESETS["tiny"]
    program = [
        op(MATRIX, Op.LOOP_OUTER, repeat=1, row=100), op(MATRIX, Op.LOOP_INNER, repeat=1, row=10, act=1),
        run(MATRIX, row=1, end_inner=1, end_outer=1), run(MATRIX, row=2), op(MATRIX, Op.END)]
    values = [0] * cfg.values
    for issued, _ in Bench(cfg, MATRIX).run([(program, values, True)] * 2):
        assert [now["row"] for _, now in issued] == [1, 11, 101, 111, 2]


def test_an_idle_queue_sees_a_program_that_is_loaded_later() -> None:
    cfg = PRESETS["tiny"]
    values = [0] * cfg.values
    first, second = [op(SCALAR, Op.END)], [run(SCALAR, dst=3), op(SCALAR, Op.END)]
    results = Bench(cfg, SCALAR).run([(first, values, True), (second, values, True)])
    assert [len(issued) for issued, _ in results] == [0, 1]
