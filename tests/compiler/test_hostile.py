"""What fuzzing found (`python -m verification.fuzz`): inputs that crashed readers are refused in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from compiler.compile import compile_model
from compiler.errors import LONGEST, InputError
from compiler.image_file import FORMAT, checksum, image_bytes, load_image
from compiler.importers.gguf_file import load_gguf
from compiler.library import open_model
from compiler.quantise import quantise
from compiler.quantised import Shape
from compiler.random_model import random_float_model
from compiler.typed import made
from fpga.commands.boards import load_build
from rtl.config import preset
from sim import cli
from sim.commands.common import displayed
from sim.committed import load_rows
from sim.driver import Driver, ProtocolError
from verification.fuzz import gguf, line, reports, seeds
from verification.fuzz.target import Files

SHAPE = Shape(dim=8, hidden=12, layers=1, heads=2, kv_heads=1, head_dim=4, vocab=10, context=6)
Description = dict[str, Any]


@pytest.fixture(scope="module")
def image() -> bytes:
    model = quantise(random_float_model(SHAPE))
    return image_bytes(replace(compile_model(model, preset("tiny")), model=model))


def refused(read: Callable[[], object], said: str) -> None:
    """It is InputError, and its text one printable line that is not endless."""
    with pytest.raises(InputError, match=said) as raised:
        read()
    text = str(raised.value)
    assert text.isprintable() and len(text) <= LONGEST + 100, text


def described(image: bytes, change: Callable[[Description], None]) -> bytes:
    """The image with another description, and the checksum of that."""
    whole = json.loads(json.loads(image[8:8 + int.from_bytes(image[:8], "little")])["__metadata__"][FORMAT])
    tensors = load_tensors(image)
    change(whole["description"])
    whole["sha256"] = checksum(whole["description"], tensors)
    return save_tensors(tensors, {FORMAT: json.dumps(whole)})


def put(*path: Any, value: Any) -> Callable[[Description], None]:
    def change(description: Description) -> None:
        holder: Any = description
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = value
    return change


IMAGES: dict[str, tuple[Callable[[Description], None], str]] = {
    "a register that is an object": (put("registers", "key_step", value={}), "key_step is .*, expected a whole number"),
    "a register of 17 bits": (put("registers", "rope_step", value=1 << 16), "rope_step is 65536"),
    "a temperature with a point": (put("registers", "temperature", value=0.5), "temperature is 0.5"),
    "a seed that is a list": (put("registers", "seeds", value=[[1]]), "seeds is"),
    "more seeds than sequences": (put("registers", "seeds", value=[1, 2, 3]), "3 seeds for 2 sequences"),
    "a register with escapes in its name": (put("registers", "\x1b[2J", value=1), r"'\\x1b\[2J', which is unknown"),
    "a config with a size beyond all": (put("config", "bank_rows", value=10**400), "bank_rows is a number of many"),
    "a config with banks beyond all": (
        lambda d: d["config"].update(name="huge", bank_rows=1 << 20, lanes=64, taps=64), "no machine that"),
    "a config with a name that is a list": (put("config", "name", value=[]), "name is"),
    "a config with a long name": (put("config", "x" * 5000, value=1), "unknown"),
    "a width that is negative": (put("config", "position_bits", value=-1), "position_bits is -1"),
    "a version of many digits": (put("version", value=10**3000), "image format"),
    "a version of two lines": (put("version", value="a\nb"), "image format"),
    "a context that is true": (put("context", value=True), "context for tiny is True"),
    "provenance that is a list": (put("provenance", value=[]), "provenance is"),
    "a tensor beyond its memory": (put("tensors", "x", value={"space": "act", "first": 512, "index": [0]}), "beyond"),
    "a tensor in no memory": (put("tensors", "x", value={"space": [], "first": 0, "index": []}), "expected one of"),
    "a shift that is negative": (put("model", "shifts", "square", value=-1), "square is -1"),
    "a layer's shift that is NaN": (put("model", "layers", 0, "ffn_x_shift", value=float("nan")), "ffn_x_shift is nan"),
    "a shape beyond all": (put("model", "shape", "context", value=1 << 40), "context is"),
    "chunks that go back": (put("model", "hidden_chunks", value=[12, 4, 12]), "hidden_chunks is"),
    "a logit's scale of zero": (put("model", "logit_scale", value=0), "logit_scale is 0"),
    "labels for ever": (put("labels", "layers", value=1 << 60), "layers is"),
    "a label that clears the screen": (
        put("labels", "queues", "matrix", 0, value=[["\x1b[2J", 1, 0, 0, 0]]), "an entry is"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_with_a_hostile_description(name: str, image: bytes, tmp_path: Path) -> None:
    change, said = IMAGES[name]
    (tmp_path / "bad.lpu").write_bytes(described(image, change))
    refused(lambda: load_image(tmp_path / "bad.lpu"), said)


def test_an_image_whose_words_are_no_instructions(image: bytes, tmp_path: Path) -> None:
    def fill(description: Description) -> None:
        tensors["program.vector"] = tensors["program.vector"] | 255

    tensors = load_tensors(image)
    whole = json.loads(json.loads(image[8:8 + int.from_bytes(image[:8], "little")])["__metadata__"][FORMAT])
    fill(whole["description"])
    whole["sha256"] = checksum(whole["description"], tensors)
    (tmp_path / "bad.lpu").write_bytes(save_tensors(tensors, {FORMAT: json.dumps(whole)}))
    refused(lambda: load_image(tmp_path / "bad.lpu"), "damaged image: vector")


def test_an_image_whose_offsets_are_lists(image: bytes, tmp_path: Path) -> None:
    end = 8 + int.from_bytes(image[:8], "little")
    header = json.loads(image[8:end])
    header["act"]["data_offsets"] = [[0], [1]]
    text = json.dumps(header).encode()
    (tmp_path / "bad.lpu").write_bytes(len(text).to_bytes(8, "little") + text + image[end:])
    refused(lambda: load_image(tmp_path / "bad.lpu"), "is not an image of this project")


def test_a_message_is_one_line_whatever_it_repeats() -> None:
    assert str(InputError("a\nb\x1b[2J\u202e")) == "a b\\x1b[2J\\u202e"
    assert len(str(InputError("x" * 10**6))) < LONGEST + 100


def test_numbers_that_are_none() -> None:
    for value in (True, 1.0, "1", None, 10**5000):
        with pytest.raises(ValueError, match="expected a whole number"):
            made(Shape, {**vars(SHAPE), "dim": value}, "shape")


# ------------------------------------------------------------------------------------------------ other readers' inputs

FOLDER = seeds.folder("LlamaForCausalLM")


def in_json(name: str, *path: Any, value: Any) -> Files:
    """The folder with another value in one of its JSON files."""
    content = json.loads(FOLDER[name])
    put(*path, value=value)(content)
    return FOLDER | {name: json.dumps(content).encode()}


LINEAR = {"type": "linear", "factor": 10**400}
FOLDERS: dict[str, tuple[Files, str]] = {
    "a token that is infinite": (
        in_json("tokenizer.json", "model", "vocab", "the", value=float("inf")), "a token is inf"),
    "a token that is negative": (in_json("tokenizer.json", "model", "vocab", "the", value=-1), "a token is -1"),
    "a token that is added twice": (in_json("tokenizer.json", "post_processor", "special_tokens", value={}), "damaged"),
    "decoders that are a number": (
        in_json("tokenizer.json", "decoder", value={"type": "Sequence", "decoders": 1}), "none"),
    "a begin token that is negative": (in_json("config.json", "bos_token_id", value=-5), "begin with token -5"),
    "a factor of many digits": (in_json("config.json", "rope_scaling", value=LINEAR), "factor is inf"),
    "a size of many digits": (in_json("config.json", "hidden_size", value="9" * 9999), "hidden_size is '9999"),
    "an index to a name that no file has": (FOLDER | {"model.safetensors.index.json": json.dumps(
        {"weight_map": {"x": "1" * 5000 + ".safetensors"}}).encode()}, "no safetensors file of the same folder"),
    "JSON that is too deep": (FOLDER | {"config.json": b"[" * 100_000}, "is no JSON"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_hostile_folder(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, said = FOLDERS[name]
    for file, content in folder.items():
        (tmp_path / file).write_bytes(content)
    refused(lambda: open_model(str(tmp_path)), said)
    assert not capfd.readouterr().err  # a panic of the library says nothing of its own


def gguf_content() -> gguf.Content:
    gguf.seeds()
    return next(iter(gguf.CONTENTS.values()))


GGUF: dict[str, tuple[Callable[[gguf.Content], gguf.Content], str]] = {
    "an array without end": (lambda content: replace(content, settings=(
        *content.settings, gguf.Setting("x", gguf.U32, (), array=True, length=(1 << 64) - 1))), "end beyond the file"),
    "texts without end": (lambda content: replace(content, settings=(
        *content.settings, gguf.Setting("x", gguf.STRING, (), array=True, length=1 << 63))), "end beyond the file"),
    "settings without end": (lambda content: replace(content, counts=(1, (1 << 64) - 1)), "truncated or no GGUF"),
    "an embedding without dimensions": (lambda content: replace(content, tensors=(
        replace(content.tensors[0], dims=()), *content.tensors[1:])), "token_embd.weight is no matrix"),
    "a tensor beyond all": (lambda content: replace(content, tensors=(
        replace(content.tensors[0], dims=(1 << 62, 4)), *content.tensors[1:])), "elements"),
}


@pytest.mark.parametrize("name", GGUF)
def test_a_hostile_gguf_file(name: str, tmp_path: Path) -> None:
    change, said = GGUF[name]
    (tmp_path / "x.gguf").write_bytes(gguf.file_bytes(change(gguf_content())))
    refused(lambda: load_gguf(tmp_path / "x.gguf"), said)


def test_weights_that_overflow() -> None:
    model = random_float_model(SHAPE)
    refused(lambda: quantise(replace(model, w1=model.w1 * np.float32(1e38))), "activations overflow float32")
    for epsilon in (1e39, -1.0, float("nan")):
        traits = replace(model.traits, norm_epsilon=epsilon)
        refused(lambda traits=traits: quantise(replace(model, traits=traits)), "in the norms is impossible")


REPORTS: dict[str, tuple[str, Any]] = {
    "no capacity": ("capacity", 5), "a clock in words": ("core_mhz", "fast"), "an endless Fmax": ("fmax_mhz", 10**400),
    "tools that are a list": ("tools", [1]),
    "LUTs that are NaN": ("lut", float("nan")), "a board that is a list": ("board", [])}


@pytest.mark.parametrize("name", REPORTS)
def test_a_hostile_report(name: str, tmp_path: Path) -> None:
    key, value = REPORTS[name]
    (tmp_path / "r.json").write_text(json.dumps(reports.REPORT | {key: value}))
    refused(lambda: load_build(tmp_path / "r.json"), f"no report of a build .{key} is")


@pytest.mark.parametrize("row", [[], {"model": []}, {"cycles": {"0": "x"}}, {"context": None}])
def test_hostile_cycles(row: Any, tmp_path: Path) -> None:
    sound = {"model": "m", "preset": "p", "run": "r", "context": 1, "cycles": {"0": 1}}
    (tmp_path / "c.json").write_text(json.dumps({"rows": [row if isinstance(row, list) else sound | row]}))
    refused(lambda: load_rows(tmp_path / "c.json"), "no file of committed cycle counts")


def test_a_machine_that_never_stops_is_given_up() -> None:
    driver = Driver(line.CFG, line.BadMachine(line.Tape(b"")))
    run = driver.run(3)
    next(run)
    with pytest.raises(ProtocolError, match="sends more than a run can have left"):
        driver.settle()
    run.close()


def test_a_story_commands_no_terminal() -> None:
    assert displayed("a\n\x1b[2J\x9b\ud800") == "a\n\ufffd[2J\ufffd\ufffd"


def test_an_illegal_program_is_one_line(image: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                        capfd: pytest.CaptureFixture[str]) -> None:
    tensors = load_tensors(image)
    whole = json.loads(json.loads(image[8:8 + int.from_bytes(image[:8], "little")])["__metadata__"][FORMAT])
    tensors["program.scalar"] = np.zeros_like(tensors["program.scalar"])
    tensors["tokenizer"] = np.frombuffer(seeds.pieces_tokenizer(SHAPE.vocab).file(), np.uint8)
    whole["sha256"] = checksum(whole["description"], tensors)
    (tmp_path / "bad.lpu").write_bytes(save_tensors(tensors, {FORMAT: json.dumps(whole)}))
    monkeypatch.setattr(sys, "argv", ["lpu", "generate", str(tmp_path / "bad.lpu"), "--device", "cycle"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    said = capfd.readouterr().err
    assert left.value.code == 2 and said.startswith("lpu: the image's program is illegal") and said.count("\n") == 1
