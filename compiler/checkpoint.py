"""Import of llama2.c checkpoints: a float model with every tensor checked.

Layout of the file: seven little-endian int32 (dim, hidden, layers, heads, KV heads, vocabulary, context; a negative
vocabulary announces an untied classifier), then float32 tensors in the order of `_layout`.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from compiler.errors import InputError
from compiler.quantised import Shape

Float32 = npt.NDArray[np.float32]

_HEADER: Final = struct.Struct("<7i")
_FIELDS: Final = ("dim", "hidden", "layers", "heads", "kv_heads", "vocab", "context")
# Far above any model that on-chip SRAM could hold: a larger number means that the file is something else.
_SANE_LIMIT: Final = 1 << 20
NORM_EPSILON: Final = 1e-5
ROPE_BASE: Final = 10000.0


@dataclass(frozen=True, kw_only=True)
class FloatModel:
    """A trained Llama-style model in float32, laid out as llama2.c does.

    Members:
        embed, classifier: (vocab, dim); the same array where the classifier is tied.
        attention_norm, ffn_norm: (layers, dim); final_norm: (dim,).
        wq: (layers, heads * head_dim, dim); wk, wv: (layers, kv_heads * head_dim, dim).
        wo: (layers, dim, heads * head_dim).
        w1, w3: (layers, hidden, dim); w2: (layers, dim, hidden).

    Rows 2i and 2i+1 of a head in wq and wk form a RoPE pair.
    """

    shape: Shape
    embed: Float32
    attention_norm: Float32
    wq: Float32
    wk: Float32
    wv: Float32
    wo: Float32
    ffn_norm: Float32
    w1: Float32
    w2: Float32
    w3: Float32
    final_norm: Float32
    classifier: Float32


def check_shape(shape: Shape, where: str) -> None:
    """Raise `InputError` where a shape is not a Llama-style model that the machine can run."""
    for name in (*_FIELDS, "head_dim"):
        value = getattr(shape, name)
        if value < 1 or value > _SANE_LIMIT:
            raise InputError(f"{where}: {name} is {value}, it must be between 1 and {_SANE_LIMIT}")
    if shape.heads * shape.head_dim != shape.dim:
        raise InputError(f"{where}: {shape.heads} heads do not divide dim {shape.dim} into equal parts")
    if shape.head_dim % 2:
        raise InputError(f"{where}: the head size {shape.head_dim} is odd, rotary embedding needs an even one")
    if shape.heads % shape.kv_heads:
        raise InputError(f"{where}: {shape.kv_heads} KV heads do not divide {shape.heads} heads into equal groups")


def rope_tables(shape: Shape) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Cosines and sines, (context, head_dim // 2) each, of the rotation of every RoPE pair at every position."""
    frequency = ROPE_BASE ** (-np.arange(0, shape.head_dim, 2) / shape.head_dim)
    angle = np.arange(shape.context)[:, None] * frequency
    return np.cos(angle), np.sin(angle)


def _layout(shape: Shape, *, tied: bool) -> dict[str, tuple[int, ...]]:
    """Tensors of the file in their order; the RoPE tables are in the file but nobody reads them."""
    layers, dim, hidden = shape.layers, shape.dim, shape.hidden
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    tensors: dict[str, tuple[int, ...]] = {
        "embed": (shape.vocab, dim), "attention_norm": (layers, dim), "wq": (layers, q, dim), "wk": (layers, kv, dim),
        "wv": (layers, kv, dim), "wo": (layers, dim, q), "ffn_norm": (layers, dim), "w1": (layers, hidden, dim),
        "w2": (layers, dim, hidden), "w3": (layers, hidden, dim), "final_norm": (dim,),
        "rope": (2, shape.context, shape.head_dim // 2),
    }  # fmt: skip
    if not tied:
        tensors["classifier"] = (shape.vocab, dim)
    return tensors


def read_file(path: Path, what: str) -> bytes:
    """The bytes of a file, or an `InputError` that says why not."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected {what}")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist, expected {what}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}), expected {what}") from None


def load_checkpoint(path: Path) -> FloatModel:
    """Read a llama2.c checkpoint; raises `InputError` for anything that is not a whole and finite one."""
    data = read_file(path, "a llama2.c checkpoint")
    if len(data) < _HEADER.size:
        raise InputError(f"{path} is no llama2.c checkpoint: {len(data)} bytes, the header alone has {_HEADER.size}")
    numbers = dict(zip(_FIELDS, _HEADER.unpack_from(data), strict=True))
    tied, numbers["vocab"] = numbers["vocab"] > 0, abs(numbers["vocab"])
    for name, value in numbers.items():
        if not 1 <= value <= _SANE_LIMIT:
            raise InputError(
                f"{path} is no llama2.c checkpoint: its header says {name} = {value}, "
                f"which should be between 1 and {_SANE_LIMIT}"
            )
    if numbers["dim"] % numbers["heads"]:
        raise InputError(f"{path}: {numbers['heads']} heads do not divide dim {numbers['dim']} into equal parts")
    shape = Shape(**numbers, head_dim=numbers["dim"] // numbers["heads"])
    check_shape(shape, str(path))

    layout = _layout(shape, tied=tied)
    expected = _HEADER.size + 4 * sum(math.prod(size) for size in layout.values())
    if len(data) != expected:
        fault = "truncated" if len(data) < expected else "too long"
        raise InputError(f"{path} is {fault}: {len(data)} bytes, its header announces {expected}")
    tensors: dict[str, Float32] = {}
    offset = _HEADER.size
    for name, size in layout.items():
        array = np.frombuffer(data, "<f4", math.prod(size), offset).reshape(size).astype(np.float32)
        offset += array.nbytes
        if name == "rope":
            continue
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            at = ", ".join(str(index[0]) for index in np.argwhere(~np.isfinite(array))[:1].T)
            raise InputError(
                f"{path}: {bad.size} of the weights of {name} are NaN or infinite, the first at [{at}]; "
                "all must be finite"
            )
        tensors[name] = array
    return FloatModel(shape=shape, **{"classifier": tensors["embed"], **tensors})
