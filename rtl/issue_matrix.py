"""Issue logic of the matrix queue: a RUN word to one step a cycle."""

from __future__ import annotations

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.config import Config, log2
from rtl.current import CurrentSignature, total_bits
from rtl.isa import MATRIX
from rtl.ports import each_choice, each_sequence, of_sequence, step_layout


def column_bits(cfg: Config) -> int:
    """Width of an embedding column's number: a bank row and a tap."""
    return MATRIX.by_name["row"].bits(cfg) + log2(cfg.taps)


class MatrixIssue(wiring.Component):
    """Counts a RUN word's steps and outputs, and keeps their addresses.

    Parameters
    ----------
    cfg : the machine.

    Members
    -------
    current : In(CurrentSignature). The word, its dynamic values and the loops' offsets.
    column : In(sequences, column_bits). Embedding column of each one's token, for `gather`; constant during the token.
    offset : In(sequences * choices, row's width), with `Config.choices`. Rows to the experts chosen.
    step : Out(step_layout). Valid in every cycle of a RUN word.

    Latency
    -------
    None: a step leaves in the cycle in which it is due, the first one in the word's first cycle after its wait.

    Reset
    -----
    No step. The counters need no reset: a word's first step sets them.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        super().__init__({
            "current": In(CurrentSignature(cfg, MATRIX)),
            "column": In(each_sequence(column_bits(cfg), cfg)), "step": Out(step_layout(cfg)),
            **({"offset": In(each_choice(MATRIX.by_name["row"].bits(cfg), cfg))} if cfg.choices else {})})

    def elaborate(self, platform) -> Module:
        m = Module()
        cfg, now, step = self.cfg, self.current, self.step
        word, inner, outer = now.word, now.inner, now.outer
        row_bits, act_bits, tap_bits = len(word.row), len(word.act), log2(cfg.taps)

        # The first step's place, and that of every later one: after the step before, or after the start of the output
        # before. All are added at the same time.
        row, row_before, row_start, row_from = (
            Signal(row_bits, name=f"row{name}") for name in ("", "_before", "_start", "_from"))
        act, act_before, act_start, act_from = (
            Signal(act_bits, name=f"act{name}") for name in ("", "_before", "_start", "_from"))
        slot, slot_before = Signal(len(word.slot)), Signal(len(word.slot))
        opening = Signal()  # an output's first step, but not the word's
        gather_row, gather_act = Signal(row_bits), Signal(tap_bits)
        column = of_sequence(self.column, word.sequence)
        with m.If(word.gather):
            m.d.comb += [gather_act.eq(column[:tap_bits]), gather_row.eq(column[tap_bits:])]
        for choice in range(cfg.choices):  # no word has both
            with m.Elif(word.choice == 1 + choice):
                offsets = [self.offset[at] for at in range(choice, len(self.offset), cfg.choices)]
                m.d.comb += gather_row.eq(of_sequence(offsets, word.sequence))
        first_row = word.row + inner.row + (outer.row + gather_row)
        first_act = word.act + inner.act + gather_act
        next_row, next_act = row_start + word.row_step, act_start + word.act_step
        m.d.comb += [
            row.eq(Mux(now.start, first_row, Mux(opening, next_row, row_before + 1))),
            row_from.eq(Mux(now.start, first_row, Mux(opening, next_row, row_start))),
            act.eq(Mux(now.start, first_act, Mux(opening, next_act, act_before + 1))),
            act_from.eq(Mux(now.start, first_act, Mux(opening, next_act, act_start))),
            slot.eq(Mux(now.start, word.slot + inner.slot, slot_before + opening))]

        # Rounds that are left after this one, and whether this is the last: known without an adder in the first cycle.
        steps_left, steps_now = Signal(len(now.repeat)), Signal(len(now.repeat))
        outputs_left, outputs_now, more_outputs = (
            Signal(total_bits(cfg, MATRIX, "outer"), name=f"outputs_{name}") for name in ("left", "now", "more"))
        output_opens, last_left, outputs_over = Signal(), Signal(), Signal()
        last_step, first_over, first_last = Signal(), Signal(), Signal()
        later_last_step, later_left, later_over, later_last = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            output_opens.eq(now.start | opening),
            more_outputs.eq(word.outer + now.dynamic.outer_value.value),
            steps_now.eq(Mux(output_opens, now.repeat, steps_left)),
            outputs_now.eq(Mux(now.start, more_outputs, outputs_left)),
            last_step.eq(Mux(now.start, now.zero.repeat, later_last_step)),
            # `start` comes late: each case by itself, then the choice.
            first_over.eq(Mux(now.zero.repeat, now.one.outer, now.zero.outer)),
            first_last.eq(Mux(now.zero.repeat, now.one.outer, now.zero.outer & now.one.repeat)),
            later_last_step.eq(Mux(opening, now.zero.repeat, last_left)),
            later_left.eq(Mux(opening, now.one.repeat, steps_left == 1)),
            later_over.eq(Mux(later_last_step, outputs_left == 1, outputs_over)),
            later_last.eq(later_over & Mux(later_last_step, now.zero.repeat, later_left))]
        with m.If(now.run):
            m.d.sync += [
                row_start.eq(row_from), act_start.eq(act_from), row_before.eq(row), act_before.eq(act),
                slot_before.eq(slot), opening.eq(last_step), steps_left.eq(steps_now - 1),
                last_left.eq(Mux(now.start, now.one.repeat, later_left)), outputs_left.eq(outputs_now - last_step),
                outputs_over.eq(Mux(now.start, first_over, later_over)),
                now.last.eq(Mux(now.start, first_last, later_last))]

        m.d.comb += [
            step.valid.eq(now.run), step.row.eq(row), step.slot.eq(slot), step.clear.eq(word.clear & output_opens),
            step.plane.eq(word.plane), step.act[0].eq(act)]
        if cfg.groups == 2:
            m.d.comb += step.act[1].eq(act + word.group_step)
        return m
