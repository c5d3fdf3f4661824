"""Where a MODEL argument leads: a shipped model's name, a folder, a checkpoint file, or random weights of a shape."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from compiler.errors import InputError
from compiler.float_model import FloatModel
from compiler.importers.gguf_file import load_gguf
from compiler.importers.hub_tokenizer import load_hub_tokenizer
from compiler.importers.huggingface import CONFIG, load_folder
from compiler.importers.llama2c import load_checkpoint
from compiler.random_model import RANDOM_SHAPES, random_float_model
from compiler.tokenizer import AnyTokenizer, Tokenizer, load_tokenizer
from rtl.config import PRESETS

# `models` is installed beside `compiler`, from an editable install and from a wheel alike.
LIBRARY: Final = Path(__file__).resolve().parent.parent / "models"
CHECKPOINT: Final = "model.bin"
TOKENIZER: Final = "tokenizer.bin"
GGUF: Final = ".gguf"
RANDOM: Final = "random:"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a model came from.

    Members:
        name: what to call it: the shipped name, the folder's name, or the file's name without its ending.
        checkpoint_sha256, tokenizer_sha256: of the two files, so that an image can be traced to them. A Hugging Face
            folder's checkpoint is its config.json and its weights, one after another; a GGUF file is both. Where there
            are no files: of the random weights, tensor by tensor, and of the file that their tokenizer would be.
    """

    name: str
    checkpoint_sha256: str
    tokenizer_sha256: str


def shipped_models() -> list[str]:
    """Names of the models that come with the project."""
    return sorted(file.parent.name for name in (CHECKPOINT, CONFIG) for file in LIBRARY.glob(f"*/{name}"))


def _files(name_or_path: str) -> tuple[Path, Path, str]:
    """Checkpoint, tokenizer and name of a llama2.c model."""
    if name_or_path in shipped_models():
        folder = LIBRARY / name_or_path
        return folder / CHECKPOINT, folder / TOKENIZER, name_or_path
    path = Path(name_or_path).expanduser()
    if path.is_dir():
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
    for tensor in model.tensors().values():
        weights.update(tensor.tobytes())
    tokenizer = Tokenizer([f" {token}".encode() for token in range(shape.vocab)], [0.0] * shape.vocab)
    return model, tokenizer, Provenance(
        name=name, checkpoint_sha256=weights.hexdigest(),
        tokenizer_sha256=hashlib.sha256(tokenizer.file()).hexdigest())


def _sha256(files: Sequence[Path]) -> str:
    """Of files, one after another."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                total.update(piece)
    return total.hexdigest()


def shortened(model: FloatModel) -> FloatModel:
    """The model with no more positions than the longest machine has, so that no table is made for 100000 of them. A
    window that then holds the whole context is none."""
    shape, window = model.shape, model.traits.window
    context = min(shape.context, max(1 << config.position_bits for config in PRESETS.values()))
    return replace(
        model, shape=replace(shape, context=context),
        traits=replace(model.traits, window=None if window is None or window >= context else window))


def _format(path: Path) -> tuple[str, Path]:
    """Format of a folder or file, and where to read it. Raises InputError for a folder without a model."""
    if path.suffix == GGUF:
        return GGUF, path
    if not path.is_dir():
        return CHECKPOINT, path
    if (path / CONFIG).exists():
        return CONFIG, path
    if (path / CHECKPOINT).exists():
        return CHECKPOINT, path
    files = sorted(path.glob("*" + GGUF))
    if len(files) == 1:
        return GGUF, files[0]
    if files:
        raise InputError(f"the folder {path} has several {GGUF} files; name one of them")
    raise InputError(f"the folder {path} has no {CHECKPOINT}, no {CONFIG} and no {GGUF} file; a model is a folder with "
                     f"{CHECKPOINT} and {TOKENIZER}, or with {CONFIG}, *.safetensors and a tokenizer, or a GGUF file")


def open_model(name_or_path: str) -> tuple[FloatModel, AnyTokenizer, Provenance]:
    """Load a model and its tokenizer.

    Parameters
    ----------
    name_or_path: a shipped model's name; a folder with `model.bin` and `tokenizer.bin`, or a Hugging Face folder, or
        one with a single GGUF file; a GGUF file; a llama2.c checkpoint with `tokenizer.bin` or the only `tok*.bin`
        beside it; or `random:NAME`, see `RANDOM_SHAPES`.

    Raises
    ------
    InputError: nothing is there, or what is there is damaged, or the two do not belong together.
    """
    if name_or_path.startswith(RANDOM):
        return _random_model(name_or_path)
    kind, path = _format(LIBRARY / name_or_path if name_or_path in shipped_models()
                         else Path(name_or_path).expanduser())
    if kind == CONFIG:
        model, files = load_folder(path)
        tokenizer, tokens = load_hub_tokenizer(path, model)
        return shortened(model), tokenizer, Provenance(
            name=path.resolve().name, checkpoint_sha256=_sha256(files), tokenizer_sha256=_sha256([tokens]))
    if kind == GGUF:
        model, tokenizer = load_gguf(path)
        whole = _sha256([path])
        return shortened(model), tokenizer, Provenance(
            name=path.stem, checkpoint_sha256=whole, tokenizer_sha256=whole)
    checkpoint, tokens, name = _files(name_or_path)
    # The checkpoint first: where both are bad, it is the one that the user named.
    model = load_checkpoint(checkpoint)
    tokenizer = load_tokenizer(tokens, vocab=model.shape.vocab)
    return model, tokenizer, Provenance(
        name=name, checkpoint_sha256=_sha256([checkpoint]), tokenizer_sha256=_sha256([tokens]))
