"""GGUF files, written by the `gguf` package itself: each weight type, both ways in which RoPE pairs lie, and words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from compiler.float_model import FloatModel, Rope, TableScaling, Traits
from compiler.importers.gguf_file import EXPERT_NAMES, NAMES, load_gguf
from compiler.importers.gguf_tokenizer import SPLITS
from compiler.library import open_model
from compiler.quantised import Shape
from compiler.random_model import random_float_model
from compiler.tokenizer import Tokenizer
from tests.compiler.importers.folders import LETTERS, halved

SHAPE = Shape(dim=32, hidden=64, layers=2, heads=4, kv_heads=2, head_dim=8, vocab=40, context=30)
MODELS = {
    "llama": random_float_model(SHAPE, 2),
    "qwen2": random_float_model(SHAPE, 3, biases=True, tied=True, traits=Traits(rope=Rope(base=500.0))),
    "qwen3": random_float_model(SHAPE, 4, head_norms=True),
    "mixtral": random_float_model(SHAPE, 5, traits=Traits(experts=3, experts_used=2)),
    "small": random_float_model(
        Shape(dim=8, hidden=12, layers=1, heads=2, kv_heads=1, head_dim=4, vocab=20, context=8), 7),
    "llama 3": random_float_model(SHAPE, 6, traits=Traits(rope=Rope(scaling=TableScaling(divisors=(1, 1, 4, 8))))),
}
PIECES = ["<unk>", "<s>", "</s>", "\u2581", *"abcdefg", "\u2581a", "bc", "\u2581abc"]


def settings(writer: gguf.GGUFWriter, model: FloatModel) -> None:
    s, traits = model.shape, model.traits
    writer.add_context_length(s.context)
    writer.add_embedding_length(s.dim)
    writer.add_block_count(s.layers)
    writer.add_feed_forward_length(s.hidden)
    writer.add_head_count(s.heads)
    writer.add_head_count_kv(s.kv_heads)
    writer.add_layer_norm_rms_eps(traits.norm_epsilon)
    writer.add_rope_freq_base(traits.rope.base)
    if traits.experts:
        writer.add_expert_count(traits.experts)
        writer.add_expert_used_count(traits.experts_used)


def words(writer: gguf.GGUFWriter, vocab: int) -> None:
    """SentencePiece's, as Llama 2 has it."""
    pieces = [*PIECES, *(f"x{number}" for number in range(vocab - len(PIECES)))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([0.0] * 3 + [-float(number) for number in range(vocab - 3, 0, -1)])
    writer.add_token_types([2, 3, 3] + [1] * (vocab - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write(path: Path, name: str, kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
          tokenizer: Any = words) -> Path:
    model = MODELS[name]
    architecture = name if name.startswith("qwen") else "llama"
    writer = gguf.GGUFWriter(path, architecture)
    settings(writer, model)
    tokenizer(writer, model.shape.vocab)
    names = NAMES | (EXPERT_NAMES if model.traits.experts else {})

    def add(name: str, tensor: Any) -> None:
        if tensor.ndim > 1 and "gate_inp" not in name:
            writer.add_tensor(name, gguf.quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, tensor)

    for role, tensor in model.tensors().items():
        if role == "classifier" and model.classifier is model.embed:
            continue
        if "{layer}" not in names[role]:
            add(names[role], tensor)
            continue
        turned = architecture != "llama" and role in ("wq", "wk", "q_bias", "k_bias", "q_norm", "k_norm")
        for layer, one in enumerate(tensor):
            add(names[role].format(layer=layer), halved(one, model.shape.head_dim) if turned else one)
    if isinstance(model.traits.rope.scaling, TableScaling):
        writer.add_tensor("rope_freqs.weight", np.array(model.traits.rope.scaling.divisors, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", MODELS)
def test_what_was_written_is_read(name: str, tmp_path: Path) -> None:
    model, _ = load_gguf(write(tmp_path / "model.gguf", name))
    expected = MODELS[name]
    assert model.shape == expected.shape
    assert model.traits.rope == expected.traits.rope
    assert (model.traits.experts, model.traits.experts_used) == (expected.traits.experts, expected.traits.experts_used)
    assert model.tensors().keys() == expected.tensors().keys()
    for tensor, value in expected.tensors().items():
        np.testing.assert_array_equal(model.tensors()[tensor], value, err_msg=tensor)


@pytest.mark.parametrize(("kind", "relative"), [("F16", 2.0**-11), ("BF16", 2.0**-8), ("Q8_0", 1 / 127)])
def test_smaller_weights_are_those_that_were_meant(kind: str, relative: float, tmp_path: Path) -> None:
    model, _ = load_gguf(write(tmp_path / "model.gguf", "llama", gguf.GGMLQuantizationType[kind]))
    for tensor, value in MODELS["llama"].tensors().items():
        np.testing.assert_allclose(model.tensors()[tensor], value, atol=relative * np.abs(value).max(), err_msg=tensor)
    assert not np.array_equal(model.wq, MODELS["llama"].wq)


def test_the_tokenizer_is_llama2cs(tmp_path: Path) -> None:
    path = write(tmp_path / "tale.gguf", "llama")
    _, tokenizer, provenance = open_model(str(path))
    assert isinstance(tokenizer, Tokenizer)
    assert [tokenizer.pieces[token] for token in tokenizer.encode("abc")] == [b" abc"]
    assert provenance.name == "tale"
    assert open_model(str(tmp_path))[2] == provenance  # the folder's only one


def byte_words(pre: str) -> Any:
    def add(writer: gguf.GGUFWriter, vocab: int) -> None:
        merges = [("\u0120", "a"), ("b", "c")]
        pieces = [*LETTERS, *("".join(pair) for pair in merges)]
        pieces += [f"x{number}" for number in range(vocab - len(pieces) - 1)]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list([*pieces, "<|end|>"])
        writer.add_token_types([1] * len(pieces) + [3])
        writer.add_token_merges([" ".join(pair) for pair in merges])
        writer.add_bos_token_id(vocab - 1)
        writer.add_eos_token_id(vocab - 1)
    return add


@pytest.mark.parametrize("pre", SPLITS)
def test_a_byte_level_tokenizer(pre: str, tmp_path: Path) -> None:
    name = "qwen2" if pre == "qwen2" else "llama"
    model, tokenizer = load_gguf(write(tmp_path / "model.gguf", name, tokenizer=byte_words(pre)))
    end = model.shape.vocab - 1
    assert tokenizer.prefix == (() if pre == "qwen2" else (end,))
    assert (tokenizer.begin, tokenizer.stops) == (end, {end})
    tokens = tokenizer.encode("bc a")
    assert [tokenizer.piece(token) for token in tokens] == [b"bc", b" a"]
    assert tokenizer.decode([*tokens, end]) == "bc a"
