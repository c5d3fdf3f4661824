"""Decide whether a text is a story: right sentences, in the right order, agreeing with each other from first to last.

The checker reads plain text and shares nothing with the generator, so that it can judge what a model says. It looks at
spelling and shape of every sentence, at completeness (no step of the story missing, repeated or out of place), at
names, pronouns, things and colours that must stay the same, at pairs that must fit (the net is for the pond, not for
the roof), and at articles.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from models.check_shapes import CLASSES, FEMALE, LONG_ONLY, SHAPES, STORIES, TOGETHER

_SENTENCE_END: Final = re.compile(r'(?<=[.!?]) (?=["A-Z])')
_ARTICLE: Final = re.compile(r"\b([Aa]n?) ([A-Za-z]+)")
_HERO_PRONOUNS: Final = ("he", "He", "him", "his", "His")
_FRIEND_PRONOUNS: Final = ("fhe", "fHe")
_FEMALE_PRONOUNS: Final = frozenset({"she", "her"})

Facts = dict[str, set[str]]


@cache
def _pattern(wording: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """A wording as a regular expression with one group for each slot, and the slots."""
    slots: list[str] = []
    pieces: list[str] = []
    for text, slot in re.findall(r"([^{]*)(?:\{(\w+)\})?", wording):
        pieces.append(re.escape(text))
        if slot == "a":
            pieces.append("an?")
        elif slot == "A":
            pieces.append("An?")
        elif slot:
            pieces.append(f"({CLASSES[slot]})" if slot != "lesson" else "(.+)")
            slots.append(slot)
    return re.compile("".join(pieces)), tuple(slots)


@cache
def _wordings() -> dict[str, tuple[str, ...]]:
    """The wordings of every step."""
    table: dict[str, tuple[str, ...]] = {}
    for line in SHAPES.strip().splitlines():
        step, *wordings = (part.strip() for part in line.split("|"))
        table[step] = tuple(wordings)
    return table


@cache
def _steps(kind: str, long_form: bool) -> tuple[str, ...]:
    """The steps of one kind of story, opening and ending included."""
    middle = STORIES[kind][0].split()
    if long_form:
        return ("open", "home", *(step.strip("()") for step in middle), "friends", "moral")
    return ("briefly", *(step for step in middle if not step.startswith("(")), "friends")


def _read(sentence: str, step: str) -> list[tuple[str, str]] | None:
    """The (slot, word) pairs of a sentence if it is one of the step's wordings."""
    for wording in _wordings()[step]:
        pattern, slots = _pattern(wording)
        match = pattern.fullmatch(sentence)
        if match:
            return list(zip(slots, match.groups(), strict=True))
    return None


def _follow(sentences: list[str], steps: tuple[str, ...]) -> tuple[int, Facts]:
    """How many sentences follow the steps, and what they say."""
    facts: Facts = {}
    for at, (sentence, step) in enumerate(zip(sentences, steps, strict=False)):
        found = _read(sentence, step)
        if found is None:
            return at, facts
        for slot, word in found:
            facts.setdefault(slot, set()).add(word)
    return min(len(sentences), len(steps)), facts


def _gender(kinds: set[str], names: set[str], pronouns: set[str], who: str) -> list[str]:
    """Problems with the sex of one person."""
    problems: list[str] = []
    is_female = {name in FEMALE for name in names}
    if len(is_female) > 1:
        return problems  # two names are a problem of their own
    female = is_female.pop()
    if (female and "boy" in kinds) or (not female and "girl" in kinds):
        problems.append(f"the {who}'s name does not fit a {min(kinds & {'boy', 'girl'})}")
    for pronoun in sorted(pronouns):
        if (pronoun in _FEMALE_PRONOUNS) != female:
            problems.append(f"wrong pronoun for the {who}: {pronoun}")
    return problems


def _agreement(facts: Facts, kind: str) -> list[str]:
    """Problems between sentences that are each right by themselves."""
    problems: list[str] = []
    pronoun_slots = _HERO_PRONOUNS + _FRIEND_PRONOUNS
    for slot, words in facts.items():
        if slot not in pronoun_slots and len(words) > 1:
            problems.append(f"{slot} changes: {', '.join(sorted(words))}")
    hero, friend = facts.get("H", set()), facts.get("F", set())
    if hero & friend:
        problems.append("hero and friend have the same name")
    people = (("hero", hero, "kind", _HERO_PRONOUNS), ("friend", friend, "fkind", _FRIEND_PRONOUNS))
    for who, names, kinds, slots in people:
        said = {word.lower() for slot in slots for word in facts.get(slot, set())}
        if names:
            problems += _gender(facts.get(kinds, set()), names, said, who)
    for slots, allowed in TOGETHER.items():
        words = [facts.get(slot, set()) for slot in slots]
        if all(len(word) == 1 for word in words):
            said_together = " ".join(min(word) for word in words)
            if said_together not in allowed.split("|"):
                problems.append(f"does not fit together: {said_together}")
    for lesson in facts.get("lesson", set()) - set(STORIES[kind][1].split("|")):
        problems.append(f"the lesson is not this story's: {lesson}")
    return problems


def check(text: str) -> list[str]:
    """What is wrong with a story, in words; empty if nothing is.

    Parameters
    ----------
    text: the whole story, from its first word to its last full stop.
    """
    problems: list[str] = []
    if not text.strip():
        return ["empty text"]
    for article, word in _ARTICLE.findall(text):
        if (article.lower() == "an") != (word[0].lower() in "aeiou"):
            problems.append(f"wrong article: {article} {word}")
    sentences = _SENTENCE_END.split(text)
    long_form = _read(sentences[0], "open") is not None
    if not long_form and _read(sentences[0], "briefly") is None:
        return [*problems, f"not an opening: {sentences[0]}"]
    kinds = [kind for kind in STORIES if long_form or kind not in LONG_ONLY]
    attempts = {kind: _follow(sentences, _steps(kind, long_form)) for kind in kinds}
    kind = max(kinds, key=lambda k: attempts[k][0])
    followed, facts = attempts[kind]
    steps = _steps(kind, long_form)
    if followed < len(sentences) and followed < len(steps):
        problems.append(f"expected step '{steps[followed]}' of '{kind}', found: {sentences[followed]}")
    elif followed < len(steps):
        problems.append(f"the story stops before step '{steps[followed]}' of '{kind}'")
    elif followed < len(sentences):
        problems.append(f"the story goes on after its end: {sentences[followed]}")
    return problems + _agreement(facts, kind)
