"""Generation on a device: beginning of sequence, prompt, then each token's winner is the next token."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from compiler.errors import InputError
from compiler.image import Image
from compiler.tokenizer import BEGIN, END, Tokenizer
from sim.device import Device

STOP = frozenset({BEGIN, END})
"""Tokens after which a story is over: it ends, or the next one begins."""


@dataclass(kw_only=True)
class Generation:
    """What was generated and what it took.

    Members:
        prompt_tokens: what was given, BEGIN first. tokens: what was generated.
        cycles, predicted_cycles, useful_macs: by position, 0 is BEGIN's. cycles holds None on a device without cycles.
        peak_macs_per_cycle: of the machine. seconds: of wall clock, for the positions alone.
    """

    prompt_tokens: list[int]
    peak_macs_per_cycle: int
    tokens: list[int] = field(default_factory=list[int])
    cycles: list[int | None] = field(default_factory=list["int | None"])
    predicted_cycles: list[int] = field(default_factory=list[int])
    useful_macs: list[int] = field(default_factory=list[int])
    seconds: float = 0.0

    @property
    def positions(self) -> int:
        return len(self.predicted_cycles)

    @property
    def total_cycles(self) -> int:
        """Measured; predicted where the device has no cycles."""
        pairs = zip(self.cycles, self.predicted_cycles, strict=True)
        return sum(predicted if count is None else count for count, predicted in pairs)

    @property
    def utilisation(self) -> float:
        """Useful multiply-accumulates as a part of those that the cycles had room for."""
        return sum(self.useful_macs) / (self.peak_macs_per_cycle * self.total_cycles)

    @property
    def mispredicted(self) -> list[int]:
        """Positions whose cycles are not the compiler's."""
        pairs = enumerate(zip(self.cycles, self.predicted_cycles, strict=True))
        return [position for position, (count, predicted) in pairs if count is not None and count != predicted]


def encode_prompt(tokenizer: Tokenizer, prompt: str | None, context: int) -> list[int]:
    """BEGIN and the prompt. None begins with nothing; an empty text is a mistake.

    Raises InputError where the prompt is empty, cannot be encoded, or leaves no room in the context.
    """
    if prompt is None:
        return [BEGIN]
    if not prompt.strip():
        raise InputError("the prompt is empty; leave --prompt out to begin with nothing")
    tokens = [BEGIN, *tokenizer.encode(prompt)]
    if len(tokens) > context:
        raise InputError(f"the prompt has {len(tokens)} tokens with the one that begins a sequence; "
                         f"the context holds {context}")
    return tokens


def generate(device: Device, image: Image, prompt_tokens: Sequence[int], *, tokens: int | None = None,
             stop: frozenset[int] = STOP, on_token: Callable[[int], None] | None = None) -> Generation:
    """Run the prompt, then generate until `tokens` are made, one of `stop` comes, or the context is full.

    Parameters
    ----------
    tokens: most tokens to generate; None for as many as the context has room for.
    on_token: is called with each generated token as it comes.
    """
    if tokens is not None and tokens < 1:
        raise InputError(f"{tokens} tokens cannot be generated; ask for at least 1")
    room = image.context - len(prompt_tokens) + 1  # the last token is generated, but not run
    made = Generation(prompt_tokens=list(prompt_tokens), peak_macs_per_cycle=image.config.peak_macs)
    device.reset()
    started = time.perf_counter()
    given = made.prompt_tokens
    token = given[0]
    while True:
        position = made.positions
        classify = position >= len(given) - 1
        record = device.step(token, classify=classify)
        made.cycles.append(record.cycles)
        made.predicted_cycles.append(int(image.cycles[int(classify), position]))
        made.useful_macs.append(int(image.useful_macs[int(classify), position]))
        if not classify:
            token = given[position + 1]
            continue
        token = record.token
        made.tokens.append(token)
        made.seconds = time.perf_counter() - started
        if on_token:
            on_token(token)
        if token in stop or len(made.tokens) >= min(room, tokens or room):
            return made
