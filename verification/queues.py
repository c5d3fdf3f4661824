"""The three queues side by side: sequencers with their issue logic, without the units that they command."""

from __future__ import annotations

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.config import Config
from rtl.current import ValuesSignature, bucket_bits
from rtl.isa import MATRIX, QUEUES, VECTOR
from rtl.issue_matrix import MatrixIssue, column_bits
from rtl.issue_scalar import ScalarIssue
from rtl.issue_vector import VectorIssue
from rtl.ports import each_choice, each_sequence, operation_layout, pass_layout, step_layout
from rtl.sequencer import Sequencer


class Queues(wiring.Component):
    """Programs in, steps, passes and operations out.

    Parameters
    ----------
    cfg : the machine.

    Members
    -------
    go, classify, values or bucket, column, rope, offset : In, as of Sequencer, MatrixIssue and VectorIssue.
    matrix_load, vector_load, scalar_load : In, see Sequencer's `load`.
    matrix_idle, vector_idle, scalar_idle : Out(1).
    matrix, vector, scalar : Out. What each queue issues, see rtl.ports.

    Latency, Reset: those of Sequencer.
    """

    def __init__(self, cfg: Config) -> None:
        self._sequencers = {queue.name: Sequencer(cfg, queue) for queue in QUEUES}
        self._issues = {"matrix": MatrixIssue(cfg), "vector": VectorIssue(cfg), "scalar": ScalarIssue(cfg)}
        layouts = {"matrix": step_layout(cfg), "vector": pass_layout(cfg), "scalar": operation_layout(cfg)}
        members = {
            "go": In(1), "classify": In(1),
            **({"bucket": In(bucket_bits(cfg))} if cfg.linear_values else {"values": In(ValuesSignature(cfg))}),
            "column": In(each_sequence(column_bits(cfg), cfg)),
            "rope": In(each_sequence(VECTOR.by_name["param"].bits(cfg), cfg)),
            **({"offset": In(each_choice(MATRIX.by_name["row"].bits(cfg), cfg))} if cfg.choices else {})}
        for name, sequencer in self._sequencers.items():
            # As a unit has it: the signature already says In.
            members |= {f"{name}_load": In(sequencer.load.signature.flip()), f"{name}_idle": Out(1),
                        name: Out(layouts[name])}
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        m = Module()
        for name, sequencer in self._sequencers.items():
            issue = self._issues[name]
            m.submodules[f"{name}_sequencer"], m.submodules[f"{name}_issue"] = sequencer, issue
            connect(m, flipped(getattr(self, f"{name}_load")), sequencer.load)
            connect(m, sequencer.current, issue.current)
            issued = {"matrix": "step", "vector": "issued", "scalar": "operation"}[name]
            m.d.comb += [
                sequencer.go.eq(self.go), sequencer.classify.eq(self.classify),
                getattr(self, f"{name}_idle").eq(sequencer.idle),
                getattr(self, name).eq(getattr(issue, issued))]
            if sequencer.cfg.linear_values:
                m.d.comb += sequencer.bucket.eq(self.bucket)
            else:
                m.d.comb += [
                    sequencer.values.index.eq(self.values.index), sequencer.values.found.eq(self.values.found),
                    sequencer.values.en.eq(self.values.en)]
        matrix = self._issues["matrix"]
        m.d.comb += [matrix.column.eq(self.column), self._issues["vector"].rope.eq(self.rope)]
        if matrix.cfg.choices:
            m.d.comb += matrix.offset.eq(self.offset)
        return m
