"""A quantised model as flat tensors and plain JSON, and back: how it travels in an image file."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from compiler.float_model import check_shape
from compiler.quantised import Layer, Linear, QuantisedModel, Shape, Shifts
from compiler.typed import integer, integers, made, obj, of_type, shown
from compiler.weight_bits import FOUR_BIT_UNIT, OF_FOUR_BITS

Tensors = dict[str, npt.NDArray[Any]]

_ARRAYS = ("embed", "embed_multiplier", "rope_cos", "rope_sin")
_SIGNED = ("embed", "rope_cos", "rope_sin")
_PLAIN: dict[str, type] = {"final_x_shift": int, "norm_bias": int, "logit_scale": float}
MOST_SHIFT, MOST_BIAS = 63, (1 << 32) - 1
"""Of a model that is read: shifts are of numbers of 48 bits, sums of squares have 32."""

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
        "experts_used": model.experts_used, "weight_bits": model.weight_bits, "window": model.window,
        "layers": [{name: getattr(layer, name) for name in _LAYER_SHIFTS} for layer in model.layers]}
    return description, tensors


def restore_model(description: dict[str, Any], tensors: Tensors) -> QuantisedModel:
    """The model of a description and its tensors. Raises KeyError, TypeError or ValueError where they do not fit, and
    InputError for a shape that no model has."""
    shape = made(Shape, obj(description, "the model")["shape"], "the model's shape")
    check_shape(shape, "the image's model")
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

    used = integer(description.get("experts_used", 0), "experts_used", 0)
    if used:
        experts = len(tensors["layer0.router.multiplier"])
        linears |= {name: (experts, *linears[name]) for name in ("w1", "w2", "w3")}
        linears["router"] = (experts, shape.dim)
        if not 1 <= used <= experts:
            raise ValueError(f"a token uses {used} of {experts} experts")
    bits = integer(description.get("weight_bits", 8), "weight_bits", 4, 8)
    if bits not in (4, 8):
        raise ValueError(f"weights have {bits} bits, expected 4 or 8")
    described: Any = description["layers"]
    if not isinstance(described, list) or len(cast("list[Any]", described)) != shape.layers:
        raise ValueError(f"the model's layers are not the {shape.layers} that its shape says")
    layers: list[Layer] = []
    for number, content in enumerate(cast("list[Any]", described)):
        shifts = obj(content, f"layer {number}")
        if unknown := sorted(set(shifts) - set(_LAYER_SHIFTS)):
            raise ValueError(f"layer {number} has a member {shown(unknown[0])}, which is unknown")
        members: dict[str, Any] = {name: linear(f"layer{number}.{name}", size) for name, size in linears.items()}
        members |= {name: linear(f"layer{number}.{name}", (linears[f"w{name[-1]}"][0], 1))
                    for name in _BIASES if f"layer{number}.{name}.weights" in tensors}
        members |= {name: take(f"layer{number}.{name}", False, (linears[f"w{name[-1]}"][0],))
                    for name in _HEADS if f"layer{number}.{name}" in tensors}
        members |= {name: (integers if name == "score_shifts" else integer)(
                        value, f"layer {number}: {name}", 0, MOST_SHIFT)
                    for name, value in shifts.items()}
        if len(members["score_shifts"]) != shape.kv_heads:
            raise ValueError(
                f"layer {number} has {len(members['score_shifts'])} score shifts for {shape.kv_heads} KV heads")
        layers.append(Layer(attention=take(f"layer{number}.attention", False, (q,)), **members))
        if bits == 4 and any((members[name].weights % FOUR_BIT_UNIT).any() for name in OF_FOUR_BITS):
            raise ValueError(f"layer {number} has weights that are no multiples of {FOUR_BIT_UNIT}, as four bits are")
    chunks = integers(description["hidden_chunks"], "hidden_chunks", 1, shape.hidden)
    if not chunks or chunks[-1] != shape.hidden or list(chunks) != sorted(set(chunks)):
        raise ValueError(f"hidden_chunks is {shown(chunks)}, expected rising ends up to {shape.hidden}")
    plain = {name: of_type(description[name], kind, name) for name, kind in _PLAIN.items()}
    integer(plain["final_x_shift"], "final_x_shift", 0, MOST_SHIFT)
    integer(plain["norm_bias"], "norm_bias", 0, MOST_BIAS)
    if plain["logit_scale"] <= 0:
        raise ValueError(f"logit_scale is {plain['logit_scale']:g}, expected more than 0")
    return QuantisedModel(
        shape=shape, layers=tuple(layers), classifier=linear("classifier", (shape.vocab, shape.dim)),
        shifts=_shifts(description["shifts"]), hidden_chunks=chunks, experts_used=used, weight_bits=bits,
        window=integer(description["window"], "window", 0, shape.context),
        **{name: take(name, name in _SIGNED, sizes[name]) for name in _ARRAYS}, **plain)


def _shifts(content: Any) -> Shifts:
    found = made(Shifts, content, "shifts")
    for name, value in vars(found).items():
        most = MOST_BIAS if name == "head_bias" else MOST_SHIFT
        integers(value if isinstance(value, tuple) else (value,), f"shifts: {name}", 0, most)
    return found
