"""Sample stories with the integer model: the logits are the machine's own, only the draw is made here.

The golden model gives the same logits as the RTL, bit for bit, so these are the stories that the chip would tell to a
host that samples.
"""

from __future__ import annotations

import numpy as np

from compiler.library import open_model
from compiler.quantise import quantise
from models.bpe import BEGIN, END
from sim.golden import Golden


def sample(name: str, *, count: int, temperature: float, seed: int) -> list[str]:
    """`count` stories of a shipped model (or a folder with a checkpoint), from BOS to the end of story or of the
    context."""
    model, tokenizer, _ = open_model(name)
    quantised = quantise(model)
    golden, rng = Golden(quantised), np.random.default_rng(seed)
    stories: list[str] = []
    for _ in range(count):
        golden.reset()
        tokens, token = list[int](), BEGIN
        for _ in range(model.shape.context):
            best = golden.step(token)
            token = int(best or 0)
            if temperature > 0:
                logits = golden.logits.astype(np.float64) * quantised.logit_scale / temperature
                chances = np.exp(logits - logits.max()).cumsum()
                token = int((chances < rng.random() * chances[-1]).sum())
            if token in (BEGIN, END):
                break
            tokens.append(token)
        stories.append(tokenizer.decode([BEGIN, *tokens]))
    return stories
