"""Search: the style, and with it the schedule, in which a token takes the fewest cycles.

Styles are lowered and scheduled in a few buckets, with as many dynamic values as they like; the best two are then
scheduled in all buckets with the values that the machine has, and the better one is taken. How many styles are tried
depends on the size of the program alone, so that a model compiles to the same image everywhere.
"""

from __future__ import annotations

from compiler.columns import NoValueLeft
from compiler.interleave import interleave
from compiler.ir import Operation
from compiler.join import Schedule
from compiler.layout import Layout
from compiler.lower import lower
from compiler.quantised import QuantisedModel
from compiler.schedule import Token, reference
from compiler.style import Style, styles
from compiler.verify import verify_operations

EFFORT = 40_000
"""Operations times buckets that are scheduled to compare styles, at most; at least one style is."""

FINALS = 100_000
"""The same for the best two, which are scheduled in all buckets with the machine's own dynamic values; else one is."""


def cost(plan: Schedule, layers: int) -> int:
    """Cycles between the starts of the prologue and of the epilogue, over all buckets."""
    return int((plan.body_start + (layers - 1) * plan.period + plan.epilogue_start).sum())


def find_schedule(model: QuantisedModel, layout: Layout) -> tuple[list[Operation], Schedule]:
    """The lowered operations and their schedule.

    Raises NoValueLeft where no style makes do with the machine's dynamic values.
    """
    geometry = layout.geometry
    config, buckets, layers = geometry.config, geometry.attention_blocks, geometry.shape.layers
    at = reference(config, buckets)
    some = sorted({0, at, buckets - 1})  # a style that is good here is good elsewhere
    matrices = layout.matrices

    def made(style: Style) -> list[Operation]:
        own = [lower(model, layout.of(sequence), style) for sequence in range(layout.sequences)]
        return interleave(own, config.slots, style.lag, at)

    wanted = list(styles(config.slots, matrices["wk"].steps, matrices["wv"].blocks, layout.sequences))
    size = len(made(wanted[0]))
    tries, finalists = max(1, EFFORT // (size * len(some))), 2 if 2 * size * buckets <= FINALS else 1
    if tries > 1:
        def ideal(style: Style) -> int:
            return cost(Token(made(style), config, some, some.index(at), patient=style.patient).ideal()[0], layers)
        wanted = sorted(wanted[:tries], key=ideal)
    finals: list[tuple[Schedule, list[Operation]]] = []
    lack: NoValueLeft | None = None
    for style in wanted:
        if len(finals) == finalists:
            break
        operations = made(style)
        verify_operations(operations, layout)
        token = Token(operations, config, range(buckets), at, patient=style.patient)
        try:
            finals.append((token.schedule(*token.ideal()), operations))
        except NoValueLeft as error:
            lack = error  # another style may need fewer
    if lack is not None and not finals:
        raise lack
    plan, operations = min(finals, key=lambda final: cost(final[0], layers))
    return operations, plan
