"""Import of a GGUF file: f32, f16, bf16 and q8_0 weights of Llama, Mistral, Mixtral, Qwen2 and Qwen3.

The `gguf` package reads the file and undoes q8_0. Files of the architecture "llama" (Mistral and Mixtral are such) have
their RoPE pairs side by side, as we do; Qwen's have them in halves.
"""

from __future__ import annotations

import mmap
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from compiler.errors import InputError
from compiler.float_model import Float32, FloatModel, LinearScaling, Rope, TableScaling, Traits, check_finite
from compiler.importers.assemble import Plan, assemble
from compiler.importers.files import Settings
from compiler.importers.gguf_check import check_header
from compiler.quantised import Shape
from compiler.tokenizer import AnyTokenizer

FACTORS: Final = "rope_freqs.weight"
TYPES: Final = ("F32", "F16", "BF16", "Q8_0")

_LAYER: Final = "blk.{layer}."
NAMES: Final = {
    "embed": "token_embd.weight", "attention_norm": _LAYER + "attn_norm.weight",
    "wq": _LAYER + "attn_q.weight", "wk": _LAYER + "attn_k.weight", "wv": _LAYER + "attn_v.weight",
    "wo": _LAYER + "attn_output.weight",
    **{f"{one}_bias": f"{_LAYER}attn_{one}.bias" for one in "qkv"},
    **{f"{one}_norm": f"{_LAYER}attn_{one}_norm.weight" for one in "qk"},
    "ffn_norm": _LAYER + "ffn_norm.weight", "w1": _LAYER + "ffn_gate.weight", "w2": _LAYER + "ffn_down.weight",
    "w3": _LAYER + "ffn_up.weight", "final_norm": "output_norm.weight", "classifier": "output.weight"}
EXPERT_NAMES: Final = {
    "w1": _LAYER + "ffn_gate_exps.weight", "w2": _LAYER + "ffn_down_exps.weight", "w3": _LAYER + "ffn_up_exps.weight",
    "router": _LAYER + "ffn_gate_inp.weight"}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """biases: of q, k and v. head_norms: of q and k. halves: how RoPE pairs lie, see `Plan`."""

    biases: bool = False
    head_norms: bool = False
    halves: bool = True


ARCHITECTURES: Final = {
    "llama": Architecture(halves=False), "qwen2": Architecture(biases=True), "qwen3": Architecture(head_norms=True)}


@contextmanager
def _damage(path: Path) -> Generator[None]:
    """Whatever the package stumbles over in a damaged file, in a line."""
    try:
        yield
    except (InputError, KeyboardInterrupt):
        raise
    except Exception as error:  # the package raises what numpy, struct and enum raise
        raise InputError(f"{path} is truncated or no GGUF file: {' '.join(str(error).split())[:200]}") from None


