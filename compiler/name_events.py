"""Name events: the labels of a schedule, read off its operations and the bank rows that they read."""

from __future__ import annotations

import numpy as np

from compiler.ir import CompileError, Operation, Section
from compiler.join import Schedule
from compiler.labels import Label, Labels
from compiler.layout import Layout
from compiler.section import QUEUE_NAMES


def labels(schedule: Schedule, layout: Layout) -> Labels:
    """The labels of a scheduled token."""
    return Labels(layout.geometry.shape.layers, {
        queue: tuple(tuple(_label(placed.operation, layout) for placed in schedule.sections[section].queues[queue])
                     for section in Section)
        for queue in QUEUE_NAMES})


def _label(operation: Operation, layout: Layout) -> Label:
    count = "outer" if operation.queue == "matrix" else "repeat"
    scaled = operation.counts[count].scale if count in operation.counts else 0
    fixed = 0 if scaled else operation.insn.number(count) + 1
    name = f"{operation.sequence}:{operation.name}" if operation.sequence else operation.name
    if operation.queue != "matrix":
        return Label(name, 1 if operation.queue == "scalar" else fixed, scaled)
    return Label(name, fixed, scaled, *_useful(operation, layout.of(operation.sequence)))


def _useful(operation: Operation, layout: Layout) -> tuple[int | None, int | None]:
    """What of a matmul belongs to the model: outputs and inputs, by the bank rows that it reads."""
    g, row = layout.geometry, operation.insn.number("row")
    if operation.insn.number("gather"):
        return 0, 0  # a look-up
    if layout.key_row <= row < layout.key_row + g.shape.kv_heads * g.key_rows:
        return None, g.shape.head_dim
    if layout.value_row <= row < layout.value_row + g.value_blocks * g.value_rows:
        real = np.concatenate([g.value_map(), np.full(-len(g.value_map()) % g.config.lanes, -1)]) >= 0
        block = (row - layout.value_row) // g.value_rows
        return int(real.reshape(-1, g.config.lanes)[block].sum()), None
    steps = operation.insn.number("repeat") + 1  # a matmul may be some of an output's steps
    for name, matrix in layout.matrices.items():
        block, first = divmod(row - matrix.row, matrix.row_pitch)
        if matrix.plane is operation.insn["plane"] and 0 <= block < matrix.blocks and first + steps <= matrix.steps:
            if name.startswith("bias"):
                return 0, 0  # a look-up too
            outputs = matrix.outputs.reshape(matrix.blocks, g.config.lanes)[block]
            inputs = matrix.inputs.reshape(matrix.steps, g.config.taps)[first:first + steps]
            return int((outputs >= 0).sum()), int((inputs >= 0).sum())
    raise CompileError(f"{operation.name} reads bank row {row}, which is no matrix")
