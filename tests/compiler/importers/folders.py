"""Folders as Hugging Face has them, with random weights: what the tests of the importers read."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from compiler.float_model import FloatModel, LinearScaling, Llama3Scaling, Rope, Traits
from compiler.importers.huggingface import EXPERT_NAMES, NAMES
from compiler.quantised import Shape
from compiler.random_model import random_float_model

Array = npt.NDArray[Any]

SHAPE = Shape(dim=24, hidden=40, layers=2, heads=4, kv_heads=2, head_dim=6, vocab=48, context=40)
LLAMA3 = Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=16)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A random model and the config.json that says what it is. more: further settings."""

    architecture: str
    model: FloatModel
    tied: bool = False
    more: dict[str, Any] = field(default_factory=dict[str, Any])


def _case(architecture: str, shape: Shape = SHAPE, *, traits: Traits = Traits(), tied: bool = False,
          biases: bool = False, head_norms: bool = False, **more: Any) -> Case:
    model = random_float_model(shape, 5, tied=tied, traits=traits, biases=biases, head_norms=head_norms)
    return Case(architecture=architecture, model=model, tied=tied, more=more)


def _shape(**sizes: int) -> Shape:
    return Shape(**{**vars(SHAPE), **sizes})


CASES = {
    "llama": _case("LlamaForCausalLM"),
    "llama, tied, MHA": _case("LlamaForCausalLM", _shape(kv_heads=4), tied=True),
    "llama, MQA, wide heads": _case("LlamaForCausalLM", _shape(kv_heads=1, head_dim=10, hidden=37, dim=28)),
    "llama 3": _case("LlamaForCausalLM", traits=Traits(rope=Rope(base=500.0, scaling=LLAMA3))),
    "llama, linear": _case("LlamaForCausalLM", traits=Traits(rope=Rope(scaling=LinearScaling(factor=4.0)))),
    "mistral": _case("MistralForCausalLM", traits=Traits(window=5)),
    "mistral, no window": _case("MistralForCausalLM"),
    "qwen2": _case("Qwen2ForCausalLM", traits=Traits(norm_epsilon=1e-3), biases=True, tied=True),
    "qwen2, window": _case("Qwen2ForCausalLM", traits=Traits(window=4), biases=True, use_sliding_window=True,
                           max_window_layers=0),
    "qwen3": _case("Qwen3ForCausalLM", _shape(head_dim=10), head_norms=True),
    "mixtral": _case("MixtralForCausalLM", traits=Traits(experts=5, experts_used=2, rope=Rope(base=1e6))),
}


