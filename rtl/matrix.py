"""The matrix unit: banks' rows and activations into accumulators."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.arithmetic import pipe, register
from rtl.config import Config
from rtl.isa import MATRIX, Plane
from rtl.mesh import Mesh
from rtl.paired_mesh import PairedMesh
from rtl.ports import bank_rows_layout, field_bits, row_layout, step_layout
from rtl.timing import MEMORY, timing


def weight(byte, plane) -> Value:
    """The weight of a byte of a bank, int8, see rtl.isa.Plane; `plane` has no bits on a machine without planes."""
    if not len(plane):
        return byte
    low, high = plane == Plane.LOW.value, plane == Plane.HIGH.value
    bits = byte.as_unsigned()
    return Cat(bits[:4] & (~(low | high)).replicate(4), Mux(low, bits[:4], bits[4:])).as_signed()


class Matrix(wiring.Component):
    """Steps of the mesh, and the accumulators that they add to.

    A step reads one row of every bank and one activation word a lane group; their products reach accumulator `slot`.

    Parameters
    ----------
    cfg: uses lanes, taps, groups, slots, acc_bits, weight_planes and what Mesh uses.

    Members
    -------
    issue: the step of this cycle, see rtl.ports.step_layout; `clear`: start from zero; `plane`: see rtl.isa.Plane.
    bank_row, bank_enable: read port of all banks; bank_data: (lanes, taps) int8.
    act_words: (groups) addresses, act_enable: read ports of activation memory; act_data: (groups, taps) int8. With
        `spread` these read ports have a register, and are asked a cycle before they read.
    acc_slot: accumulator that the vector unit reads; acc: (lanes) its contents, in the same cycle.

    Latency: reads in rtl.timing `matrix_read`, the sum can be read from `acc_visible` on.
    Throughput: a step a cycle, also into one slot. Reset: nothing is on its way; accumulators stay.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        shapes = field_bits(cfg, MATRIX, "row", "act", "slot")
        super().__init__({
            "issue": In(step_layout(cfg)),
            "bank_row": Out(shapes["row"]), "bank_enable": Out(1), "bank_data": In(bank_rows_layout(cfg)),
            "act_words": Out(data.ArrayLayout(shapes["act"], cfg.groups)), "act_enable": Out(1),
            "act_data": In(data.ArrayLayout(row_layout(8, cfg.taps), cfg.groups)),
            "acc_slot": In(shapes["slot"]), "acc": Out(row_layout(cfg.acc_bits, cfg.lanes))})

    def elaborate(self, platform):
        cfg, m = self.cfg, Module()
        times = timing(cfg)

        # Address: ask the banks and activation memory.
        step, asked = self.issue, []
        for stage in range(times.matrix_read):
            asked.append(step)
            enable = step.valid if cfg.small_control else Const(1)  # the same as the issue logic's own registers have
            valid, step = step.valid, register(m, step, f"step{stage}", enable=enable)
            if cfg.small_control:
                m.d.sync += step.valid.eq(valid)
        asks = asked[-1] if cfg.spread else step
        m.d.comb += [
            self.bank_row.eq(asks.row), self.bank_enable.eq(asks.valid),
            self.act_words.eq(asks.act), self.act_enable.eq(asks.valid)]

        # Memory, multiply, sum.
        m.submodules.mesh = mesh = (PairedMesh if cfg.paired_products else Mesh)(cfg)
        plane = step.plane
        for cycle in range(times.matrix_read + MEMORY, times.matrix_weights + 1):
            plane = register(m, plane, f"plane{cycle}")
        for lane in range(cfg.lanes):
            for tap in range(cfg.taps):
                m.d.comb += mesh.weights[lane][tap].eq(weight(self.bank_data[lane][tap], plane))
        m.d.comb += mesh.activations.eq(self.act_data)
        late = pipe(m, False, "address", valid=step.valid, slot=step.slot, clear=step.clear)
        for cycle in range(times.matrix_read + 1, times.acc_visible):
            late = pipe(m, True, f"cycle{cycle}", **vars(late))

        # Accumulate: read, add and write in one cycle, so that the next step can follow at once.
        m.submodules.accumulators = memory = Memory(shape=row_layout(cfg.acc_bits, cfg.lanes), depth=cfg.slots, init=[])
        current, shown = memory.read_port(domain="comb"), memory.read_port(domain="comb")
        writer = memory.write_port()
        m.d.comb += [current.addr.eq(late.slot), writer.addr.eq(late.slot), writer.en.eq(late.valid)]
        for lane in range(cfg.lanes):
            m.d.comb += writer.data[lane].eq(Mux(late.clear, 0, current.data[lane]) + mesh.sums[lane])

        # What the vector unit reads.
        m.d.comb += [shown.addr.eq(self.acc_slot), self.acc.eq(shown.data)]
        return m
