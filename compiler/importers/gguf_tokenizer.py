"""The tokenizer in a GGUF file: SentencePiece's ("llama") as llama2.c's, which it is, or a byte-level one ("gpt2")."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from compiler.errors import InputError
from compiler.float_model import FloatModel
from compiler.importers.files import Settings
from compiler.importers.hub_tokenizer import JsonTokenizer
from compiler.tokenizer import BEGIN, END, AnyTokenizer, Tokenizer

_PREFIX: Final = "tokenizer.ggml."
_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = range(1, 7)
# How texts are cut into words before pieces are merged, by the name that files give it; the models' own expressions.
_WORDS: Final = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                 r"|\s+(?!\S)|\s+")
SPLITS: Final = {"llama-bpe": _WORDS % "{1,3}", "qwen2": _WORDS % ""}


def tokenizer_of(values: dict[str, Any], where: str, model: FloatModel) -> AnyTokenizer:
    """The tokenizer of a file's settings. Raises `InputError` for what is damaged or of another kind."""
    settings = Settings({name.removeprefix(_PREFIX): value for name, value in values.items()
                         if name.startswith(_PREFIX)}, f"{where}: tokenizer.ggml")
    kind = settings.text("model")
    tokens = settings.items("tokens", str)
    if tokens is None:
        raise InputError(f"{where} has no tokenizer.ggml.tokens")
    if len(tokens) != model.shape.vocab:
        raise InputError(f"{where} has {len(tokens)} tokens, the model's vocabulary has {model.shape.vocab}")
    types = settings.integers("token_type") or [_NORMAL] * len(tokens)
    if len(types) != len(tokens):
        raise InputError(f"{where} has {len(types)} token types for {len(tokens)} tokens")
    if kind == "llama":
        return _sentencepiece(settings, tokens, types)
    if kind == "gpt2":
        return _byte_level(settings, tokens, types)
    raise InputError(f"{where}: a tokenizer of type {kind!r} is not supported; llama and gpt2 are")


def _sentencepiece(settings: Settings, tokens: list[str], types: list[int]) -> Tokenizer:
    where, scores = settings.where, settings.items("scores", float)
    if scores is None or len(scores) != len(tokens) or not all(map(math.isfinite, scores)):
        raise InputError(f"{where} has no finite score for each token")
    begin, end = settings.integer("bos_token_id", BEGIN), settings.integer("eos_token_id", END)
    if (begin, end) != (BEGIN, END):
        raise InputError(f"{where}: texts begin with token {begin} and end with {end}; only {BEGIN} and {END} are read")
    if not settings.flag("add_space_prefix", True) or not settings.flag("add_bos_token", True) or _USER in types:
        raise InputError(f"{where}: a tokenizer without a space before the text, without a token before it, or with "
                         "tokens that users defined is not supported in GGUF files; use the folder with tokenizer.json")
    return Tokenizer([token.replace("\u2581", " ").encode() for token in tokens], scores)


def _byte_level(settings: Settings, tokens: list[str], types: list[int]) -> JsonTokenizer:
    where, pre = settings.where, settings.text("pre", "")
    if pre not in SPLITS:
        raise InputError(f"{where}: how it cuts words ({pre!r}) is not known; {', '.join(SPLITS)} are")
    merges = settings.items("merges", str)
    if merges is None:
        raise InputError(f"{where} has no merges")
    added = {token: None for token, kind in enumerate(types) if kind in (_CONTROL, _USER)}
    begin = settings.integer("bos_token_id", settings.integer("eos_token_id", 0))
    first = settings.flag("add_bos_token", pre == "llama-bpe")
    stops = {token for name in ("bos_token_id", "eos_token_id", "eot_token_id") for token in settings.integers(name)}
    if not 0 <= begin < len(tokens):
        raise InputError(f"{where}: bos_token_id {begin} is not among its {len(tokens)} tokens")
    plain = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    content: dict[str, Any] = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{
            "id": token, "content": tokens[token], "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": types[token] == _CONTROL} for token in added],
        "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": SPLITS[pre]}, "behavior": "Isolated", "invert": False}, plain]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": tokens[begin], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {tokens[begin]: {
                "id": tokens[begin], "ids": [begin], "tokens": [tokens[begin]]}}} if first else None,
        "decoder": plain,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": pre == "llama-bpe",
            "vocab": {token: number for number, token in enumerate(tokens) if number not in added},
            "merges": merges}}
    return JsonTokenizer(json.dumps(content).encode(), vocab=len(tokens), begin=begin, stops=frozenset(stops),
                         where=where)
