"""Target: GGUF files, made field by field: version 3, of the architecture "llama", with either kind of tokenizer."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from compiler.importers.gguf_file import NAMES, load_gguf
from compiler.library import shortened
from compiler.quantise import quantise
from compiler.random_model import random_float_model
from verification.fuzz import seeds as sound
from verification.fuzz.models import talk, with_other_floats
from verification.fuzz.mutate import HOSTILE_TEXTS, corner, damage_bytes
from verification.fuzz.target import Files, Target

FILE: Final = "model.gguf"
DEEP: Final = 32
ALIGNMENT: Final = 32
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
_PACKED: Final = {0: "B", 1: "b", 2: "H", 3: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", 10: "Q", 11: "q", 12: "d"}
_INTEGERS: Final = {0: 8, 1: 8, 2: 16, 3: 16, U32: 32, I32: 32, BOOL: 1, 10: 64, 11: 64}


@dataclass(frozen=True)
class Setting:
    """A key and its value. kind: number of the type; of each member, where `values` is an array (array: True).
    length: of the array as the file says it, None for what is true."""

    name: str
    kind: int
    values: tuple[Any, ...]
    array: bool = False
    length: int | None = None


@dataclass(frozen=True)
class Tensor:
    """dims: in GGUF's order. kind: of ggml; 0 is F32. at: offset in the data."""

    name: str
    dims: tuple[int, ...]
    kind: int
    at: int


@dataclass(frozen=True)
class Content:
    settings: tuple[Setting, ...]
    tensors: tuple[Tensor, ...]
    data: bytes
    version: int = 3
    counts: tuple[int, int] | None = None


def _text(text: str) -> bytes:
    raw = text.encode(errors="surrogatepass")
    return struct.pack("<Q", len(raw)) + raw