class GgufTensors:
    """Tensors of a file, and its settings.

    Members
    -------
    values: key -> value, arrays as lists.
    """

    def __init__(self, path: Path) -> None:
        from gguf import GGUFReader  # 0.1 s, which other formats need not wait for

        self.where = str(path)
        with _damage(path):
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                check_header(data)
            reader = GGUFReader(path)
            self._tensors = {tensor.name: tensor for tensor in reader.tensors}
            self.values: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
        for name, tensor in self._tensors.items():
            if tensor.tensor_type.name not in TYPES:
                raise InputError(f"{path}: tensor {name} is {tensor.tensor_type.name}; only {', '.join(TYPES)} are "
                                 "read")

    def names(self) -> set[str]:
        return set(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """In the order of the rows in memory; GGUF counts the other way round."""
        return tuple(int(size) for size in reversed(self._tensors[name].shape))

    def read(self, name: str) -> Float32:
        from gguf import dequantize

        with _damage(Path(self.where)):
            data = dequantize(self._tensors[name].data, self._tensors[name].tensor_type)
            return np.asarray(data, np.float32).reshape(self.shape(name))


def load_gguf(path: Path) -> tuple[FloatModel, AnyTokenizer]:
    """Read a GGUF file; the model and the tokenizer in it. Raises `InputError` for whatever is wrong or not ours."""
    from compiler.importers.gguf_tokenizer import tokenizer_of

    if not path.is_file():
        raise InputError(f"{path} does not exist, expected a GGUF file")
    tensors = GgufTensors(path)
    model = assemble(_plan(tensors), tensors)
    return model, tokenizer_of(tensors.values, tensors.where, model)


def _plan(tensors: GgufTensors) -> Plan:
    where = tensors.where
    general = Settings(tensors.values, where)
    kind = general.text("general.architecture")
    if kind not in ARCHITECTURES:
        raise InputError(f"{where}: the architecture {kind!r} is not supported; these are: {', '.join(ARCHITECTURES)}")
    architecture = ARCHITECTURES[kind]
    own = Settings({name.removeprefix(f"{kind}."): value for name, value in tensors.values.items()
                    if name.startswith(f"{kind}.")}, f"{where}: {kind}")
    dim, heads = own.integer("embedding_length"), own.integer("attention.head_count")
    if heads < 1 or ("attention.key_length" not in own.values and dim % heads):
        raise InputError(f"{where}: {heads} heads do not divide embedding_length {dim}, and there is no key_length")
    head_dim = own.integer("attention.key_length", dim // heads)
    if own.integer("attention.value_length", head_dim) != head_dim:
        raise InputError(f"{where}: heads of keys and values have other sizes, which is not supported")
    if own.integer("rope.dimension_count", head_dim) != head_dim:
        raise InputError(f"{where}: heads rotate in part (rope.dimension_count), which is not supported")
    if "token_embd.weight" not in tensors.names():
        raise InputError(f"{where} has no tensor token_embd.weight")
    if len(tensors.shape("token_embd.weight")) != 2:
        raise InputError(f"{where}: tensor token_embd.weight is no matrix")
    shape = Shape(
        dim=dim, hidden=own.integer("feed_forward_length"), layers=own.integer("block_count"), heads=heads,
        kv_heads=own.integer("attention.head_count_kv", heads), head_dim=head_dim,
        vocab=tensors.shape("token_embd.weight")[0], context=own.integer("context_length"))
    experts = own.integer("expert_count", 0)
    used = own.integer("expert_used_count") if experts else 0
    if experts and not 1 <= used <= experts:
        raise InputError(f"{where}: expert_used_count is {used}, there are {experts} experts")
    names = tensors.names()
    return Plan(
        shape=shape, begin=general.integer("tokenizer.ggml.bos_token_id", 1),
        names=NAMES | (EXPERT_NAMES if experts else {}),
        traits=Traits(
            norm_epsilon=own.number("attention.layer_norm_rms_epsilon"), rope=_rope(own, tensors, head_dim),
            window=own.integer("attention.sliding_window", 0) or None, experts=experts, experts_used=used),
        tied=NAMES["classifier"] not in names, biases=architecture.biases, head_norms=architecture.head_norms,
        halves=architecture.halves, ignored=frozenset({FACTORS}))


def _rope(own: Settings, tensors: GgufTensors, head_dim: int) -> Rope:
    base = own.number("rope.freq_base", 10000.0)
    kind = own.text("rope.scaling.type", "none")
    if FACTORS in tensors.names():
        factors = tensors.read(FACTORS).reshape(-1)
        check_finite(factors, FACTORS, tensors.where)
        if factors.size != head_dim // 2 or (factors <= 0).any() or kind != "none":
            raise InputError(f"{tensors.where}: {FACTORS} does not fit heads of {head_dim} without another scaling")
        return Rope(base=base, scaling=TableScaling(divisors=tuple(factors.tolist())))
    if kind == "none":
        return Rope(base=base)
    if kind == "linear":
        return Rope(base=base, scaling=LinearScaling(factor=own.number("rope.scaling.factor")))
    raise InputError(f"{tensors.where}: RoPE scaling {kind!r} is not supported; none and linear are")
