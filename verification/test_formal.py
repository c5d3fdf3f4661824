"""Properties of blocks: the quick ones are proved, and a seeded bug in the gateware breaks each kind of them.

`python -m verification.formal` proves all.
"""

from __future__ import annotations

import inspect
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from amaranth.hdl import Module, Signal

import fpga.link.crc
import fpga.link.endpoint
import fpga.link.uart
import rtl.arithmetic
import rtl.bank
import rtl.ecc
import rtl.ecc_bank
import rtl.reduce
import rtl.sequencer
from verification.formal import arithmetic, blocks, code, frames, line, sequencing
from verification.formal.__main__ import PROPERTIES, main
from verification.formal.prover import Property, Verdict, claim, prove

BY_NAME = {f"{one.unit}: {one.name}": one for one in PROPERTIES}
SLOW = ("arithmetic: product of adders", "bank: as of tiny+ecc", "reduce: registers as of tiny",
        "reduce: registers as of ulx3s", "reduce: ARGMAX as of ulx3s", "code: of 64 bits", "code: of 128 bits",
        "sequencer: as of ulx3s", "link: a byte at 7 clocks a bit")
"""More than about ten seconds."""


@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in SLOW])
def test_a_property_holds(name: str) -> None:
    assert prove(BY_NAME[name]).good


def bug(monkeypatch: pytest.MonkeyPatch, module: ModuleType, old: str, new: str, user: ModuleType, name: str) -> None:
    """Give `user` a block from the module's text with one place changed."""
    source = inspect.getsource(module)
    assert source.count(old) == 1, f"{old!r} is in {module.__name__} {source.count(old)} times"
    changed: dict[str, Any] = {"__name__": module.__name__}
    exec(compile(source.replace(old, new), str(module.__file__), "exec"), changed)
    monkeypatch.setattr(user, name, SimpleNamespace(**changed) if name == "arithmetic" else changed[name])


ARITHMETIC = {
    "arithmetic: requantise 24 to 16 bits": ("whole[:bits].as_signed() + half", "whole[:bits].as_signed() + 0"),
    "arithmetic: requantise or instead": ("fits & ~unless", "fits"),
    "arithmetic: bounded shift of 24 bits": ("amount[levels:].any()", "amount[levels + 1:].any()"),
    "arithmetic: saturate 32 to 16 bits": ("limits = Cat(opposite.replicate", "limits = Cat(sign.replicate"),
    "arithmetic: limit 7 bits to 47": ("range(more >> low, 1 <<", "range((more >> low) + 1, 1 <<"),
    "arithmetic: a sum is 700": ("below = wanted >> place - 1 & 1", "below = 0"),
    "arithmetic: leading place of 32 bits": ("return x[1]", "return x[0]"),
    "arithmetic: product of adders": ("if place == len(b) - 2 else", "if place == len(b) - 4 else"),
    "arithmetic: one of eight": ("return Array(values)[index]", "return Array(values)[index ^ 4]")}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_with_a_seeded_bug_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch, rtl.arithmetic, *ARITHMETIC[name], arithmetic, "arithmetic")
    assert prove(BY_NAME[name]).verdict is Verdict.FAILED


