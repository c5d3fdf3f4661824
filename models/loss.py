"""How close a checkpoint comes to the entropy of its stories, in float or as the machine's integers.

    python -m models.loss fables260k --count 1000
    python -m models.loss fables260k --count 100 --integer

The grammar knows the probability of every story it tells, so the mean of their negative logarithms is the loss of a
perfect model on those very stories; what a checkpoint loses above it is its own fault.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models import bpe
from models.grammar import tell_many
from models.presets import PRESETS
from models.sampler import Decoder, load_tokenizer

HELD_OUT_SEED = 7
STORIES_AT_ONCE = 100


@dataclass(frozen=True)
class Loss:
    """Cross-entropy in nats over a number of stories, EOS included."""

    stories: int
    tokens: int
    nats: float

    @property
    def per_story(self) -> float:
        """Mean over stories."""
        return self.nats / self.stories

    @property
    def per_token(self) -> float:
        """Mean over tokens."""
        return self.nats / self.tokens


def measure(folder: Path, texts: Sequence[str]) -> Loss:
    """The loss of the checkpoint in ``folder`` on texts, each from BOS to EOS."""
    tokenizer = load_tokenizer(folder)
    nats, tokens = 0.0, 0
    for start in range(0, len(texts), STORIES_AT_ONCE):
        rows = [[bpe.BEGIN, *tokenizer.encode(text), bpe.END] for text in texts[start:start + STORIES_AT_ONCE]]
        lengths = np.array([len(row) for row in rows])
        ids = np.full((len(rows), lengths.max()), bpe.END)
        for n, row in enumerate(rows):
            ids[n, :len(row)] = row
        decoder = Decoder(folder, len(rows))
        for at in range(ids.shape[1] - 1):
            logits = decoder.step(ids[:, at]).astype(np.float64)
            peak = logits.max(axis=-1)
            log_sum = peak + np.log(np.exp(logits - peak[:, None]).sum(axis=-1))
            lost = log_sum - logits[np.arange(len(rows)), ids[:, at + 1]]
            nats += float(lost[at + 1 < lengths].sum())
        tokens += int((lengths - 1).sum())
    return Loss(len(texts), tokens, nats)


def main() -> None:
    """Print loss and entropy of held-out stories."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", choices=sorted(PRESETS))
    parser.add_argument("--folder", type=Path, help="look here instead of in the repository")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--integer", action="store_true", help="the integer model, as the chip computes it")
    args = parser.parse_args()
    preset = PRESETS[args.checkpoint]
    stories = tell_many(args.count, args.seed, preset.profile)
    folder, texts = args.folder or preset.folder, [story.text for story in stories]
    if args.integer:  # imported only here: the float part does without the other half of the project
        from models import integer_sampler
        loss = Loss(len(texts), *integer_sampler.measure(folder, texts))
    else:
        loss = measure(folder, texts)
    floor = -sum(story.log_probability for story in stories)
    print(f"tokens a story   {loss.tokens / loss.stories:9.2f}")
    print(f"nats a story     {loss.per_story:9.3f}   grammar {floor / loss.stories:9.3f}")
    print(f"nats a token     {loss.per_token:9.4f}   grammar {floor / loss.tokens:9.4f}")
    print(f"excess           {loss.nats / floor - 1:9.2%}")


if __name__ == "__main__":
    main()
