"""The one exception that means: what you gave me is wrong."""

from typing import Final

LONGEST: Final = 1000
"""Characters of a message; the middle of a longer one is left out."""


class InputError(Exception):
    """Bad input from outside: a file, an argument, a model that does not fit.

    The message is one line that says what is wrong, where, and what would be right. The `lpu` command prints it and
    exits with code 2. A mistake of our own is any other exception.

    Messages repeat names from files, which may hold control characters for a terminal, or megabytes: as text, the
    message has neither.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    """A text as one printable line of bounded length."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST // 2]} ... {text[-LONGEST // 4:]}"
    text = " ".join(text.split())
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
