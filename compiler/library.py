"""Where a MODEL argument leads: a shipped model's name, a folder, a checkpoint file, or random weights of a shape."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from compiler.checkpoint import FloatModel, load_checkpoint
from compiler.errors import InputError
from compiler.random_model import RANDOM_SHAPES, random_float_model
from compiler.tokenizer import Tokenizer, load_tokenizer, tokenizer_bytes

# `models` is installed beside `compiler`, from an editable install and from a wheel alike.
LIBRARY: Final = Path(__file__).resolve().parent.parent / "models"
CHECKPOINT: Final = "model.bin"
TOKENIZER: Final = "tokenizer.bin"
RANDOM: Final = "random:"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a model came from.

    Members:
        name: what to call it: the shipped name, the folder's name, or the file's name without its ending.
        checkpoint_sha256, tokenizer_sha256: of the two files, so that an image can be traced to them. Where there are
            none: of the random weights, tensor by tensor, and of the file that their tokenizer would be.
    """

    name: str
    checkpoint_sha256: str
    tokenizer_sha256: str


def shipped_models() -> list[str]:
    """Names of the models that come with the project."""
    return sorted(folder.parent.name for folder in LIBRARY.glob(f"*/{CHECKPOINT}"))


def _files(name_or_path: str) -> tuple[Path, Path, str]:
    """Checkpoint, tokenizer and name."""
    if name_or_path in shipped_models():
        folder = LIBRARY / name_or_path
        return folder / CHECKPOINT, folder / TOKENIZER, name_or_path
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        if not (path / CHECKPOINT).exists():
            raise InputError(
                f"the folder {path} has no {CHECKPOINT}; a model is a folder with {CHECKPOINT} and {TOKENIZER}"
            )
        return path / CHECKPOINT, path / TOKENIZER, path.resolve().name
    if not path.exists():
        known = ", ".join(shipped_models()) or "none"
        raise InputError(
            f"no model {name_or_path!r}: neither a file or folder nor one of the shipped models ({known})"
        )
    found = sorted(path.parent.glob("tok*.bin"))
    if path in found:
        raise InputError(f"{path} is a tokenizer by its name, expected a checkpoint")
    if path.parent / TOKENIZER in found:
        return path, path.parent / TOKENIZER, path.stem
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise InputError(f"{path}: several tokenizers beside it ({names}); call the right one {TOKENIZER}")
    return path, found[0] if found else path.parent / TOKENIZER, path.stem


def _random_model(name: str) -> tuple[FloatModel, Tokenizer, Provenance]:
    """Random weights of a shape that has a name, the same ones each time; its tokens print as their numbers."""
    shape = RANDOM_SHAPES.get(name.removeprefix(RANDOM))
    if shape is None:
        known = ", ".join(RANDOM + shape for shape in RANDOM_SHAPES)
        raise InputError(f"no model {name!r}; the shapes that have a name are {known}")
    model = random_float_model(shape)
    weights = hashlib.sha256()
    for field in fields(FloatModel):
        if field.name != "shape":
            weights.update(getattr(model, field.name).tobytes())
    tokenizer = Tokenizer([f" {token}".encode() for token in range(shape.vocab)], [0.0] * shape.vocab)
    return model, tokenizer, Provenance(
        name=name, checkpoint_sha256=weights.hexdigest(),
        tokenizer_sha256=hashlib.sha256(tokenizer_bytes(tokenizer)).hexdigest())


def open_model(name_or_path: str) -> tuple[FloatModel, Tokenizer, Provenance]:
    """Load a model and its tokenizer.

    Parameters
    ----------
    name_or_path: a shipped model's name, a folder with `model.bin` and `tokenizer.bin`, or a checkpoint file with
        `tokenizer.bin` or the only `tok*.bin` beside it; or `random:NAME`, see `RANDOM_SHAPES`.

    Raises
    ------
    InputError: nothing is there, or what is there is damaged, or the two do not belong together.
    """
    if name_or_path.startswith(RANDOM):
        return _random_model(name_or_path)
    checkpoint, tokens, name = _files(name_or_path)
    # The checkpoint first: where both are bad, it is the one that the user named.
    model = load_checkpoint(checkpoint)
    tokenizer = load_tokenizer(tokens, vocab=model.shape.vocab)
    return model, tokenizer, Provenance(
        name=name,
        checkpoint_sha256=hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        tokenizer_sha256=hashlib.sha256(tokens.read_bytes()).hexdigest(),
    )
