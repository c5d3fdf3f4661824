"""Image files: safetensors, with a JSON description in the metadata. Written whole or not at all, read with suspicion.

Tensors are the image's memories, programs as bytes (words, bytes of a word), and the quantised model under `model.`.
The checksum is over the description and every tensor's name, type, shape and bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from compiler.errors import InputError
from compiler.float_model import SANE_LIMIT
from compiler.image import Image, Registers
from compiler.labels import labels_from_json, labels_to_json
from compiler.lower import MOST_TOP_K
from compiler.model_tensors import flatten_model, restore_model
from compiler.typed import integer, integers, made, members, obj, shown
from rtl.config import PRESETS, Config
from rtl.encoding import decode, word_bits
from rtl.isa import QUEUES

FORMAT: Final = "openlpu-image"
FORMAT_VERSION: Final = 1
_LENGTH_BYTES: Final = 8  # safetensors: length of the header, then the header, which is JSON
_MEMORIES: Final = ("banks", "act", "params", "constants", "values", "cycles", "useful_macs")
# Of a machine that an image may describe. The largest preset has banks of 32 MB and positions of 10 bits.
_WIDEST: Final = 64
_MOST_BYTES: Final = 1 << 28
_MOST_POSITION_BITS: Final = 20
_LONGEST_NAME: Final = 64
_REGISTER_MOST: Final = (1 << 16) - 1

Tensors = dict[str, npt.NDArray[Any]]


def tool_version() -> str:
    """This package's version."""
    try:
        return version("openlpu")
    except PackageNotFoundError:  # a source tree that is not installed
        return "unknown"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all. Raises InputError where it cannot be written."""
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        if temporary:
            temporary.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def check_writable(path: Path) -> None:
    """Raise InputError where `write_atomically` would: before work whose result would be lost."""
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def looks_like_image(path: Path) -> bool:
    """Whether a file is meant as an image, sound or not: a safetensors header, or the name of one."""
    if path.suffix in (".lpu", ".safetensors"):
        return True
    try:
        with path.open("rb") as file:
            start = file.read(_LENGTH_BYTES + 1)
    except OSError:
        return False
    return start[_LENGTH_BYTES:] == b"{" and int.from_bytes(start[:_LENGTH_BYTES], "little") < 1 << 32


def checksum(description: dict[str, Any], tensors: Tensors) -> str:
    total = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tensor.dtype.str} {tensor.shape}".encode())
        total.update(np.ascontiguousarray(tensor).tobytes())
    return total.hexdigest()


def _program_tensors(image: Image) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    for queue in QUEUES:
        size = _word_bytes(image.config, queue.name)
        words = image.programs[queue.name]
        content = b"".join(word.to_bytes(size, "little") for word in words)
        yield f"program.{queue.name}", np.frombuffer(content, np.uint8).reshape(len(words), size)


def _word_bytes(cfg: Config, queue: str) -> int:
    return -(-word_bits(cfg, next(item for item in QUEUES if item.name == queue)) // 8)


def image_bytes(image: Image) -> bytes:
    """The file of an image; the same bytes for the same image."""
    used = np.flatnonzero(image.banks.any(axis=(1, 2)))
    tensors: Tensors = {name: getattr(image, name) for name in _MEMORIES}
    tensors["banks"] = image.banks[: int(used[-1]) + 1 if len(used) else 0]  # deep banks are mostly empty
    tensors["tokenizer"] = np.frombuffer(image.tokenizer, np.uint8)
    tensors |= dict(_program_tensors(image))
    model: dict[str, Any] | None = None
    if image.model is not None:
        model, model_tensors = flatten_model(image.model)
        tensors |= {f"model.{name}": tensor for name, tensor in model_tensors.items()}
    description = {
        "version": FORMAT_VERSION, "tool": tool_version(), "preset": image.config.name,
        "config": asdict(image.config), "registers": asdict(image.registers), "context": image.context,
        "sequences": image.sequences, "top_k": image.top_k,
        "tensors": image.tensors, "provenance": image.provenance, "model": model}
    if image.labels is not None:
        description["labels"] = labels_to_json(image.labels)
    description = json.loads(json.dumps(description))  # as it will be read: tuples are lists
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    # One entry: safetensors writes several in any order.
    whole = {"description": description, "sha256": checksum(description, tensors)}
    return save_tensors(tensors, {FORMAT: json.dumps(whole, sort_keys=True)})


def save_image(image: Image, path: Path) -> None:
    """Write an image. Raises InputError where the file cannot be written; then nothing is."""
    write_atomically(path, image_bytes(image))


def load_image(path: Path, *, config: Config | None = None) -> Image:
    """Read an image and check all of it.

    Parameters
    ----------
    config: the machine that it must be for; None takes any.

    Raises
    ------
    InputError: no image, a damaged one, or one for another machine.
    """
    description, tensors = _read(path)
    cfg = _config(path, description)
    if config is not None and config != cfg:
        raise InputError(f"{path} is an image for {cfg.name}, not for {config.name}; compile it for {config.name}")
    try:
        return _image(cfg, description, tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is a damaged image: {error}") from None


def _read(path: Path) -> tuple[dict[str, Any], Tensors]:
    """Description and tensors of a file whose checksum is right."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    if len(content) <= _LENGTH_BYTES or content[_LENGTH_BYTES:_LENGTH_BYTES + 1] != b"{":
        raise InputError(f"{path} is not an image; `lpu compile` makes one")
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    if end > len(content):
        raise InputError(f"{path} is truncated: its header alone needs {end} bytes, it has {len(content)}")
    try:
        header: Any = json.loads(content[_LENGTH_BYTES:end])
        whole: Any = json.loads(header["__metadata__"][FORMAT])
        description: dict[str, Any] = dict(whole["description"])
        expected = str(whole["sha256"])
        offsets = [integer(entry["data_offsets"][1], "an offset") for name, entry in header.items()
                   if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):  # not the JSON we write
        raise InputError(f"{path} is not an image of this project; `lpu compile` makes one") from None
    if description.get("version") != FORMAT_VERSION:
        raise InputError(
            f"{path} has image format {shown(description.get('version'))}, expected {FORMAT_VERSION}; "
            "compile the model again")
    if end + max(offsets, default=0) > len(content):
        raise InputError(f"{path} is truncated: {end + max(offsets)} bytes are announced, it has {len(content)}")
    try:
        tensors = load_tensors(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is a damaged image: {' '.join(str(error).split())}") from None
    if checksum(description, tensors) != expected:
        raise InputError(f"{path} is a damaged image: its checksum is not that of its contents")
    return description, tensors


def _config(path: Path, description: dict[str, Any]) -> Config:
    try:
        fields = members(Config, description["config"], "its config")
        for name, value in fields.items():
            if isinstance(value, int) and not isinstance(value, bool):
                integer(value, f"its config: {name}", 0, _WIDEST if name.endswith("_bits") else SANE_LIMIT)
        for name, bits in fields["narrow"]:
            integer(bits, f"its config: narrow {shown(name)}", 0, _WIDEST)
        cfg = Config(**fields)
        if not cfg.name.isprintable() or len(cfg.name) > _LONGEST_NAME:
            raise ValueError(f"its name is {shown(cfg.name)}")
        if cfg.bank_bytes > _MOST_BYTES or cfg.position_bits > _MOST_POSITION_BITS:
            raise ValueError("its memories are larger than any machine's")
    except (KeyError, ValueError) as error:  # ConfigError is a ValueError
        raise InputError(f"{path} describes no machine that can be built: {error}") from None
    if PRESETS.get(cfg.name, cfg) != cfg:
        raise InputError(f"{path} is for another {cfg.name} than this version's; compile the model again")
    return cfg


def _registers(cfg: Config, content: Any) -> Registers:
    found = made(Registers, content, "registers")
    if len(found.seeds) > cfg.sequences:
        raise ValueError(f"{len(found.seeds)} seeds for {cfg.sequences} sequences")
    integers(found.seeds, "registers: seeds", 0, (1 << 64) - 1)
    for name, value in asdict(found).items():
        if name != "seeds":
            integer(value, f"registers: {name}", 0, _REGISTER_MOST)
    return found


def _tensors(cfg: Config, content: Any) -> dict[str, Any]:
    """Where named tensors lie, see compiler/tensors.py; within the machine's memories."""
    rows = {"vector": cfg.vector_rows, "act": cfg.act_vectors}
    for name, entry in obj(content, "tensors").items():
        what = f"tensor {shown(name)}"
        space = obj(entry, what).get("space")
        if not isinstance(space, str) or space not in rows:
            raise ValueError(f"{what} is in {shown(space)}, expected one of {', '.join(rows)}")
        index = integers(entry.get("index"), f"{what}: index", -1, SANE_LIMIT)
        first = integer(entry.get("first"), f"{what}: first", 0, rows[space])
        if first + -(-len(index) // cfg.lanes) > rows[space]:
            raise ValueError(f"{what} ends beyond row {rows[space]}")
    return content


def _image(cfg: Config, description: dict[str, Any], tensors: Tensors) -> Image:
    context = integer(description["context"], f"the context for {cfg.name}", 1, cfg.buckets * cfg.bucket_positions)
    sequences = integer(description["sequences"], f"sequences for {cfg.name}", 1, cfg.sequences)
    top_k = integer(description["top_k"], f"top-k for {cfg.name}", 0, MOST_TOP_K if cfg.top_k else 0)

    def take(name: str, dtype: type[np.generic], *shape: int) -> npt.NDArray[Any]:
        tensor = tensors[name]
        if tensor.dtype != dtype or tensor.shape != shape:
            raise ValueError(f"{name} is {tensor.dtype} {tensor.shape}, expected {np.dtype(dtype)} {shape}")
        return tensor

    stored = tensors["banks"]
    if stored.dtype != np.int8 or stored.shape[1:] != (cfg.lanes, cfg.taps) or len(stored) > cfg.bank_rows:
        raise ValueError(f"banks is {stored.dtype} {stored.shape}, expected int8 of at most "
                         f"{(cfg.bank_rows, cfg.lanes, cfg.taps)}")
    banks = np.zeros((cfg.bank_rows, cfg.lanes, cfg.taps), np.int8)
    banks[: len(stored)] = stored
    programs: dict[str, list[int]] = {}
    for queue in QUEUES:
        words = len(np.atleast_1d(tensors[f"program.{queue.name}"]))
        if words > queue.words(cfg):
            raise ValueError(f"the {queue.name} program has {words} words, {cfg.name} holds {queue.words(cfg)}")
        rows = take(f"program.{queue.name}", np.uint8, words, _word_bytes(cfg, queue.name))
        programs[queue.name] = [int.from_bytes(row.tobytes(), "little") for row in rows]
        for word in programs[queue.name]:
            decode(cfg, queue, word)  # what is no instruction is refused
    model = description["model"]
    parts = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    per_position = (2, context)
    return Image(
        config=cfg, programs=programs, banks=banks, act=take("act", np.int8, cfg.act_rows, cfg.act_width),
        params=take("params", np.uint8, cfg.param_rows, cfg.lanes),
        constants=take("constants", np.uint8, cfg.constants), values=take("values", np.uint16, cfg.buckets, cfg.values),
        registers=_registers(cfg, description["registers"]), context=context, sequences=sequences, top_k=top_k,
        cycles=take("cycles", np.int64, *per_position), useful_macs=take("useful_macs", np.int64, *per_position),
        tensors=_tensors(cfg, description["tensors"]), labels=labels_from_json(description.get("labels")),
        provenance=obj(description["provenance"], "provenance"),
        tokenizer=take("tokenizer", np.uint8, tensors["tokenizer"].size).tobytes(),
        model=None if model is None else restore_model(model, parts))
