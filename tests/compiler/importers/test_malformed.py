"""Checkpoints that cannot be run: each is one line that says why, exit code 2, and nothing written."""

from __future__ import annotations

import json
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim import cli
from tests.compiler.importers.folders import CASES, byte_level, safetensors, tensors, write_folder
from tests.compiler.importers.test_gguf import write as write_gguf

Damage = Callable[[Path], None]
WQ = "model.layers.0.self_attn.q_proj.weight"


def config(**changes: Any) -> Damage:
    """Other settings; a value of ... takes one out."""
    def damage(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(
            json.dumps({name: value for name, value in content.items() if value is not ...}))
    return damage


def weights(**changes: Any) -> Damage:
    """Other tensors, by name with underscores for dots or whole; None takes one out."""
    def damage(folder: Path) -> None:
        content = tensors(CASES["llama"]) | changes
        kept = {name: value for name, value in content.items() if value is not None}
        (folder / "model.safetensors").write_bytes(safetensors(kept))
    return damage


def with_nan(folder: Path) -> None:
    tensor = tensors(CASES["llama"])[WQ].copy()
    tensor[3, 5] = np.nan
    weights(**{WQ: tensor})(folder)


def header(change: Callable[[dict[str, Any]], None]) -> Damage:
    """Another header over the same data."""
    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        content = json.loads(data[8:8 + length])
        change(content)
        text = json.dumps(content).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length:])
    return damage


def cut(name: str, size: int) -> Damage:
    """A file without its end."""
    def damage(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:size])
    return damage


def text(name: str, content: str | bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return damage


def without(*names: str) -> Damage:
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()
    return damage


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def tokenizer(**changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_text()) | changes
        (folder / "tokenizer.json").write_text(json.dumps(content))
    return damage


def index(weight_map: Any) -> Damage:
    def damage(folder: Path) -> None:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return damage


def twice(folder: Path) -> None:
    (folder / "more.safetensors").write_bytes((folder / "model.safetensors").read_bytes())


def scaling(**values: Any) -> Damage:
    return config(rope_scaling=values)


def other_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"nothing")


SQUARE = np.zeros((3, 3), np.float32)
LM = "lm_head.weight"

