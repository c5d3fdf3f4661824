"""Core: the whole machine. Places the units and connects them; there is no logic here."""

from __future__ import annotations

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from rtl.bank import Banks
from rtl.bank_errors import BankErrors
from rtl.config import Config
from rtl.contents import EMPTY, Contents
from rtl.control import Control
from rtl.experts import Experts
from rtl.host import Host
from rtl.isa import QUEUES
from rtl.issue_matrix import MatrixIssue
from rtl.issue_noise import NoiseIssue
from rtl.issue_scalar import ScalarIssue
from rtl.issue_vector import VectorIssue
from rtl.matrix import Matrix
from rtl.memories import ActMemory, ParamMemory, VectorMemory
from rtl.noise import Noise
from rtl.probe import connect_probe, probe_layout
from rtl.scalar import Scalar
from rtl.sequencer import Sequencer
from rtl.vector import Vector


class Core(wiring.Component):
    """The machine between two byte streams.

    ```
    host <-> control -> sequencer, issue (matrix) -> matrix -> accumulators -> vector -> memories, banks
                     -> sequencer, issue (vector) ----------------------------^  | ^
                     -> sequencer, issue (scalar) -> scalar <--------------------+ +-- scalar registers
    ```

    Parameters
    ----------
    cfg : the machine.
    probe : whether it has the output of that name, for simulations.
    contents : what its memories hold when it is configured.

    Members
    -------
    rx : In(stream of bytes). tx : Out(stream of bytes). The protocol of rtl/protocol.py.
    probe : Out(probe_layout). What is issued in this cycle.

    Latency
    -------
    See rtl/timing.py: inside, every cycle is the compiler's.

    Reset
    -----
    Between tokens, position 0; memories keep their contents.
    """

    def __init__(self, cfg: Config, *, probe: bool = False, contents: Contents = EMPTY) -> None:
        self.cfg, self.probed, self.contents = cfg, probe, contents
        members = {"probe": Out(probe_layout(cfg))} if probe else {}
        super().__init__({"rx": In(stream.Signature(8)), "tx": Out(stream.Signature(8)), **members})

    def elaborate(self, platform) -> Module:
        m = Module()
        cfg, contents = self.cfg, self.contents
        m.submodules.host = host = Host(cfg)
        m.submodules.control = control = Control(cfg, contents)
        sequencers = {queue.name: Sequencer(cfg, queue, contents) for queue in QUEUES}
        for name, sequencer in sequencers.items():
            m.submodules[f"{name}_sequencer"] = sequencer
        m.submodules.matrix_issue = matrix_issue = MatrixIssue(cfg)
        m.submodules.vector_issue = vector_issue = VectorIssue(cfg)
        m.submodules.scalar_issue = scalar_issue = ScalarIssue(cfg)
        m.submodules.banks = banks = Banks(cfg, contents)
        m.submodules.act = act = ActMemory(cfg, contents)
        m.submodules.memory = memory = VectorMemory(cfg)
        m.submodules.param = param = ParamMemory(cfg, contents)
        m.submodules.matrix = matrix = Matrix(cfg)
        m.submodules.vector = vector = Vector(cfg)
        m.submodules.scalar = scalar = Scalar(cfg, contents)

        # Host: bytes, memories, control.
        connect(m, flipped(self.rx), host.rx)
        connect(m, host.tx, flipped(self.tx))
        connect(m, control.record, host.record)
        for port, unit in (
            (host.bank, banks), (host.vector, memory), (host.act, act), (host.param, param), (host.constant, scalar)):
            connect(m, port, unit.host)
        loads = [(host.register, control.load_register)]
        loads += [] if cfg.linear_values else [(host.values, control.load_values)]
        if cfg.noise_rate:
            m.submodules.noise_issue = noise_issue = NoiseIssue(cfg)
            m.submodules.noise = noise = Noise(cfg, contents)
            loads += [(host.register, noise.load)]
            m.d.comb += [
                noise_issue.go.eq(control.go), noise_issue.issue.eq(vector_issue.issued),
                noise.go.eq(control.go), noise.restart.eq(host.restart | host.reset.replicate(cfg.sequences)),
                noise.steps.eq(noise_issue.steps), vector.noise_row.eq(noise.row)]
        loads += [(getattr(host, f"{name}_program"), sequencer.load) for name, sequencer in sequencers.items()]
        for source, target in loads:
            m.d.comb += [target.address.eq(source.address), target.data.eq(source.data), target.en.eq(source.en)]
            if cfg.small_control:
                m.d.comb += target.byte.eq(source.byte)
        for name in ("want", "classify", "set_token", "new_token", "restart", "reset"):
            m.d.comb += getattr(control, name).eq(getattr(host, name))
        for name in ("start", "ready", "position", "token", "cycles"):
            m.d.comb += getattr(host, name).eq(getattr(control, name))

        # Queues.
        idle = [sequencer.idle for sequencer in sequencers.values()]
        m.d.comb += [control.idle.eq(idle[0] & idle[1] & idle[2]), control.winner.eq(vector.token)]
        for name, issue in (("matrix", matrix_issue), ("vector", vector_issue), ("scalar", scalar_issue)):
            sequencer = sequencers[name]
            m.d.comb += [
                sequencer.go.eq(control.go), sequencer.classify.eq(host.classify)]
            if cfg.linear_values:
                m.d.comb += sequencer.bucket.eq(control.bucket)
            else:
                m.d.comb += [
                    sequencer.values.index.eq(control.values.index), sequencer.values.en.eq(control.values.en),
                    sequencer.values.found.eq(control.values.found)]
            connect(m, sequencer.current, issue.current)
        m.d.comb += [
            matrix_issue.column.eq(control.column), vector_issue.rope.eq(control.rope),
            matrix.issue.eq(matrix_issue.step), vector.issue.eq(vector_issue.issued),
            scalar.issue.eq(scalar_issue.operation)]

        if cfg.windows:
            m.d.comb += vector.oldest.eq(control.oldest)
        if cfg.choices:
            m.submodules.experts = experts = Experts(cfg)
            m.d.comb += [
                experts.chosen.eq(vector.chosen), experts.rows.eq(control.expert_rows),
                matrix_issue.offset.eq(experts.offset)]

        # Matrix unit.
        m.d.comb += [
            banks.read_row.eq(matrix.bank_row), banks.read_enable.eq(matrix.bank_enable),
            matrix.bank_data.eq(banks.read_data),
            act.read_words.eq(matrix.act_words), act.read_enable.eq(matrix.act_enable),
            matrix.act_data.eq(act.read_data),
            matrix.acc_slot.eq(vector.acc_slot), vector.acc.eq(matrix.acc)]

        if cfg.ecc:
            m.submodules.bank_errors = errors = BankErrors(cfg)
            m.d.comb += [
                errors.corrected.eq(banks.corrected), errors.uncorrectable.eq(banks.uncorrectable),
                errors.clear.eq(host.reset), control.failed.eq(errors.failed), host.failed.eq(errors.failed),
                host.corrected_count.eq(errors.corrected_count),
                host.uncorrectable_count.eq(errors.uncorrectable_count)]

        # Vector unit.
        m.d.comb += [
            vector.position.eq(control.position), vector.key_offset.eq(control.key_offset),
            memory.read_row.eq(vector.memory_read_row), memory.read_enable.eq(vector.memory_read_enable),
            vector.memory_read_data.eq(memory.read_data),
            param.read_row.eq(vector.param_row), param.read_enable.eq(vector.param_enable),
            vector.param_data.eq(param.read_data),
            memory.write_row.eq(vector.memory_write_row), memory.write_enable.eq(vector.memory_write_enable),
            memory.write_data.eq(vector.memory_write_data),
            act.write_vector.eq(vector.act_vector), act.write_enable.eq(vector.act_enable),
            act.write_data.eq(vector.act_data),
            banks.write_row.eq(vector.bank_row), banks.write_enable.eq(vector.bank_enable),
            banks.write_chunk.eq(vector.bank_chunk), banks.write_shared.eq(vector.bank_shared),
            banks.write_bytes.eq(vector.act_data)]

        # Scalar unit.
        m.d.comb += [
            scalar.scalar_index.eq(vector.scalar_index), vector.scalars.eq(scalar.scalars),
            vector.reduce_index.eq(scalar.reduce_index), scalar.reduce_value.eq(vector.reduce_value)]
        if cfg.small_scalar:
            m.d.comb += scalar.reduce_found.eq(vector.reduce_found)
        else:
            m.d.comb += [
                vector.exponents.eq(scalar.exponents),
                scalar.out_index.eq(vector.out_index), vector.out_exponent.eq(scalar.out_exponent)]
        if self.probed:
            connect_probe(
                m, self.probe, go=control.go, start=sequencers["matrix"].current.start, matrix=matrix_issue.step,
                vector=vector_issue.issued, scalar=scalar_issue.operation)
        return m
