"""Generation on a device: beginning of sequence, prompt, then each token's winner is the next token."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from compiler.errors import InputError
from compiler.image import Image
from compiler.tokenizer import BEGIN, END, AnyTokenizer
from sim.device import Device

STOP = frozenset({BEGIN, END})
"""Tokens after which a story of a llama2.c model is over: it ends, or the next one begins."""


@dataclass(kw_only=True)
class Generation:
    """What was generated and what it took.

    Members:
        prompts: what was given, of each sequence. stories: what was generated after each.
        cycles, predicted_cycles, useful_macs: of each step, in which every sequence goes one token further; step 0 is
            the first token's. cycles holds None on a device without cycles.
        peak_macs_per_cycle: of the machine. seconds: of wall clock, for the steps alone.
    """

    prompts: list[list[int]]
    peak_macs_per_cycle: int
    stories: list[list[int]]
    cycles: list[int | None] = field(default_factory=list["int | None"])
    predicted_cycles: list[int] = field(default_factory=list[int])
    useful_macs: list[int] = field(default_factory=list[int])
    seconds: float = 0.0

    @property
    def prompt_tokens(self) -> list[int]:
        """The first sequence's prompt."""
        return self.prompts[0]

    @property
    def tokens(self) -> list[int]:
        """The first sequence's story."""
        return self.stories[0]

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


def encode_prompt(tokenizer: AnyTokenizer, prompt: str | None, context: int) -> list[int]:
    """The prompt, behind the token that begins a sequence where the model has one.

    None begins with nothing; an empty text is a mistake.

    Raises InputError where the prompt is empty, cannot be encoded, or leaves no room in the context.
    """
    if prompt is None:
        return [tokenizer.begin]
    if not prompt.strip():
        raise InputError("the prompt is empty; leave --prompt out to begin with nothing")
    tokens = [*tokenizer.prefix, *tokenizer.encode(prompt)]
    if not tokens:
        raise InputError("the prompt has nothing that this model's tokenizer keeps; leave it out")
    if len(tokens) > context:
        raise InputError(f"the prompt has {len(tokens)} tokens with the one that begins a sequence; "
                         f"the context holds {context}")
    return tokens


def generate(device: Device, image: Image, prompt_tokens: Sequence[int], *, tokens: int | None = None,
             stop: frozenset[int] = STOP, on_token: Callable[[int], None] | None = None) -> Generation:
    """One story: run the prompt, then generate until `tokens` are made, one of `stop` comes, or the context is full.

    Parameters
    ----------
    tokens: most tokens to generate; None for as many as the context has room for.
    on_token: is called with each generated token as it comes.
    """
    return generate_together(device, image, [prompt_tokens], tokens=tokens, stop=stop,
                             on_token=None if on_token is None else lambda _, token: on_token(token))


def generate_together(device: Device, image: Image, prompts: Sequence[Sequence[int]], *, tokens: int | None = None,
                      stop: frozenset[int] = STOP, on_token: Callable[[int, int], None] | None = None) -> Generation:
    """As many stories at once as the image has sequences; one that is over idles until all are.

    on_token: is called with the sequence and each token generated for it; for the rest see `generate`.
    """
    if tokens is not None and tokens < 1:
        raise InputError(f"{tokens} tokens cannot be generated; ask for at least 1")
    if len(prompts) != image.sequences:
        raise InputError(f"{len(prompts)} prompts for an image of {image.sequences} sequences; each needs one")
    made = Generation(prompts=[list(prompt) for prompt in prompts], stories=[[] for _ in prompts],
                      peak_macs_per_cycle=image.config.peak_macs)
    room = [image.context - len(prompt) + 1 for prompt in prompts]  # the last token is generated, but not run
    device.reset()
    started = time.perf_counter()
    current, at = [prompt[0] for prompt in prompts], [0 for _ in prompts]
    over: set[int] = set()
    while len(over) < len(prompts):
        for sequence in over:
            current[sequence], at[sequence] = 0, 0
        making = [sequence not in over and at[sequence] >= len(prompt) - 1 for sequence, prompt in enumerate(prompts)]
        classify = any(making)
        record = device.advance(current, classify=classify, restart=sorted(over))
        made.cycles.append(record.cycles)
        made.predicted_cycles.append(int(image.cycles[int(classify), max(at)]))
        useful = [int(image.useful_macs[int(making[n]), at[n]]) for n in range(len(at)) if n not in over]
        made.useful_macs.append(sum(useful))
        made.seconds = time.perf_counter() - started
        for sequence, prompt in enumerate(prompts):
            if sequence in over:
                continue
            at[sequence] += 1
            if not making[sequence]:
                current[sequence] = prompt[at[sequence]]
                continue
            token = current[sequence] = record.tokens[sequence]
            made.stories[sequence].append(token)
            if on_token:
                on_token(sequence, token)
            if token in stop or len(made.stories[sequence]) >= min(room[sequence], tokens or room[sequence]):
                over.add(sequence)
    return made
