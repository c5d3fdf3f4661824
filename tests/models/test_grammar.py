"""The story generator: deterministic, of the promised size, and honest about its probabilities."""

from __future__ import annotations

import math
import random
import re

import pytest

from models.grammar import tell, tell_many
from models.plots import MORALS, PLOTS
from models.presets import PRESETS, Preset
from models.sampler import load_tokenizer
from models.teller import Teller
from models.vocabulary import FABLE, PROFILES, TALE, Profile


def test_same_seed_tells_the_same_story_and_leaves_the_global_generator_alone() -> None:
    before = random.getstate()
    assert tell(random.Random(5)) == tell(random.Random(5)) != tell(random.Random(6))
    assert random.getstate() == before


def test_every_plot_has_a_teller_and_a_lesson() -> None:
    assert set(PLOTS) == set(MORALS) == set(FABLE.plots) and set(TALE.plots) <= set(PLOTS)


def test_fables_use_several_hundred_words() -> None:
    words = {word for story in tell_many(3000, 1) for word in re.findall(r"[A-Za-z]+", story.text)}
    assert len(words) > 400


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_stories_hardly_ever_repeat(profile: Profile) -> None:
    assert len({story.text for story in tell_many(2000, 2, profile)}) >= 1999


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_equal_texts_have_equal_probabilities(profile: Profile) -> None:
    """A choice that does not show would make the entropy of the choices larger than that of the text."""
    small = Profile(name="tiny", long_form=profile.long_form, plots=profile.plots[:1], limit=2)
    found: dict[str, float] = {}
    for story in tell_many(4000, 3, small):
        assert math.isclose(found.setdefault(story.text, story.log_probability), story.log_probability)


def test_probabilities_of_a_small_grammar_match_how_often_texts_occur() -> None:
    """Two coins and a choice of three, told often: the recorded probability is the frequency."""
    rng = random.Random(4)
    counts: dict[tuple[bool, bool, str], int] = {}
    chances: dict[tuple[bool, bool, str], float] = {}
    for _ in range(20_000):
        teller = Teller(rng, FABLE)
        key = (teller.coin(0.4), teller.coin(0.5), teller.either("a", "b", "c"))
        counts[key] = counts.get(key, 0) + 1
        chances[key] = math.exp(teller.log_probability)
    assert math.isclose(sum(chances.values()), 1.0)
    assert all(abs(counts[key] / 20_000 - chance) < 0.01 for key, chance in chances.items())


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda p: p.name)
def test_stories_fit_in_the_context(preset: Preset) -> None:
    """From the token that begins one to the token that ends it."""
    tokenizer = load_tokenizer(preset.folder)
    lengths = [len(tokenizer.encode(story.text)) + 2 for story in tell_many(2000, 5, preset.profile)]
    assert max(lengths) <= preset.shape.context
    assert min(lengths) >= 60
