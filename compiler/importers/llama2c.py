"""Import of llama2.c checkpoints: a float model with every tensor checked.

Layout of the file: seven little-endian int32 (dim, hidden, layers, heads, KV heads, vocabulary, context; a negative
vocabulary announces an untied classifier), then float32 tensors in the order of `_layout`.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np

from compiler.errors import InputError
from compiler.float_model import SANE_LIMIT, Float32, FloatModel, check_finite, check_shape
from compiler.importers.files import read_file
from compiler.quantised import Shape

_HEADER: Final = struct.Struct("<7i")
_FIELDS: Final = ("dim", "hidden", "layers", "heads", "kv_heads", "vocab", "context")


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


def load_checkpoint(path: Path) -> FloatModel:
    """Read a llama2.c checkpoint; raises `InputError` for anything that is not a whole and finite one."""
    data = read_file(path, "a llama2.c checkpoint")
    if len(data) < _HEADER.size:
        raise InputError(f"{path} is no llama2.c checkpoint: {len(data)} bytes, the header alone has {_HEADER.size}")
    numbers = dict(zip(_FIELDS, _HEADER.unpack_from(data), strict=True))
    tied, numbers["vocab"] = numbers["vocab"] > 0, abs(numbers["vocab"])
    for name, value in numbers.items():
        if not 1 <= value <= SANE_LIMIT:
            raise InputError(
                f"{path} is no llama2.c checkpoint: its header says {name} = {value}, "
                f"which should be between 1 and {SANE_LIMIT}"
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
        check_finite(array, name, str(path))
        tensors[name] = array
    members: dict[str, Any] = {"classifier": tensors["embed"], **tensors}
    return FloatModel(shape=shape, **members)
