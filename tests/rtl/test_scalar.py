"""The scalar unit: each function at its corners, and each access in its cycle."""

from __future__ import annotations

import itertools
import random

import pytest

from rtl.config import PRESETS, SMALL_SCALAR_CYCLES, Config
from rtl.isa import SCALAR, ScalarFunction, members
from rtl.scalar import Scalar
from rtl.scalar_tables import TABLE_ROWS, root_and_reciprocal
from rtl.timing import timing
from tests.rtl import oracle
from tests.rtl.bench import MACHINES, run, small

POWERS = [1 << bit for bit in range(32)]
VALUES = sorted({0, 2**32 - 1, *POWERS, *(p - 1 for p in POWERS), *(p + 1 for p in POWERS)})


def simulate(cfg: Config, operations: list[dict], constants: dict[int, int], rng: random.Random) -> None:
    """One operation a cycle with pauses; the reduce register is right in its one cycle; all read ports, each cycle."""
    times, dut = timing(cfg), Scalar(cfg)
    schedule, cycle = {}, len(constants) + 1
    for operation in operations:
        cycle += cfg.fetch("scalar") - 1 + rng.choice([1, 1, 1, 3])
        schedule[cycle] = operation
    standing = {}  # with a small unit, what an operation says stays a while, but for a constant, which a loop may move
    if cfg.small_scalar:
        for cycle, operation in schedule.items():
            still = {name: value for name, value in operation.items() if name not in ("value", "constant")}
            standing |= dict.fromkeys(range(cycle + 1, cycle + 1 + SMALL_SCALAR_CYCLES), still)

    async def body(ctx):
        registers = [(0, 0)] * cfg.scalars
        indices, out, missed = [0] * cfg.groups, 0, False
        pending: dict[int, list[tuple[int, int]]] = {}
        ctx.set(dut.host.active, 1)
        ctx.set(dut.host.write, 1)
        for address, value in constants.items():
            ctx.set(dut.host.address, address)
            ctx.set(dut.host.data, value)
            await ctx.tick()
        ctx.set(dut.host.active, 0)
        ctx.set(dut.host.data, 99)
        for cycle in range(len(constants), max(schedule) + times.scalar_visible + 2):
            registers = pending.get(cycle, registers)
            operation = schedule.get(cycle)
            fields = {name: value for name, value in (operation or {}).items() if name != "value"}
            idle = {name: rng.getrandbits(3) for name in ("reduce", "dst", "a", "b", "bias")}
            ctx.set(dut.issue, {"valid": 1, **fields} if operation else {"valid": 0, **idle, **standing.get(cycle, {})})
            reading = schedule.get(cycle - times.scalar_read)
            found = reading
            if not cfg.small_scalar:
                if operation:
                    assert ctx.get(dut.reduce_index) == operation["reduce"]
            else:  # asked in both cycles after the issue, answered a cycle after one of them at least
                asking = schedule.get(cycle - 1) or schedule.get(cycle - 2)
                if asking:
                    assert ctx.get(dut.reduce_index) == asking["reduce"]
                first, second = schedule.get(cycle - 2), schedule.get(cycle - 3)
                missed = missed if second else rng.random() < 0.5
                free = rng.random() < 0.5 or (second is not None and missed)
                if first:
                    free = not missed
                found = (first or second) if free else None
                ctx.set(dut.reduce_found, free)
            ctx.set(dut.reduce_value, found["value"] if found else 0x1234_5678)
            if reading:
                result = oracle.scalar(
                    ScalarFunction(reading["function"]), reduce=reading["value"], bias=reading["bias"],
                    adjust=reading["adjust"], constant=constants.get(reading["constant"], 0),
                    a=registers[reading["a"]], b=registers[reading["b"]])
                visible = cycle - times.scalar_read + times.scalar_visible
                latest = pending[max(pending)] if pending else registers
                pending[visible] = [result if index == reading["dst"] else old for index, old in enumerate(latest)]
            before = indices, out
            indices, out = [rng.randrange(cfg.scalars) for _ in range(cfg.groups)], rng.randrange(cfg.scalars)
            ctx.set(dut.scalar_index, indices)
            seen, seen_out = before if cfg.small_scalar else (indices, out)
            for group, index in enumerate(seen):
                found = dut.scalars[group]
                assert (ctx.get(found.mantissa), ctx.get(found.exponent)) == registers[index]
            if not cfg.small_scalar:
                ctx.set(dut.out_index, out)
                assert ctx.get(dut.out_exponent) == registers[seen_out][1]
                for lane in range(cfg.lanes):
                    assert ctx.get(dut.exponents[lane]) == registers[seen[lane // cfg.group_lanes]][1]
            await ctx.tick()

    run(dut, body)


def operation(function: ScalarFunction, **fields) -> dict:
    """An operation with its fields, `value` being what the reduce register holds."""
    names = ("reduce", "dst", "a", "b", "constant", "bias", "adjust", "value")
    return {"function": function.value} | dict.fromkeys(names, 0) | fields


@pytest.mark.parametrize("function", [
    ScalarFunction.RSQRT, ScalarFunction.RECIP, ScalarFunction.NEGATE, ScalarFunction.BLOCK])
def test_functions_of_a_reduce_register_at_zero_powers_of_two_and_the_ends(function):
    """With two scalar registers, so that random reads see nearly every result."""
    cfg = PRESETS["tiny"]
    operations = [operation(function, value=value, dst=index % 2) for index, value in enumerate(VALUES)]
    more = itertools.product((0, 1, 300, 2**31, 2**32 - 1), (-64, -21, 63), (0, 1, 65535))
    operations += [operation(function, value=value, adjust=adjust, bias=bias) for value, adjust, bias in more]
    simulate(small(cfg, scalars=2), operations, {}, random.Random(1))


def test_combine_and_const_clamp_their_exponents():
    cfg = PRESETS["tiny"]
    constants = {0: 0, 1: 1, 2: 40, 3: 63, 4: 64, 5: 255}
    operations = [operation(ScalarFunction.CONST, constant=place, dst=place) for place in constants]
    operations += [operation(ScalarFunction.NEGATE, value=value, dst=6 + index)
                   for index, value in enumerate((0, 1, 2**31, 2**31 - 1, 2**32 - 1, 2**32 - 32769))]
    operations += [operation(ScalarFunction.CONST, constant=0, dst=15)] * 6  # until all can be read
    operations += [operation(ScalarFunction.COMBINE, a=a, b=b, adjust=adjust, dst=13)
                   for a in (0, 2, 3, 5, 8) for b in (0, 2, 3, 7) for adjust in (-64, -1, 0, 63)]
    simulate(cfg, operations, constants, random.Random(2))


def test_search_tries_one_bit_after_another():
    """Each bit of a mantissa, with sums at either side of what keeps it; then two steps of one search."""
    cfg = PRESETS["tiny"]
    seeds = [operation(ScalarFunction.NEGATE, value=value % 2**32, dst=4 + index)
             for index, value in enumerate((0, 1, -1, 32768, -32767, 21845))]
    operations = [*seeds, *[operation(ScalarFunction.CONST, constant=0, dst=15)] * 6]
    for start in range(4, 10):
        for place in range(17):
            for value, bias in ((65535, 0), (65536, 0), (1, 65535), (0, 65535), (2**32 - 1, 65535), (254, 65536 - 254)):
                move = operation(ScalarFunction.COMBINE, a=start, b=15, adjust=place, dst=place % 2)
                again = operation(
                    ScalarFunction.SEARCH, a=place % 2, dst=2 + place % 2, value=value, bias=bias, adjust=place % 3 - 1)
                operations += [move, *[operation(ScalarFunction.CONST, constant=0, dst=15)] * 6, again]
    simulate(cfg, operations, {0: 0}, random.Random(4))


@pytest.mark.parametrize("name", MACHINES)
def test_random_operations_in_their_cycles(name):
    cfg, seed = MACHINES[name], random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    constants = {address: rng.choice([0, 5, 63, 200]) for address in range(8)}
    bits = {item.name: item.bits(cfg) for item in SCALAR.own}
    most = 1 << bits["adjust"] - 1
    functions = [ScalarFunction(member.value) for member in members(cfg, SCALAR.by_name["function"])]
    operations = [operation(
        rng.choice(functions), reduce=rng.randrange(cfg.reduces), dst=rng.randrange(4), a=rng.randrange(4),
        b=rng.randrange(4), constant=rng.randrange(8), bias=rng.choice([0, rng.getrandbits(bits["bias"])]),
        adjust=rng.randint(-most, most - 1), value=rng.getrandbits(rng.randint(1, 32))) for _ in range(150)]
    simulate(cfg, operations, constants, rng)


def test_tables_are_those_of_the_specification():
    table = root_and_reciprocal()
    assert table[64:256] == [oracle.rsqrt_mantissa(index) for index in range(64, 256)]
    assert table[TABLE_ROWS + 128:] == [oracle.recip_mantissa(index) for index in range(128, 256)]
    assert max(table) < 1 << 15
