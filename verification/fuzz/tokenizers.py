"""Target: tokenizer files of every kind, and tokenizers as images carry them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from compiler.importers.hub_tokenizer import JsonTokenizer, SentencePieceTokenizer
from compiler.tokenizer import load_tokenizer, parse_tokenizer
from verification.fuzz import seeds as sound
from verification.fuzz.models import talk
from verification.fuzz.mutate import damage_bytes, damage_json, json_bytes
from verification.fuzz.target import Files, Target

STOPS: Final = frozenset({1, 2})


def seeds() -> Sequence[Files]:
    spaced, size = sound.spaced()
    content, count = sound.sentencepiece_model()
    byte_level = sound.byte_level()
    vocab = sound.SHAPE.vocab
    return [
        {"tokenizer.bin": sound.pieces_tokenizer(vocab).file()},
        {"tokenizer.json": byte_level.encode(), "vocab": str(vocab).encode()},
        {"tokenizer.json": spaced.encode(), "vocab": str(size).encode()},
        {"tokenizer.model": content, "vocab": str(count).encode()},
        {"image": JsonTokenizer(byte_level.encode(), vocab=vocab, begin=1, stops=STOPS, where="seed").file()},
        {"image": SentencePieceTokenizer(content, vocab=count, stops=STOPS, where="seed").file()},
    ]


def damage(rng: random.Random, files: Files) -> Files:
    name = next(name for name in files if name != "vocab")
    data = files[name]
    if name in ("tokenizer.json", "image") and rng.random() < 0.8:
        value: Any = json.loads(data)
        if name == "tokenizer.json" and rng.random() < 0.6:
            part = rng.choice(sorted(set(value) - {"version"}))
            damaged = damage_json(rng, [value[part]])
            value[part] = damaged[0] if isinstance(damaged, list) and damaged else damaged
            return files | {name: json_bytes(rng, value)}
        return files | {name: json_bytes(rng, damage_json(rng, value))}
    return files | {name: damage_bytes(rng, data)}


def read(folder: Path) -> None:
    vocab = int((folder / "vocab").read_text()) if (folder / "vocab").exists() else 0
    for path in folder.iterdir():
        match path.name:
            case "tokenizer.bin":
                talk(load_tokenizer(path))
            case "tokenizer.json":
                talk(JsonTokenizer(path.read_bytes(), vocab=vocab, begin=1, stops=STOPS, where=str(path)))
            case "tokenizer.model":
                talk(SentencePieceTokenizer(path.read_bytes(), vocab=vocab, stops=STOPS, where=str(path)))
            case "image":
                talk(parse_tokenizer(path.read_bytes(), "the image's tokenizer"))
            case _:
                pass


TARGET: Final = Target(name="tokenizer", seeds=seeds, damage=damage, read=read)
