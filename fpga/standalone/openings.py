"""How stories can begin, from the model itself: without a host there is no prompt, and greedy decoding would repeat
one story for ever."""

from __future__ import annotations

from itertools import zip_longest

import numpy as np

from compiler.quantised import QuantisedModel
from compiler.tokenizer import BEGIN
from sim.generate import STOP
from sim.golden import Golden

STORIES = 16
LONGEST = 24  # tokens of an opening; a model that has no choice for so long tells one story only


def choices(golden: Golden, tokens: list[int], most: int, stops: frozenset[int] = STOP) -> list[int]:
    """Tokens with which the model might go on, likeliest first.

    Likely is whose logit is in the uppermost third between the median and the highest: a trained model's logits have a
    gap there.
    """
    golden.reset()
    for token in tokens[:-1]:
        golden.step(token, classify=False)
    golden.step(tokens[-1])
    logits = golden.logits
    order = np.argsort(-logits, kind="stable")[:most].tolist()
    least = (2 * int(logits.max()) + int(np.median(logits))) / 3
    return [token for token in order if token == order[0] or (logits[token] > least and token not in stops)]


def openings(model: QuantisedModel, count: int = STORIES, *, begin: int = BEGIN,
             stops: frozenset[int] = STOP) -> list[list[int]]:
    """At most `count` beginnings, `begin` included, no two of which lead to the same story.

    Wherever the model has a choice, earliest places first, the story branches, until there are enough. The first
    opening is part of the story that the model tells without a prompt; neighbours differ as early as can be.
    """
    golden, longest = Golden(model), min(LONGEST, model.shape.context)

    def branches(tokens: list[int], share: int) -> list[list[int]]:
        while share > 1 and len(tokens) < longest:
            ways = choices(golden, tokens, share, stops)
            if ways[0] in stops:
                break
            if len(ways) > 1:
                each = [share // len(ways) + (number < share % len(ways)) for number in range(len(ways))]
                made = [branches([*tokens, way], part) for way, part in zip(ways, each, strict=True)]
                return [one for turn in zip_longest(*made) for one in turn if one is not None]
            tokens = [*tokens, ways[0]]
        return [tokens]

    return branches([begin], count)
