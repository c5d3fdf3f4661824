"""Scalar unit: the golden primitives' mantissas and exponents, each access in the cycle that rtl.timing gives."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from typing import Any

import cocotb

from rtl.config import SMALL_SCALAR_CYCLES, Config
from rtl.isa import SCALAR, ScalarFunction, members
from rtl.scalar import Scalar as ScalarUnit
from rtl.timing import timing
from sim.golden import primitives as golden
from sim.golden.primitives import Scalar
from verification.ports import Ports
from verification.runner import bench_parameters
from verification.settings import generator, shallow
from verification.vector_model import signed

FIELDS = tuple(item.name for item in SCALAR.own)
POWERS = [1 << bit for bit in range(32)]
VALUES = sorted({0, (1 << 32) - 1, *POWERS, *(power - 1 for power in POWERS), *(power + 1 for power in POWERS)})
ADJUSTS = (-64, -32, -21, -14, 0, 31, 63)
BIASES = (0, 1, 255, 65535)

RANDOM_OPERATIONS = 250

Operation = dict[str, int]
"""Fields of rtl.ports.operation_layout, and `value`: what the reduce register holds."""


def fits(cfg: Config, name: str, value: int) -> bool:
    """Whether a field holds a number."""
    item = SCALAR.by_name[name]
    half = 1 << item.bits(cfg) - 1
    return -half <= value < half if item.signed else 0 <= value < 2 * half


def result(one: Operation, constants: dict[int, int], registers: dict[int, Scalar]) -> Scalar:
    """What an operation computes."""
    value, bias, adjust = one["value"], one["bias"], one["adjust"]
    match ScalarFunction(one["function"]):
        case ScalarFunction.RSQRT:
            return golden.rsqrt(value, bias=bias, adjust=adjust)
        case ScalarFunction.RECIP:
            return golden.recip(value, bias=bias, adjust=adjust)
        case ScalarFunction.NEGATE:
            return golden.negate(signed(value))
        case ScalarFunction.BLOCK:
            return golden.block(value, adjust=adjust)
        case ScalarFunction.COMBINE:
            return golden.combine(registers[one["a"]], registers[one["b"]], adjust=adjust)
        case ScalarFunction.VALUE:
            return golden.value(signed(value), registers[one["a"]], adjust=adjust)
        case ScalarFunction.SEARCH:
            return golden.search(value, registers[one["a"]], bias=bias, adjust=adjust)
        case ScalarFunction.CONST:
            return Scalar(golden.MANTISSA_ONE, min(constants[one["constant"]], golden.EXPONENT_MAX))


def functions(cfg: Config) -> list[ScalarFunction]:
    """Those that the machine has."""
    return [ScalarFunction(member.value) for member in members(cfg, SCALAR.by_name["function"])]


def operation(function: ScalarFunction, **fields: int) -> Operation:
    return dict.fromkeys((*FIELDS, "value"), 0) | {"valid": 1, "function": function.value} | fields


async def play(dut: Any, cfg: Config, operations: Iterable[tuple[int, Operation]], constants: dict[int, int],
               rng: random.Random) -> None:
    """Load constants, then issue operations in their cycles, as far apart as the unit needs; the reduce register is
    right in one cycle only."""
    apart = cfg.fetch("scalar")
    times, schedule, ports = timing(cfg), {cycle * apart: one for cycle, one in operations}, Ports(dut, ScalarUnit(cfg))
    standing = {}  # of a small unit: what an operation says stays a while, but for a constant, which a loop may move
    if cfg.small_scalar:
        for cycle, one in schedule.items():
            still = {name: one[name] for name in FIELDS if name != "constant"}
            standing |= dict.fromkeys(range(cycle + 1, cycle + 1 + SMALL_SCALAR_CYCLES), still)
    missed = False
    await ports.start()
    ports.set(host__active=1, host__write=1)
    for address, constant in constants.items():
        ports.set(host__address=address, host__data=constant)
        await ports.settle()
        await ports.edge()
    ports.set(host__active=0, host__data=99)
    registers: dict[int, Scalar] = {}
    landing: dict[int, tuple[int, Scalar]] = {}
    before: list[int] = [0] * cfg.groups
    for cycle in range(max(schedule) + times.scalar_visible + 2):
        if cycle in landing:
            target, made = landing[cycle]
            registers[target] = made
        issued = schedule.get(cycle)
        noise = {name: rng.getrandbits(3) for name in ("function", "reduce", "dst", "bias")}
        fields = issued or operation(ScalarFunction.RSQRT) | noise | standing.get(cycle, {}) | {"valid": 0}
        ports.set(issue={name: fields[name] for name in ("valid", *FIELDS)})
        reading = schedule.get(cycle - times.scalar_read)
        answered, free = reading, True
        if cfg.small_scalar:  # a cycle after one at least of the two in which it is asked for
            first, second = schedule.get(cycle - 2), schedule.get(cycle - 3)
            if first:
                missed = rng.random() < 0.5
            free = not missed if first else bool(second and missed) or rng.random() < 0.5
            answered = (first or second) if free else None
            ports.set(reduce_found=int(free))
        ports.set(reduce_value=answered["value"] if answered else 0x1234_5678)
        if reading:
            made = result(reading, constants, registers)
            landing[cycle - times.scalar_read + times.scalar_visible] = reading["dst"], made
        shown = [rng.choice(list(registers) or [0]) for _ in range(cfg.groups)]
        out = rng.choice(list(registers) or [0])
        ports.set(scalar_index=shown)
        if not cfg.small_scalar:
            ports.set(out_index=out)
        await ports.settle()
        asking = issued
        if cfg.small_scalar:  # and its registers are memories
            asking = schedule.get(cycle - 1) or schedule.get(cycle - 2)
            shown, before = before, shown
        if asking:
            ports.expect("reduce_index", asking["reduce"])
        if registers and all(index in registers for index in shown):
            ports.expect("scalars", [registers[index]._asdict() for index in shown], f"registers {shown}")
            if not cfg.small_scalar:
                ports.expect("out_exponent", registers[out].exponent)
                ports.expect(
                    "exponents", [registers[index].exponent for index in shown for _ in range(cfg.group_lanes)])
        await ports.edge()


@cocotb.test()
async def corners_of_each_function(dut: Any) -> None:
    """With two registers in use, so that nearly every result is looked at."""
    cfg, rng = shallow(bench_parameters()["preset"]), generator(bench_parameters())
    reading = (ScalarFunction.RSQRT, ScalarFunction.RECIP, ScalarFunction.NEGATE, ScalarFunction.BLOCK)
    operations = [operation(function, value=value, dst=index % 2)
                  for function in reading for index, value in enumerate(VALUES)]
    some = (0, 1, 300, 1 << 31, (1 << 32) - 1)
    operations += [
        operation(function, value=value, bias=bias, adjust=adjust, dst=index % 2) for index, (
            function, value, bias, adjust) in enumerate(itertools.product(reading, some, BIASES, ADJUSTS))
        if fits(cfg, "bias", bias) and fits(cfg, "adjust", adjust)]
    await play(dut, cfg, enumerate(operations), {}, rng)


@cocotb.test()
async def every_table_entry(dut: Any) -> None:
    """All leading bytes, of short and of long operands."""
    cfg, rng = shallow(bench_parameters()["preset"]), generator(bench_parameters())
    operations = [
        operation(function, value=(leading << shift) + rng.getrandbits(shift), dst=index % 2)
        for function in (ScalarFunction.RSQRT, ScalarFunction.RECIP)
        for index, (leading, shift) in enumerate(itertools.product(range(64, 256), (0, 11)))]
    await play(dut, cfg, enumerate(operations), {}, rng)


@cocotb.test()
async def random_operations_with_pauses(dut: Any) -> None:
    cfg, rng = shallow(bench_parameters()["preset"]), generator(bench_parameters())
    constants = {address: rng.choice([0, 1, 5, 63, 64, 255]) for address in rng.sample(range(cfg.constants), 8)}
    # COMBINE reads registers: these four begin as constants, and all of them have landed before the rest.
    schedule = {index: operation(ScalarFunction.CONST, constant=rng.choice(list(constants)), dst=index)
                for index in range(4)}
    cycle = 4 + timing(cfg).scalar_visible
    for _ in range(RANDOM_OPERATIONS):
        schedule[cycle] = operation(
            rng.choice(functions(cfg)), reduce=rng.randrange(cfg.reduces), dst=rng.randrange(4),
            a=rng.randrange(4), b=rng.randrange(4), constant=rng.choice(list(constants)),
            bias=rng.choice([0, rng.getrandbits(SCALAR.by_name["bias"].bits(cfg))]),
            adjust=rng.choice([adjust for adjust in range(-64, 64) if fits(cfg, "adjust", adjust)]),
            value=rng.getrandbits(rng.randint(1, 32)))
        cycle += rng.choice([1, 1, 1, 3])
    await play(dut, cfg, schedule.items(), constants, rng)
