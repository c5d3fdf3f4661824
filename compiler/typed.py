"""Values from JSON that somebody else wrote, as the types that a dataclass declares; all else is refused in a line.

JSON knows no tuples, a number may be NaN or have a thousand digits, a member may be missing or one too many: a
dataclass takes all of that, and fails later, somewhere else.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, Final, TypeVar, cast

Made = TypeVar("Made")

LARGEST: Final = 1 << 64
"""No whole number from outside is further from zero: seeds have 64 bits."""
_SHOWN: Final = 60
"""Characters of a wrong value in a message."""


def shown(value: Any) -> str:
    """A value as a message may repeat it: short, and of printable characters."""
    text = "a number of many digits" if isinstance(value, int) and abs(value) > LARGEST else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def integer(value: Any, what: str, least: int = -LARGEST, most: int = LARGEST) -> int:
    """A whole number within bounds. Raises ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        bounds = f" from {least} to {most}" if (least, most) != (-LARGEST, LARGEST) else ""
        raise ValueError(f"{what} is {shown(value)}, expected a whole number{bounds}")
    return value


def integers(values: Any, what: str, least: int = -LARGEST, most: int = LARGEST) -> tuple[int, ...]:
    """A list of such. Raises ValueError."""
    if not isinstance(values, list | tuple):
        raise ValueError(f"{what} is {shown(values)}, expected a list of whole numbers")
    return tuple(integer(one, what, least, most) for one in cast("list[Any]", values))


def obj(value: Any, what: str) -> dict[str, Any]:
    """A JSON object. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {shown(value)}, expected an object")
    return cast("dict[str, Any]", value)


def of_type(value: Any, kind: Any, what: str) -> Any:
    """The value as an annotation has it: int, float (finite, or a whole number), bool, str, None, unions, tuples (from
    lists), mappings of texts. Raises ValueError."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is int:
        return integer(value, what)
    if kind is float:
        if isinstance(value, int) and not isinstance(value, bool):
            return integer(value, what)
        if isinstance(value, float) and math.isfinite(value):
            return value
    elif kind in (bool, str) and isinstance(value, kind):
        return value
    elif origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return of_type(value, next(one for one in arguments if one is not type(None)), what)
    elif origin is tuple and isinstance(value, list | tuple):
        items = cast("list[Any]", value)
        if arguments[1:] == (...,):
            return tuple(of_type(one, arguments[0], what) for one in items)
        if len(items) == len(arguments):
            return tuple(of_type(one, each, what) for one, each in zip(items, arguments, strict=True))
    elif origin in (dict, Mapping) and isinstance(value, dict):
        return {name: of_type(one, arguments[1], f"{what}: {shown(name)}")
                for name, one in cast("dict[str, Any]", value).items()}
    elif kind is Any:
        return value
    raise ValueError(f"{what} is {shown(value)}, expected {getattr(kind, '__name__', kind)}")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def members(kind: type[Any], content: Any, what: str) -> dict[str, Any]:
    """Arguments for a dataclass from a JSON object: all that it needs, none that it does not know, of the right types.

    Raises ValueError.
    """
    given, known = obj(content, what), {item.name: item for item in fields(kind)}
    for name in given:
        if name not in known:
            raise ValueError(f"{what} has a member {shown(name)}, which is unknown")
    for name, item in known.items():
        if name not in given and item.default is MISSING and item.default_factory is MISSING:
            raise ValueError(f"{what} has no {name}")
    return {name: of_type(value, _hints(kind)[name], f"{what}: {name}") for name, value in given.items()}


def made(kind: type[Made], content: Any, what: str) -> Made:
    """A dataclass from a JSON object. Raises ValueError."""
    return kind(**members(kind, content, what))
