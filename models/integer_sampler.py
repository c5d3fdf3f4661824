"""Sample and measure stories with the integer model: the logits are the machine's own, only the draw is made here.

The golden model gives the same logits as the RTL, bit for bit, so these are the stories that the chip would tell to a
host that samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from compiler.library import open_model
from compiler.quantise import quantise
from models.bpe import BEGIN, END
from models.sampler import load_tokenizer
from sim.evaluate import surprise
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


def measure(folder: Path, texts: Sequence[str]) -> tuple[int, float]:
    """Tokens of texts, each from BOS to EOS, and the nats that they cost together."""
    model, _, _ = open_model(str(folder))
    quantised, tokenizer = quantise(model), load_tokenizer(folder)
    golden, tokens, nats = Golden(quantised), 0, 0.0
    for text in texts:
        golden.reset()
        row = [BEGIN, *tokenizer.encode(text), END]
        for token, following in pairwise(row):
            golden.step(token)
            nats += surprise(golden.logits * quantised.logit_scale, following)
        tokens += len(row) - 1
    return tokens, nats
