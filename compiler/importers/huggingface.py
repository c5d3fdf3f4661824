"""Import of a Hugging Face folder: config.json and *.safetensors, Llama, Mistral, Qwen2, Qwen3 and Mixtral."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from compiler.errors import InputError
from compiler.float_model import FloatModel, Traits
from compiler.importers.assemble import Plan, assemble
from compiler.importers.files import REQUIRED, Settings, read_json
from compiler.importers.rope import hugging_face_rope
from compiler.importers.safetensors_files import SafetensorsFolder
from compiler.quantised import Shape

CONFIG: Final = "config.json"

_LAYER: Final = "model.layers.{layer}."
NAMES: Final = {
    "embed": "model.embed_tokens.weight",
    "attention_norm": _LAYER + "input_layernorm.weight",
    **{f"w{one}": f"{_LAYER}self_attn.{one}_proj.weight" for one in "qkvo"},
    **{f"{one}_bias": f"{_LAYER}self_attn.{one}_proj.bias" for one in "qkv"},
    **{f"{one}_norm": f"{_LAYER}self_attn.{one}_norm.weight" for one in "qk"},
    "ffn_norm": _LAYER + "post_attention_layernorm.weight",
    "w1": _LAYER + "mlp.gate_proj.weight", "w2": _LAYER + "mlp.down_proj.weight", "w3": _LAYER + "mlp.up_proj.weight",
    "final_norm": "model.norm.weight",
    "classifier": "lm_head.weight",
}
EXPERT_NAMES: Final = {
    **{f"w{one}": f"{_LAYER}block_sparse_moe.experts.{{expert}}.w{one}.weight" for one in (1, 2, 3)},
    "router": _LAYER + "block_sparse_moe.gate.weight",
}
_FULL_LAYERS: Final = 28  # Qwen's first layers without a window, where the file does not say how many
# Old files carry the frequencies of the rotation, which follow from the configuration.
_FREQUENCIES: Final = re.compile(r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What an architecture does where its config.json is silent.

    biases: q, k and v have one: always, never, or None where `attention_bias` says. head_norms: of q and k.
    windows: whether `sliding_window` counts: "yes", "no", or "flag" where `use_sliding_window` says.
    window: where the file has no word of it. rope_base: of the rotation.
    """

    biases: bool | None
    head_norms: bool = False
    windows: str = "no"
    window: Any = None
    experts: bool = False
    rope_base: float = 10000.0


# From the configuration classes of the `transformers` library.
ARCHITECTURES: Final = {
    "LlamaForCausalLM": Architecture(biases=None),
    "MistralForCausalLM": Architecture(biases=False, windows="yes", window=4096),
    "Qwen2ForCausalLM": Architecture(biases=True, windows="flag"),
    "Qwen3ForCausalLM": Architecture(biases=None, head_norms=True, windows="flag"),
    "MixtralForCausalLM": Architecture(biases=False, windows="yes", experts=True, rope_base=1e6),
}


def load_folder(folder: Path) -> tuple[FloatModel, list[Path]]:
    """Read a folder; the model, and the files that it came from.

    Raises `InputError` in one line for whatever is damaged, missing, or does what we do not.
    """
    settings = Settings(read_json(folder / CONFIG, "a model's configuration"), str(folder / CONFIG))
    plan = plan_of(settings)
    tensors = SafetensorsFolder(folder)
    ignored = frozenset(name for name in tensors.names() if _FREQUENCIES.fullmatch(name))
    return assemble(replace(plan, ignored=ignored), tensors), [folder / CONFIG, *tensors.files]


