"""Boot with a flash chip in Python: what the core and the terminal get, from sound, rotten and sleeping flash."""

from __future__ import annotations

from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from fpga.standalone import boot as boot_module
from fpga.standalone.boot import ERROR, Boot
from fpga.standalone.flash_data import SLOT_BYTES, flash_data, load_at, load_requests, total_bytes
from fpga.standalone.records import script
from rtl.config import PRESETS
from rtl.protocol import Request
from tests.fpga.standalone.test_teller import OPENINGS, TOKENIZER
from tests.rtl.test_core import image

CFG = replace(
    PRESETS["tiny"], name="boot", lanes=2, groups=1, taps=2, bank_rows=64, vector_rows=128, act_rows=128,
    param_rows=64, constants=4, values=2, sequences=1, token_bits=4, position_bits=4, matrix_words=16,
    vector_words=16, scalar_words=4)
OFFSET = load_at(CFG)


def data() -> bytes:
    """A flash's content for a machine that has next to nothing to load."""
    made = image(CFG)
    return flash_data(made, script(TOKENIZER, OPENINGS, 9))


class Chip:
    """A flash chip, by the edges on its pins."""

    def __init__(self, content: bytes, *, asleep: bool = False) -> None:
        self.content, self.asleep, self.commands = content, asleep, list[int]()
        self._selected = self._clock = 0
        self._bits: list[int] = []
        self._out: list[int] = []

    def edge(self, select: int, clock: int, out: int) -> int:
        """The level of its output after the pins have become so."""
        if not select:
            if self._selected and len(self._bits) == 8:
                self.commands.append(self._number())
                self.asleep &= self.commands[-1] != 0xAB
            self._bits, self._out = [], []
        elif clock and not self._clock:
            self._bits.append(out)
        elif not clock and self._clock and len(self._bits) >= 32 and not self.asleep:
            if len(self._bits) == 32:
                self.commands.append(self._number() >> 24)
                self._bits = self._bits[:32]
            if not self._out and self._number(32) >> 24 == 0x03:
                address = (self._number(32) & 0xFFFFFF) + (len(self._bits) - 32) // 8
                byte = self.content[address] if address < len(self.content) else 0xFF
                self._out = [byte >> bit & 1 for bit in range(7, -1, -1)]
        falling = select and self._clock and not clock
        self._selected, self._clock = select, clock
        if falling:
            self._level = self._out.pop(0) if self._out else 1
        return self._level if select and len(self._bits) >= 32 else 1

    _level = 1

    def _number(self, first: int | None = None) -> int:
        return int("".join(map(str, self._bits[:first])) or "0", 2)


def run(chip: Chip, *, cycles: int, until_text: int = 0) -> tuple[bytes, bytes, bool, list[bool]]:
    """Requests, text, whether it was done, and the levels that `failed` had."""
    dut = Boot(CFG, offset=OFFSET)
    requests, text, levels = bytearray(), bytearray(), list[bool]()
    done = False

    async def body(ctx) -> None:
        nonlocal done
        ctx.set(dut.requests.ready, 1)
        ctx.set(dut.text.ready, 1)
        for cycle in range(cycles):
            level = chip.edge(ctx.get(dut.pins.select), ctx.get(dut.pins.clock), ctx.get(dut.pins.out))
            ctx.set(dut.pins.into, level)
            ctx.set(dut.requests.ready, cycle % 3 != 0)
            if ctx.get(dut.requests.valid) and ctx.get(dut.requests.ready):
                requests.append(ctx.get(dut.requests.payload))
            if ctx.get(dut.reset_core):
                requests.clear()
            if ctx.get(dut.text.valid):
                text.append(ctx.get(dut.text.payload))
            if not levels or levels[-1] != ctx.get(dut.failed):
                levels.append(bool(ctx.get(dut.failed)))
            if ctx.get(dut.done) or (until_text and len(text) >= until_text):
                done = bool(ctx.get(dut.done))
                return
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(body)
    simulator.run()
    return bytes(requests), bytes(text), done, levels


CYCLES = 2 * (1 << boot_module.WAKE_BITS) + 20 * total_bytes(CFG)


@pytest.mark.parametrize("asleep", [False, True])
def test_the_core_gets_what_a_host_would_send(asleep: bool) -> None:
    whole = data()
    chip = Chip(b"\x55" * OFFSET + whole, asleep=asleep)
    requests, text, done, levels = run(chip, cycles=CYCLES)
    expected = load_requests(image(CFG))
    assert done and not text and levels == [False] and chip.commands == [0xAB, 0x03]
    assert requests[:len(expected)] == expected and len(expected) > 1000
    # Then RESET until the place is full. The CRC is not for the core, which might take it for a request.
    rest = requests[len(expected):]
    assert rest == bytes([Request.RESET]) * len(rest) and len(requests) == len(whole) - 4 - load_at(CFG)


@pytest.mark.slow
@pytest.mark.parametrize("at", [OFFSET + 3 * SLOT_BYTES + 1, OFFSET + load_at(CFG) + 700], ids=["text", "load"])
def test_a_rotten_bit_is_told_and_everything_begins_anew(at: int) -> None:
    whole = bytearray(b"\x55" * OFFSET + data())
    whole[at] ^= 4
    chip = Chip(bytes(whole))
    _, text, done, levels = run(chip, cycles=2 * CYCLES, until_text=len(ERROR) + 1)
    assert text[:len(ERROR)] == ERROR and not done and levels == [False, True]
    assert chip.commands == [0xAB, 0x03] * 2


@pytest.mark.slow
def test_an_erased_flash_is_no_model() -> None:
    _, text, done, _ = run(Chip(b""), cycles=CYCLES, until_text=len(ERROR))
    assert text == ERROR and not done
