"""Interleave: the sequences' operations as one list, and the accumulators' slots.

Each sequence's operations keep their order. A layer is cut into groups (a matmul, or several that share a fresh input,
with all that empties their accumulators), and the groups of all sequences are merged as if each sequence had the matrix
unit to itself and every sequence began `lag` cycles after the one before: while one waits, the others' matmuls follow.
A layer of more than `MOST_GROUPS` is cut into `TURNS` parts, within which a sequence's groups stay together, so that
the program of a large model is not much longer than that of a small one. Before and after the layers nothing waits, and
the sequences follow one another. They share no storage, so any such order is correct.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compiler.ir import CompileError, Operation, Section
from rtl.isa import Source

MOST_GROUPS = 128
TURNS = 16


def interleave(sequences: Sequence[list[Operation]], slots: int, lag: int, bucket: int) -> list[Operation]:
    """The operations of a token, accumulators placed.

    sequences: of each, its operations in program order. lag: in cycles of matrix work, counted in that bucket.
    """
    merged: list[Operation] = []
    for section in Section:
        keyed: list[tuple[int, int, list[Operation]]] = []
        for number, operations in enumerate(sequences):
            groups = _groups([op for op in operations if op.section is section], bucket)
            grain = groups[-1][0] + 1
            if section is Section.BODY:
                grain = 1 if len(groups) <= MOST_GROUPS else -(-grain // TURNS)
            keyed += [(start // grain * grain + number * lag, number, group) for start, group in groups]
        keyed.sort(key=lambda one: one[:2])  # stable: a sequence's groups of the same start stay in order
        merged += _place([operation for _, _, group in keyed for operation in group], slots)
    return merged


def _groups(operations: list[Operation], bucket: int) -> list[tuple[int, list[Operation]]]:
    """Groups with the matrix cycles of the sequence before each."""
    found: list[tuple[int, list[Operation]]] = []
    open_accumulators: set[int] = set()
    begun, cycles = False, 0
    for operation in operations:
        if operation.queue == "matrix":
            if begun and not open_accumulators:
                found.append((cycles, []))
            begun = True
            open_accumulators.add(operation.insn.number("slot"))
        elif _reads_accumulator(operation):
            open_accumulators.discard(operation.insn.number("slot"))
        if not found:
            found.append((0, []))
        found[-1][1].append(operation)
        if operation.queue == "matrix":
            cycles += operation.accesses(bucket).duration
    return found


def _reads_accumulator(operation: Operation) -> bool:
    return operation.queue == "vector" and operation.insn["source"] is Source.ACC


def _place(operations: list[Operation], slots: int) -> list[Operation]:
    """Slots in turn, in the order of the matmuls, so that neighbours never share one; partners follow."""
    placed: list[Operation] = []
    slot_of: dict[tuple[int, int], int] = {}
    live: dict[int, tuple[int, int]] = {}  # slot -> whose unread sum it holds
    new: dict[int, Operation] = {}
    turn = 0
    for operation in operations:
        made, reads = operation, _reads_accumulator(operation)
        if operation.queue == "matrix" or reads:
            accumulator = (operation.sequence, operation.insn.number("slot"))
            if accumulator not in slot_of:
                if turn in live:
                    raise CompileError(f"{operation.name} has no free accumulator")
                slot_of[accumulator], live[turn] = turn, accumulator
                turn = (turn + 1) % slots
            slot = slot_of[accumulator]
            fields = {name: value for name, value in operation.insn.fields.items() if name != "slot"}
            fields |= {"slot": slot} if slot else {}
            insn, partner = replace(operation.insn, fields=fields), new.get(id(operation.partner))
            made = replace(operation, insn=insn, partner=partner)
            if reads:
                live.pop(slot, None)
        new[id(operation)] = made
        placed.append(made)
    return placed
