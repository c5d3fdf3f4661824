"""Machines whose banks have an error-correcting code: the code, the counters, whole machines, and what people are told.

That flipped bits are corrected, and two of a row stop the run, is shown in verification/test_flips.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest

import rtl.bank_errors
from compiler.compile import compile_model
from compiler.image import Image
from compiler.quantise import quantise
from compiler.quantised import Shape
from compiler.random_model import random_float_model
from rtl.bank_errors import COUNTER_BITS, BankErrors
from rtl.config import PRESETS, WITH_ECC, ConfigError, preset
from rtl.ecc import Code
from rtl.protocol import VERSION, Request, Space, status_bytes
from sim.device import CycleDevice, Device, GoldenDevice, Record, open_device
from sim.driver import BankError, Driver, ProtocolError
from tests.rtl.bench import run

SHAPE = Shape(dim=16, hidden=24, layers=1, heads=4, kv_heads=2, head_dim=4, vocab=20, context=20)
NAMES = [f"{name}{WITH_ECC}" for name, cfg in PRESETS.items() if not cfg.single_port]


def image_of(name: str) -> Image:
    model = quantise(random_float_model(SHAPE))
    return replace(compile_model(model, preset(name)), model=model)


# The code -------------------------------------------------------------------------------------------------------------


def syndrome(code: Code, word: int) -> int:
    """The columns of all bits that are 1, together: of data and check bits alike."""
    found = 0
    for place, column in enumerate(code.columns):
        found ^= column if word >> place & 1 else 0
    return found


@pytest.mark.parametrize(("data", "checks"), [(8, 5), (16, 6), (32, 7), (64, 8), (128, 9)])
def test_one_and_two_flips_of_any_bits_are_told_apart(data: int, checks: int):
    code = Code(data)
    assert code.checks == checks and len(code.columns) == code.bits == data + checks
    word = code.encode(random.Random(data).getrandbits(data))
    assert syndrome(code, word) == 0 and code.encode(0) == 0
    ones = [syndrome(code, word ^ 1 << place) for place in range(code.bits)]
    assert len(set(ones)) == code.bits and 0 not in ones
    twos = {syndrome(code, word ^ 1 << a ^ 1 << b) for a, b in combinations(range(code.bits), 2)}
    assert 0 not in twos and not twos & set(ones)


# The counters ---------------------------------------------------------------------------------------------------------


def count(patterns: list[tuple[int, int]], *, start: int = 0) -> tuple[int, int, int]:
    """Counters and `failed` of tiny+ecc's, after corrected and uncorrectable lanes of so many cycles."""
    dut, found = BankErrors(preset("tiny+ecc")), list[int]()

    async def body(ctx):
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        for corrected, uncorrectable in [(1, 0)] * start + patterns:
            ctx.set(dut.corrected, corrected)
            ctx.set(dut.uncorrectable, uncorrectable)
            await ctx.tick()
        ctx.set(dut.corrected, 0)
        ctx.set(dut.uncorrectable, 0)
        await ctx.tick()
        found.extend(ctx.get(one) for one in (dut.corrected_count, dut.uncorrectable_count, dut.failed))
        ctx.set(dut.clear, 1)
        await ctx.tick()
        assert not any(ctx.get(one) for one in (dut.corrected_count, dut.uncorrectable_count, dut.failed))

    run(dut, body)
    corrected, uncorrectable, failed = found
    return corrected, uncorrectable, failed


def test_every_lane_of_every_cycle_counts():
    assert count([(0b1011, 0), (0, 0), (0b0100, 0), (0b1111, 0)]) == (8, 0, 0)
    assert count([(0b0001, 0b0110), (0, 0), (0, 0)]) == (1, 2, 1)


def test_a_counter_at_its_end_stays_there(monkeypatch: pytest.MonkeyPatch):
    assert COUNTER_BITS == 16
    monkeypatch.setattr(rtl.bank_errors, "COUNTER_BITS", 4)
    assert count([(0b0111, 0), (0b1111, 0)], start=10) == (15, 0, 0)


# Whole machines -------------------------------------------------------------------------------------------------------


def same_tokens_in_promised_cycles(image: Image, devices: list[Device]) -> None:
    token = 1
    for position in range(image.context):
        classify = position > 2
        golden, *others = [device.step(token, classify=classify) for device in devices]
        for other in others:
            assert other == Record(golden.token, int(image.cycles[int(classify), position])), position
        token = golden.token if classify else 3 + position


@pytest.mark.parametrize("name", NAMES)
def test_golden_and_cycle_simulator_agree(name: str):
    image = image_of(name)
    same_tokens_in_promised_cycles(image, [GoldenDevice(image), CycleDevice(image, poison=1)])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny+ecc", "ulx3s+ecc"])  # the banks of all: verification/test_units.py
def test_the_gateware_agrees(name: str):
    image = image_of(name)
    same_tokens_in_promised_cycles(image, [GoldenDevice(image), CycleDevice(image), open_device("rtl", image)])


def test_a_bank_of_one_port_has_no_code():
    with pytest.raises(ConfigError, match="a single_port has no cycle for both"):
        preset("icebreaker+ecc")


def test_an_unknown_preset_names_the_known_ones_and_the_code():
    with pytest.raises(ConfigError, match=r"unknown preset 'small\+ecc'; .*, and each with \+ecc"):
        preset("small+ecc")


# What people are told -------------------------------------------------------------------------------------------------


class Failed:
    """A machine with ECC that answers records of no cycles, and STATUS with so many rows that it could not correct."""

    def __init__(self, uncorrectable: int) -> None:
        self.uncorrectable = uncorrectable
        self.asked = bytearray()

    def send(self, data: bytes) -> None:
        self.asked += data

    def receive(self, count: int) -> bytes:
        if self.asked[-1] == Request.STATUS and count == status_bytes(preset("tiny+ecc")):
            return bytes([VERSION]) + bytes(count - 5) + (3).to_bytes(2, "little") + self.uncorrectable.to_bytes(
                2, "little")
        return bytes(count)


USES: dict[str, Callable[[Driver], object]] = {
    "step": lambda driver: driver.step([1], classify=True), "read": lambda driver: driver.read(Space.BANK, 0, 2)}


@pytest.mark.parametrize("what", USES)
def test_a_row_that_could_not_be_corrected_is_an_error_in_one_line(what: str):
    with pytest.raises(BankError, match=r"^bank error: 2 reads of a row with two flipped bits, .*load the image again"):
        USES[what](Driver(preset("tiny+ecc"), Failed(2)))


def test_no_cycles_without_a_failed_row_is_an_answer_that_the_protocol_does_not_know():
    with pytest.raises(ProtocolError, match="a token took 0 cycles"):
        USES["step"](Driver(preset("tiny+ecc"), Failed(0)))


def test_status_has_the_counters():
    status = Driver(preset("tiny+ecc"), Failed(7)).status()
    assert (status.corrected, status.uncorrectable) == (3, 7)
