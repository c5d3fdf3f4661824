"""The campaign of flipped bits: what it must find with ECC and without, and seeded bugs that it must find."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from amaranth.hdl import Cat, Const

import rtl.bank_errors
import rtl.control
import rtl.ecc
from rtl.arithmetic import node
from rtl.config import preset
from rtl.verilog import TOP, generate
from sim.open_core import OpenCore
from sim.rtl_device import build_core
from sim.toolchain import BuildFailed
from verification.flips import main
from verification.flips_trial import Campaign, Kind, Outcome
from verification.flow import flow
from verification.seeded.common import replace_port
from verification.settings import new_seed
from verification.units import OPTIMISE

Patch = pytest.MonkeyPatch
SEED = 1  # whether a bug is found must not be a matter of luck


@pytest.fixture(scope="module")
def campaign() -> Iterator[Campaign]:
    with closing(Campaign("tiny+ecc", SEED)) as made:
        yield made


@pytest.mark.parametrize("name", ["tiny+ecc", "tangnano20k+ecc"])
def test_single_flips_of_banks_are_corrected_and_double_ones_stop_the_run(name: str) -> None:
    with closing(Campaign(name, new_seed())) as made:
        singles = [made.trial(Kind.BANK, number) for number in range(60)]
        pairs = [made.trial(Kind.PAIR, number) for number in range(40)]
    assert not [str(one) for one in (*singles, *pairs) if not one.as_promised]
    assert any(one.outcome is Outcome.CORRECTED for one in singles)
    assert any(one.outcome is Outcome.DETECTED for one in pairs)


def test_without_the_code_nobody_notices() -> None:
    with closing(Campaign("tiny", SEED)) as made:
        found = [made.trial(kind, number) for kind in (Kind.BANK, Kind.PAIR) for number in range(60)]
    ways = {way for one in found for way in (one.outcome, one.later) if way is not None}
    assert ways == {Outcome.MASKED, Outcome.WRONG}
    assert sum(one.outcome is Outcome.WRONG for one in found) > 0


@pytest.mark.parametrize("kind", [Kind.REGISTER, Kind.MEMORY])
def test_flips_elsewhere_have_an_outcome_of_some_kind(campaign: Campaign, kind: Kind) -> None:
    found = [campaign.trial(kind, number).outcome for number in range(40)]
    assert Outcome.MASKED in found and len(set(found)) > 1


def test_a_trial_is_the_same_each_time(campaign: Campaign) -> None:
    assert campaign.trial(Kind.BANK, 5) == campaign.trial(Kind.BANK, 5)


def test_every_bit_of_the_banks_is_in_reach(campaign: Campaign) -> None:
    flips = [campaign.flip(Kind.BANK, number) for number in range(2000)]
    assert {flip.bits[0] for flip in flips} == set(range(39))
    assert {flip.state.scope for flip in flips} == {f"core.openlpu.core.banks.bank_{lane}" for lane in range(4)}
    assert {flip.request for flip in flips} == set(range(4))


def test_every_state_of_the_netlist_can_be_flipped() -> None:
    """As many bits in each module as yosys finds, which does not read the text of the Verilog as we do, and removes
    registers that nothing reads. What it calls a read is a register of a memory's, which has its own name as well."""
    found: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    expected: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    with closing(Campaign("tiny", SEED)) as made:
        for one in made._open()[0].states:
            found[one.rows > 1][one.scope.removeprefix(f"core.{TOP}").lstrip(".")] += one.rows * one.bits
        states = flow(made.verilog, TOP).states.values()
    for one in states:
        if one.written and "(read" not in one.name:
            expected[one.rows > 1][one.module.rstrip(".")] += max(one.rows, 1) * len(one.bits)
    assert expected[True].total() > 100_000 and found[True] == expected[True]
    assert expected[False].total() > 5_000 and found[False] >= expected[False]
    assert found[False].total() < 1.02 * expected[False].total()


def test_a_build_that_is_not_open_says_so() -> None:
    cfg = preset("tiny")
    with pytest.raises(BuildFailed, match="cannot be changed: build it with opened=True"):
        OpenCore(build_core(cfg), generate(cfg))


def test_a_bit_that_is_not_there_cannot_be_flipped(campaign: Campaign) -> None:
    core = campaign._open()[0]
    with pytest.raises(ValueError, match="has 1 rows of 1 bits, not bit 1 of row 0"):
        core.flip(next(state for state in core.states if state.name == "failed"), 0, 1)


def test_the_command_prints_its_seed_and_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--preset", "tiny+ecc", "--flips", "5", "--kind", "bank", "--kind", "pair", "--json"]
    assert main(arguments) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["broken"] == 0 and [one["flips"] for one in made["tallies"]] == [5, 5]
    assert main([*arguments[:-1], "--seed", str(made["seed"])]) == 0
    assert f"seed {made['seed']}; 0 flips" in capsys.readouterr().out


# Seeded bugs ----------------------------------------------------------------------------------------------------------


def the_bit_beside_is_corrected(patch: Patch) -> None:
    decode = rtl.ecc.Code.decode

    def wrong(self: Any, m: Any, word: Any) -> Any:
        row, *found = decode(self, m, word)
        flips = node(m, row ^ word[:self.data], "flips")
        return node(m, (word[:self.data] ^ flips.rotate_left(1)), "beside"), *found

    patch.setattr(rtl.ecc.Code, "decode", wrong)


def a_check_bit_is_ignored(patch: Patch) -> None:
    check_bits = rtl.ecc.Code.check_bits
    patch.setattr(rtl.ecc.Code, "check_bits", lambda self, row: Cat(Const(0, 1), check_bits(self, row)[1:]))


def what_is_corrected_does_not_count(patch: Patch) -> None:
    _errors(patch, "corrected")


def two_flips_do_not_stop_the_run(patch: Patch) -> None:
    _errors(patch, "uncorrectable")


def a_run_goes_on(patch: Patch) -> None:
    replace_port(patch, rtl.control.Control, "failed", lambda self: Const(0))


def a_store_merges_with_what_is_flipped(patch: Patch) -> None:
    decode = rtl.ecc.Code.decode
    patch.setattr(rtl.ecc.Code, "decode", lambda self, m, word: (word[:self.data], *decode(self, m, word)[1:]))


def _errors(patch: Patch, name: str) -> None:
    elaborate = rtl.bank_errors.BankErrors.elaborate

    def wrong(self: Any, platform: Any) -> Any:
        setattr(self, name, Const(0, self.cfg.lanes))
        return elaborate(self, platform)

    patch.setattr(rtl.bank_errors.BankErrors, "elaborate", wrong)


BUGS: list[tuple[Callable[[Patch], None], Kind]] = [
    (the_bit_beside_is_corrected, Kind.BANK), (a_check_bit_is_ignored, Kind.BANK),
    (what_is_corrected_does_not_count, Kind.BANK), (a_store_merges_with_what_is_flipped, Kind.BANK),
    (two_flips_do_not_stop_the_run, Kind.PAIR), (a_run_goes_on, Kind.PAIR)]


@pytest.mark.slow
@pytest.mark.parametrize(("bug", "kind"), BUGS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_campaign_finds_a_seeded_bug(bug: Callable[[Patch], None], kind: Kind, monkeypatch: Patch) -> None:
    bug(monkeypatch)
    text = generate(preset("tiny+ecc"))
    monkeypatch.undo()
    with closing(Campaign("tiny+ecc", SEED, text, OPTIMISE)) as made:
        assert made.verilog != generate(preset("tiny+ecc"))
        assert any(not made.trial(kind, number).as_promised for number in range(60))
