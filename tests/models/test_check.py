"""The checker accepts what the grammar tells and rejects stories that were damaged on purpose."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from models.check import check
from models.grammar import tell_many
from models.vocabulary import FABLE, PROFILES, Profile

SEED = 20
STORIES = 200
SENTENCE_END = re.compile(r'(?<=[.!?]) (?=["A-Z])')
NAMES = ("Lily", "Mia", "Anna", "Rose", "Ella", "Nora", "Tom", "Ben", "Max", "Sam", "Jack", "Leo")
FLIP = {"he": "she", "she": "he", "He": "She", "She": "He", "him": "her", "her": "him", "his": "her", "His": "Her",
        "Her": "His"}
CLASSES = (
    ("truck", "wagon", "train", "bike", "kite", "horse", "dragon", "boat", "ship", "doll", "robot", "puppet"),
    ("cake", "pie", "sandwich", "melon", "cookie", "pizza", "muffin", "bun"),
    ("scarf", "hat", "coat", "blanket", "sweater", "cape"),
    ("swim", "climb", "sing", "skate", "run"),
    ("berries", "flowers", "nuts", "apples", "mushrooms", "plums"),
    ("kitchen", "attic", "closet", "shed", "hall", "stable"),
    ("milk", "eggs", "honey", "flour", "carrots"),
)
COLOURS = ("red", "blue", "green", "yellow", "pink", "white", "brown", "purple")
TOOLS = ("net", "canoe", "rope", "hook", "ladder", "pole", "lamp", "candle")
UNFIT = {"net": "rope", "canoe": "rope", "rope": "pole", "hook": "pole", "ladder": "net", "pole": "net", "lamp": "net",
         "candle": "net"}
GOOD_FEELINGS = ("happy", "glad", "cheerful", "joyful", "full of joy")

# A corruption gives a damaged text, or None where a story has nothing of the kind to damage.
Corruption = Callable[[str, random.Random], str | None]


def replace_one(text: str, words: tuple[str, ...], rng: random.Random, new: Callable[[str], str]) -> str | None:
    """Replace one occurrence of one of the words."""
    found = list(re.finditer(rf"\b({'|'.join(words)})\b", text))
    if not found:
        return None
    at = rng.choice(found)
    return text[:at.start()] + new(at.group()) + text[at.end():]


def other(words: tuple[str, ...], rng: random.Random) -> Callable[[str], str]:
    return lambda word: rng.choice([w for w in words if w != word])


def sentences(text: str) -> list[str]:
    return SENTENCE_END.split(text)


def swapped_name(text: str, rng: random.Random) -> str | None:
    """One mention of a person gets somebody else's name."""
    return replace_one(text, NAMES, rng, other(NAMES, rng))


def exchanged_name(text: str, rng: random.Random) -> str | None:
    """One mention of a person gets the name of the other person of the story."""
    people = tuple(dict.fromkeys(re.findall(r"^[A-Z][a-z]+(?= was a)|(?<=named )[A-Z][a-z]+", text)))
    return replace_one(text, people, rng, other(people, rng)) if len(people) == 2 else None


def same_name(text: str, rng: random.Random) -> str | None:
    """Friend and hero have one name everywhere."""
    people = tuple(dict.fromkeys(re.findall(r"\bnamed ([A-Z][a-z]+)", text)))
    return text.replace(people[0], people[1]) if len(people) == 2 else None


def wrong_pronoun(text: str, rng: random.Random) -> str | None:
    return replace_one(text, tuple(FLIP), rng, FLIP.__getitem__)


def changed_object(text: str, rng: random.Random) -> str | None:
    for words in CLASSES:
        result = replace_one(text, words, rng, other(words, rng))
        if result:
            return result
    return None


def changed_colour(text: str, rng: random.Random) -> str | None:
    return replace_one(text, COLOURS, rng, other(COLOURS, rng))