# name -> what is done to a sound Llama folder, and what the line must say.
FOLDERS: dict[str, tuple[Damage, str]] = {
    "config is no JSON": (cut("config.json", 40), "config.json is no JSON"),
    "config is a list": (text("config.json", "[1]"), "holds a JSON list, expected an object"),
    "no size": (config(hidden_size=...), "has no hidden_size, expected a whole number"),
    "a size in words": (config(vocab_size="many"), "vocab_size is 'many', expected a whole number"),
    "a size that is true": (config(num_hidden_layers=True), "num_hidden_layers is True, expected a whole number"),
    "no layers": (config(num_hidden_layers=0), "layers is 0, it must be between 1"),
    "heads that do not divide": (config(num_attention_heads=5, head_dim=...), "5 heads do not divide hidden_size 24"),
    "KV heads that do not divide": (config(num_key_value_heads=3), "3 KV heads do not divide 4 heads"),
    "odd heads": (config(head_dim=7), "head size 7 is odd"),
    "no epsilon": (config(rms_norm_eps=...), "has no rms_norm_eps, expected a number"),
    "epsilon zero": (config(rms_norm_eps=0), "rms_norm_eps is 0, expected a number above 0"),
    "unknown architecture": (config(architectures=["MambaForCausalLM"]), "architecture MambaForCausalLM is not supp"),
    "encoder": (config(architectures=["BertForMaskedLM"]), "BertForMaskedLM makes no next token"),
    "encoder and decoder": (config(architectures=["T5ForConditionalGeneration"]), "is an encoder with a decoder"),
    "classifier": (config(architectures=["LlamaForSequenceClassification"]), "makes no next token"),
    "no architecture": (config(architectures=..., model_type="rwkv"), r"no architecture .* \(model_type 'rwkv'\)"),
    "code of its own": (config(auto_map={"AutoModel": "evil.Model"}), "brings code of its own"),
    "quantised": (config(quantization_config={"quant_method": "gptq"}), "quantised already"),
    "activation": (config(hidden_act="gelu"), "activation 'gelu' is not supported, only silu is"),
    "biases everywhere": (config(attention_bias=True), "attention_bias puts a bias on o_proj"),
    "MLP biases": (config(mlp_bias=True), "mlp_bias is not supported"),
    "yarn": (scaling(rope_type="yarn", factor=4.0), "RoPE scaling 'yarn' is not supported"),
    "dynamic": (scaling(type="dynamic", factor=2.0), "RoPE scaling 'dynamic' is not supported"),
    "linear without factor": (scaling(type="linear"), "has no factor"),
    "factor zero": (scaling(type="linear", factor=0), "factor is 0, expected a number above 0"),
    "llama3 upside down": (scaling(rope_type="llama3", factor=8, low_freq_factor=4, high_freq_factor=1,
                                   original_max_position_embeddings=16), "low_freq_factor 4 is not below"),
    "rotates in part": (config(partial_rotary_factor=0.5), "heads that rotate in part"),
    "pickle only": (pickled, "weights as pickle only .pytorch_model.bin., which can run code"),
    "no weights": (without("model.safetensors"), r"no \*.safetensors"),
    "empty weights": (text("model.safetensors", b""), "is truncated or no safetensors file: 0 bytes"),
    "truncated header": (cut("model.safetensors", 200), "is truncated or no safetensors file: 200 bytes"),
    "truncated weights": (cut("model.safetensors", 30000), r"is truncated: tensor \S+ ends at byte"),
    "header no JSON": (text("model.safetensors", (9).to_bytes(8, "little") + b"{nothing}"), "the header is no JSON"),
    "entry without offsets": (header(lambda content: content[WQ].pop("data_offsets")), f"tensor {WQ} has no dtype"),
    "offsets that are not its size": (header(lambda content: content[WQ].update(data_offsets=[0, 8])),
                                      f"tensor {WQ} has 8 bytes, its shape"),
    "whole numbers for weights": (header(lambda content: content[WQ].update(dtype="I8")), f"tensor {WQ} is I8; only"),
    "missing tensor": (weights(**{WQ: None}), f"has no tensor {WQ} .24 x 24."),
    "missing classifier": (weights(**{LM: None}), f"has no tensor {LM}"),
    "another shape": (weights(**{WQ: SQUARE}), f"tensor {WQ} is 3 x 3, its configuration says 24 x 24"),
    "NaN": (with_nan, f"1 of the weights of {WQ} are NaN or infinite, the first at .3, 5."),
    "tensor of something else": (weights(**{"model.layers.0.adapter.weight": SQUARE}), "adapter.weight is none of"),
    "more layers than said": (config(num_hidden_layers=1), "tensor model.layers.1.* and 8 more is none of"),
    "tied, but different": (config(tie_word_embeddings=True), "lm_head.weight is not the embedding"),
    "tensor twice": (twice, "more.safetensors: tensor .* is in model.safetensors too"),
    "index of a file that is not there": (index({WQ: "gone.safetensors"}), "gone.safetensors does not exist"),
    "index that leads elsewhere": (index({WQ: "../model.safetensors"}), "no safetensors file of the same folder"),
    "index that is wrong": (index({"model.nothing": "model.safetensors"}), "has no tensor model.nothing"),
    "index without a map": (index([]), "has no weight_map"),
    "no tokenizer": (without("tokenizer.json"), "neither tokenizer.json nor tokenizer.model"),
    "tokenizer no JSON": (cut("tokenizer.json", 99), "tokenizer.json is no JSON"),
    "tokenizer without a model": (tokenizer(model=None), "tokenizer.json has no model"),
    "tokenizer of words": (tokenizer(model={"type": "WordPiece", "vocab": {}}), "WordPiece tokenizer is not supported"),
    "tokenizer's decoder": (tokenizer(decoder={"type": "CTC"}), "its decoder .CTC. is not supported"),
    "tokenizer's model damaged": (tokenizer(model={"type": "BPE", "vocab": {"a": "b"}}), "tokenizer.json is damaged"),
    "small tokenizer": (text("tokenizer.json", byte_level(40).to_str()), "40 tokens, the model's vocabulary has 48"),
    "large tokenizer": (text("tokenizer.json", byte_level(52).to_str()), "has token 51, the model's vocabulary has 48"),
    "end beyond the vocabulary": (config(eos_token_id=48), "eos_token_id 48 is not in the vocabulary of 48"),
    "end in words": (config(eos_token_id="</s>"), "eos_token_id is '</s>', expected whole numbers"),
    "tokenizer.model damaged": (other_tokenizer, "tokenizer.model is no SentencePiece model"),
}


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """refused(model, message): compiling the model is one line and exit code 2."""
    def run(model: Path, message: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["lpu", "compile", str(model), "-o", str(tmp_path / "out.lpu")])
        with pytest.raises(SystemExit) as left:
            cli.main()
        made = capfd.readouterr()
        assert left.value.code == 2
        assert made.out == ""
        assert made.err.startswith("lpu: ") and made.err.count("\n") == 1, made.err
        assert re.search(message, made.err), made.err
        assert len(made.err) < 400, made.err
        assert sorted(tmp_path.rglob("*")) == before
    return run


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_cannot_be_run(name: str, tmp_path: Path, refused: Any) -> None:
    damage, message = FOLDERS[name]
    folder = write_folder(CASES["llama"], tmp_path / "model")
    damage(folder)
    refused(folder, message)


GGUF: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "no GGUF": (lambda data: b"nothing at all" * 9, "truncated or no GGUF file"),
    "empty": (lambda data: b"", "truncated or no GGUF file"),
    "truncated settings": (lambda data: data[:300], "truncated or no GGUF file"),
    "truncated weights": (lambda data: data[:-5000], "truncated or no GGUF file"),
    "another architecture": (lambda data: data.replace(b"llama", b"mamba"), "architecture 'mamba' is not supported"),
    "a setting less": (lambda data: data.replace(b"llama.block_count", b"llama.block_xount"), "has no block_count"),
    "a tensor less": (lambda data: data.replace(b"blk.1.attn_q.", b"blk.1.attn_x."), "no tensor blk.1.attn_q.weight"),
    "infinite": (lambda data: data[:-4] + struct.pack("<f", np.inf), "NaN or infinite"),
    "words of another kind": (lambda data: data.replace(
        b"tokenizer.ggml.model" + struct.pack("<iq", 8, 5) + b"llama",
        b"tokenizer.ggml.model" + struct.pack("<iq", 8, 5) + b"plamo"), "tokenizer of type 'plamo' is not supported"),
}


@pytest.mark.parametrize("name", GGUF)
def test_a_gguf_file_that_cannot_be_run(name: str, tmp_path: Path, refused: Any) -> None:
    damage, message = GGUF[name]
    path = write_gguf(tmp_path / "model.gguf", "llama")
    data = damage(path.read_bytes())
    assert data != path.read_bytes()
    path.write_bytes(data)
    refused(path, message)


def test_the_list_is_long_enough() -> None:
    assert len(FOLDERS) + len(GGUF) >= 30
