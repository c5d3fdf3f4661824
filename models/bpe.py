"""Train a byte-pair vocabulary on words and store it in llama2.c's tokenizer format.

Layout of the file: int32 length of the longest piece, then for every token float32 score, int32 length, bytes. Tokens
0, 1 and 2 are <unk>, <s> and </s>; then single characters; then merges, the earliest merge with the highest score, so
that llama2.c's encoder (merge the adjacent pair whose joined text has the highest score, until none is left) gives back
the training segmentation. There are no <0xHH> byte tokens: the vocabulary is small and the alphabet of the stories is
closed, so a character outside it is an encoding error.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Final

UNKNOWN, BEGIN, END = 0, 1, 2
SPECIALS: Final = ("<unk>", "\n<s>\n", "\n</s>\n")
# No piece reaches across these chunks (a word with the space before it, or punctuation), so a text may be encoded chunk
# by chunk and a closed set of words makes that a table look-up.
CHUNK: Final = re.compile(r" ?[A-Za-z']+| ?[^A-Za-z' ]+")


class Tokenizer:
    """Pieces and scores, with llama2.c's way of encoding.

    Parameters
    ----------
    pieces: the text of every token, specials included.
    scores: the merge priority of every token, higher first.
    """

    def __init__(self, pieces: list[str], scores: list[float]) -> None:
        self.pieces, self.scores = pieces, scores
        self._ids = {piece: i for i, piece in enumerate(pieces) if i >= len(SPECIALS)}
        self._cache: dict[str, tuple[int, ...]] = {}

    def _encode_chunk(self, chunk: str) -> tuple[int, ...]:
        if chunk not in self._cache:
            try:
                ids = [self._ids[character] for character in chunk]
            except KeyError as error:
                raise ValueError(f"character {error} is not in the vocabulary") from None
            while True:
                joined = [self._ids.get(self.pieces[a] + self.pieces[b]) for a, b in pairwise(ids)]
                found = [(self.scores[j], -at) for at, j in enumerate(joined) if j is not None]
                if not found:
                    break
                at = -max(found)[1]
                merged = joined[at]
                assert merged is not None
                ids[at:at + 2] = [merged]
            self._cache[chunk] = tuple(ids)
        return self._cache[chunk]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with the leading space that llama2.c adds and without BOS and EOS."""
        return [i for chunk in CHUNK.findall(" " + text) for i in self._encode_chunk(chunk)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids, special tokens left out, without the leading space."""
        return "".join(self.pieces[i] for i in ids if i >= len(SPECIALS)).removeprefix(" ")

    def save(self, path: Path) -> None:
        """Write llama2.c's tokenizer file."""
        data = [piece.encode() for piece in self.pieces]
        with path.open("wb") as file:
            file.write(struct.pack("<i", max(map(len, data))))
            for piece, score in zip(data, self.scores, strict=True):
                file.write(struct.pack("<fi", score, len(piece)) + piece)

    @staticmethod
    def load(path: Path) -> Tokenizer:
        """Read llama2.c's tokenizer file to its end."""
        data, offset = path.read_bytes(), 4
        pieces: list[str] = []
        scores: list[float] = []
        while offset < len(data):
            score, length = struct.unpack_from("<fi", data, offset)
            offset += 8
            pieces.append(data[offset:offset + length].decode())
            scores.append(score)
            offset += length
        return Tokenizer(pieces, scores)


def train(texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """Learn a vocabulary of exactly ``vocabulary_size`` tokens from texts."""
    chunks = Counter(chunk for text in texts for chunk in CHUNK.findall(" " + text))
    words = {chunk: list(chunk) for chunk in sorted(chunks)}
    pieces: list[str] = [*SPECIALS, *sorted({character for chunk in chunks for character in chunk})]
    scores = [0.0] * len(pieces)
    if len(pieces) > vocabulary_size:
        raise ValueError(f"{len(pieces)} characters and specials do not fit in {vocabulary_size} tokens")
    known = set(pieces)
    rank = 0
    while len(pieces) < vocabulary_size:
        pairs: Counter[tuple[str, str]] = Counter()
        for chunk, parts in words.items():
            for pair in pairwise(parts):
                pairs[pair] += chunks[chunk]
        if not pairs:
            raise ValueError(f"the texts give only {len(pieces)} tokens, not {vocabulary_size}")
        pair = min(pairs, key=lambda p: (-pairs[p], p))
        merged = pair[0] + pair[1]
        if merged not in known:
            known.add(merged)
            pieces.append(merged)
            scores.append(float(-rank))
            rank += 1
        for parts in words.values():
            for at in range(len(parts) - 1, 0, -1):
                if (parts[at - 1], parts[at]) == pair:
                    parts[at - 1:at + 1] = [merged]
    return Tokenizer(pieces, scores)
