"""Search: the style, and with it the schedule, in which a token takes the fewest cycles.

Each style is lowered and scheduled with as many dynamic values as it likes; the best few are then scheduled with those
that the machine has, and the best of these is taken. How many styles are tried depends on the size of the program
alone, so that a model compiles to the same image everywhere.
"""

from __future__ import annotations

from compiler.interleave import interleave
from compiler.ir import Operation
from compiler.join import Schedule
from compiler.layout import Layout
from compiler.lower import lower
from compiler.quantised import QuantisedModel
from compiler.schedule import Release, Token, reference
from compiler.style import styles
from compiler.verify import verify_operations

EFFORT = 150_000
"""Operations times buckets that are scheduled in all, at most; at least one style is."""

FINALISTS = 3
"""Styles that are also scheduled with the machine's own dynamic values."""


def cost(plan: Schedule, layers: int) -> int:
    """Cycles between the starts of the prologue and of the epilogue, over all buckets."""
    return int((plan.body_start + (layers - 1) * plan.period + plan.epilogue_start).sum())


def find_schedule(model: QuantisedModel, layout: Layout) -> tuple[list[Operation], Schedule]:
    """The lowered operations and their schedule."""
    geometry = layout.geometry
    config, buckets, layers = geometry.config, geometry.attention_blocks, geometry.shape.layers
    matrices = layout.matrices
    found: list[tuple[int, int, list[Operation], Token, tuple[Schedule, Release]]] = []
    tries = 1
    wanted = styles(config.slots, matrices["wk"].steps, matrices["wv"].blocks, layout.sequences)
    for number, style in enumerate(wanted):
        if number == tries:
            break
        own = [lower(model, layout.of(sequence), style) for sequence in range(layout.sequences)]
        operations = interleave(own, config.slots, style.lag, reference(config, buckets))
        if number == 0:
            tries = max(1, EFFORT // (len(operations) * buckets))
        verify_operations(operations, layout)
        token = Token(operations, config, buckets, patient=style.patient)
        ideal = token.ideal()
        found.append((cost(ideal[0], layers), number, operations, token, ideal))
    found.sort(key=lambda one: one[:2])
    finals = [(token.schedule(*ideal), operations) for _, _, operations, token, ideal in found[:FINALISTS]]
    plan, operations = min(finals, key=lambda final: cost(final[0], layers))
    return operations, plan