def configuration(case: Case) -> dict[str, Any]:
    """config.json."""
    s, traits = case.model.shape, case.model.traits
    content: dict[str, Any] = {
        "architectures": [case.architecture], "model_type": case.architecture.removesuffix("ForCausalLM").lower(),
        "hidden_size": s.dim, "intermediate_size": s.hidden, "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads, "num_key_value_heads": s.kv_heads, "head_dim": s.head_dim,
        "vocab_size": s.vocab, "max_position_embeddings": s.context, "rms_norm_eps": traits.norm_epsilon,
        "hidden_act": "silu", "tie_word_embeddings": case.tied, "rope_theta": traits.rope.base,
        "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2, "sliding_window": traits.window}
    match traits.rope.scaling:
        case LinearScaling(factor=factor):
            content["rope_scaling"] = {"type": "linear", "factor": factor}
        case Llama3Scaling(factor=factor, low=low, high=high, original=original):
            content["rope_scaling"] = {
                "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
                "original_max_position_embeddings": original}
        case _:
            pass
    if traits.experts:
        content |= {"num_local_experts": traits.experts, "num_experts_per_tok": traits.experts_used}
    return content | case.more


def halved(tensor: Array, head_dim: int) -> Array:
    """Rows of neighbouring RoPE pairs to Hugging Face's halves, head by head."""
    order = [*range(0, head_dim, 2), *range(1, head_dim, 2)]
    heads = tensor.shape[0] // head_dim
    return tensor[np.array([head * head_dim + row for head in range(heads) for row in order])]


def tensors(case: Case) -> dict[str, Array]:
    """Name -> tensor, as the library writes them."""
    model, found = case.model, dict[str, Array]()
    names = NAMES | (EXPERT_NAMES if model.traits.experts else {})
    for role, tensor in model.tensors().items():
        name = names[role]
        if role == "classifier" and case.tied:
            continue
        if "{layer}" not in name:
            found[name] = tensor
            continue
        for layer, one in enumerate(tensor):
            if "{expert}" in name:
                found |= {name.format(layer=layer, expert=expert): part for expert, part in enumerate(one)}
            else:
                turned = role in ("wq", "wk", "q_bias", "k_bias", "q_norm", "k_norm")
                found[name.format(layer=layer)] = halved(one, model.shape.head_dim) if turned else one
    return found


def safetensors(content: dict[str, Array], dtype: str = "F32") -> bytes:
    """The bytes of a file; F32, F16 or BF16, of which numpy does not know the last."""
    if dtype != "BF16":
        return save({name: np.ascontiguousarray(one, "<f4" if dtype == "F32" else "<f2")
                     for name, one in content.items()})
    header, data, at = dict[str, Any](), b"", 0
    for name, one in content.items():
        part = (np.ascontiguousarray(one, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(one.shape), "data_offsets": [at, at + len(part)]}
        data, at = data + part, at + len(part)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def write_folder(case: Case, folder: Path, *, dtype: str = "F32", shards: int = 1, index: bool = True) -> Path:
    """config.json, weights in one or several files, and a byte-level tokenizer."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(configuration(case)))
    (folder / "tokenizer.json").write_text(byte_level(case.model.shape.vocab).to_str())
    content = tensors(case)
    if shards == 1:
        (folder / "model.safetensors").write_bytes(safetensors(content, dtype))
        return folder
    placed: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: content[name] for name in sorted(content)[number::shards]}
        (folder / file).write_bytes(safetensors(part, dtype))
        placed |= dict.fromkeys(part, file)
    if index:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return folder


LETTERS = "abcdefghijklmnopqrstuvwxyz.,!ĠĊÃ©"  # at last: space, new line, the two bytes of an e acute


def byte_level(vocab: int) -> Tokenizer:
    """A byte-level BPE tokenizer with so many tokens: <unk>, <s>, </s>, letters, and some merges."""
    pieces = ["<unk>", "<s>", "</s>", *LETTERS]
    merges = [("Ġ", "a"), ("t", "h"), ("th", "e"), ("Ã", "©"), ("Ġ", "the"), ("o", "n"), ("on", "c")]
    for first, second in merges:
        if len(pieces) < vocab:
            pieces.append(first + second)
    pieces += [f"x{letter}" for letter in LETTERS[: vocab - len(pieces)]]
    merges += [("x", piece[1:]) for piece in pieces if len(piece) == 2 and piece[0] == "x"]
    numbers = {piece: number for number, piece in enumerate(pieces)}
    made = Tokenizer(models.BPE(vocab=numbers, merges=[pair for pair in merges if "".join(pair) in numbers]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    made.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="<s> $A", special_tokens=[("<s>", 1)])
    return made


def spaced() -> Tokenizer:
    """A tokenizer as Llama 2's: SentencePiece's spaces, and bytes for what has no piece."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{value:02X}>" for value in range(256)), "▁", *"abcdefgh",
              "▁a", "bc", "▁abc"]
    merges = [("▁", "a"), ("b", "c"), ("▁a", "bc")]
    made = Tokenizer(models.BPE(vocab={piece: number for number, piece in enumerate(pieces)}, merges=merges,
                                byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence(  # type: ignore[assignment]
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(  # type: ignore[assignment]
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="<s> $A", special_tokens=[("<s>", 1)])
    return made