def unfit_tool(text: str, rng: random.Random) -> str | None:
    """Another tool everywhere, one that cannot do it."""
    tool = next((t for t in TOOLS if re.search(rf"(?:a|the) {t}\b", text)), None)
    return re.sub(rf"\b{tool}\b", UNFIT[tool], text) if tool and "noise" not in text else None


def wrong_feeling(text: str, rng: random.Random) -> str | None:
    return replace_one(text, GOOD_FEELINGS, rng, lambda _: rng.choice(("sad", "angry", "scared")))


def wrong_article(text: str, rng: random.Random) -> str | None:
    return replace_one(text, (" an? (?=[a-z])",), rng, lambda word: " an " if word == " a " else " a ")


def dropped_sentence(text: str, rng: random.Random) -> str | None:
    parts = sentences(text)
    del parts[rng.randrange(len(parts))]
    return " ".join(parts)


def doubled_sentence(text: str, rng: random.Random) -> str | None:
    parts = sentences(text)
    at = rng.randrange(len(parts))
    return " ".join(parts[:at + 1] + parts[at:])


def exchanged_sentences(text: str, rng: random.Random) -> str | None:
    parts = sentences(text)
    a, b = rng.sample(range(len(parts)), 2)
    parts[a], parts[b] = parts[b], parts[a]
    return " ".join(parts)


def truncated(text: str, rng: random.Random) -> str | None:
    return text[:rng.randrange(len(text))]


def shuffled_words(text: str, rng: random.Random) -> str | None:
    parts = sentences(text)
    at = rng.randrange(len(parts))
    words = parts[at].split(" ")
    rng.shuffle(words)
    result = " ".join([*parts[:at], " ".join(words), *parts[at + 1:]])
    return result if result != text else None


def dropped_word(text: str, rng: random.Random) -> str | None:
    words = text.split(" ")
    del words[rng.randrange(len(words))]
    return " ".join(words)


def misspelt(text: str, rng: random.Random) -> str | None:
    at = rng.choice([i for i, c in enumerate(text) if c.isalpha()])
    return text[:at] + text[at] + text[at:]


def second_ending(text: str, rng: random.Random) -> str | None:
    """The end of another story follows."""
    return text + " " + sentences(tell_many(1, rng.randrange(10**6))[0].text)[-1]


CORRUPTIONS: tuple[Corruption, ...] = (
    swapped_name, exchanged_name, same_name, wrong_pronoun, changed_object, changed_colour, unfit_tool, wrong_feeling,
    wrong_article, dropped_sentence, doubled_sentence, exchanged_sentences, truncated, shuffled_words, dropped_word,
    misspelt, second_ending)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_accepts_what_the_grammar_tells(profile: Profile) -> None:
    print(f"seed {SEED}")
    rejected = [(story.text, check(story.text)) for story in tell_many(1000, SEED, profile) if check(story.text)]
    assert not rejected, rejected[:3]


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_rejects_every_damaged_story(profile: Profile, corrupt: Corruption) -> None:
    print(f"seed {SEED + 1}")
    rng = random.Random(SEED + 1)
    damaged = [corrupt(story.text, rng) for story in tell_many(STORIES, SEED + 1, profile)]
    texts = [text for text in damaged if text]
    if profile is FABLE:
        assert len(texts) >= STORIES // 20, "the corruption hardly ever applies"
    missed = [text for text in texts if not check(text)]
    assert not missed, f"{len(missed)} of {len(texts)} slipped through, such as: {missed[0]}"


@pytest.mark.parametrize("text", ["", " ", "The end.", "Once upon a time", "Lily", "\n", "\x00\xff", '"', "{H}"])
def test_rejects_what_is_no_story(text: str) -> None:
    assert check(text)


def test_checker_shares_nothing_with_the_generator() -> None:
    import models.check
    import models.check_shapes
    for module in (models.check, models.check_shapes):
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        imported = re.findall(r"^\s*(?:from|import) (models[\w.]*)", source, re.MULTILINE)
        assert set(imported) <= {"models.check_shapes"}
