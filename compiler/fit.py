"""Fit: whether a layout fits its machine, and what would hold it."""

from __future__ import annotations

from compiler.errors import InputError
from compiler.layout import Layout, head_registers, lay_out
from compiler.quantised import QuantisedModel
from rtl.config import PRESETS, Config
from rtl.isa import SCALAR


def misfits(model: QuantisedModel, layout: Layout) -> list[str]:
    """What does not fit the machine, in words; empty when all fits."""
    config, shape = layout.geometry.config, model.shape
    found: list[str] = []
    if layout.sequences > config.sequences:
        found.append(f"{layout.sequences} sequences at once; the machine keeps {config.sequences}")
    unit = {"bank rows": config.lanes * config.taps, "parameter rows": config.lanes, "vector rows": 2 * config.lanes,
            "activation vectors": config.lanes, "constants": 1}
    for memory in layout.memories:
        if memory.most > memory.depth:
            found.append(f"{(memory.most - memory.depth) * unit[memory.name]} bytes too many in {memory.name} "
                         f"({memory.most} of {memory.depth})")
    if layout.geometry.context > 1 << config.position_bits:
        found.append(f"context {layout.geometry.context} exceeds {1 << config.position_bits} positions")
    if shape.vocab > 1 << config.token_bits:
        found.append(f"vocabulary {shape.vocab} exceeds {1 << config.token_bits} tokens")
    whole = max(config.lanes, config.taps)  # both alike
    if any(end % whole for end in model.hidden_chunks[:-1]):
        found.append(f"chunks of the hidden vector end at {model.hidden_chunks[:-1]}, not at multiples of {whole}")
    if model.norm_bias >= 1 << (bits := SCALAR.by_name["bias"].bits(config)):
        found.append(f"the norms' epsilon is {model.norm_bias} beside a sum of squares, its immediate has {bits} bits")
    if layout.head_passes and not layout.norm_registers:
        found.append(f"heads of {layout.geometry.padded_head} lanes share a block of {config.lanes}, and "
                     f"{config.groups} lane groups cannot normalise each by its own factor")
    if model.experts_used > config.choices:
        found.append(f"each token uses {model.experts_used} experts, the machine chooses {config.choices} at most"
                     if config.choices else f"{model.experts} experts; the machine has no index registers")
    elif model.experts > config.experts:
        found.append(f"{model.experts} experts, an index register counts {config.experts}")
    if layout.expert_rows >= 1 << 16:
        found.append(f"an expert has {layout.expert_rows} bank rows, a control register counts {(1 << 16) - 1}")
    room = head_registers(config, layout.sequences, len(layout.hidden_chunks), *layout.route)
    heads = layout.wave * shape.queries_per_kv
    if heads > room:
        found.append(f"{heads} query heads work at once, the scalar and reduce registers hold {room}")
    return found


def check_fit(model: QuantisedModel, config: Config, context: int, sequences: int = 1, top_k: int = 0) -> Layout:
    """The layout, if it fits. Raises InputError naming what does not, how many chips its weights and caches alone would
    fill, and the presets that would hold the model."""
    layout = lay_out(model, config, context, sequences, top_k)
    found = misfits(model, layout)
    if found:
        by_size = sorted(PRESETS.values(), key=lambda other: other.lanes * other.taps * other.bank_rows)
        holding = [other.name for other in by_size if other.name != config.name
                   and not misfits(model, lay_out(model, other, context, sequences, top_k))]
        fit = (f"presets that hold it, the smallest first: {', '.join(holding)}" if holding
               else "no preset holds it")
        if (chips := -(-layout.bank.used // layout.bank.depth)) > 1:
            fit = f"its weights and caches fill {chips} such chips; {fit}"
        many = f" for {sequences} sequences" if sequences > 1 else ""
        raise InputError(f"the model with context {context}{many} does not fit {config.name}: "
                         f"{'; '.join(found)}; {fit}")
    return layout
