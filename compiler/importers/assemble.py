"""From tensors under a format's own names to a `FloatModel`: what Hugging Face folders and GGUF files share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from compiler.errors import InputError
from compiler.float_model import Float32, FloatModel, Traits, check_finite, check_shape
from compiler.quantised import Shape
from compiler.typed import shown


class Tensors(Protocol):
    """Tensors of a checkpoint. `where` names it in errors."""

    where: str

    def names(self) -> set[str]: ...
    def shape(self, name: str) -> tuple[int, ...]: ...
    def read(self, name: str) -> Float32: ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a checkpoint must hold.

    names: role (a member of `FloatModel`) -> name, with {layer} and {expert} where it is one of several.
    tied: the classifier is the embedding. biases, head_norms: of q, k and v; of q and k.
    halves: pair i of a head is (i, i + head_dim / 2), as Hugging Face has it, instead of (2i, 2i + 1).
    ignored: names that may be there and mean nothing.
    """

    shape: Shape
    traits: Traits
    begin: int
    names: dict[str, str]
    tied: bool
    biases: bool
    head_norms: bool
    halves: bool
    ignored: frozenset[str] = frozenset()


def interleave(tensor: Float32, head_dim: int) -> Float32:
    """Rows (the last but one axis of a matrix, the last of a vector) from half-and-half pairs to neighbours.

    tensor: (heads * head_dim, inputs) or (heads * head_dim,).
    """
    heads = tensor.reshape(-1, 2, head_dim // 2, *tensor.shape[1:])
    return np.ascontiguousarray(heads.swapaxes(1, 2)).reshape(tensor.shape)


def sizes(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Shape of each role's tensor, of one layer and one expert."""
    s = plan.shape
    q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
    found: dict[str, tuple[int, ...]] = {
        "embed": (s.vocab, s.dim), "final_norm": (s.dim,), "attention_norm": (s.dim,), "wq": (q, s.dim),
        "wk": (kv, s.dim), "wv": (kv, s.dim), "wo": (s.dim, q), "ffn_norm": (s.dim,), "w1": (s.hidden, s.dim),
        "w2": (s.dim, s.hidden), "w3": (s.hidden, s.dim)}
    if plan.traits.experts:
        found["router"] = (plan.traits.experts, s.dim)
    if plan.biases:
        found |= {"q_bias": (q,), "k_bias": (kv,), "v_bias": (kv,)}
    if plan.head_norms:
        found |= {"q_norm": (s.head_dim,), "k_norm": (s.head_dim,)}
    if not plan.tied:
        found["classifier"] = (s.vocab, s.dim)
    return found


TURNED = frozenset({"wq", "wk", "q_bias", "k_bias", "q_norm", "k_norm"})
"""Roles whose rows are in the order of the RoPE pairs."""


def assemble(plan: Plan, tensors: Tensors) -> FloatModel:
    """Read every tensor of the plan.

    Raises `InputError` where one is missing, has another shape, is not finite, or is not in the plan: what it would
    have added must not be left out in silence.
    """
    where, shape = tensors.where, plan.shape
    check_shape(shape, where)
    if plan.begin < 0:
        raise InputError(f"{where}: texts begin with token {shown(plan.begin)}, expected one of the vocabulary")
    left = tensors.names() - plan.ignored

    def one(role: str, size: tuple[int, ...], name: str) -> Float32:
        if name not in left:
            raise InputError(f"{where} has no tensor {name} ({' x '.join(map(str, size))})")
        left.discard(name)
        if tensors.shape(name) != size:
            raise InputError(f"{where}: tensor {name} is {' x '.join(map(str, tensors.shape(name)))}, its "
                             f"configuration says {' x '.join(map(str, size))}")
        tensor = tensors.read(name)
        check_finite(tensor, name, where)
        return interleave(tensor, shape.head_dim) if plan.halves and role in TURNED else tensor

    def every(role: str, size: tuple[int, ...]) -> Float32:
        pattern = plan.names[role]
        if "{layer}" not in pattern:
            return one(role, size, pattern)
        layers: list[Float32] = []
        for layer in range(shape.layers):
            if role in ("w1", "w2", "w3") and plan.traits.experts:
                if "{expert}" in pattern:
                    layers.append(np.stack([one(role, size, pattern.format(layer=layer, expert=expert))
                                            for expert in range(plan.traits.experts)]))
                    continue
                layers.append(one(role, (plan.traits.experts, *size), pattern.format(layer=layer)))
            else:
                layers.append(one(role, size, pattern.format(layer=layer)))
        return np.stack(layers)

    found = {role: every(role, size) for role, size in sizes(plan).items()}
    if plan.tied:
        found["classifier"] = found["embed"]
        name = plan.names["classifier"]
        if name in left:  # some files repeat it
            left.discard(name)
            if tensors.shape(name) != found["embed"].shape or not np.array_equal(tensors.read(name), found["embed"]):
                raise InputError(f"{where}: {name} is not the embedding, but the configuration ties the two")
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise InputError(f"{where}: tensor {min(left)}{more} is none of this architecture's; what it does "
                         "would be lost")
    return FloatModel(shape=shape, traits=plan.traits, begin=plan.begin, **found)
