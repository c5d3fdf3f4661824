"""The words stories are made of, and which of them belong together.

Three profiles share one grammar: ``FABLE`` (long form, all plots, all words) trains fables260k, ``TALE`` (short form,
fewer plots and words) trains fables80k, ``SKETCH`` (fewer still) trains fables43k. Pairs that belong together (a pond
and a net, a truck and its wheel) are tables, so that a story can be wrong about them and the checker can notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

GIRLS: Final = ("Lily", "Mia", "Anna", "Rose", "Ella", "Nora", "Zoe", "Daisy")
BOYS: Final = ("Tom", "Ben", "Max", "Sam", "Jack", "Leo", "Finn", "Oscar")
ANIMALS: Final = ("fox", "cat", "dog", "bear", "rabbit", "duck", "mouse", "frog", "owl", "pig", "goat", "hen",
                  "sheep", "pony")
TRAITS: Final = ("little", "brave", "kind", "clever", "shy", "funny", "gentle", "quiet", "young", "merry", "curious",
                 "busy")
COLOURS: Final = ("red", "blue", "green", "yellow", "pink", "white", "brown", "purple")

HOME_LOOKS: Final = ("small", "cozy", "tall", "tidy", "crooked")
BUILDINGS: Final = ("house", "hut", "cottage", "barn", "tower", "mill")
SITES: Final = ("by the sea", "on a hill", "near the woods", "by the river", "in the valley", "at the end of the road")

WEATHERS: Final = ("sunny", "windy", "warm", "cloudy", "bright", "foggy")
TIMES: Final = ("day", "morning", "afternoon", "evening")
PLACES: Final = ("park", "beach", "garden", "farm", "forest", "market", "meadow", "school", "village")
ENDS_OF_PLAY: Final = ("dark", "dinner", "bedtime", "sunset")

# Toy and the part of it that can break.
TOY_PARTS: Final = {
    "truck": "wheel", "wagon": "wheel", "train": "wheel", "bike": "wheel",
    "kite": "tail", "horse": "tail", "dragon": "tail",
    "boat": "sail", "ship": "sail",
    "doll": "arm", "robot": "arm", "puppet": "arm",
}
MENDERS: Final = ("glue", "tape", "string", "wire")

# Where a toy ends up: (how it gets there, where it then is, tools that bring it back).
SPOTS: Final = {
    "pond": ("fell into", "in", ("net", "canoe")),
    "lake": ("fell into", "in", ("net", "canoe")),
    "well": ("fell into", "in", ("rope", "hook")),
    "hole": ("fell into", "in", ("rope", "hook")),
    "tree": ("flew into", "in", ("ladder", "pole")),
    "roof": ("flew onto", "on", ("ladder", "pole")),
    "cave": ("rolled into", "in", ("lamp", "candle")),
    "cellar": ("rolled into", "in", ("lamp", "candle")),
}

SAD: Final = ("sad", "upset", "unhappy", "gloomy")
AFRAID: Final = ("scared", "afraid", "worried", "nervous")
ANGRY: Final = ("angry", "cross", "mad")
GLAD: Final = ("happy", "glad", "cheerful", "joyful", "full of joy")

TASTES: Final = ("sweet", "warm", "big", "fresh", "tasty")
FOODS: Final = ("cake", "pie", "sandwich", "melon", "cookie", "pizza", "muffin", "bun")
SEATS: Final = ("under a tree", "on a bench", "on the grass", "by the water", "on a log")

CLOTHES: Final = ("scarf", "hat", "coat", "blanket", "sweater", "cape")
GIFTS: Final = ("book", "shell", "flower", "bell", "drum", "ring", "basket", "feather")

NOISES: Final = ("loud", "strange", "soft", "funny", "deep")
ROOMS: Final = ("kitchen", "attic", "closet", "shed", "hall", "stable")
LIGHTS: Final = ("lamp", "candle", "lantern")
# Who made the noise, and with what.
NOISY: Final = {"squirrel": "nut", "puppy": "bone", "kitten": "ball", "bird": "seed", "crab": "shell", "monkey": "drum"}

# Skill: (where it is practised, what a master of it is like).
SKILLS: Final = {
    "swim": ("lake", "a fish"), "dive": ("lake", "a fish"), "climb": ("hill", "a monkey"), "jump": ("hill", "a frog"),
    "sing": ("school", "a bird"), "dance": ("school", "a star"), "skate": ("pond", "a swan"),
    "run": ("field", "the wind"),
}
NUMBERS: Final = ("two", "three", "four", "five", "ten")

HARVEST: Final = ("berries", "flowers", "nuts", "apples", "mushrooms", "plums")
WILDS: Final = ("forest", "woods", "hills", "valley", "jungle")
ROUTES: Final = ("over the bridge", "past the well", "along the path", "across the field", "around the pond")

# What a dish lacks, and who gives it.
GIVERS: Final = {"cow": "milk", "hen": "eggs", "bee": "honey", "miller": "flour", "gardener": "carrots"}
DISHES: Final = ("soup", "cake", "pie", "stew", "bread", "pudding")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a model is to learn: how many words of each list, which plots, long or short form.

    Parameters
    ----------
    name: the card's word for this kind of story.
    long_form: tell home, dialogue and moral as well; the opening sentence says which form it is.
    plots: names of plots in ``models.plots``.
    limit: every list of words is cut to this many, or left whole when None.
    """

    name: str
    long_form: bool
    plots: tuple[str, ...]
    limit: int | None

    def words(self, table: tuple[str, ...]) -> tuple[str, ...]:
        """The part of a word list that this profile uses."""
        return table if self.limit is None else table[:self.limit]

    def keys(self, table: Mapping[str, object]) -> tuple[str, ...]:
        """The same for tables of words that belong together."""
        return self.words(tuple(table))


FABLE: Final = Profile(
    name="fable", long_form=True, limit=None,
    plots=("lost", "broken", "share", "cold", "noise", "skill", "astray", "quarrel", "dish"))
TALE: Final = Profile(name="tale", long_form=False, limit=6, plots=("lost", "broken", "share", "cold", "skill"))
SKETCH: Final = Profile(name="sketch", long_form=False, limit=4, plots=("lost", "broken", "share", "cold"))
PROFILES: Final = {profile.name: profile for profile in (FABLE, TALE, SKETCH)}
