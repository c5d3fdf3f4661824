"""Tokenizers of Hugging Face folders: tokenizer.json through `tokenizers`, tokenizer.model through `sentencepiece`.

Both libraries split text into tokens. What a token prints we look up ourselves, byte by byte, so that a story can be
printed as it comes; that covers byte-level vocabularies (GPT-2's bytes as letters) and those with SentencePiece's
spaces and <0xHH> pieces.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

from compiler.errors import InputError
from compiler.float_model import SANE_LIMIT, FloatModel
from compiler.importers.files import Settings, parse_json, read_file, read_json
from compiler.tokenizer import AnyTokenizer
from compiler.typed import integer

JSON_FILE: Final = "tokenizer.json"
SENTENCEPIECE_FILE: Final = "tokenizer.model"
GENERATION: Final = "generation_config.json"
_SPACE: Final = "\u2581"
_BYTE_PIECE: Final = re.compile(r"<0x([0-9A-F]{2})>")
# A model's vocabulary is often rounded up. One that is larger by more than this belongs to another tokenizer.
_PADDING: Final = 16


def _byte_letters() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the others follow from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in plain]
    return {chr(value): value for value in plain} | {chr(256 + n): value for n, value in enumerate(others)}


_LETTERS: Final = _byte_letters()


def _spaced(piece: str) -> bytes:
    """What a piece with SentencePiece's spaces prints."""
    if match := _BYTE_PIECE.fullmatch(piece):
        return bytes([int(match[1], 16)])
    return piece.replace(_SPACE, " ").encode()


def _byte_level(piece: str, where: str) -> bytes:
    try:
        return bytes(_LETTERS[letter] for letter in piece)
    except KeyError:
        raise InputError(
            f"{where}: the piece {piece!r} is not written in the letters of a byte-level vocabulary") from None


def padded(pieces: dict[int, bytes], vocab: int, where: str) -> list[bytes]:
    """What each token of a model prints; those that only round its vocabulary up print nothing.

    Raises `InputError` where the tokenizer has tokens that the model lacks, or lacks more than rounding explains.
    """
    if not pieces:
        raise InputError(f"{where} has no tokens")
    if max(pieces) >= vocab:
        raise InputError(f"{where} has token {max(pieces)}, the model's vocabulary has {vocab}; use the model's own")
    if len(pieces) < vocab - vocab // _PADDING:
        raise InputError(f"{where} has {len(pieces)} tokens, the model's vocabulary has {vocab}; use the model's own")
    return [pieces.get(token, b"") for token in range(vocab)]


