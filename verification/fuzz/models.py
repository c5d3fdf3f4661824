"""Targets: llama2.c checkpoints with their tokenizers, as `models/` ships them, and Hugging Face folders."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from compiler.library import open_model
from compiler.quantise import quantise
from compiler.random_model import random_float_model
from compiler.tokenizer import AnyTokenizer
from sim.commands.common import displayed
from sim.generate import encode_prompt
from verification.fuzz import seeds
from verification.fuzz.guard import plain
from verification.fuzz.mutate import corner, damage_bytes, damage_json, json_bytes
from verification.fuzz.target import Files, Target

DEEP: Final = 32
"""One input in so many is also quantised."""
_FLOATS: Final = (float("nan"), float("inf"), -float("inf"), 3.4e38, -3.4e38, 1e-45, 0.0, -0.0, 1e30)


def talk(tokenizer: AnyTokenizer) -> None:
    """What a story asks of a tokenizer."""
    for text in (None, seeds.TEXT):
        encode_prompt(tokenizer, text, 100)
    tokenizer.file()
    plain(displayed(tokenizer.decode(range(len(tokenizer)))))


def read(folder: Path) -> None:
    """Open a model as every command does, and now and then quantise it."""
    checkpoint = folder / "model.bin"
    found, tokenizer, _ = open_model(str(folder))
    talk(tokenizer)
    path = checkpoint if checkpoint.exists() else folder / "config.json"
    if zlib.crc32(path.read_bytes()) % DEEP == 0:
        quantise(found)


def checkpoints() -> Sequence[Files]:
    tokens = seeds.pieces_tokenizer(seeds.SHAPE.vocab).file()
    return [{"model.bin": seeds.checkpoint(random_float_model(seeds.SHAPE, tied=tied), tied=tied),
             "tokenizer.bin": tokens} for tied in (True, False)]


def damage_checkpoint(rng: random.Random, files: Files) -> Files:
    """Numbers of the header (now and then with as many weights as they announce), weights, or the tokenizer."""
    data, kind = files["model.bin"], rng.random()
    if kind < 0.4:
        numbers = list(struct.unpack_from("<7i", data))
        for _ in range(rng.choice((1, 1, 2))):
            value = rng.choice((corner(rng), numbers[rng.randrange(7)], rng.randint(-9, 64)))
            numbers[rng.randrange(7)] = (value + (1 << 31)) % (1 << 32) - (1 << 31)
        body = data[28:]
        if rng.random() < 0.5 and (size := _body_bytes(numbers)) is not None:
            body = (body + bytes(size))[:size]
        return files | {"model.bin": struct.pack("<7i", *numbers) + body}
    if kind < 0.55:
        return files | {"model.bin": damage_bytes(rng, data, within=28)}
    if kind < 0.7:
        return files | {"model.bin": data[:28] + with_other_floats(rng, data[28:])}
    if kind < 0.97:
        return files | {"tokenizer.bin": damage_bytes(rng, files["tokenizer.bin"])}
    return {name: content for name, content in files.items() if rng.random() < 0.5}


def _body_bytes(numbers: Sequence[int]) -> int | None:
    """Bytes of the weights that a header announces, where they are few enough to write."""
    dim, hidden, layers, heads, kv_heads, vocab, context = numbers
    if min(dim, hidden, layers, heads, kv_heads, context) < 1 or max(map(abs, numbers)) > 512 or not vocab:
        return None
    head = dim // heads
    kv = kv_heads * head
    count = (abs(vocab) * dim * (1 if vocab > 0 else 2) + layers * (2 * dim + 2 * heads * head * dim + 2 * kv * dim
             + 3 * hidden * dim) + dim + 2 * context * (head // 2))
    return 4 * count if count < 1 << 16 else None


def with_other_floats(rng: random.Random, data: bytes) -> bytes:
    """Some, or many in a row, of the float32 in data put to values that break arithmetic."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 3, 20))):
        value, at = rng.choice(_FLOATS), 4 * rng.randrange(max(1, len(made) // 4))
        for place in range(at, min(at + 4 * rng.choice((1, 1, 64)), len(made) - 3), 4):
            made[place:place + 4] = struct.pack("<f", value)
    return bytes(made)


def damage_folder(rng: random.Random, files: Files) -> Files:
    """One file: its JSON, a header of tensors, weights, raw bytes; or a file less, or one file as another."""
    kind = rng.random()
    name = rng.choice(("config.json", "config.json", "tokenizer.json", *files))
    data = files[name]
    if kind < 0.03:
        return {other: content for other, content in files.items() if other != name}
    if kind < 0.05:
        return files | {rng.choice(tuple(files)): data}
    if kind < 0.2:
        return files | {name: damage_bytes(rng, data, within=400)}
    if name.endswith(".json"):
        return files | {name: json_bytes(rng, damage_json(rng, json.loads(data)))}
    return files | {name: damage_weights(rng, data)}


def damage_weights(rng: random.Random, data: bytes) -> bytes:
    """A *.safetensors file with another header, offsets that overlap, or other weights."""
    end = 8 + int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8:end])
    kind = rng.random()
    if kind < 0.2:
        return data[:end] + with_other_floats(rng, data[end:])
    if kind < 0.4:
        one, other = (header[rng.choice(sorted(set(header) - {"__metadata__"}))] for _ in range(2))
        one["data_offsets"] = list(other["data_offsets"])
        if rng.random() < 0.7:
            one["shape"] = list(other["shape"])
    elif kind < 0.6:
        header = {"__metadata__": damage_json(rng, {"format": "pt"})} | header
    else:
        header = damage_json(rng, header)
    return seeds.with_header(json_bytes(rng, header), data[end:])


CHECKPOINT: Final = Target(name="checkpoint", seeds=checkpoints, damage=damage_checkpoint, read=read)
FOLDER: Final = Target(name="folder", seeds=seeds.folders, damage=damage_folder, read=read)
