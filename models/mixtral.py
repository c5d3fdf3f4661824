"""Write a network with experts as a Hugging Face folder, because llama2.c's file has no place for experts."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from models import bpe
from models.checkpoint import ROPE_BASE
from models.hub_tokenizer import write_json
from models.network import NORM_EPSILON, Network


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
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {"bos_token_id": bpe.BEGIN, "eos_token_id": bpe.END})
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
