"""A quantised model as flat tensors and plain JSON, and back: how it travels in an image file."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from compiler.quantised import Layer, Linear, QuantisedModel, Shape, Shifts

Tensors = dict[str, npt.NDArray[Any]]

_ARRAYS = ("embed", "embed_multiplier", "rope_cos", "rope_sin")
_SIGNED = ("embed", "rope_cos", "rope_sin")
_PLAIN = ("final_x_shift", "norm_bias", "logit_scale")
_LINEARS = tuple(item.name for item in fields(Layer) if item.type == "Linear")
_BIASES = tuple(item.name for item in fields(Layer) if item.type == "Linear | None" and item.name != "router")
_HEADS = tuple(item.name for item in fields(Layer) if item.type == "UInt8 | None")
_LAYER_SHIFTS = tuple(
    item.name for item in fields(Layer) if item.name not in ("attention", "router", *_LINEARS, *_BIASES, *_HEADS))


def flatten_model(model: QuantisedModel) -> tuple[dict[str, Any], Tensors]:
    """Description and tensors."""
    tensors: Tensors = {name: getattr(model, name) for name in _ARRAYS}

    def linear(name: str, one: Linear) -> None:
        tensors[f"{name}.weights"], tensors[f"{name}.multiplier"] = one.weights, one.multiplier

    linear("classifier", model.classifier)
    for number, layer in enumerate(model.layers):
        tensors[f"layer{number}.attention"] = layer.attention
        for name in _LINEARS:
            linear(f"layer{number}.{name}", getattr(layer, name))
        for name in _BIASES:
            if (bias := getattr(layer, name)) is not None:
                linear(f"layer{number}.{name}", bias)
        if layer.router is not None:
            linear(f"layer{number}.router", layer.router)
        for name in _HEADS:
            if (inverse := getattr(layer, name)) is not None:
                tensors[f"layer{number}.{name}"] = inverse
    description: dict[str, Any] = {name: getattr(model, name) for name in _PLAIN}
    description |= {
        "shape": asdict(model.shape), "shifts": asdict(model.shifts), "hidden_chunks": list(model.hidden_chunks),
        "experts_used": model.experts_used,
        "layers": [{name: getattr(layer, name) for name in _LAYER_SHIFTS} for layer in model.layers]}
    return description, tensors


def restore_model(description: dict[str, Any], tensors: Tensors) -> QuantisedModel:
    """The model of a description and its tensors. Raises KeyError, TypeError or ValueError where they do not fit."""
    shape = Shape(**description["shape"])
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    pairs = (shape.context, shape.head_dim // 2)
    sizes: dict[str, tuple[int, ...]] = {
        "embed": (shape.vocab, shape.dim), "embed_multiplier": (shape.dim,), "rope_cos": pairs, "rope_sin": pairs}
    linears = {
        "wq": (q, shape.dim), "wk": (kv, shape.dim), "wv": (kv, shape.dim), "wo": (shape.dim, q),
        "w1": (shape.hidden, shape.dim), "w3": (shape.hidden, shape.dim), "w2": (shape.dim, shape.hidden)}

    def take(name: str, signed: bool, size: tuple[int, ...]) -> npt.NDArray[Any]:
        tensor = tensors[name]
        if tensor.shape != size or tensor.dtype != (np.int8 if signed else np.uint8):
            raise ValueError(f"model.{name} is {tensor.dtype} {tensor.shape}, its shape says {size}")
        return tensor

    def linear(name: str, size: tuple[int, ...]) -> Linear:
        return Linear(
            weights=take(f"{name}.weights", True, size), multiplier=take(f"{name}.multiplier", False, size[-2:-1]))

    used = int(description.get("experts_used", 0))
    if used:
        experts = len(tensors["layer0.router.multiplier"])
        linears |= {name: (experts, *linears[name]) for name in ("w1", "w2", "w3")}
        linears["router"] = (experts, shape.dim)
        if not 1 <= used <= experts:
            raise ValueError(f"a token uses {used} of {experts} experts")
    if len(description["layers"]) != shape.layers:
        raise ValueError(f"{len(description['layers'])} layers, its shape says {shape.layers}")
    layers: list[Layer] = []
    for number, shifts in enumerate(description["layers"]):
        members: dict[str, Any] = {name: linear(f"layer{number}.{name}", size) for name, size in linears.items()}
        members |= {name: linear(f"layer{number}.{name}", (linears[f"w{name[-1]}"][0], 1))
                    for name in _BIASES if f"layer{number}.{name}.weights" in tensors}
        members |= {name: take(f"layer{number}.{name}", False, (linears[f"w{name[-1]}"][0],))
                    for name in _HEADS if f"layer{number}.{name}" in tensors}
        members |= {name: tuple(cast("list[int]", value)) if isinstance(value, list) else value  # JSON knows no tuples
                    for name, value in shifts.items()}
        if len(members["score_shifts"]) != shape.kv_heads:
            raise ValueError(
                f"layer {number} has {len(members['score_shifts'])} score shifts for {shape.kv_heads} KV heads")
        layers.append(Layer(attention=take(f"layer{number}.attention", False, (q,)), **members))
    values: dict[str, Any] = description["shifts"]
    every: dict[str, Any] = {  # JSON knows no tuples
        name: tuple(value) if str(Shifts.__annotations__.get(name)).startswith("tuple") else value
        for name, value in values.items()}
    return QuantisedModel(
        shape=shape, layers=tuple(layers), classifier=linear("classifier", (shape.vocab, shape.dim)),
        shifts=Shifts(**every), hidden_chunks=tuple(description["hidden_chunks"]), experts_used=used,
        **{name: take(name, name in _SIGNED, sizes[name]) for name in _ARRAYS},
        **{name: description[name] for name in _PLAIN})
