"""Image files: what was written comes back, and nothing damaged gets in."""

from __future__ import annotations

import json
import struct
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.compile import compile_model
from compiler.errors import InputError
from compiler.image import Image
from compiler.image_file import check_writable, image_bytes, load_image, looks_like_image, save_image
from compiler.labels import labels_from_json
from compiler.quantise import quantise
from compiler.quantised import Shape
from compiler.random_model import random_float_model
from rtl.config import preset

SHAPE = Shape(dim=8, hidden=12, layers=2, heads=2, kv_heads=1, head_dim=4, vocab=10, context=12)


@pytest.fixture(scope="module")
def image() -> Image:
    model = quantise(random_float_model(SHAPE))
    made = compile_model(model, preset("tiny"), tokenizer=b"not a real tokenizer", provenance={"name": "random"})
    return replace(made, model=model)


@pytest.fixture
def path(image: Image, tmp_path: Path) -> Path:
    save_image(image, tmp_path / "model.lpu")
    return tmp_path / "model.lpu"


def same(a: Any, b: Any) -> bool:
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, item.name), getattr(b, item.name)) for item in fields(a))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def rewrite(path: Path, change: Any) -> None:
    """Change the header of a file and keep the rest."""
    content = path.read_bytes()
    (size,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8:8 + size])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size:])


def test_round_trip(image: Image, path: Path):
    loaded = load_image(path, config=preset("tiny"))
    for item in fields(Image):
        assert same(getattr(image, item.name), getattr(loaded, item.name)), item.name


def test_without_a_model(image: Image, tmp_path: Path):
    save_image(replace(image, model=None), tmp_path / "small.lpu")
    assert load_image(tmp_path / "small.lpu").model is None


def test_of_before_there_were_labels(image: Image, tmp_path: Path):
    save_image(replace(image, labels=None), tmp_path / "old.lpu")
    assert b'"labels"' not in (tmp_path / "old.lpu").read_bytes()
    assert load_image(tmp_path / "old.lpu").labels is None


def test_labels_that_are_none():
    assert labels_from_json(None) is None
    for sections in ([], [[["wq[0]"]], [], []], [[1], [], []]):
        with pytest.raises((ValueError, TypeError)):
            labels_from_json({"layers": 1, "queues": {"matrix": sections, "vector": [[], [], []]}})
    with pytest.raises(KeyError):
        labels_from_json({"layers": 1, "queues": {}})


def test_same_image_same_bytes(image: Image):
    assert image_bytes(image) == image_bytes(replace(image))


def test_nothing_else_is_left_in_the_folder(path: Path):
    assert [file.name for file in path.parent.iterdir()] == ["model.lpu"]


@pytest.mark.parametrize("keep", [0, 4, 9, 200, -1, -1000])
def test_truncated(path: Path, keep: int):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"truncated|not an image|damaged"):
        load_image(path)


def test_one_bit_changed_anywhere_in_the_tensors(path: Path):
    content = bytearray(path.read_bytes())
    (size,) = struct.unpack_from("<Q", content)
    for at in (8 + size, (8 + size + len(content)) // 2, len(content) - 1):
        damaged = bytearray(content)
        damaged[at] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="checksum"):
            load_image(path)


def test_description_changed(path: Path):
    def longer_context(header: dict[str, Any]) -> None:
        whole = json.loads(header["__metadata__"]["openlpu-image"])
        whole["description"]["context"] -= 1
        header["__metadata__"]["openlpu-image"] = json.dumps(whole)

    rewrite(path, longer_context)
    with pytest.raises(InputError, match="checksum"):
        load_image(path)


@pytest.mark.parametrize("content", [
    b"", b"no image", b"\x00" * 100, struct.pack("<Q", 2) + b"{}", struct.pack("<Q", 1 << 60) + b"{" + b"x" * 50,
    struct.pack("<Q", 7) + b"{broken", struct.pack("<Q", 4) + b"{\xff\xff}",
    struct.pack("<Q", 20) + b'{"__metadata__": 7}x',
])  # fmt: skip
def test_something_else(tmp_path: Path, content: bytes):
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(InputError, match=r"not an image|truncated"):
        load_image(tmp_path / "other")


def test_safetensors_of_somebody_else(tmp_path: Path):
    from safetensors.numpy import save
    (tmp_path / "other").write_bytes(save({"weights": np.zeros(3)}))
    with pytest.raises(InputError, match="not an image"):
        load_image(tmp_path / "other")


def test_missing_file(tmp_path: Path):
    with pytest.raises(InputError, match="cannot read"):
        load_image(tmp_path / "nothing.lpu")


def test_another_preset(path: Path):
    with pytest.raises(InputError, match="is an image for tiny, not for ulx3s"):
        load_image(path, config=preset("ulx3s"))


def test_a_preset_of_other_sizes(image: Image, tmp_path: Path):
    """An image from another version, whose `tiny` was not ours."""
    save_image(replace(image, config=replace(image.config, reduces=64)), tmp_path / "old.lpu")
    with pytest.raises(InputError, match="another tiny"):
        load_image(tmp_path / "old.lpu")


def test_a_custom_machine_is_fine(image: Image, tmp_path: Path):
    custom = replace(image.config, name="custom", reduces=32)
    save_image(replace(image, config=custom, programs={name: [0] for name in image.programs}), tmp_path / "custom.lpu")
    assert load_image(tmp_path / "custom.lpu").config == custom


@pytest.mark.parametrize("change", [
    {"context": 1000}, {"context": 0}, {"act": np.zeros((3, 4), np.int8)}, {"params": np.zeros((1024, 4), np.int8)},
    {"values": np.zeros((1, 16), np.uint16)}, {"cycles": np.zeros((2, 5), np.int64)},
    {"banks": np.ones((4000, 4, 4), np.int8)}, {"programs": {"matrix": [0] * 400, "vector": [0], "scalar": [0]}},
])  # fmt: skip
def test_impossible_sizes(image: Image, tmp_path: Path, change: dict[str, Any]):
    """With a checksum that fits: sizes are checked for themselves."""
    save_image(replace(image, **change), tmp_path / "bad.lpu")
    with pytest.raises(InputError, match="damaged image"):
        load_image(tmp_path / "bad.lpu")


def test_a_model_of_another_shape(image: Image, tmp_path: Path):
    assert image.model is not None
    bad = replace(image.model, shape=replace(SHAPE, vocab=11))
    save_image(replace(image, model=bad), tmp_path / "bad.lpu")
    with pytest.raises(InputError, match="damaged image"):
        load_image(tmp_path / "bad.lpu")


@pytest.mark.parametrize("where", ["missing/model.lpu", "."])
def test_unwritable(image: Image, tmp_path: Path, where: str):
    with pytest.raises(InputError, match="cannot write"):
        check_writable(tmp_path / where)
    with pytest.raises(InputError, match="cannot write"):
        save_image(image, tmp_path / where)
    assert list(tmp_path.iterdir()) == []


def test_looks_like_image(path: Path, tmp_path: Path):
    assert looks_like_image(path)
    path.rename(tmp_path / "renamed.bin")
    assert looks_like_image(tmp_path / "renamed.bin")
    (tmp_path / "model.bin").write_bytes(struct.pack("<7i", 64, 172, 5, 8, 4, 512, 512) + b"{" * 99)
    assert not looks_like_image(tmp_path / "model.bin")
    assert not looks_like_image(tmp_path / "nothing")