def _value(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return _text(str(value))
    if kind in _INTEGERS:
        return (int(value) & (1 << max(8, _INTEGERS[kind])) - 1).to_bytes(max(8, _INTEGERS[kind]) // 8, "little")
    if kind in _PACKED:
        return struct.pack("<" + _PACKED[kind], value)
    return bytes(8)


def file_bytes(content: Content) -> bytes:
    """The file."""
    tensors, settings = content.counts or (len(content.tensors), len(content.settings))
    parts = [b"GGUF", struct.pack("<IQQ", content.version, tensors & (1 << 64) - 1, settings & (1 << 64) - 1)]
    for one in content.settings:
        parts.append(_text(one.name))
        if one.array:
            length = len(one.values) if one.length is None else one.length
            parts.append(struct.pack("<IIQ", ARRAY, one.kind, length & (1 << 64) - 1))
        else:
            parts.append(struct.pack("<I", one.kind))
        parts += [_value(one.kind, value) for value in one.values]
    for one in content.tensors:
        parts += [_text(one.name), struct.pack("<I", len(one.dims)),
                  *(struct.pack("<Q", size & (1 << 64) - 1) for size in one.dims),
                  struct.pack("<IQ", one.kind & (1 << 32) - 1, one.at & (1 << 64) - 1)]
    head = b"".join(parts)
    return head + bytes(-len(head) % ALIGNMENT) + content.data


def _content(words: Sequence[Setting]) -> Content:
    model = random_float_model(sound.SHAPE, 2)
    s = model.shape
    own = (("context_length", s.context), ("embedding_length", s.dim), ("block_count", s.layers),
           ("feed_forward_length", s.hidden), ("attention.head_count", s.heads),
           ("attention.head_count_kv", s.kv_heads))
    settings = [Setting("general.architecture", STRING, ("llama",)),
                *(Setting(f"llama.{name}", U32, (value,)) for name, value in own),
                Setting("llama.attention.layer_norm_rms_epsilon", F32, (1e-5,)),
                Setting("llama.rope.freq_base", F32, (10000.0,)), *words]
    tensors, data = list[Tensor](), b""
    for role, tensor in model.tensors().items():
        one = tensor[0] if "{layer}" in NAMES[role] else tensor
        tensors.append(Tensor(NAMES[role].format(layer=0), one.shape[::-1], 0, len(data)))
        raw = np.ascontiguousarray(one, "<f4").tobytes()
        data += raw + bytes(-len(raw) % ALIGNMENT)
    return Content(tuple(settings), tuple(tensors), data)


def _words(kind: str) -> list[Setting]:
    """Settings of a tokenizer."""
    vocab, prefix = sound.SHAPE.vocab, "tokenizer.ggml."
    if kind == "llama":
        pieces = ["<unk>", "<s>", "</s>", "\u2581", *"acehtn", "th", "the"]
    else:
        pieces = [*sound.LETTERS, "th", "the"]
    pieces += [f"x{number}" for number in range(vocab - len(pieces))]
    found = [Setting(prefix + "model", STRING, (kind,)), Setting(prefix + "tokens", STRING, tuple(pieces), True)]
    if kind == "llama":
        return [*found, Setting(prefix + "scores", F32, tuple(-float(n) for n in range(vocab)), True),
                Setting(prefix + "token_type", I32, (2, 3, 3, *[1] * (vocab - 3)), True),
                Setting(prefix + "bos_token_id", U32, (1,)), Setting(prefix + "eos_token_id", U32, (2,))]
    return [*found, Setting(prefix + "pre", STRING, ("llama-bpe",)),
            Setting(prefix + "merges", STRING, ("t h", "th e"), True),
            Setting(prefix + "token_type", I32, (*[1] * (vocab - 1), 3), True),
            Setting(prefix + "bos_token_id", U32, (vocab - 1,)), Setting(prefix + "eos_token_id", U32, (vocab - 1,))]


CONTENTS: Final[dict[bytes, Content]] = {}
"""What each seed's file is made of."""


def seeds() -> Sequence[Files]:
    for kind in ("llama", "gpt2"):
        content = _content(_words(kind))
        CONTENTS[file_bytes(content)] = content
    return [{FILE: data} for data in CONTENTS]


def damage(rng: random.Random, files: Files) -> Files:
    """Settings, tensors or counts of the content, or the bytes of the file."""
    data, kind = files[FILE], rng.random()
    if kind < 0.25:
        return {FILE: damage_bytes(rng, data, within=3000)}
    content = CONTENTS[data]
    for _ in range(rng.choice((1, 1, 2))):
        kind = rng.random()
        if kind < 0.55:
            content = replace(content, settings=_other_settings(rng, content.settings))
        elif kind < 0.85:
            content = replace(content, tensors=_other_tensors(rng, content.tensors))
        elif kind < 0.9:
            content = replace(content, counts=(rng.choice((corner(rng), 12)), rng.choice((corner(rng), 16))))
        elif kind < 0.92:
            content = replace(content, version=abs(corner(rng)) % (1 << 32))
        else:
            content = replace(content, data=with_other_floats(rng, content.data))
    return {FILE: file_bytes(content)}


def _other_settings(rng: random.Random, settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
    at = rng.randrange(len(settings))
    one, kind = settings[at], rng.randrange(8)
    made = [one]
    if kind == 0:
        made = []
    elif kind == 1:
        made = [one, one]
    elif kind == 2:
        made = [replace(one, name=rng.choice((*HOSTILE_TEXTS, one.name + "x", rng.choice(settings).name)))]
    elif kind == 3:
        made = [replace(one, length=corner(rng), array=True)]
    elif kind == 4:
        made = [replace(one, kind=rng.choice((*_PACKED, STRING, ARRAY, 13, 255)), values=(1,),
                        array=rng.random() < 0.3)]
    elif one.values:
        index = rng.randrange(len(one.values))
        value: Any = rng.choice(HOSTILE_TEXTS) if one.kind == STRING else corner(rng)
        if one.kind == F32:
            value = rng.choice((float("nan"), float("inf"), 0.0, -1.0, 1e-45, 3e38))
        made = [replace(one, values=(*one.values[:index], value, *one.values[index + 1:]))]
    return (*settings[:at], *made, *settings[at + 1:])


def _other_tensors(rng: random.Random, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    at = rng.randrange(len(tensors))
    one, kind = tensors[at], rng.randrange(7)
    made = [one]
    if kind == 0:
        made = []
    elif kind == 1:
        made = [one, one]
    elif kind == 2:
        made = [replace(one, name=rng.choice((*HOSTILE_TEXTS, rng.choice(tensors).name, "rope_freqs.weight")))]
    elif kind == 3:
        made = [replace(one, dims=tuple(rng.choice((size, corner(rng))) for size in one.dims))]
    elif kind == 4:
        made = [replace(one, dims=rng.choice(((), one.dims * 2, one.dims[::-1], one.dims[:1], (0,), (1,) * 100)))]
    elif kind == 5:
        made = [replace(one, kind=rng.choice((0, 1, 2, 8, 30, 31, 99, 1 << 31)))]
    else:
        made = [replace(one, at=rng.choice((corner(rng), rng.choice(tensors).at)))]
    return (*tensors[:at], *made, *tensors[at + 1:])


def read(folder: Path) -> None:
    path = folder / FILE
    model, tokenizer = load_gguf(path)
    talk(tokenizer)
    if zlib.crc32(path.read_bytes()) % DEEP == 0:
        quantise(shortened(model))


TARGET: Final = Target(name="gguf", seeds=seeds, damage=damage, read=read)
