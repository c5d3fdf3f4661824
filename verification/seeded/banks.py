"""Faults of the banks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from amaranth.hdl import Const

import rtl.bank
from verification.seeded.common import PRESET, Bug, Patch, replace_port


def banks_answer_a_cycle_early(patch: Patch) -> None:
    bank = rtl.bank.Bank
    patch.setattr(rtl.bank, "Bank", lambda cfg, init: bank(replace(cfg, bank_register=False), init))


def banks_do_not_wait_for_activations(patch: Patch) -> None:
    bank = rtl.bank.Bank
    patch.setattr(rtl.bank, "Bank", lambda cfg, init: bank(replace(cfg, act_register=False), init))


def a_single_port_reads_where_it_writes(patch: Patch) -> None:
    bank = rtl.bank.Bank
    patch.setattr(rtl.bank, "Bank", lambda cfg, init: bank(replace(cfg, single_port=False), init))


def a_whole_word_is_written(patch: Patch) -> None:
    replace_port(patch, rtl.bank.Bank, "write_enable", lambda self: self.write_enable.any().replicate(self.cfg.taps))


def a_chunk_goes_where_bytes_belong(patch: Patch) -> None:
    replace_port(patch, rtl.bank.Banks, "write_shared", lambda self: Const(1))


def rows_are_read_before_their_register(patch: Patch) -> None:
    right = vars(rtl.bank.Banks)["elaborate"]

    def wrong(self: Any, platform: Any) -> Any:
        self.cfg = replace(self.cfg, spread=False)
        return right(self, platform)

    patch.setattr(rtl.bank.Banks, "elaborate", wrong)


BUGS: tuple[Bug, ...] = (
    ("banks", PRESET, banks_answer_a_cycle_early),
    ("banks", "ulx3s-fast", banks_do_not_wait_for_activations),
    ("banks", "icebreaker", a_single_port_reads_where_it_writes),
    ("banks", PRESET, a_whole_word_is_written),
    ("banks", PRESET, a_chunk_goes_where_bytes_belong),
    ("banks", "ulx3s", rows_are_read_before_their_register))
"""Bench, preset, fault."""
