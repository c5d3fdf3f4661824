"""Tensors of *.safetensors files, as float32.

The format (github.com/huggingface/safetensors): eight bytes, the length of a JSON header; the header, name -> dtype,
shape and begin and end of the data; the data. We read it ourselves: the library's numpy side has no bfloat16, and a
damaged file must be named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from compiler.errors import InputError
from compiler.float_model import Float32
from compiler.importers.files import parse_json, read_json
from compiler.typed import shown

INDEX: Final = "model.safetensors.index.json"
BYTES: Final = {"F32": 4, "F16": 2, "BF16": 2}
_LENGTH: Final = 8
_LONGEST_NAME: Final = 200  # bytes; file systems have 255
_HEADER_LIMIT: Final = 100 << 20  # the library's own
PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Where one tensor lies: `start` counts bytes from the beginning of the file."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int


def _entries(path: Path) -> dict[str, Entry]:
    """The tensors of a file, each within the file and of the size that its shape says."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            if size < _LENGTH or length > min(size - _LENGTH, _HEADER_LIMIT):
                raise InputError(f"{path} is truncated or no safetensors file: {size} bytes, a header of {length}")
            header = parse_json(file.read(length), f"{path}: the header")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}), expected a safetensors file") from None
    found: dict[str, Entry] = {}
    for name, value in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, start, end = _entry(value, f"{path}: tensor {name}")
        if dtype not in BYTES:
            raise InputError(f"{path}: tensor {name} is {dtype}; only {', '.join(BYTES)} weights are read")
        if end - start != BYTES[dtype] * math.prod(shape):
            raise InputError(f"{path}: tensor {name} has {end - start} bytes, its shape {list(shape)} says "
                             f"{BYTES[dtype] * math.prod(shape)}")
        if start < 0 or _LENGTH + length + end > size:
            raise InputError(f"{path} is truncated: tensor {name} ends at byte {_LENGTH + length + end} of {size}")
        found[name] = Entry(path=path, dtype=dtype, shape=shape, start=_LENGTH + length + start)
    return found


def _entry(value: Any, where: str) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape, begin and end of a header's entry."""
    try:
        entry = cast("dict[str, Any]", value)
        shape, offsets = tuple(entry["shape"]), tuple(entry["data_offsets"])
        if len(offsets) == 2 and all(isinstance(n, int) and n >= 0 for n in (*shape, *offsets)):
            return str(entry["dtype"]), shape, offsets[0], offsets[1]
    except (KeyError, TypeError):
        pass
    raise InputError(f"{where} has no dtype, shape and data_offsets in the header")


class SafetensorsFolder:
    """All tensors of a folder.

    Members
    -------
    files: that they lie in, in the order of their names.
    """

    def __init__(self, folder: Path) -> None:
        self._entries: dict[str, Entry] = {}
        self.where = str(folder)
        index = folder / INDEX
        listed: dict[str, str] | None = None
        if index.exists():
            listed = _weight_map(index)
            self.files = [folder / name for name in sorted(set(listed.values()))]
        else:
            self.files = sorted(folder.glob("*.safetensors"))
        if not self.files:
            raise InputError(_nothing(folder))
        for path in self.files:
            if not path.exists():
                raise InputError(f"{path} does not exist, but {INDEX} names it")
            for name, entry in _entries(path).items():
                if name in self._entries:
                    raise InputError(f"{path}: tensor {name} is in {self._entries[name].path.name} too")
                self._entries[name] = entry
        for name, file in (listed or {}).items():
            if name not in self._entries or self._entries[name].path.name != file:
                raise InputError(f"{folder / file} has no tensor {name}, but {INDEX} says so")

    def names(self) -> set[str]:
        return set(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._entries[name].shape

    def read(self, name: str) -> Float32:
        """A tensor in float32."""
        entry = self._entries[name]
        stored = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[entry.dtype]
        raw = np.fromfile(entry.path, stored, math.prod(entry.shape), offset=entry.start).reshape(entry.shape)
        if entry.dtype == "BF16":  # the upper half of a float32
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32)


def _weight_map(index: Path) -> dict[str, str]:
    """Tensor -> file of an index; files must lie beside it."""
    content = read_json(index, "an index of safetensors files").get("weight_map")
    if not isinstance(content, dict) or not content:
        raise InputError(f"{index} has no weight_map")
    found = cast("dict[str, Any]", content)
    for name, file in found.items():
        if not isinstance(file, str) or not file.isprintable() or len(file.encode()) > _LONGEST_NAME \
                or Path(file).name != file or not file.endswith(".safetensors"):
            raise InputError(f"{index}: {name} is in {shown(file)}, which is no safetensors file of the same folder")
    return found


def _nothing(folder: Path) -> str:
    """Why a folder has no weights."""
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        return (f"the folder {folder} has weights as pickle only ({pickles[0]}), which can run code and is never "
                "read; convert them to safetensors")
    return f"the folder {folder} has a config.json but no *.safetensors"
