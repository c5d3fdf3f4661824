"""Sound inputs that several targets share: the smallest model, its files in each format, and tokenizers for it."""

from __future__ import annotations

import io
import json
import struct
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from compiler.float_model import FloatModel, Llama3Scaling, Rope, Traits
from compiler.importers.huggingface import EXPERT_NAMES, NAMES
from compiler.quantised import Shape
from compiler.random_model import random_float_model
from compiler.tokenizer import Tokenizer
from verification.fuzz.target import Files

Array = npt.NDArray[Any]

SHAPE: Final = Shape(dim=8, hidden=12, layers=1, heads=2, kv_heads=1, head_dim=4, vocab=40, context=6)
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz.,!\u0120\u010a\u00c3\u00a9"
"""Of a byte-level vocabulary; the last ones are a space, a new line, and the two bytes of an e acute."""
TEXT: Final = "the cat"
LLAMA3: Final = Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=16)


def checkpoint(model: FloatModel, *, tied: bool) -> bytes:
    """A llama2.c checkpoint."""
    s = model.shape
    vocab = s.vocab if tied else -s.vocab
    header = struct.pack("<7i", s.dim, s.hidden, s.layers, s.heads, s.kv_heads, vocab, s.context)
    names = ["embed", "attention_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w1", "w2", "w3", "final_norm"]
    rope = np.zeros(s.context * s.head_dim, "<f4").tobytes()
    parts = [np.ascontiguousarray(getattr(model, name), "<f4").tobytes() for name in names] + [rope]
    return b"".join([header, *parts, *([] if tied else [model.classifier.astype("<f4").tobytes()])])


def pieces_tokenizer(vocab: int) -> Tokenizer:
    """llama2.c's, with byte pieces and merges."""
    pieces = [b"<unk>", b"<s>", b"</s>", b"<0x0A>", b" ", *(letter.encode() for letter in "acehtonz"), b"th", b"the",
              b" the", b"ca", b"cat", b" c"]
    pieces += [f"x{number}".encode() for number in range(vocab - len(pieces))]
    return Tokenizer(pieces[:vocab], [-float(number) for number in range(vocab)])


@cache
def byte_level(vocab: int = SHAPE.vocab) -> str:
    """A tokenizer.json with a byte-level BPE vocabulary."""
    from tokenizers import Tokenizer as Splitter
    from tokenizers import decoders, models, pre_tokenizers, processors

    pieces, merges = ["<unk>", "<s>", "</s>", *LETTERS], [("t", "h"), ("th", "e"), ("c", "a")]
    for first, second in merges:
        if len(pieces) < vocab:
            pieces.append(first + second)
    pieces += [f"x{letter}" for letter in LETTERS[:vocab - len(pieces)]]
    numbers = {piece: number for number, piece in enumerate(pieces)}
    made = Splitter(models.BPE(vocab=numbers, merges=[pair for pair in merges if "".join(pair) in numbers]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    made.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="<s> $A", special_tokens=[("<s>", 1)])
    return made.to_str()


@cache
def spaced() -> tuple[str, int]:
    """A tokenizer.json as Llama 2's, and its size: SentencePiece's spaces, and bytes for what has no piece."""
    from tokenizers import Tokenizer as Splitter
    from tokenizers import decoders, models, normalizers, processors

    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{value:02X}>" for value in range(256)), "\u2581", *"acehtn", "th", "the"]
    made = Splitter(models.BPE(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[("t", "h"), ("th", "e")],
        byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence(  # type: ignore[assignment]
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    made.decoder = decoders.Sequence(  # type: ignore[assignment]
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    made.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="<s> $A", special_tokens=[("<s>", 1)])
    return made.to_str(), len(pieces)


@cache
def sentencepiece_model() -> tuple[bytes, int]:
    """A tokenizer.model trained on a few lines of nothing, and its size."""
    import sentencepiece

    sentencepiece.set_min_log_level(3)  # it talks
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(["the cat sat on the mat", "a dog ran to the cat"] * 3), model_writer=made,
        vocab_size=280, model_type="bpe", byte_fallback=True, hard_vocab_limit=False, minloglevel=3)
    size: int = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue()).GetPieceSize()
    return made.getvalue(), size


def weights(tensors: dict[str, Array], dtype: str = "F32") -> bytes:
    """A *.safetensors file."""
    if dtype != "BF16":
        return save({name: np.ascontiguousarray(one, "<f4" if dtype == "F32" else "<f2")
                     for name, one in tensors.items()})
    header, data = dict[str, Any](), b""
    for name, one in tensors.items():
        part = (np.ascontiguousarray(one, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": dtype, "shape": list(one.shape), "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    return with_header(header, data)


def with_header(header: dict[str, Any] | bytes, data: bytes) -> bytes:
    """A *.safetensors file of a header and data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def folder(architecture: str, *, dtype: str = "F32", shards: int = 1, tied: bool = False, biases: bool = False,
           traits: Traits = Traits()) -> Files:
    """A Hugging Face folder."""
    model = random_float_model(SHAPE, 5, tied=tied, biases=biases, traits=traits)
    s, content = SHAPE, dict[str, Array]()
    names = NAMES | (EXPERT_NAMES if traits.experts else {})
    for role, tensor in model.tensors().items():
        name = names[role]
        if "{layer}" not in name:
            if role != "classifier" or not tied:
                content[name] = tensor
        elif "{expert}" in name:
            content |= {name.format(layer=0, expert=number): part for number, part in enumerate(tensor[0])}
        else:
            content[name.format(layer=0)] = tensor[0]
    config: dict[str, Any] = {
        "architectures": [architecture], "model_type": architecture.removesuffix("ForCausalLM").lower(),
        "hidden_size": s.dim, "intermediate_size": s.hidden, "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads, "num_key_value_heads": s.kv_heads, "head_dim": s.head_dim,
        "vocab_size": s.vocab, "max_position_embeddings": s.context, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "tie_word_embeddings": tied, "rope_theta": 10000.0, "bos_token_id": 1, "eos_token_id": [2]}
    if isinstance(traits.rope.scaling, Llama3Scaling):
        config["rope_scaling"] = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                  "original_max_position_embeddings": 16}
    if traits.experts:
        config |= {"num_local_experts": traits.experts, "num_experts_per_tok": traits.experts_used,
                   "sliding_window": None}
    files: Files = {"config.json": json.dumps(config).encode(), "tokenizer.json": byte_level(s.vocab).encode(),
                    "generation_config.json": b'{"eos_token_id": [2, 1]}'}
    if shards == 1:
        return files | {"model.safetensors": weights(content, dtype)}
    placed = dict[str, str]()
    for number in range(shards):
        file = f"model-{number}.safetensors"
        part = {name: content[name] for name in sorted(content)[number::shards]}
        files[file] = weights(part, dtype)
        placed |= dict.fromkeys(part, file)
    return files | {"model.safetensors.index.json": json.dumps({"metadata": {}, "weight_map": placed}).encode()}


def folders() -> list[Files]:
    """One of each kind."""
    return [folder("LlamaForCausalLM"), folder("LlamaForCausalLM", shards=2, traits=Traits(rope=Rope(scaling=LLAMA3))),
            folder("Qwen2ForCausalLM", dtype="BF16", tied=True, biases=True),
            folder("MixtralForCausalLM", dtype="F16", traits=Traits(experts=2, experts_used=1, rope=Rope(base=1e6)))]
