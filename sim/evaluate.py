"""How much the integers cost: cross-entropy of a text under the float and the integer model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from compiler.errors import InputError
from compiler.float_model import FloatModel
from compiler.quantise import quantise
from compiler.quantised import QuantisedModel
from compiler.tokenizer import AnyTokenizer
from sim.golden import Golden
from sim.reference import Reference

SEPARATOR: Final = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Cross-entropies in nats a token.

    Members:
        float_ce, int_ce: mean over all predictions. top1_agreement: how often both models' best guesses are one.
        predictions: how many tokens were predicted. stories: from how many stories.
    """

    float_ce: float
    int_ce: float
    top1_agreement: float
    predictions: int
    stories: int

    @property
    def excess(self) -> float:
        """What the integers add, as a fraction of the float cross-entropy."""
        return self.int_ce / self.float_ce - 1.0


def stories_of(text: str) -> list[str]:
    """Stories of a text: between `<|endoftext|>` marks, or one a line where the text has no mark."""
    text = text.replace("\r\n", "\n")
    parts = text.split(SEPARATOR) if SEPARATOR in text else text.split("\n")
    return [part.strip() for part in parts if part.strip()]


def surprise(logits: npt.NDArray[np.floating[Any]], target: int) -> float:
    """Minus the log of the probability of a token."""
    top = logits.max()
    return float(np.log(np.exp(logits - top).sum()) + top - logits[target])


def _predictions(
    model: FloatModel, quantised: QuantisedModel, sequences: list[list[int]], begin: int
) -> Iterator[tuple[float, float, bool]]:
    """Float surprise, integer surprise and agreement, one a prediction."""
    reference, golden = Reference(model), Golden(quantised)
    for tokens in sequences:
        reference.reset()
        golden.reset()
        for token, target in zip([begin, *tokens], tokens, strict=False):
            floats = reference.step(token).astype(np.float64)
            best = golden.step(token)
            integers = golden.logits * quantised.logit_scale
            yield surprise(floats, target), surprise(integers, target), int(floats.argmax()) == best


def evaluate(
    model: FloatModel, tokenizer: AnyTokenizer, text: str, *, quantised: QuantisedModel | None = None,
    tokens: int | None = None,
) -> Evaluation:  # fmt: skip
    """Predict every token of a text's stories with both models.

    Parameters
    ----------
    text: stories, see `stories_of`. Each starts anew and is cut where the context ends.
    quantised: the integer model; made from `model` where it is not given.
    tokens: stop a story after so many, where that is less than the context.
    """
    length = min(model.shape.context, tokens or model.shape.context)
    sequences = [tokenizer.encode(story)[:length] for story in stories_of(text)]
    if not any(sequences):
        raise InputError("the text to evaluate has no stories; expected at least one line of text")
    found = list(_predictions(model, quantised or quantise(model), sequences, tokenizer.begin))
    floats, integers, agreed = (np.array(column, np.float64) for column in zip(*found, strict=True))
    return Evaluation(
        float_ce=float(floats.mean()),
        int_ce=float(integers.mean()),
        top1_agreement=float(agreed.mean()),
        predictions=len(found),
        stories=len(sequences),
    )