@contextmanager
def _silent() -> Generator[None]:
    """Nothing that native code prints reaches standard error."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def library(where: str, fault: str = "is damaged") -> Generator[None]:
    """What the library stumbles over, in a line: its panics too, which are no `Exception` and print more lines."""
    try:
        with _silent():
            yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise InputError(f"{where} {fault}: {' '.join(str(error).split())[:200]}") from None


class JsonTokenizer(AnyTokenizer):
    """A tokenizer.json.

    Parameters
    ----------
    content: the file's. vocab: of the model. begin: where the tokenizer puts no token before a text.
    stops: tokens after which a text is over. where: names the file in errors.
    """

    def __init__(self, content: bytes, *, vocab: int, begin: int, stops: frozenset[int], where: str) -> None:
        from tokenizers import Tokenizer as Splitter  # 0.1 s, which other formats need not wait for

        self._content = content
        parsed = parse_json(content, where)
        pieces, silent, trims = _pieces(parsed, where)
        with library(where):
            self._splitter = Splitter.from_str(content.decode())
            prefix = tuple(self._splitter.encode("").ids)
        super().__init__(padded(pieces, vocab, where), begin=prefix[-1] if prefix else begin, prefix=prefix,
                         stops=stops, silent=silent, trims=trims)

    def encode(self, text: str) -> list[int]:
        """Special tokens that are written out (`<|im_start|>`) count as such."""
        with library("the tokenizer"):
            return list(self._splitter.encode(text, add_special_tokens=False).ids)

    def file(self) -> bytes:
        return _envelope(JSON_FILE, self, self._content)


class SentencePieceTokenizer(AnyTokenizer):
    """A tokenizer.model; parameters as of `JsonTokenizer`."""

    def __init__(self, content: bytes, *, vocab: int, stops: frozenset[int], where: str) -> None:
        from sentencepiece import SentencePieceProcessor

        self._content = content
        with library(where, "is no SentencePiece model"):
            processor: Any = SentencePieceProcessor(model_proto=content)
            count = int(processor.GetPieceSize())
            silent = frozenset(token for token in range(count) if processor.IsControl(token))
            texts = [processor.IdToPiece(token) for token in range(count)]  # one may be no UTF-8
        if not count:
            raise InputError(f"{where} is no SentencePiece model: it has no pieces")
        self._processor = processor
        pieces = {token: b"" if token in silent else _spaced(text) for token, text in enumerate(texts)}
        begin = int(processor.bos_id())
        prefix = (begin,) if begin >= 0 else ()
        super().__init__(padded(pieces, vocab, where), begin=max(begin, 0), prefix=prefix, stops=stops, silent=silent,
                         trims=True)

    def encode(self, text: str) -> list[int]:
        with library("the tokenizer"):
            return list(self._processor.EncodeAsIds(text))

    def file(self) -> bytes:
        return _envelope(SENTENCEPIECE_FILE, self, self._content)


def _pieces(content: dict[str, Any], where: str) -> tuple[dict[int, bytes], frozenset[int], bool]:
    """What each token prints, the tokens that print nothing, and whether a text's first space is dropped."""
    model = Settings(content, where).section("model")
    if model is None:
        raise InputError(f"{where} has no model")
    kind = model.text("type", "BPE")
    if kind not in ("BPE", "Unigram"):
        raise InputError(f"{where}: a {kind} tokenizer is not supported; BPE and Unigram are")
    decoders = _kinds(content.get("decoder"))
    byte_level = "ByteLevel" in decoders
    if not byte_level and not {"Metaspace", "Replace"} & set(decoders):
        raise InputError(f"{where}: its decoder ({', '.join(decoders) or 'none'}) is not supported; byte-level and "
                         "SentencePiece ones are")
    found: dict[int, bytes] = {}
    try:
        vocab: Any = model.values["vocab"]
        named = (cast("dict[str, int]", vocab) if isinstance(vocab, dict)
                 else {str(piece): number for number, (piece, _) in enumerate(vocab)})
        added = cast("list[dict[str, Any]]", content.get("added_tokens") or [])
        as_written = {one["content"] for one in added}  # may stand in the vocabulary too
        for piece, token in named.items():
            plain = not byte_level or piece in as_written
            found[_token(token)] = _spaced(piece) if plain else _byte_level(piece, where)
        for one in added:
            found[_token(one["id"])] = str(one["content"]).encode()
        silent = frozenset(_token(one["id"]) for one in added if one.get("special"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where} is damaged: its vocabulary is not as it should be ({error!r})") from None
    return found, silent, not byte_level


def _token(number: Any) -> int:
    return integer(number, "a token", 0, SANE_LIMIT)


def _kinds(decoder: Any, depth: int = 8) -> list[str]:
    """Types of a decoder, those of a sequence in turn; of sequences in sequences so many."""
    if not isinstance(decoder, dict) or not depth:
        return []
    settings = cast("dict[str, Any]", decoder)
    if settings.get("type") == "Sequence":
        many = settings.get("decoders")
        each = cast("list[Any]", many) if isinstance(many, list) else []
        return [kind for one in each for kind in _kinds(one, depth - 1)]
    return [str(settings.get("type"))]


def _envelope(kind: str, tokenizer: AnyTokenizer, content: bytes) -> bytes:
    """How a tokenizer travels in an image."""
    return json.dumps({
        "format": kind, "vocab": len(tokenizer), "begin": tokenizer.begin, "stops": sorted(tokenizer.stops),
        "content": base64.b64encode(content).decode()}).encode()


def restore(data: bytes, where: str) -> AnyTokenizer:
    """The tokenizer of an image."""
    settings = Settings(parse_json(data, where), where)
    try:
        content = base64.b64decode(settings.text("content"), validate=True)
    except ValueError:
        raise InputError(f"{where} is damaged: its content is no base64") from None
    kind, vocab, stops = settings.text("format"), settings.integer("vocab"), frozenset(settings.integers("stops"))
    if kind == JSON_FILE:
        return JsonTokenizer(content, vocab=vocab, begin=settings.integer("begin"), stops=stops, where=where)
    if kind == SENTENCEPIECE_FILE:
        return SentencePieceTokenizer(content, vocab=vocab, stops=stops, where=where)
    raise InputError(f"{where} has the format {kind!r}; {JSON_FILE} and {SENTENCEPIECE_FILE} are known")


def load_hub_tokenizer(folder: Path, model: FloatModel) -> tuple[AnyTokenizer, Path]:
    """The tokenizer of a Hugging Face folder, and its file. tokenizer.json comes first: it says more."""
    stops = _stops(folder)
    vocab = model.shape.vocab
    if any(token >= vocab for token in stops):
        raise InputError(f"{folder}: eos_token_id {max(stops)} is not in the vocabulary of {vocab}")
    path = folder / JSON_FILE
    if path.exists():
        return JsonTokenizer(read_file(path, "a tokenizer"), vocab=vocab, begin=min(model.begin, vocab - 1),
                             stops=stops, where=str(path)), path
    path = folder / SENTENCEPIECE_FILE
    if path.exists():
        return SentencePieceTokenizer(read_file(path, "a tokenizer"), vocab=vocab, stops=stops, where=str(path)), path
    raise InputError(f"the folder {folder} has neither {JSON_FILE} nor {SENTENCEPIECE_FILE}")


def _stops(folder: Path) -> frozenset[int]:
    """Tokens after which a text is over: generation_config.json's, which chat models have more of, else config.json's;
    and the one that begins the next text."""
    found: list[int] = []
    for name in (GENERATION, "config.json"):
        if (folder / name).exists():
            settings = Settings(read_json(folder / name, "a configuration"), str(folder / name))
            found = found or settings.integers("eos_token_id")
            if name == "config.json":
                found = [*found, *settings.integers("bos_token_id")]
    return frozenset(found)
