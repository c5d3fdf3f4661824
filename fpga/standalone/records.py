"""What the teller reads: a record for each token's text, and lines that open stories. One format for ROM and flash.

| record of a token | bytes |
|---|---|
| header | 1: bits 0-4 the text's length, bit 6 TRIM, bit 7 STOP |
| text | so many |

TRIM: a space at the start of the next token's text is not printed. STOP: generating this token ends the story.

| line | bytes |
|---|---|
| flags | 1: bit 0 CLASSIFY, bit 1 RESTART, both as in a STEP request; bit 7 LAST: the first line follows |
| token | 2, little-endian |
| left | 2, little-endian: tokens that may be generated |

A story's opening is a line for each of its tokens: the first has RESTART, the last CLASSIFY and its `left`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compiler.errors import InputError
from compiler.tokenizer import AnyTokenizer

LENGTH_BITS = 5
TRIM_BIT, STOP_BIT = 6, 7
CLASSIFY_BIT, RESTART_BIT, LAST_BIT = 0, 1, 7
LINE_BYTES = 5
RECORD_BYTES = 1 + (1 << LENGTH_BITS) - 1
"""Most bytes of a record; also of a slot in flash."""
NEWLINE = b"\r\n"
"""What a terminal needs for the start of a new line."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """Everything that is told beside what the model says.

    Members
    -------
    records : of each token, from token 0 on. lines : the openings, one after another.
    """

    records: tuple[bytes, ...]
    lines: tuple[bytes, ...]


def printed(text: bytes) -> bytes:
    """A text as it is sent to a terminal."""
    return text.replace(b"\n", NEWLINE)


def record(tokenizer: AnyTokenizer, token: int) -> bytes:
    """A token's record. The one that begins a text prints two new lines: stories are set apart.

    Raises InputError for too long a text.
    """
    text = 2 * NEWLINE if token == tokenizer.begin else printed(tokenizer.decode_bytes([token]))
    if len(text) >= RECORD_BYTES:
        raise InputError(f"token {token} prints {len(text)} bytes; a board's teller has room for {RECORD_BYTES - 1}")
    return bytes([len(text) | (token == tokenizer.begin) << TRIM_BIT | (token in tokenizer.stops) << STOP_BIT]) + text


def opening(tokens: Sequence[int], context: int) -> list[bytes]:
    """Lines of one opening, BEGIN included, none of them LAST."""
    left = context - len(tokens) + 1  # the last token is generated, but not run
    last = len(tokens) - 1
    return [
        bytes([(number == last) << CLASSIFY_BIT | (number == 0) << RESTART_BIT])
        + token.to_bytes(2, "little") + (left if number == last else 0).to_bytes(2, "little")
        for number, token in enumerate(tokens)]


def script(tokenizer: AnyTokenizer, openings: Sequence[Sequence[int]], context: int) -> Script:
    """Records of a whole vocabulary, and the openings in turn.

    Raises InputError for an opening that is empty, or leaves no room in the context.
    """
    for tokens in openings:
        if not tokens or len(tokens) > context:
            raise InputError(f"an opening has {len(tokens)} tokens; it must have 1 to {context}")
    lines = [line for tokens in openings for line in opening(tokens, context)]
    if not lines:
        raise InputError("there is no opening to tell a story from")
    lines[-1] = bytes([lines[-1][0] | 1 << LAST_BIT]) + lines[-1][1:]
    return Script(records=tuple(record(tokenizer, token) for token in range(len(tokenizer))), lines=tuple(lines))