BLOCKS: dict[str, tuple[str, ModuleType, str, str, ModuleType, str]] = {
    "byte enables": ("bank: as of tiny", rtl.bank, "write_enable=self.write_enable, write_data",
                     "write_enable=self.write_enable.any().replicate(cfg.taps), write_data", blocks, "Bank"),
    "a row of the memory above": ("bank: as of ulx3s", rtl.bank, "Mux(found_above, high, low)",
                                  "Mux(Value.cast(read_row)[top], high, low)", rtl.bank, "memory"),
    "the port's row": ("bank: as of icebreaker", rtl.bank, "Mux(writing, self.write_row, self.read_row)",
                       "self.read_row", blocks, "Bank"),
    "a write to a row under way": ("bank: as of tiny+ecc", rtl.ecc_bank, "Mux(under_way[d], before, base)",
                                   "Mux(under_way[d] & (d != 1), before, base)", rtl.bank, "ecc_bank"),
    "check bits of what is merged": ("bank: as of tiny+ecc", rtl.ecc_bank, "code.check_bits(merged)",
                                     "code.check_bits(bytes_[-1])", rtl.bank, "ecc_bank"),
    "a column twice": ("code: of 16 bits", rtl.ecc, "left.remove(best)", "left.remove(best if ones > 3 else left[-1])",
                       code, "Code"),
    "a double flip": ("code: of 32 bits", rtl.ecc, "syndrome.any() & ~odd", "syndrome[2:].any() & ~odd", code, "Code"),
    "the wrong bit": ("code: of 16 bits", rtl.ecc, "self.columns[:self.data])\n        return node",
                      "self.columns[1:self.data + 1])\n        return node", code, "Code"),
    "a write on its way": ("reduce: registers as of tiny", rtl.reduce, "Mux(recent, written.data, port.data)",
                           "port.data", blocks, "Reduce"),
    "a tie": ("reduce: ARGMAX as of tiny", rtl.reduce, "b[:bits].as_signed() > a[:bits]",
              "b[:bits].as_signed() >= a[:bits]", blocks, "Reduce"),
    "another sequence": ("reduce: ARGMAX as of tiny", rtl.reduce, "mine = state.sequence == sequence if",
                         "mine = 1 if", blocks, "Reduce"),
    "a wait": ("sequencer: as of tiny", rtl.sequencer, "waiting & (wait_left == 2)", "waiting & (wait_left == 1)",
               sequencing, "Sequencer"),
    "rounds": ("sequencer: as of tiny", rtl.sequencer, "opens, ~now.one.repeat, self.left != 1)",
               "opens, ~now.zero.repeat, self.left != 1)", sequencing, "Sequencer"),
    "an offset that stays": ("sequencer: as of tiny", rtl.sequencer, "self.offset[name] + self.stride[name], 0))",
                             "self.offset[name] + self.stride[name], self.offset[name]))", sequencing, "Sequencer"),
    "the end of a prompt": ("sequencer: as of tiny", rtl.sequencer,
                            "((coming.op == Op.END_PROMPT.value) & ~self.classify)",
                            "(coming.op == Op.END_PROMPT.value)", sequencing, "Sequencer"),
    "the polynomial": ("link: CRC", fpga.link.crc, "POLYNOMIAL = 0xEDB88320", "POLYNOMIAL = 0xEDB88321", line, "Crc"),
    "the order of bits": ("link: a byte at 4 clocks a bit", fpga.link.uart, "self.bytes.payload, Const(1, 1)",
                          "self.bytes.payload[::-1], Const(1, 1)", line, "UartTx"),
    "the length of a bit": ("link: a byte at 4 clocks a bit", fpga.link.uart,
                            "            m.d.sync += timer.eq(self.divisor - 1)\n            m.d.sync += bits",
                            "            m.d.sync += timer.eq(self.divisor - 2)\n            m.d.sync += bits",
                            line, "UartTx"),
    "a CRC that is wrong": ("link: frames for the core", fpga.link.endpoint, "with m.If(~sending & ~bad):",
                            "with m.If(~sending):", frames, "Endpoint"),
    "a CRC that is wrong in its first byte": ("link: frames for the core", fpga.link.endpoint,
                                              "with m.If(~crc.update & (byte[0] != crc.next_bit)):",
                                              "with m.If(~crc.update & (left[:2] != 0) & (byte[0] != crc.next_bit)):",
                                              frames, "Endpoint"),
    "a frame that was cut off": ("link: frames for the core", fpga.link.endpoint,
                                 "overflow.eq(0), arriving.eq(core_in)]", "overflow.eq(0)]", frames, "Endpoint"),
    "more than there was room for": ("link: frames for the core", fpga.link.endpoint,
                                     "new.eq(data & (number != last_number) & ~overflow)",
                                     "new.eq(data & (number != last_number))", frames, "Endpoint"),
    "a frame that came before": ("link: frames for the core", fpga.link.endpoint, "with m.If(new | reset):",
                                 "with m.If(reset):", frames, "Endpoint"),
    "a byte that is never sent": ("link: the endpoint listens again", fpga.link.endpoint,
                                  "with m.If(~special | escaped):", "with m.If(~special):", frames, "Endpoint"),
    "an answer without an end": ("link: the endpoint listens again", fpga.link.endpoint,
                                 "Mux(left == 0, Field.CRC, Field.PAYLOAD)", "Field.PAYLOAD", frames, "Endpoint")}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_with_a_seeded_bug_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    which, module, old, new, user, block = BLOCKS[name]
    bug(monkeypatch, module, old, new, user, block)
    one = BY_NAME[which]
    assert prove(one).verdict is (Verdict.FAILED if one.bounded else Verdict.UNKNOWN)


def test_every_unit_has_a_seeded_bug() -> None:
    found = {name.partition(":")[0] for name in (*ARITHMETIC, *(which for which, *_ in BLOCKS.values()))}
    assert found == {one.unit for one in PROPERTIES}
    assert set(SLOW) <= set(BY_NAME)


def build(m: Module, *, holds: bool) -> list[Signal]:
    x = Signal(4)
    m.d.comb += claim((x + 1 > x) if holds else x != 9)
    return [x]


def test_verdicts() -> None:
    good, bad = (Property(unit="u", name="n", intent="i", build=lambda m, holds=holds: build(m, holds=holds))
                 for holds in (True, False))
    assert prove(good).good
    assert prove(bad).verdict is Verdict.FAILED


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = (Property(unit="u", name="n", intent="i", build=lambda m, holds=holds: build(m, holds=holds))
                 for holds in (True, False))
    monkeypatch.setattr("verification.formal.__main__.PROPERTIES", (good,))
    assert main([]) == 0
    monkeypatch.setattr("verification.formal.__main__.PROPERTIES", (good, bad))
    assert main([]) == 1
    assert "2 properties, 1 not proved" in capsys.readouterr().out
