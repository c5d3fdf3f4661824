"""Issue logic of the noise: which rows passes take, and which are to be made. It knows of no number."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.arithmetic import node
from rtl.config import Config, log2
from rtl.isa import Addend
from rtl.mesh import delays
from rtl.ports import each_sequence, pass_layout
from rtl.timing import NOISE_ROWS, NOISE_STAGES, timing


def noise_step_layout(cfg: Config) -> data.StructLayout:
    """What a sequence's generator does in a cycle. `advance`: each of its stages takes a step. `make`: a bit for each
    part of row `row` that is written in that step, one at most. `take`: row `taken` is read."""
    row = unsigned(log2(NOISE_ROWS))
    return data.StructLayout({
        "advance": unsigned(1), "make": unsigned(cfg.noise_refill), "row": row, "take": unsigned(1), "taken": row})


class NoiseIssue(wiring.Component):
    """Keeps NOISE_ROWS rows of each sequence filled.

    Parameters
    ----------
    cfg : uses lanes, sequences, noise_rate, and what decides noise_read.

    Members
    -------
    issue : In(pass_layout). The pass of this cycle; with Addend.NOISE it takes the next row of its sequence.
    go : In(1). Cycle 0 of a token: all rows are made anew.
    steps : Out(sequences, noise_step_layout). `take` comes in the cycle before `rtl.timing` noise_read.

    Latency
    -------
    From `rtl.timing` noise_ready on, all rows are there; a row that is taken is made anew within noise_apart.

    Reset
    -----
    Nothing is made before the first token.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        super().__init__({
            "issue": In(pass_layout(cfg)), "go": In(1), "steps": Out(each_sequence(noise_step_layout(cfg), cfg))})

    def elaborate(self, platform) -> Module:
        m, cfg = Module(), self.cfg
        parts, stages = cfg.noise_refill, len(NOISE_STAGES)
        most = NOISE_ROWS * parts
        for number in range(cfg.sequences):
            step = self.steps[number]
            mine = self.issue.sequence == number if cfg.sequences > 1 else 1
            asks = self.issue.valid & (self.issue.addend == Addend.NOISE.value) & mine
            m.d.comb += step.take.eq(delays(m, asks, timing(cfg).noise_read - 1, f"take_{number}")[-1])

            # Parts of rows that are still to be made, and stages that are still to be filled before the first of them.
            missing = Signal(range(most + stages + 1), name=f"missing_{number}")
            stages_left = Signal(range(stages + 1), name=f"stages_left_{number}")
            filling, advance = (Signal(name=f"{name}_{number}") for name in ("filling", "advance"))
            row, taken = (Signal(len(step.row), name=f"{name}_{number}") for name in ("row", "taken"))
            make = Signal(parts, name=f"make_{number}")
            still = node(m, (missing + Mux(step.take, parts, 0) - advance)[:len(missing)], f"still_{number}")
            m.d.comb += [
                step.advance.eq(advance), step.make.eq(Mux(advance & ~filling, make, 0)), step.row.eq(row),
                step.taken.eq(taken)]
            m.d.sync += [missing.eq(still), advance.eq(still != 0), taken.eq(taken + step.take)]
            with m.If(advance):
                with m.If(filling):
                    m.d.sync += [stages_left.eq(stages_left - 1), filling.eq(stages_left != 1)]
                with m.Else():
                    m.d.sync += [make.eq(make.rotate_left(1)), row.eq(row + make[-1])]
            with m.If(self.go):
                m.d.sync += [
                    missing.eq(most + stages), advance.eq(1), stages_left.eq(stages), filling.eq(1), make.eq(1),
                    row.eq(0), taken.eq(0)]
        return m
