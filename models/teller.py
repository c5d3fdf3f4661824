"""Choices that are counted, and the cast of one story."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from models.vocabulary import ANIMALS, BOYS, GIRLS, TRAITS, Profile


class Teller:
    """Makes every choice of a story and adds up its log-probability.

    Every choice shows in the text and different choices give different texts, so ``log_probability`` is the
    probability of the text itself and its mean over stories is minus the entropy that a perfect model would reach.

    Parameters
    ----------
    rng: the only source of randomness.
    profile: the word lists and the form to use.

    Members
    -------
    log_probability: sum of ln(p) of all choices so far, in nats.
    """

    def __init__(self, rng: random.Random, profile: Profile) -> None:
        self._rng = rng
        self.profile = profile
        self.log_probability = 0.0

    def either(self, *options: str) -> str:
        """One of several wordings, all equally likely."""
        self.log_probability -= math.log(len(options))
        return options[int(self._rng.random() * len(options))]

    def word(self, table: Sequence[str]) -> str:
        """One word of a list, as far as the profile uses the list."""
        return self.either(*self.profile.words(tuple(table)))

    def coin(self, probability: float) -> bool:
        """True with the given probability."""
        result = self._rng.random() < probability
        self.log_probability += math.log(probability if result else 1.0 - probability)
        return result


def article(phrase: str) -> str:
    """The phrase with the indefinite article that fits it."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def capital(phrase: str) -> str:
    """The phrase as a sentence begins with it."""
    return phrase[0].upper() + phrase[1:]


@dataclass(frozen=True, kw_only=True)
class Person:
    """Someone in a story: a child or an animal with a name, a trait and the pronouns that go with the name."""

    name: str
    kind: str
    trait: str
    he: str
    him: str
    his: str

    @property
    def is_girl(self) -> bool:
        """Whether the pronouns are she and her."""
        return self.he == "she"

    @property
    def He(self) -> str:
        """The pronoun as a sentence begins with it."""
        return capital(self.he)

    @property
    def His(self) -> str:
        """The possessive as a sentence begins with it."""
        return capital(self.his)


CHILD_SHARE = 0.4  # the rest are animals


def cast_person(teller: Teller, *, is_girl: bool) -> Person:
    """Choose a person. Hero and friend differ in sex, so that every "he" and "she" says who is meant."""
    name = teller.word(GIRLS if is_girl else BOYS)
    if teller.coin(CHILD_SHARE):
        kind = "girl" if is_girl else "boy"
    else:
        kind = teller.word(ANIMALS)
    he, him, his = ("she", "her", "her") if is_girl else ("he", "him", "his")
    return Person(name=name, kind=kind, trait=teller.word(TRAITS), he=he, him=him, his=his)
