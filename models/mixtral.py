"""Write a network with experts as a Hugging Face folder, because llama2.c's file has no place for experts.

The tokenizer is the one of `models.bpe`, written for the `tokenizers` library: a token of a story is the same in both.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from models import bpe
from models.checkpoint import ROPE_BASE
from models.network import NORM_EPSILON, Network

SPACE = "\u2581"  # as SentencePiece writes a space
SPECIALS = ("<unk>", "<s>", "</s>")


@torch.no_grad()
def save(folder: Path, net: Network) -> None:
    """config.json, generation_config.json and model.safetensors of a network with experts."""
    shape, first = net.shape, net.blocks[0].experts
    if first is None:
        raise ValueError("a network without experts goes into llama2.c's file")
    config = {
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_act": "silu",
        "hidden_size": shape.dim, "intermediate_size": shape.hidden, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.context, "rms_norm_eps": NORM_EPSILON, "rope_theta": ROPE_BASE,
        "num_local_experts": first.experts, "num_experts_per_tok": first.used, "tie_word_embeddings": True,
        "sliding_window": None, "bos_token_id": bpe.BEGIN, "eos_token_id": bpe.END, "torch_dtype": "float32"}
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", {"bos_token_id": bpe.BEGIN, "eos_token_id": bpe.END})
    tensors: dict[str, Tensor] = {"model.embed_tokens.weight": net.embedding, "model.norm.weight": net.norm_final}
    d, kv = shape.dim, shape.kv_dim
    for number, block in enumerate(net.blocks):
        own = {"input_layernorm": block.norm_attention, "post_attention_layernorm": block.norm_ffn,
               "self_attn.q_proj": block.qkv[:d], "self_attn.k_proj": block.qkv[d:d + kv],
               "self_attn.v_proj": block.qkv[d + kv:], "self_attn.o_proj": block.wo,
               "block_sparse_moe.gate": block.experts.router}
        for expert in range(first.experts):
            gate, up = block.experts.w13[expert].chunk(2)
            for name, matrix in (("w1", gate), ("w2", block.experts.w2[expert]), ("w3", up)):
                own[f"block_sparse_moe.experts.{expert}.{name}"] = matrix
        tensors |= {f"model.layers.{number}.{name}.weight": tensor for name, tensor in own.items()}
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
              folder / "model.safetensors", metadata={"format": "pt"})


def save_tokenizer(folder: Path, tokenizer: bpe.Tokenizer) -> None:
    """tokenizer.json."""
    pieces = [*SPECIALS, *(piece.replace(" ", SPACE) for piece in tokenizer.pieces[len(SPECIALS):])]
    known = set(pieces)
    ranked = sorted((i for i, piece in enumerate(pieces) if i >= len(SPECIALS) and len(piece) > 1),
                    key=lambda i: -tokenizer.scores[i])
    # llama2.c joins any two pieces whose text together is a piece; here every such pair is a merge of its own.
    merges = [[pieces[i][:cut], pieces[i][cut:]] for i in ranked for cut in range(1, len(pieces[i]))
              if pieces[i][:cut] in known and pieces[i][cut:] in known]
    special = [{"id": i, "content": piece, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i, piece in enumerate(SPECIALS)]
    _write(folder / "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": SPACE},
            {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": f"{SPACE}?[A-Za-z']+|{SPACE}?[^A-Za-z'{SPACE}]+"},
                          "behavior": "Isolated", "invert": False},
        "post_processor": {
            "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": SPECIALS[1], "type_id": 0}},
                                                     {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {SPECIALS[1]: {"id": SPECIALS[1], "ids": [bpe.BEGIN], "tokens": [SPECIALS[1]]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": SPECIALS[0], "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {piece: i for i, piece in enumerate(pieces)}, "merges": merges}})


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
