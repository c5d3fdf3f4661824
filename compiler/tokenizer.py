"""Tokenizers: text to token ids and back. What all have in common, and llama2.c's, exactly as llama2.c does both.

Layout of llama2.c's file: int32 length of the longest piece; for each token float32 score, int32 length, bytes. Token
1 begins a sequence, token 2 ends it.
"""

from __future__ import annotations

import math
import re
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from compiler.errors import InputError
from compiler.importers.files import read_file

BEGIN: Final = 1
END: Final = 2
_SPECIALS: Final = 3  # unknown, begin, end: no text ever encodes to these
_BYTE_PIECE: Final = re.compile(rb"<0x([0-9A-F]{2})>")
_ENTRY: Final = struct.Struct("<fi")
_LONGEST_PIECE: Final = 4096


class AnyTokenizer(ABC):
    """What the rest of the system knows of a tokenizer.

    Parameters
    ----------
    raw: bytes that each token prints.
    begin: token that a sequence begins with when nothing is given.
    prefix: tokens before a given text: `begin`, or none.
    stops: tokens after which a text is over.
    silent: tokens that print nothing.
    trims: the space that the first token after `begin` starts with is not printed.
    """

    def __init__(self, raw: Sequence[bytes], *, begin: int, prefix: tuple[int, ...], stops: frozenset[int],
                 silent: frozenset[int], trims: bool) -> None:
        self._raw = tuple(raw)
        self.begin, self.prefix, self.stops, self.silent, self._trims = begin, prefix, stops, silent, trims

    def __len__(self) -> int:
        return len(self._raw)

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without those that begin and end a sequence."""

    @abstractmethod
    def file(self) -> bytes:
        """The tokenizer as bytes from which `parse_tokenizer` makes it again."""

    def piece(self, token: int, *, after: int | None = None) -> bytes:
        """What a token prints that follows the token `after`."""
        if not 0 <= token < len(self._raw):
            raise InputError(f"token {token} is not in the vocabulary, which has tokens 0 to {len(self._raw) - 1}")
        raw = self._raw[token]
        return raw[1:] if self._trims and after == self.begin and raw.startswith(b" ") else raw

    def decode_bytes(self, tokens: Iterable[int]) -> bytes:
        """The bytes of a sequence; silent tokens print nothing, and `begin` may take the space off what follows."""
        stream = Decoder(self, after=None)
        return b"".join(stream.raw(token) for token in tokens)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of a sequence; bytes that are no UTF-8 appear as replacement characters."""
        return self.decode_bytes(tokens).decode(errors="replace")


