"""Each bench must fail on a design that is wrong: one small fault at a time, put into the generating process alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from amaranth.hdl import Cat, Const, Mux

import rtl.bank
import rtl.control
import rtl.issue_matrix
import rtl.issue_noise
import rtl.issue_vector
import rtl.matrix
import rtl.mesh
import rtl.noise
import rtl.ram_verilog
import rtl.reduce
import rtl.scalar
import rtl.sequencer
import rtl.serial_reduce
import rtl.serial_vector
import rtl.small_host
import rtl.small_scalar
import rtl.small_sequencer
import rtl.vector
from rtl.arithmetic import node
from rtl.config import preset
from rtl.timing import timing
from rtl.verilog import TOP, generate
from verification.runner import BenchFailed, run
from verification.units import OPTIMISE, cached_design, design

Patch = pytest.MonkeyPatch
PRESET = "tiny"
SEED = 1  # whether a bug is found must not be a matter of luck


# Matrix unit ----------------------------------------------------------------------------------------------------------


def a_sum_arrives_a_cycle_late(patch: Patch) -> None:
    patch.setattr(rtl.matrix, "timing", lambda cfg: replace(timing(cfg), acc_visible=timing(cfg).acc_visible + 1))


def a_sum_lacks_its_highest_bit(patch: Patch) -> None:
    exact = rtl.mesh.sum_shape
    patch.setattr(rtl.mesh, "sum_shape", lambda terms: type(exact(terms))(exact(terms).width - 1, signed=True))


def activations_skip_a_tap(patch: Patch) -> None:
    delays = rtl.mesh.delays

    def wrong(m: Any, value: Any, most: int, name: str) -> list[Any]:
        return delays(m, value & 0x7F if name == "act_0_1" else value, most, name)

    patch.setattr(rtl.mesh, "delays", wrong)


def the_planes_are_exchanged(patch: Patch) -> None:
    weight = rtl.matrix.weight
    patch.setattr(rtl.matrix, "weight", lambda byte, plane: weight(byte, Cat(plane[1], plane[0])))


def a_plane_is_that_of_the_step_before(patch: Patch) -> None:
    patch.setattr(rtl.matrix, "MEMORY", 0)


# Vector unit ----------------------------------------------------------------------------------------------------------


def rounding_truncates(patch: Patch) -> None:
    rounds = rtl.vector.round_saturate
    patch.setattr(rtl.vector, "round_saturate", lambda m, doubled, bits: rounds(
        m, node(m, Cat(0, doubled[1:]).as_signed(), "truncated"), bits))


def saturation_wraps(patch: Patch) -> None:
    patch.setattr(rtl.vector, "saturate", lambda m, x, bits: node(m, x[:bits].as_signed(), f"clamped{bits}"))


def shifts_end_early(patch: Patch) -> None:
    patch.setattr(rtl.vector, "SHIFT_MOST", 31)


def a_tie_goes_to_the_higher_lane(patch: Patch) -> None:
    def combine(m: Any, adds: Any, a: Any, b: Any, bits: int = 32) -> Any:
        wins = node(m, b[:bits].as_signed() >= a[:bits].as_signed(), "wins")
        return node(m, Mux(adds, a + b, Mux(wins, b, a))[:32].as_signed(), "combined"), wins

    patch.setattr(rtl.reduce, "combine", combine)


def a_table_entry_is_wrong(patch: Patch) -> None:
    right = rtl.vector.silu
    patch.setattr(rtl.vector, "silu", lambda m, lane, x, *, direct: right(
        m, lane, node(m, Mux(x == -77, -8, x)[:8].as_signed(), "changed"), direct=direct))


def masks_follow_the_first_sequence(patch: Patch) -> None:
    _choose(patch, "compare", lambda self, values, sequence: values[0])


def keys_are_stored_in_the_first_sequences_row(patch: Patch) -> None:
    _choose(patch, "output", lambda self, values, sequence: values[0 if values is self.key_offset else sequence])


def the_mask_of_the_chosen_hides_nothing(patch: Patch) -> None:
    _alter_pass(patch, lambda made: made | {"one_masked": Const(0)})


def the_lane_after_the_chosen_is_masked(patch: Patch) -> None:
    _alter_pass(patch, lambda made: made | {"masked_lane": made["masked_lane"] + 1})


def the_window_ends_with_a_row(patch: Patch) -> None:
    _alter_pass(patch, lambda made: made | {"first_seen": Const(0)})


def the_window_is_the_first_sequences(patch: Patch) -> None:
    right = rtl.vector.of_sequence
    _choose(patch, "compare", lambda self, values, sequence: (
        values[0] if values is self.oldest else right(values, sequence)))


def nothing_is_below_a_threshold(patch: Patch) -> None:
    _alter_state(patch, below=lambda state: Const(0))


def _alter_state(patch: Patch, **changes: Callable[[Any], Any]) -> None:
    """What comes out of `Vector.shift`, changed."""
    shift = rtl.vector.Vector.shift

    def wrong(self: Any, m: Any, state: Any) -> Any:
        state = shift(self, m, state)
        vars(state).update({name: change(state) for name, change in changes.items()})
        return state

    patch.setattr(rtl.vector.Vector, "shift", wrong)


def every_bit_that_is_tried_stays(patch: Patch) -> None:
    right = rtl.scalar.search
    patch.setattr(rtl.scalar, "search", lambda m, a, enough: right(m, a, Const(1)))


def no_next_bit_is_tried(patch: Patch) -> None:
    right = rtl.scalar.search
    patch.setattr(rtl.scalar, "search", lambda m, a, enough: (
        right(m, a, enough) & ~(Const(1 << 14, 16) >> a.exponent[:4]))[:16].as_signed())


def _alter_pass(patch: Patch, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """What `Vector.compare` finds, changed."""
    compare = rtl.vector.Vector.compare
    patch.setattr(rtl.vector.Vector, "compare", lambda self, m, asked: change(compare(self, m, asked)))


def the_choice_of_an_expert_becomes_the_token(patch: Patch) -> None:
    elaborate = rtl.reduce.Reduce.elaborate

    def wrong(self: Any, platform: Any) -> Any:
        self.choice = Const(0, 2)
        return elaborate(self, platform)

    patch.setattr(rtl.reduce.Reduce, "elaborate", wrong)


def sequences_share_a_winner(patch: Patch) -> None:
    elaborate = rtl.reduce.Reduce.elaborate

    def wrong(self: Any, platform: Any) -> Any:
        self.sequence = Const(0, 1)
        return elaborate(self, platform)

    patch.setattr(rtl.reduce.Reduce, "elaborate", wrong)


def sizes_keep_their_sign(patch: Patch) -> None:
    elaborate = rtl.serial_reduce.SerialReduce.elaborate

    def wrong(self: Any, platform: Any) -> Any:
        self.negative = Const(0)
        return elaborate(self, platform)

    patch.setattr(rtl.serial_reduce.SerialReduce, "elaborate", wrong)


def what_is_held_moves_on(patch: Patch) -> None:
    add = rtl.serial_vector.add

    def wrong(m: Any, unit: Any, fields: Any, *others: Any) -> Any:
        right = fields.at
        fields.at = lambda cycle, name: Const(0) if name == "first_turn" else right(cycle, name)
        made = add(m, unit, fields, *others)
        fields.at = right
        return made

    patch.setattr(rtl.serial_vector, "add", wrong)


def _choose(patch: Patch, method: str, choice: Callable[[Any, Any, Any], Any]) -> None:
    """A method of Vector in which `choice(self, values, sequence)` stands for `of_sequence`."""
    right = getattr(rtl.vector.Vector, method)

    def wrong(self: Any, m: Any, state: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(rtl.vector, "of_sequence", lambda values, sequence: choice(self, values, sequence))
            return right(self, m, state)

    patch.setattr(rtl.vector.Vector, method, wrong)


# Scalar unit ----------------------------------------------------------------------------------------------------------


def a_mantissa_is_off_by_one(patch: Patch) -> None:
    rows = rtl.scalar.root_and_reciprocal()
    patch.setattr(rtl.scalar, "root_and_reciprocal", lambda: [row + (at == 200) for at, row in enumerate(rows)])


def negation_does_not_saturate(patch: Patch) -> None:
    patch.setattr(rtl.scalar, "saturate", lambda m, x, bits: x[:bits])


def a_value_is_negated(patch: Patch) -> None:
    right = rtl.scalar.saturate
    patch.setattr(rtl.scalar, "saturate", lambda m, x, bits: right(m, -x, bits))


def lengths_ignore_the_highest_bit(patch: Patch) -> None:
    place = rtl.scalar.leading_place
    patch.setattr(rtl.scalar, "leading_place", lambda m, x: place(m, Cat(x[:-1], 0)))


def the_small_units_operands_lack_their_highest_bit(patch: Patch) -> None:
    normalise = rtl.small_scalar.normalise
    patch.setattr(rtl.small_scalar, "normalise", lambda m, x, over: normalise(m, Cat(x[:-1], 0), over))


# Banks ----------------------------------------------------------------------------------------------------------------


def banks_answer_a_cycle_early(patch: Patch) -> None:
    bank = rtl.bank.Bank
    patch.setattr(rtl.bank, "Bank", lambda cfg, init: bank(replace(cfg, bank_register=False), init))


def a_single_port_reads_where_it_writes(patch: Patch) -> None:
    bank = rtl.bank.Bank
    patch.setattr(rtl.bank, "Bank", lambda cfg, init: bank(replace(cfg, single_port=False), init))


def a_whole_word_is_written(patch: Patch) -> None:
    patch.setattr(rtl.bank.Bank, "elaborate", _with_enables(rtl.bank.Bank.elaborate))


def _with_enables(elaborate: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(self: Any, platform: Any) -> Any:
        self.write_enable = self.write_enable.any().replicate(self.cfg.taps)
        return elaborate(self, platform)

    return wrong


# Noise ----------------------------------------------------------------------------------------------------------------


def a_restart_keeps_the_state(patch: Patch) -> None:
    _noise(patch, lambda self: setattr(self, "restart", Const(0, self.cfg.sequences)))


def tokens_begin_where_the_one_before_began(patch: Patch) -> None:
    right = rtl.noise.following
    patch.setattr(rtl.noise, "following", lambda m, state, name, *shifts: state if shifts else right(m, state, name))


def every_seed_is_the_first_sequences(patch: Patch) -> None:
    patch.setattr(rtl.noise, "SEED_WORDS", 0)


def the_temperature_is_ignored(patch: Patch) -> None:
    right = rtl.noise.partial_products
    patch.setattr(rtl.noise, "partial_products", lambda a, b: right(a, Cat(Const(128, len(b)))))


def more_zeros_add_nothing(patch: Patch) -> None:
    patch.setattr(rtl.noise, "far_entry", lambda more: 0)


def a_row_is_not_made_anew(patch: Patch) -> None:
    right = rtl.issue_noise.Mux
    patch.setattr(rtl.issue_noise, "Mux", lambda when, a, b: b if isinstance(a, int) else right(when, a, b))


def a_row_comes_a_cycle_late(patch: Patch) -> None:
    patch.setattr(rtl.issue_noise, "timing", lambda cfg: replace(timing(cfg), noise_read=timing(cfg).noise_read + 1))


def passes_of_any_sequence_take_rows(patch: Patch) -> None:
    elaborate = rtl.issue_noise.NoiseIssue.elaborate

    def wrong(self: Any, platform: Any) -> Any:
        self.issue = SimpleNamespace(valid=self.issue.valid, addend=self.issue.addend, sequence=_Any())
        return elaborate(self, platform)

    patch.setattr(rtl.issue_noise.NoiseIssue, "elaborate", wrong)


class _Any:
    """Equal to everything."""

    def __eq__(self, other: object) -> Any:
        return Const(1)

    __hash__ = None  # type: ignore[assignment]


def _noise(patch: Patch, change: Callable[[Any], None]) -> None:
    """A change of a Noise before it is elaborated."""
    elaborate = rtl.noise.Noise.elaborate

    def wrong(self: Any, platform: Any) -> Any:
        change(self)
        return elaborate(self, platform)

    patch.setattr(rtl.noise.Noise, "elaborate", wrong)


# Sequencer ------------------------------------------------------------------------------------------------------------


def a_wait_is_cut_off(patch: Patch) -> None:
    patch.setattr(rtl.sequencer, "total_bits", lambda cfg, queue, name: 4)


def the_outer_loop_forgets_a_field(patch: Patch) -> None:
    _forget(patch, rtl.sequencer._Loop)


def the_small_outer_loop_forgets_a_field(patch: Patch) -> None:
    _forget(patch, rtl.small_sequencer._Loop)


def _forget(patch: Patch, loop: Any) -> None:
    right = loop.open

    def wrong(self: Any, m: Any, *word: Any) -> None:
        right(self, m, *word)
        for name in list(self.stride.shape().members)[:1]:
            m.d.sync += self.stride[name].eq(0)

    patch.setattr(loop, "open", wrong)


def a_dynamic_value_is_the_next_one(patch: Patch) -> None:
    right = rtl.small_sequencer.dynamic_value
    patch.setattr(rtl.small_sequencer, "dynamic_value", lambda unit, index: right(unit, index ^ 1))


def rope_is_the_first_sequences(patch: Patch) -> None:
    patch.setattr(rtl.issue_vector, "of_sequence", lambda values, sequence: values[0])


def the_second_expert_is_the_first(patch: Patch) -> None:
    elaborate = rtl.issue_matrix.MatrixIssue.elaborate

    def wrong(self: Any, platform: Any) -> Any:
        self.offset = [self.offset[at - at % self.cfg.choices] for at in range(len(self.offset))]
        return elaborate(self, platform)

    patch.setattr(rtl.issue_matrix.MatrixIssue, "elaborate", wrong)


def the_first_sequences_token_is_gathered(patch: Patch) -> None:
    patch.setattr(rtl.issue_matrix, "of_sequence", lambda values, sequence: values[0])


UNIT_BUGS: list[tuple[str, str, Callable[[Patch], None]]] = [
    ("matrix", PRESET, a_sum_arrives_a_cycle_late), ("matrix", PRESET, a_sum_lacks_its_highest_bit),
    ("matrix", PRESET, activations_skip_a_tap), ("matrix", PRESET, the_planes_are_exchanged),
    ("matrix", PRESET, a_plane_is_that_of_the_step_before),
    ("vector", PRESET, rounding_truncates), ("vector", PRESET, saturation_wraps), ("vector", PRESET, shifts_end_early),
    ("vector", PRESET, a_tie_goes_to_the_higher_lane), ("vector", PRESET, a_table_entry_is_wrong),
    ("vector", PRESET, masks_follow_the_first_sequence), ("vector", PRESET, keys_are_stored_in_the_first_sequences_row),
    ("vector", PRESET, sequences_share_a_winner), ("vector", PRESET, the_mask_of_the_chosen_hides_nothing),
    ("vector", PRESET, the_lane_after_the_chosen_is_masked),
    ("vector", PRESET, the_choice_of_an_expert_becomes_the_token),
    ("vector", PRESET, the_window_ends_with_a_row), ("vector", PRESET, the_window_is_the_first_sequences),
    ("vector", PRESET, nothing_is_below_a_threshold),
    ("scalar", PRESET, every_bit_that_is_tried_stays), ("scalar", PRESET, no_next_bit_is_tried),
    ("sequencer", PRESET, the_second_expert_is_the_first), ("scalar", PRESET, a_value_is_negated),
    ("vector", "icebreaker", sizes_keep_their_sign), ("vector", "icebreaker", what_is_held_moves_on),
    ("scalar", PRESET, a_mantissa_is_off_by_one), ("scalar", PRESET, negation_does_not_saturate),
    ("scalar", PRESET, lengths_ignore_the_highest_bit),
    ("scalar", "icebreaker", the_small_units_operands_lack_their_highest_bit),
    ("banks", PRESET, banks_answer_a_cycle_early), ("banks", "icebreaker", a_single_port_reads_where_it_writes),
    ("banks", PRESET, a_whole_word_is_written),
    ("noise", PRESET, a_restart_keeps_the_state), ("noise", PRESET, tokens_begin_where_the_one_before_began),
    ("noise", PRESET, every_seed_is_the_first_sequences), ("noise", PRESET, the_temperature_is_ignored),
    ("noise", PRESET, more_zeros_add_nothing), ("noise", PRESET, a_row_is_not_made_anew),
    ("noise", PRESET, a_row_comes_a_cycle_late), ("noise", PRESET, passes_of_any_sequence_take_rows),
    ("sequencer", PRESET, a_wait_is_cut_off), ("sequencer", PRESET, the_outer_loop_forgets_a_field),
    ("sequencer", PRESET, rope_is_the_first_sequences), ("sequencer", PRESET, the_first_sequences_token_is_gathered),
    ("sequencer", "icebreaker", the_small_outer_loop_forgets_a_field),
    ("sequencer", "icebreaker", a_dynamic_value_is_the_next_one)]


@pytest.mark.parametrize(("unit", "name", "bug"), UNIT_BUGS, ids=lambda value: getattr(value, "__name__", value))
def test_a_bench_finds_a_seeded_bug(unit: str, name: str, bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    text = design(unit, name)
    monkeypatch.undo()
    assert text != cached_design(unit, name)
    with pytest.raises(BenchFailed, match="AssertionError: "):
        run(text, f"verification.bench_{unit}", parameters={"preset": name, "seed": SEED}, optimise=OPTIMISE)


# The whole machine ----------------------------------------------------------------------------------------------------


def a_cycle_counter_is_too_short(patch: Patch) -> None:
    patch.setattr(rtl.control, "COUNTER_BITS", 8)


def keys_go_to_the_next_lane(patch: Patch) -> None:
    _choose(patch, "output", lambda self, values, sequence: values[sequence] ^ int(values is self.position))


def the_bucket_follows_the_first_sequence(patch: Patch) -> None:
    patch.setattr(rtl.control, "furthest", lambda positions: positions[0])


def the_small_host_answers_the_last_byte_first(patch: Patch) -> None:
    right = rtl.small_host.split_bytes
    patch.setattr(rtl.small_host, "split_bytes", lambda value, count: right(value, count)[::-1])


MACHINE_BUGS: list[tuple[str, Callable[[Patch], None], str]] = [
    (PRESET, a_cycle_counter_is_too_short, "AssertionError: cycles"),
    (PRESET, keys_go_to_the_next_lane, r"AssertionError: layer0\.k8 in the cache at position 0"),
    (PRESET, the_bucket_follows_the_first_sequence, "AssertionError: 1:layer0"),
    (PRESET, rounding_truncates, r"AssertionError: layer0\.\w+.* differs at"),
    ("icebreaker", the_small_host_answers_the_last_byte_first, "Error: ")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "bug", "message"), MACHINE_BUGS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_machine_bench_finds_a_seeded_bug(
        name: str, bug: Callable[[Patch], None], message: str, monkeypatch: Patch) -> None:
    bug(monkeypatch)
    text = generate(preset(name))
    monkeypatch.undo()
    with pytest.raises(BenchFailed, match=message):
        run(text, "verification.bench_machine", top=TOP, optimise=OPTIMISE,
            parameters={"preset": name, "seed": SEED, "shape": "one layer", "sequences": preset(name).sequences})
