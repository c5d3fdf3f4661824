"""The nine plots: each tells the middle of a story, from what the hero has or wants to the way it ends well.

A plot is a function of the teller, hero and friend that returns its sentences in order and never leaves one out:
variety is in the wording, so a story with a missing sentence is always a wrong story. ``long`` guards the sentences
that only the long form has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from models import vocabulary as v
from models.teller import Person, Teller, article, capital

Plot = Callable[[Teller, Person, Person], list[str]]


def _feels_bad(t: Teller, h: Person, feelings: tuple[str, ...]) -> str:
    feeling = t.word(feelings)
    return t.either(f"{h.name} was very {feeling}.", f"{h.name} felt {feeling} and began to cry.")


def _feels_good(t: Teller, p: Person) -> str:
    feeling = t.word(v.GLAD)
    return t.either(f"{p.name} was {feeling} again.", f"Now {p.name} was {feeling}.")


def _arrives(t: Teller, h: Person, f: Person) -> str:
    return t.either(f"Then {article(f.trait)} {f.kind} named {f.name} came by.",
                    f"{capital(article(f.trait))} {f.kind} named {f.name} saw {h.him} and came over.")


def _met(t: Teller, h: Person, f: Person) -> str:
    return t.either(f"There {h.he} met {article(f.trait)} {f.kind} named {f.name}.",
                    f"On the way {h.he} saw {article(f.trait)} {f.kind} named {f.name}.")


def _has_friend(h: Person, f: Person) -> str:
    return f"{h.His} best friend was {article(f.trait)} {f.kind} named {f.name}."


def _asks(t: Teller, f: Person) -> str:
    return t.either(f'"What is wrong?" asked {f.name}.', f'"Can I help you?" asked {f.name}.')


def _thanks(t: Teller, receiver: Person, giver: Person) -> str:
    return t.either(f'"Thank you, {giver.name}!" said {receiver.name}.',
                    f'"You are so kind, {giver.name}!" said {receiver.name}.')


def _when(t: Teller) -> str:
    return f"One {t.word(v.WEATHERS)} {t.word(v.TIMES)}"


def _treasure_and_outing(t: Teller, h: Person) -> tuple[str, str, list[str]]:
    """A toy, its colour, and the two sentences that bring it into danger."""
    colour, toy = t.word(v.COLOURS), t.either(*t.profile.keys(v.TOY_PARTS))
    have = t.either(f"{h.He} had a {colour} {toy} and loved it very much.", f"{h.His} best toy was a {colour} {toy}.")
    when, place = _when(t), t.word(v.PLACES)
    go = t.either(f"{when}, {h.name} took the {toy} to the {place}.",
                  f"{when}, {h.he} went to the {place} with the {toy}.")
    return colour, toy, [have, go]


def _play(t: Teller, h: Person, f: Person, toy: str) -> str:
    until = t.word(v.ENDS_OF_PLAY)
    return t.either(f"{h.name} and {f.name} played with the {toy} until {until}.",
                    f"Then they played with the {toy} until {until}.")


def lost(t: Teller, h: Person, f: Person) -> list[str]:
    """The toy ends up where only the right tool reaches it."""
    long = t.profile.long_form
    colour, toy, story = _treasure_and_outing(t, h)
    spot = t.either(*t.profile.keys(v.SPOTS))
    landed, where, tools = v.SPOTS[spot]
    story.append(t.either(f"But then the {toy} {landed} the {spot}.", f"All at once the {toy} {landed} the {spot}."))
    story += [_feels_bad(t, h, v.SAD), _arrives(t, h, f)]
    if long:
        story += [_asks(t, f), f'"My {toy} is {where} the {spot}," said {h.name}.']
    tool = t.word(tools)
    story += [
        t.either(f"{f.name} ran home to get a {tool}.", f"Luckily, {f.name} had a {tool}."),
        t.either(f"{f.He} used the {tool} to get the {colour} {toy} back.",
                 f"With the {tool}, {f.he} got the {colour} {toy} back."),
        _feels_good(t, h)]
    if long:
        story += [_thanks(t, h, f), _play(t, h, f, toy)]
    return story


def broken(t: Teller, h: Person, f: Person) -> list[str]:
    """A part of the toy breaks and the friend mends it."""
    long = t.profile.long_form
    colour, toy, story = _treasure_and_outing(t, h)
    part = v.TOY_PARTS[toy]
    story.append(t.either(f"But {h.he} fell down and the {part} of the {toy} broke.",
                          f"But the {toy} hit a rock and its {part} came off."))
    story += [_feels_bad(t, h, v.SAD), _arrives(t, h, f)]
    if long:
        story += [_asks(t, f), f'"I need a new {part} for my {toy}," said {h.name}.']
    mender = t.word(v.MENDERS)
    story += [
        t.either(f"{f.name} ran home to get some {mender}.", f"Luckily, {f.name} had some {mender}."),
        t.either(f"{f.He} used the {mender} to fix the {part} of the {colour} {toy}.",
                 f"With the {mender}, {f.he} put the {part} back on the {colour} {toy}."),
        _feels_good(t, h)]
    if long:
        story += [_thanks(t, h, f), _play(t, h, f, toy)]
    return story


def share(t: Teller, h: Person, f: Person) -> list[str]:
    """The hero has food, the friend has none."""
    long = t.profile.long_form
    taste, food, place = t.word(v.TASTES), t.word(v.FOODS), t.word(v.PLACES)
    when = _when(t)
    story = [
        t.either(f"{when}, {h.name} made a {taste} {food}.", f"{when}, {h.he} got a {taste} {food} from Mom."),
        f"{h.He} took the {food} to the {place}.",
        _met(t, h, f)]
    feeling = t.word(v.SAD)
    story.append(f"{f.name} had no food and was very {feeling}.")
    if long:
        story += [_asks(t, h),
                  t.either(f'"I am so hungry," said {f.name}.', f'"I have no lunch," said {f.name}.')]
    seat = t.word(v.SEATS)
    story += [
        t.either(f"So {h.name} gave {f.name} half of the {taste} {food}.",
                 f"So {h.name} cut the {taste} {food} in two for {f.name}."),
        f"They sat {seat} and ate the {food}.",
        _feels_good(t, f)]
    if long:
        story.append(_thanks(t, f, h))
    return story


def cold(t: Teller, h: Person, f: Person) -> list[str]:
    """The hero gives something warm away and gets something back."""
    long = t.profile.long_form
    colour, cloth, place = t.word(v.COLOURS), t.word(v.CLOTHES), t.word(v.PLACES)
    time = t.word(v.TIMES)
    story = [
        t.either(f"{h.He} had a {colour} {cloth} that kept {h.him} warm.",
                 f"Mom gave {h.him} a {colour} {cloth} for the snow."),
        t.either(f"One cold {time}, {h.name} took the {cloth} and went to the {place}.",
                 f"One snowy {time}, {h.he} went to the {place} with the {cloth}."),
        _met(t, h, f),
        t.either(f"{f.name} was cold and wet.", f"{f.name} shook in the snow.")]
    if long:
        story += [t.either(f'"Are you cold?" asked {h.name}.', f'"You look so cold," said {h.name}.'),
                  f'"Yes, I lost my {cloth}," said {f.name}.']
    gift = t.word(v.GIFTS)
    story += [
        t.either(f"So {h.name} gave the {colour} {cloth} to {f.name}.",
                 f"So {h.name} put the {colour} {cloth} on {f.name}."),
        f"Soon {f.name} was warm again."]
    if long:
        story.append(_thanks(t, f, h))
    story += [f"The next day {f.name} gave {h.him} a {gift}.",
              t.either(f"{h.name} loved the {gift}.", f"{h.name} put the {gift} by {h.his} bed.")]
    return story


def noise(t: Teller, h: Person, f: Person) -> list[str]:
    """A noise in the dark that turns out to be harmless."""
    sound, room, light = t.word(v.NOISES), t.word(v.ROOMS), t.word(v.LIGHTS)
    source = t.either(*v.NOISY)
    return [
        t.either(f"One dark night, {h.name} heard a {sound} noise in the {room}.",
                 f"Late at night, a {sound} noise came from the {room}."),
        _feels_bad(t, h, v.AFRAID),
        _has_friend(h, f),
        t.either(f"{h.name} ran to find {f.name}.", f"{h.name} called {f.name} for help."),
        t.either(f'"There is a {sound} noise in the {room}," said {h.name}.',
                 f'"I hear a {sound} noise in the {room}," said {h.name}.'),
        t.either(f'"Let us go and look," said {f.name}.', f'"I will go with you," said {f.name}.'),
        t.either(f"They took a {light} and went to the {room}.", f"{f.name} took a {light} into the {room}."),
        t.either(f"In the light of the {light} they saw a {source} with a {v.NOISY[source]}.",
                 f"The {light} showed a {source} with a {v.NOISY[source]}."),
        t.either(f"The {source} only wanted to play.", f"The {source} was only hungry."),
        _feels_good(t, h)]


def skill(t: Teller, h: Person, f: Person) -> list[str]:
    """Something the hero cannot do yet."""
    long = t.profile.long_form
    what = t.either(*t.profile.keys(v.SKILLS))
    place, master = v.SKILLS[what]
    when = _when(t)
    story = [
        t.either(f"{h.He} wanted to learn to {what}.", f"More than anything, {h.he} wanted to {what}."),
        t.either(f"{when}, {h.name} went to the {place} to {what}.", f"{when}, {h.he} tried to {what} at the {place}."),
        t.either(f"But {h.he} could not {what} at all.", f"But it was too hard to {what}."),
        _feels_bad(t, h, v.SAD),
        _arrives(t, h, f)]
    if long:
        story += [_asks(t, f), f'"I can not {what}," said {h.name}.']
    days = t.word(v.NUMBERS)
    story += [
        t.either(f"{f.name} showed {h.him} how to {what}.", f"{f.name} helped {h.him} to {what}."),
        f"They tried for {days} days.",
        t.either(f"After {days} days {h.name} could {what} like {master}.",
                 f"At last {h.name} could {what} like {master}."),
        _feels_good(t, h)]
    if long:
        story.append(_thanks(t, h, f))
    return story


def astray(t: Teller, h: Person, f: Person) -> list[str]:
    """The hero loses the way; the friend knows it."""
    harvest, wilds, route = t.word(v.HARVEST), t.word(v.WILDS), t.word(v.ROUTES)
    when = _when(t)
    return [
        t.either(f"{when}, {h.name} went to the {wilds} to look for {harvest}.",
                 f"{when}, {h.he} went to pick {harvest} in the {wilds}."),
        t.either(f"Soon {h.he} had a bag full of {harvest}.", f"{h.He} found many {harvest}."),
        t.either(f"But {h.he} could not find the way home.", f"But {h.he} was lost."),
        _feels_bad(t, h, v.AFRAID),
        _arrives(t, h, f),
        _asks(t, f),
        t.either(f'"I am lost," said {h.name}.', f'"I want to go home," said {h.name}.'),
        t.either(f"{f.name} knew the way and led {h.him} {route}.", f"{f.name} took {h.him} {route}."),
        t.either(f"Soon {h.he} was home.", "At last they came to the house."),
        _feels_good(t, h),
        _thanks(t, h, f),
        t.either(f"{h.name} gave {f.name} some of the {harvest}.", f"{h.name} and {f.name} ate the {harvest}.")]


def quarrel(t: Teller, h: Person, f: Person) -> list[str]:
    """The friend takes the toy, and is sorry."""
    colour, toy, story = _treasure_and_outing(t, h)
    return [
        *story,
        _met(t, h, f),
        t.either(f"{f.name} took the {toy} and ran away.", f"{f.name} grabbed the {toy} and hid it."),
        _feels_bad(t, h, v.ANGRY),
        t.either(f'"Give me my {toy}!" said {h.name}.', f'"That is my {toy}!" said {h.name}.'),
        t.either(f'"I am sorry," said {f.name}.', f'"I was wrong," said {f.name}.'),
        t.either(f"{f.name} gave the {colour} {toy} back.", f"{f.name} came back with the {colour} {toy}."),
        f'"We can share the {toy}," said {h.name}.',
        _feels_good(t, f),
        _play(t, h, f, toy)]


def dish(t: Teller, h: Person, f: Person) -> list[str]:
    """A meal for the friend, and something is missing."""
    meal, giver = t.word(v.DISHES), t.either(*v.GIVERS)
    need = v.GIVERS[giver]
    when = _when(t)
    return [
        _has_friend(h, f),
        t.either(f"{when}, {h.name} wanted to make {meal} for {f.name}.",
                 f"{when}, {h.he} asked {f.name} to come and eat {meal}."),
        t.either(f"But there was no {need} for the {meal}.", f"But {h.he} had no {need} for the {meal}."),
        _feels_bad(t, h, v.SAD),
        t.either(f"So {h.he} went to see the {giver}.", f"So {h.he} asked the {giver} for help."),
        t.either(f'"I need some {need}," said {h.name}.', f'"Do you have any {need}?" asked {h.name}.'),
        t.either(f"The {giver} gave {h.him} the {need}.", f"The {giver} had a lot of {need} and gave {h.him} some."),
        t.either(f"{h.name} ran home and made the {meal} with the {need}.",
                 f"{h.name} put the {need} in the {meal}."),
        t.either(f"{f.name} came and ate the {meal}.", f"{f.name} loved the {meal}."),
        _thanks(t, f, h),
        _feels_good(t, h)]


PLOTS: Final[dict[str, Plot]] = {
    "lost": lost, "broken": broken, "share": share, "cold": cold, "noise": noise, "skill": skill, "astray": astray,
    "quarrel": quarrel, "dish": dish}

MORALS: Final[dict[str, tuple[str, str]]] = {
    "lost": ("it is good to ask for help", "friends help each other"),
    "broken": ("broken things can be fixed", "friends help each other"),
    "share": ("it is good to share", "food tastes better with a friend"),
    "cold": ("kind hearts keep us warm", "it is good to give"),
    "noise": ("it is good to be brave", "the dark is not so bad"),
    "skill": ("we must never give up", "practice makes us better"),
    "astray": ("it is good to ask for help", "it is wise to stay on the path"),
    "quarrel": ("it is good to share", "it is good to forgive"),
    "dish": ("it is good to ask for help", "a meal is better with a friend"),
}
