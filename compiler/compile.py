"""compile_model: quantised model -> image, through the passes in reading order: see docs/compiler.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from compiler.assemble import assemble, encode_program
from compiler.columns import NoValueLeft
from compiler.errors import InputError
from compiler.fit import check_fit, misfits
from compiler.image import Image, Registers
from compiler.ir import CompileError
from compiler.layout import Layout, lay_out
from compiler.name_events import labels
from compiler.place import activations, banks, check_accumulators, constants, params
from compiler.quantised import QuantisedModel
from compiler.sampling import checked_top_k
from compiler.search import find_schedule
from compiler.tensors import tensor_map
from compiler.verify import verify_program
from rtl.config import PRESETS, Config, log2


def largest_context(model: QuantisedModel, config: Config, sequences: int = 1, top_k: int = 0) -> int:
    """The longest context of the model that fits the machine. 0 when none does."""
    low, high = 0, min(model.shape.context, 1 << config.position_bits)
    while low < high:
        middle = (low + high + 1) // 2
        if misfits(model, lay_out(model, config, middle, sequences, top_k)):
            high = middle - 1
        else:
            low = middle
    return low


def compile_model(model: QuantisedModel, config: Config, *, context: int | None = None, sequences: int = 1,
                  top_k: int = 0, tokenizer: bytes = b"", provenance: dict[str, Any] | None = None) -> Image:
    """Compile a model for a machine.

    context: positions to provide for; without it, as many as the model has and the machine holds.
    sequences: independent texts that one program works on in turn, so that one's waiting is the other's time.
    top_k: a token is drawn from so many of the likeliest alone; 0: from all.
    Raises InputError when the model does not fit, saying by how much and where it would.
    """
    if not 1 <= sequences <= config.sequences:
        raise InputError(f"{sequences} sequences at once are not possible: {config.name} keeps {config.sequences}")
    top_k = checked_top_k(top_k, model.shape.vocab, config)
    wanted = context
    if wanted is None:
        wanted = largest_context(model, config, sequences, top_k) or model.shape.context
    if not 1 <= wanted <= model.shape.context:
        raise InputError(f"context {wanted} is not possible: this model has positions for 1 to {model.shape.context}")
    window = model.window if model.window < wanted else 0
    if window and not config.windows:
        able = ", ".join(name for name, other in PRESETS.items() if other.windows)
        raise InputError(f"this model attends to {window} of {wanted} positions, which {config.name} cannot do; {able} "
                         f"can, and it can with a context of {window}")
    layout = check_fit(model, config, wanted, sequences, top_k)
    check_accumulators(model, layout)
    buckets = layout.geometry.attention_blocks
    try:
        _, plan = find_schedule(model, layout)
    except NoValueLeft:
        raise InputError(f"the program does not fit {config.name}: it needs more than its {config.values} dynamic "
                         "values; a shorter context needs fewer") from None
    try:
        program = assemble(plan, layout)
        words = encode_program(program, layout)
    except CompileError as error:
        raise InputError(f"the program does not fit {config.name}: {error}") from None
    verify_program(words, plan, program.cycles, layout, sorted({0, buckets // 2, buckets - 1}))
    values = np.zeros((config.buckets, config.values), np.uint16)
    if config.linear_values:
        values[:] = config.linear_table()
    else:
        for number, column in enumerate(plan.columns.columns):
            values[:buckets, number] = column
    bucket = np.arange(wanted) // config.bucket_positions
    macs = np.array([[model.macs(position, classify=classify) for position in range(wanted)]
                     for classify in (False, True)])
    return Image(
        config=config, programs=words, banks=banks(model, layout), act=activations(layout),
        params=params(model, layout), constants=constants(model, layout), values=values, context=wanted,
        sequences=sequences, top_k=top_k,
        cycles=program.cycles[:, bucket], useful_macs=macs,
        registers=Registers(key_step=layout.geometry.head_steps, rope_step=layout.geometry.rope_period,
                            embed_shift=log2(layout.geometry.embed_columns), expert_rows=layout.expert_rows,
                            window=window),
        tensors=tensor_map(layout, sequences), labels=labels(plan, layout),
        provenance={**(provenance or {}), **usage(layout, words, model.experts_used)}, tokenizer=tokenizer)


def usage(layout: Layout, words: dict[str, list[int]], experts_used: int = 0) -> dict[str, Any]:
    """Memory used and free by kind, in rows, and words of program a queue; of experts, how many bank rows they fill and
    how many of these a token reads."""
    config = layout.geometry.config
    depths = {"matrix": config.matrix_words, "vector": config.vector_words, "scalar": config.scalar_words}
    rows = layout.geometry.shape.layers * layout.expert_rows
    experts = {"experts": {"used": experts_used, "of": layout.experts, "bank_rows": layout.experts * rows,
                           "bank_rows_read": experts_used * rows}} if layout.experts else {}
    return {
        **experts,
        "memory": {memory.name: {"used": memory.most, "free": memory.depth - memory.most}
                   for memory in layout.memories},
        "program": {name: {"used": len(queue), "free": depths[name] - len(queue)} for name, queue in words.items()}}
