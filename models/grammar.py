"""Tell stories: opening, plot, ending, and the exact log-probability of the text.

``tell(random.Random(seed), FABLE)`` gives the same story everywhere. The entropy of the grammar, the floor for any
model's loss, is the mean of ``-story.log_probability`` over stories.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass

from models.plots import MORALS, PLOTS
from models.teller import Person, Teller, article, cast_person
from models.vocabulary import BUILDINGS, FABLE, HOME_LOOKS, PROFILES, SITES, Profile


@dataclass(frozen=True)
class Story:
    """One story: its text, its plot and the natural logarithm of its probability."""

    text: str
    plot: str
    log_probability: float


def _opening(teller: Teller, hero: Person) -> list[str]:
    """The sentences that introduce the hero."""
    who = f"{article(hero.trait)} {hero.kind}"
    if not teller.profile.long_form:
        return [f"{hero.name} was {who}."]
    look, home = teller.word(HOME_LOOKS), f"{teller.word(BUILDINGS)} {teller.word(SITES)}"
    return [
        teller.either(f"Once upon a time there was {who} named {hero.name}.",
                      f"Long ago there lived {who} named {hero.name}."),
        teller.either(f"{hero.He} lived in a {look} {home}.", f"{hero.His} home was a {look} {home}.")]


def _ending(teller: Teller, hero: Person, friend: Person, plot: str) -> list[str]:
    friends = teller.either(f"From that day on, {hero.name} and {friend.name} were best friends.",
                            f"{hero.name} and {friend.name} were friends ever after.")
    if not teller.profile.long_form:
        return [friends]
    moral = teller.either(*MORALS[plot])
    return [friends, teller.either(f"{hero.name} learned that {moral}.", f"And so we know that {moral}.")]


def tell(rng: random.Random, profile: Profile = FABLE) -> Story:
    """Tell one story; all randomness comes from ``rng``."""
    teller = Teller(rng, profile)
    plot = teller.either(*profile.plots)
    hero = cast_person(teller, is_girl=teller.coin(0.5))
    friend = cast_person(teller, is_girl=not hero.is_girl)
    sentences = _opening(teller, hero)
    sentences += PLOTS[plot](teller, hero, friend)
    sentences += _ending(teller, hero, friend, plot)
    return Story(" ".join(sentences), plot, teller.log_probability)


def tell_many(count: int, seed: int, profile: Profile = FABLE) -> list[Story]:
    """``count`` stories from one seed."""
    rng = random.Random(seed)
    return [tell(rng, profile) for _ in range(count)]


def main() -> None:
    """Print stories and the entropy of the grammar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=sorted(PROFILES), default="fable")
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    stories = tell_many(args.count, args.seed, PROFILES[args.profile])
    for story in stories:
        print(f"[{story.plot}] {story.text}\n")
    nats = -sum(story.log_probability for story in stories) / len(stories)
    print(f"entropy {nats:.2f} nats per story")


if __name__ == "__main__":
    main()