def _architecture(settings: Settings) -> Architecture:
    where = settings.where
    named = settings.items("architectures", str)
    name = named[0] if named else ""
    kind = settings.text("model_type", "")
    known = ", ".join(one.removesuffix("ForCausalLM") for one in ARCHITECTURES)
    if not name:
        name = next((one for one in ARCHITECTURES if one.removesuffix("ForCausalLM").lower() == kind), "")
        if not name:
            raise InputError(
                f"{where} names no architecture that is supported (model_type {kind!r}); these are: {known}")
    if settings.flag("is_encoder_decoder", False) or "ConditionalGeneration" in name or "Seq2Seq" in name:
        raise InputError(f"{where}: {name} is an encoder with a decoder; only decoders run: {known}")
    if not name.endswith(("ForCausalLM", "LMHeadModel")):
        raise InputError(
            f"{where}: {name} makes no next token (an encoder or a classifier?); only decoders run: {known}")
    if name not in ARCHITECTURES:
        raise InputError(f"{where}: the architecture {name} is not supported; these are: {known}")
    if "auto_map" in settings.values:
        raise InputError(f"{where}: the model brings code of its own (auto_map), which is never run")
    if "quantization_config" in settings.values:
        raise InputError(f"{where}: the weights are quantised already (quantization_config); bring bf16, fp16 or fp32")
    return ARCHITECTURES[name]


def plan_of(settings: Settings) -> Plan:
    """What a config.json promises; `InputError` where that is more than we do."""
    architecture = _architecture(settings)
    where = settings.where
    activation = settings.text("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise InputError(f"{where}: the activation {activation!r} is not supported, only silu is")
    biased = settings.flag("attention_bias", False)
    if biased and architecture.biases is None:
        raise InputError(f"{where}: attention_bias puts a bias on o_proj too, which is not supported")
    if settings.flag("mlp_bias", False):
        raise InputError(f"{where}: mlp_bias is not supported")
    dim, heads = settings.integer("hidden_size"), settings.integer("num_attention_heads")
    head_dim = settings.values.get("head_dim")
    if head_dim is None:
        if heads < 1 or dim % heads:
            raise InputError(f"{where}: {heads} heads do not divide hidden_size {dim}, and there is no head_dim")
        head_dim = dim // heads
    else:
        head_dim = settings.integer("head_dim")
    shape = Shape(
        dim=dim, hidden=settings.integer("intermediate_size"), layers=settings.integer("num_hidden_layers"),
        heads=heads, kv_heads=settings.integer("num_key_value_heads", heads), head_dim=head_dim,
        vocab=settings.integer("vocab_size"), context=settings.integer("max_position_embeddings"))
    experts, used = 0, 0
    if architecture.experts:
        experts, used = settings.integer("num_local_experts"), settings.integer("num_experts_per_tok")
        if not 1 <= used <= experts:
            raise InputError(f"{where}: num_experts_per_tok is {used}, there are {experts} experts")
    traits = Traits(
        norm_epsilon=settings.number("rms_norm_eps", REQUIRED),
        rope=hugging_face_rope(settings, architecture.rope_base),
        window=_window(settings, architecture, shape), experts=experts, experts_used=used)
    begin = settings.integers("bos_token_id")
    return Plan(
        shape=shape, traits=traits, begin=begin[0] if begin else 0,
        names=NAMES | EXPERT_NAMES if architecture.experts else NAMES,
        tied=settings.flag("tie_word_embeddings", False),
        biases=bool(architecture.biases), head_norms=architecture.head_norms, halves=True)


def _window(settings: Settings, architecture: Architecture, shape: Shape) -> int | None:
    """Positions that a token attends to; None where that is all of the context."""
    if architecture.windows == "no" or (
            architecture.windows == "flag" and not settings.flag("use_sliding_window", False)):
        return None
    given = "sliding_window" in settings.values
    # A file that says `null` means none; one that is silent, the architecture's.
    silent = "sliding_window" not in settings.said
    window = settings.integer("sliding_window") if given else architecture.window if silent else None
    if window is None or window >= shape.context:
        return None
    if window < 1:
        raise InputError(f"{settings.where}: sliding_window is {window}, expected at least 1")
    kinds = settings.items("layer_types", str)
    if kinds is not None:
        slides = [kind == "sliding_attention" for kind in kinds]
    elif architecture.windows == "flag":
        full = settings.integer("max_window_layers", _FULL_LAYERS)
        slides = [layer >= full for layer in range(shape.layers)]
    else:
        slides = [True]
    if not any(slides):
        return None
    if not all(slides):
        raise InputError(f"{settings.where}: layers with a sliding window of {window} and layers without are mixed, "
                         "which is not supported; a context that is no longer than the window has none")
    return window
