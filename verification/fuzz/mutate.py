"""Damage: what is done to bytes and to JSON values. All choices come from a `random.Random`, so that a case repeats."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any, Final

CORNERS: Final = (0, 1, 2, 3, 7, 8, 9, 127, 128, 255, 256, 4095, 65535, 65536, (1 << 20) - 1, 1 << 20, (1 << 20) + 1,
                  (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 53, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
"""Whole numbers at which readers go wrong; their negatives too."""

HOSTILE_TEXTS: Final = (
    "", " ", "0", "-1", "1e999", "NaN", "null", "a\nb", "\r\x1b[2J\x1b]0;owned\x07", "[red]", "[/]", "[/bold]",
    "[link=x]", "\x00", "\x7f\x80\x9b", "\u202e\u2066", "\ud800", "\ufeff", "../../x", "/etc/passwd", "%s%n{0}{x.y}",
    "x" * 5000, "\u2581", "é" * 9)
"""Control characters, rich markup, paths, formats, half of a surrogate pair, one that is long."""

NESTED: Final = 60
"""Depth of lists in lists; far more in text, see `json_bytes`."""


def corner(rng: random.Random) -> int:
    """A whole number of `CORNERS`, a neighbour, or a negative."""
    value = rng.choice(CORNERS) + rng.choice((0, 0, 0, -1, 1))
    return -value if rng.random() < 0.3 else value


def other_value(rng: random.Random, value: Any) -> Any:
    """What takes a JSON value's place: another type, a corner, a neighbour, nonsense."""
    nested: Any = []
    for _ in range(NESTED):
        nested = [nested]
    choices: list[Callable[[], Any]] = [
        lambda: corner(rng), lambda: rng.choice(HOSTILE_TEXTS), lambda: None, lambda: rng.choice((True, False)),
        list, dict, lambda: [value], lambda: {"x": value}, lambda: str(value), lambda: float("nan"),
        lambda: rng.choice((float("inf"), -float("inf"), 1e308, 5e-324, -0.0, 0.5, 1e39)), lambda: nested,
        lambda: 10**rng.choice((30, 400, 4000)), lambda: [corner(rng)] * rng.randint(1, 9)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        near: list[Callable[[], Any]] = [
            lambda: value + 1, lambda: value - 1, lambda: -value, lambda: value * 2, lambda: float(min(value, 1 << 80)),
            lambda: corner(rng)]
        choices += near * 2
    if isinstance(value, str):
        choices += [lambda: value + rng.choice(HOSTILE_TEXTS), lambda: rng.choice(HOSTILE_TEXTS), value.upper,
                    lambda: value[:-1]] * 2
    if isinstance(value, list):
        choices += [lambda: value[:-1], lambda: value * 2, lambda: value[::-1], lambda: [*value, None]] * 2
    return rng.choice(choices)()


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where values are within a JSON value: paths of keys and indices. Of a long list some members only."""
    found = [at]
    if isinstance(value, dict):
        for key, one in value.items():
            found += places(one, (*at, key))
    elif isinstance(value, list):
        for index in range(min(len(value), 6)):
            found += places(value[index], (*at, index))
    return found


def damage_json(rng: random.Random, value: Any) -> Any:
    """A copy of a JSON object or list with one to three places damaged: replaced, taken out, renamed, moved."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        every = places(value)[1:]
        if not every:
            return other_value(rng, value)
        if rng.random() < 0.5:  # the top is small, and else seldom hit
            top = rng.choice(sorted({str(one[0]) for one in every}))
            every = [one for one in every if str(one[0]) == top]
        *path, last = rng.choice(every)
        holder = value
        for key in path:
            holder = holder[key]
        kind = rng.random()
        if kind < 0.1:
            del holder[last]
        elif kind < 0.16 and isinstance(holder, dict):
            holder[rng.choice(HOSTILE_TEXTS)] = holder.pop(last)
        elif kind < 0.22 and isinstance(holder, dict):
            holder[rng.choice((*HOSTILE_TEXTS, last + last))] = other_value(rng, holder[last])
        elif kind < 0.28:
            holder[last] = copy.deepcopy(rng.choice([_at(value, one) for one in places(value)]))
        else:
            holder[last] = other_value(rng, holder[last])
    return value


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def json_bytes(rng: random.Random, value: Any) -> bytes:
    """JSON as text, now and then with a key twice, or deeper than a parser likes."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.8)
    kind = rng.random()
    if kind < 0.02 and text.startswith("{") and len(text) > 2:
        text = text[:-1] + ", " + text[1:]  # every key twice
    elif kind < 0.03:
        text = text[:-1] + ", " * text.startswith(("{", "[")) + '"x": ' + "[" * 100_000
    elif kind < 0.04:
        text = text.replace("1", "1" * 5000, 1)
    return text.encode(errors="surrogatepass")


def damage_bytes(rng: random.Random, data: bytes, *, within: int | None = None) -> bytes:
    """A copy with bits flipped, numbers put to corners, parts cut, doubled, inserted.

    within: how many bytes at the start are damaged by preference (a header).
    """
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        size = min(len(made), within) if within and rng.random() < 0.7 else len(made)
        at = rng.randrange(size) if size else 0
        kind = rng.randrange(8)
        if not made or kind == 7:
            made[at:at] = rng.randbytes(rng.choice((1, 2, 8, 100)))
        elif kind <= 1:
            made[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del made[at:]
        elif kind <= 4:
            width = rng.choice((1, 2, 4, 4, 8))
            at -= at % width * (rng.random() < 0.7)
            made[at:at + width] = (corner(rng) & (1 << 8 * width) - 1).to_bytes(width, rng.choice(("little", "big")))
        elif kind == 5:
            del made[at:at + rng.choice((1, 4, 8, 64))]
        else:
            made[at:at] = made[at:at + rng.choice((1, 4, 8, 64))]
    return bytes(made)
