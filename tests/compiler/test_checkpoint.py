"""llama2.c checkpoints and model names: what is read, and every way to be wrong."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler import library
from compiler.errors import InputError
from compiler.float_model import FloatModel, check_shape
from compiler.importers.llama2c import load_checkpoint
from compiler.quantised import Shape
from compiler.random_model import random_float_model
from compiler.tokenizer import Tokenizer

SHAPE = Shape(dim=8, hidden=12, layers=2, heads=4, kv_heads=2, head_dim=2, vocab=11, context=6)
HEADER = (8, 12, 2, 4, 2, 11, 6)
TENSORS = ("embed", "attention_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w1", "w2", "w3", "final_norm")
TOKENIZER = Tokenizer([b"<unk>", b"<s>", b"</s>", *(bytes([c]) for c in b" abcdefg")], [0.0] * 11).file()


def written(model: FloatModel, *, tied: bool) -> bytes:
    """The checkpoint file of a model."""
    s = model.shape
    header = (s.dim, s.hidden, s.layers, s.heads, s.kv_heads, s.vocab if tied else -s.vocab, s.context)
    rope = np.zeros((2, s.context, s.head_dim // 2), np.float32)
    arrays = [*(getattr(model, name) for name in TENSORS), rope, *([] if tied else [model.classifier])]
    return struct.pack("<7i", *header) + b"".join(a.astype("<f4").tobytes() for a in arrays)


WHOLE = written(random_float_model(SHAPE, tied=True), tied=True)


def with_header(*numbers: int) -> bytes:
    return struct.pack("<7i", *numbers) + WHOLE[28:]


def with_weight(number: int, value: float) -> bytes:
    at = 28 + 4 * number
    return WHOLE[:at] + struct.pack("<f", value) + WHOLE[at + 4 :]


@pytest.mark.parametrize("tied", [True, False])
def test_every_tensor_is_read_back(tmp_path: Path, tied: bool) -> None:
    model = random_float_model(SHAPE, 3, tied=tied)
    path = tmp_path / "model.bin"
    path.write_bytes(written(model, tied=tied))
    again = load_checkpoint(path)
    assert again.shape == SHAPE
    for name in (*TENSORS, "classifier"):
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes, the header alone has 28"),
        (WHOLE[:-4], "is truncated"),
        (WHOLE + b"\0", "is too long"),
        (b"PK\x03\x04" + bytes(range(60)), "is no llama2.c checkpoint"),
        (with_header(0, *HEADER[1:]), "dim = 0"),
        (with_header(*HEADER[:2], -5, *HEADER[3:]), "layers = -5"),
        (with_header(8, 12, 2, 3, 1, 11, 6), "3 heads do not divide dim 8"),
        (with_header(8, 12, 2, 8, 2, 11, 6), "head size 1 is odd"),
        (with_header(8, 12, 2, 4, 3, 11, 6), "3 KV heads do not divide 4 heads"),
        (with_weight(5, float("nan")), r"weights of embed are NaN or infinite, the first at \[0, 5\]"),
        (with_weight(8 * 11 + 16 + 1, float("-inf")), r"weights of wq are NaN or infinite, the first at \[0, 0, 1\]"),
    ],
)
def test_bad_checkpoints_say_what_is_wrong(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_checkpoint(tmp_path / "none.bin")
    with pytest.raises(InputError, match="is a folder"):
        load_checkpoint(tmp_path)


def test_shapes_from_elsewhere_are_checked_too() -> None:
    with pytest.raises(InputError, match="here: vocab is 0"):
        check_shape(replace(SHAPE, vocab=0), "here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.bin").write_bytes(WHOLE)
    (tmp_path / "tokenizer.bin").write_bytes(TOKENIZER)
    return tmp_path


def test_a_folder_a_file_and_a_name_lead_to_the_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_folder, by_file = library.open_model(str(folder)), library.open_model(str(folder / "model.bin"))
    monkeypatch.setattr(library, "LIBRARY", folder.parent)
    by_name = library.open_model(folder.name)
    assert [found[2].name for found in (by_folder, by_file, by_name)] == [folder.name, "model", folder.name]
    assert len({found[2].checkpoint_sha256 for found in (by_folder, by_file, by_name)}) == 1
    assert all(len(tokenizer) == SHAPE.vocab for _, tokenizer, _ in (by_folder, by_file, by_name))


def test_the_only_tokenizer_beside_a_file_is_its_own(folder: Path) -> None:
    (folder / "tokenizer.bin").rename(folder / "tok11.bin")
    assert len(library.open_model(str(folder / "model.bin"))[1]) == SHAPE.vocab
    (folder / "tok12.bin").write_bytes(TOKENIZER)
    with pytest.raises(InputError, match="several tokenizers beside it"):
        library.open_model(str(folder / "model.bin"))


def test_models_that_are_not_there_are_named(folder: Path) -> None:
    with pytest.raises(InputError, match="no model 'nobody'"):
        library.open_model("nobody")
    with pytest.raises(InputError, match="is a tokenizer by its name"):
        library.open_model(str(folder / "tokenizer.bin"))
    (folder / "tokenizer.bin").unlink()
    with pytest.raises(InputError, match=r"expected a llama2\.c tokenizer"):
        library.open_model(str(folder))
    (folder / "model.bin").unlink()
    with pytest.raises(InputError, match=r"has no model\.bin"):
        library.open_model(str(folder))