class Tokenizer(AnyTokenizer):
    """llama2.c's: pieces and merge scores.

    Parameters
    ----------
    pieces: bytes of every token, the three special ones included.
    scores: merge priority of every token, higher first.
    """

    def __init__(self, pieces: Sequence[bytes], scores: Sequence[float]) -> None:
        self.pieces = tuple(pieces)
        self.scores = tuple(scores)
        self._ids: dict[bytes, int] = {}
        self._bytes: dict[int, int] = {}  # byte -> token, where the vocabulary has <0xHH> pieces
        raw = list(self.pieces)
        for token, piece in enumerate(self.pieces):
            if token < _SPECIALS:
                continue
            if match := _BYTE_PIECE.fullmatch(piece):
                value = int(match[1], 16)
                self._bytes.setdefault(value, token)
                raw[token] = bytes([value])
            else:
                self._ids.setdefault(piece, token)
        special = frozenset({BEGIN, END})
        super().__init__(raw, begin=BEGIN, prefix=(BEGIN,), stops=special, silent=special, trims=True)

    def _characters(self, text: str) -> list[int]:
        """One token for each character, or one for each of its bytes where the character has none."""
        tokens: list[int] = []
        for character in text:
            raw = character.encode(errors="surrogatepass")
            token = self._ids.get(raw)
            if token is not None:
                tokens.append(token)
                continue
            try:
                tokens += [self._bytes[byte] for byte in raw]
            except KeyError:
                raise InputError(
                    f"the character {character!r} (U+{ord(character):04X}) is not in this model's vocabulary "
                    "and it has no byte tokens; leave it out"
                ) from None
        return tokens

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without BEGIN and END.

        A space is put before the text; then the adjacent pair whose joined piece has the highest score is merged, the
        leftmost of equals, until no pair joins.
        """
        if not text:
            return []
        # llama2.c adds the space only where the vocabulary has one.
        tokens = ([self._ids[b" "]] if b" " in self._ids else []) + self._characters(text)
        joined = [self._joined(a, b) for a, b in pairwise(tokens)]
        while joined:
            score, at = max((entry[0], -i) for i, entry in enumerate(joined))
            if score == -math.inf:
                break
            at = -at
            tokens[at : at + 2] = [joined[at][1]]
            joined[max(at - 1, 0) : at + 2] = [
                self._joined(tokens[i], tokens[i + 1]) for i in (at - 1, at) if 0 <= i < len(tokens) - 1
            ]
        return tokens

    def _joined(self, a: int, b: int) -> tuple[float, int]:
        token = self._ids.get(self.pieces[a] + self.pieces[b])
        return (-math.inf, -1) if token is None else (self.scores[token], token)

    def file(self) -> bytes:
        longest = max(len(piece) for piece in self.pieces)
        entries = zip(self.scores, self.pieces, strict=True)
        return struct.pack("<i", longest) + b"".join(_ENTRY.pack(score, len(piece)) + piece for score, piece in entries)


class Decoder:
    """Text of tokens as they come.

    A character may come in several tokens (byte tokens), so `push` keeps back the bytes of an unfinished one.

    Parameters
    ----------
    tokenizer: whose tokens they are.
    after: the token before the first one; `begin` for the start of a story.
    """

    def __init__(self, tokenizer: AnyTokenizer, *, after: int | None = BEGIN) -> None:
        self._tokenizer = tokenizer
        self._after = after
        self._pending = b""

    def raw(self, token: int) -> bytes:
        """Bytes that one more token prints."""
        printed = self._tokenizer.piece(token, after=self._after)
        self._after = token
        return b"" if token in self._tokenizer.silent else printed

    def push(self, token: int) -> str:
        """Text that is complete with one more token."""
        self._pending += self.raw(token)
        cut = len(self._pending)
        # A UTF-8 character has at most four bytes: an unfinished one starts within the last three.
        for back in range(1, min(3, cut) + 1):
            lead = self._pending[-back]
            if lead >= 0xC0:
                width = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
                cut -= back if back < width else 0
                break
            if lead < 0x80:
                break
        text, self._pending = self._pending[:cut].decode(errors="replace"), self._pending[cut:]
        return text

    def finish(self) -> str:
        """Text of whatever was kept back."""
        text, self._pending = self._pending.decode(errors="replace"), b""
        return text


def parse_tokenizer(data: bytes, where: str, *, vocab: int | None = None) -> AnyTokenizer:
    """A tokenizer from the bytes that an image carries, or from llama2.c's file; `where` names them in errors.

    Parameters
    ----------
    vocab: entries that the model expects. Without it the file's end decides.
    """
    if data.startswith(b'{"'):  # no llama2.c tokenizer begins so: its longest piece would have more than 8000 bytes
        from compiler.importers.hub_tokenizer import restore

        return restore(data, where)
    return parse_llama2c_tokenizer(data, where, vocab=vocab)


def parse_llama2c_tokenizer(data: bytes, where: str, *, vocab: int | None = None) -> Tokenizer:
    """llama2.c's tokenizer from the bytes of a file; parameters as above."""
    if len(data) < 4 or not 1 <= (longest := struct.unpack_from("<i", data)[0]) <= _LONGEST_PIECE:
        raise InputError(f"{where} is no llama2.c tokenizer: it must begin with the length of its longest piece")
    pieces: list[bytes] = []
    scores: list[float] = []
    offset = 4
    while offset < len(data):
        number = len(pieces)
        if offset + _ENTRY.size > len(data):
            raise InputError(f"{where} is truncated in the entry of token {number}")
        score, length = _ENTRY.unpack_from(data, offset)
        offset += _ENTRY.size
        if not 0 <= length <= longest or not math.isfinite(score):
            raise InputError(f"{where} is no llama2.c tokenizer: token {number} has length {length} and score {score}")
        if offset + length > len(data):
            raise InputError(f"{where} is truncated in the text of token {number}")
        pieces.append(data[offset : offset + length])
        scores.append(score)
        offset += length
    if vocab is not None and len(pieces) != vocab:
        raise InputError(f"{where} has {len(pieces)} tokens, the model's vocabulary has {vocab}; use the model's own")
    if len(pieces) <= _SPECIALS:
        raise InputError(f"{where} has only {len(pieces)} tokens, fewer than the special ones and a character")
    return Tokenizer(pieces, scores)


def load_tokenizer(path: Path, *, vocab: int | None = None) -> Tokenizer:
    """Read a llama2.c tokenizer; raises `InputError` where it is damaged or not of a model with `vocab` tokens."""
    return parse_llama2c_tokenizer(read_file(path, "a llama2.c tokenizer"), str(path), vocab=vocab)
