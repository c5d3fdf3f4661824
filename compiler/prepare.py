"""What a model's integers are rounded from: scales chosen, and the real matrix between the integers of each operation.

Every real tensor is an integer tensor times a scale (`compiler.scales`). With the scales folded in, each operation has
a real matrix M such that `output = M @ input` between integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from compiler.calibrate import Activations, calibrate
from compiler.float_model import FloatModel
from compiler.fold import FoldedModel, fold, residual_basis
from compiler.head_norms import HeadNorm, head_norm, usable
from compiler.quantised import MULTIPLIER_MAX, Int8, Shape, UInt8
from compiler.rotary import rotary_tables
from compiler.scales import Scales, choose_scales, evened
from compiler.weight_bits import check_weight_bits, trained_bits

Float64 = npt.NDArray[np.float64]

# Fixed by docs/numerics.md.
ONE_HOT: Final = 64  # activation that picks an embedding column
GATE_UNIT: Final = 1 / 16
SILU_ONE: Final = 2.0**11
RSQRT_ONE: Final = 2.0**14  # mantissa * 2**-exponent of 1, after the adjustment
ROPE_SHIFT: Final = 7
WIDE_MAX: Final = 32767
HEADROOM: Final = 1.5  # of 16-bit intermediates over the largest value seen
WIDE_SHIFT: Final = 6  # bits that q and k have beyond 8 while they rotate
VALUE_SHIFT: Final = 4  # bits that v has beyond 8 until its bias is in: the two are rounded apart
HIDDEN_CHUNK: Final = 64
EXP2_UNIT: Final = math.log(2) / 32  # what EXP2 takes comes in units of 1/32 of a factor of two
ROUTER_LIFT: Final = 2  # bits that a router's logit has to spare, so that it can be made positive
ROUTER_BITS_MOST: Final = 15


def attention_multipliers(scales: Scales, shape: Shape) -> tuple[list[UInt8], list[Float64], int]:
    """From v's scale to o's: multipliers, the scales of o that they imply, and bits behind their binary point."""
    ratios = [np.repeat(layer.v, shape.queries_per_kv, axis=0) / layer.o for layer in scales.layers]
    widest = max(float(ratio.max()) for ratio in ratios)
    # A channel that attention all but averages away may ask for any ratio; what is beyond a factor of 16 is rounding.
    bits = max(4, math.floor(math.log2(MULTIPLIER_MAX / widest)))
    multipliers = [np.clip(np.floor(ratio * 2.0**bits), 1, MULTIPLIER_MAX) for ratio in ratios]
    implied = [
        np.repeat(layer.v, shape.queries_per_kv, axis=0) * 2.0**bits / m
        for layer, m in zip(scales.layers, multipliers, strict=True)
    ]
    return [m.reshape(-1).astype(np.uint8) for m in multipliers], implied, bits


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a model's integers are rounded from.

    Members
    -------
    activations: what scales were chosen from. basis: of the residual stream. folded: without norm gains, in that basis.
    scales: of all activations; o's are those that its multipliers imply.
    attention: multipliers from v's scale to o's, a layer each; attention_bits: behind their binary point.
    chunks: ends of the chunks of the hidden vector. square: s2 of the sum of squares. value_s3: s3 of v.
    router_bits: a logit of the router has units of 2 ** -router_bits of what EXP2 takes.
    cos, sin, radius: see compiler.rotary.rotary_tables.
    units: of q and of k, (heads, head_dim) a layer: the 16-bit value of a projection of 1.
    head_norms: of q and k, where the model has such.
    matrices: of each operation the real matrix between its integers, one a layer.
    weight_bits: of the layers' matrices.
    """

    activations: Activations
    basis: Float64
    folded: FoldedModel
    scales: Scales
    attention: list[UInt8]
    attention_bits: int
    chunks: tuple[int, ...]
    square: int
    logit_scale: float
    router_bits: int
    value_s3: int
    cos: Int8
    sin: Int8
    radius: Float64
    units: dict[str, list[Float64]]
    head_norms: dict[str, HeadNorm]
    matrices: dict[str, list[Float64]]
    weight_bits: int


def prepare(model: FloatModel, activations: Activations | None = None, *, chunk: int = HIDDEN_CHUNK,
            weight_bits: int | None = None) -> Prepared:
    """Everything about a model's integers but their rounding; parameters and errors as for `quantise`."""
    check_weight_bits(weight_bits)
    activations = calibrate(model) if activations is None else activations
    shape = model.shape
    basis = residual_basis(shape.dim)
    folded = fold(model, basis)
    weight_bits = weight_bits or trained_bits(folded)
    scales = choose_scales(shape, activations, basis)
    if weight_bits == 4:  # a scale for each input would take the inputs of a row off the grid that it was trained on
        scales = evened(scales)
    attention, o_scales, attention_bits = attention_multipliers(scales, shape)
    scales = replace(
        scales, layers=tuple(replace(s, o=o) for s, o in zip(scales.layers, o_scales, strict=True))
    )
    # So that no sum of squares can reach 2**32.
    square = max(0, math.ceil(math.log2(shape.dim)) - 1)
    logit_scale = activations.logit_peak * HEADROOM / WIDE_MAX or 1.0
    router_peak = max(float(np.abs(layer.router).max(initial=0.0)) for layer in activations.layers)
    most = math.floor(math.log2(WIDE_MAX * EXP2_UNIT / (router_peak * HEADROOM))) if router_peak else ROUTER_BITS_MOST
    bits = min(max(most, ROUTER_LIFT), ROUTER_BITS_MOST)
    cos, sin, radius = rotary_tables(shape, model.traits.rope)
    value_s3 = 0 if model.v_bias is None else VALUE_SHIFT
    head_norms = _head_norms(model, activations, scales, radius)
    units = {name: head_norms[name].units if name in head_norms
             else [wide_units(radius) / getattr(scale, name) for scale in scales.layers] for name in ("q", "k")}
    return Prepared(
        activations=activations, basis=basis, folded=folded, scales=scales, attention=attention,
        attention_bits=attention_bits, chunks=(*range(chunk, shape.hidden, chunk), shape.hidden), square=square,
        logit_scale=logit_scale, router_bits=bits, value_s3=value_s3, cos=cos, sin=sin, radius=radius, units=units,
        head_norms=head_norms, weight_bits=weight_bits,
        matrices=_matrices(folded, scales, square, logit_scale, EXP2_UNIT * 2.0**-bits, units, value_s3))


def wide_units(radius: Float64) -> Float64:
    """Units of the wide q and k in one of q8 and k8, (head_dim,): the rotation multiplies by the radius of the pair and
    shifts it out again."""
    return 2.0 ** (WIDE_SHIFT + ROPE_SHIFT) / np.repeat(radius, 2)


def _head_norms(model: FloatModel, activations: Activations, scales: Scales, radius: Float64) -> dict[str, HeadNorm]:
    """The normalisations of heads, of q and of k; none where the model has none."""
    if model.q_norm is None or model.k_norm is None:
        return {}
    return {name: head_norm(
        usable(gain), [getattr(scale, name) for scale in scales.layers],
        [getattr(layer, f"{name}_peak") for layer in activations.layers], radius, model.traits.norm_epsilon,
        one=RSQRT_ONE, wide=2.0 ** (WIDE_SHIFT + ROPE_SHIFT), most=WIDE_MAX / HEADROOM)
        for name, gain in (("q", model.q_norm), ("k", model.k_norm))}


def _matrices(
    folded: FoldedModel, scales: Scales, square: int, logit_scale: float, router_scale: float,
    units: dict[str, list[Float64]], value_s3: int
) -> dict[str, list[Float64]]:
    """For each operation M in every layer, with all scales and fixed factors of docs/numerics.md inside."""
    dim = folded.basis.shape[0]
    # x / rms(x) = x8 * 2**x_shift * norm / sqrt(S), and the machine's mantissa * 2**-exponent is RSQRT_ONE / sqrt(S).
    norm = math.sqrt(dim) * 2.0 ** (-square / 2) / RSQRT_ONE
    found: dict[str, list[Float64]] = {name: [] for name in ("q", "k", "v", "o", "gate", "up", "down")}
    for i, (w, scale) in enumerate(zip(folded.layers, scales.layers, strict=True)):
        attention_x, ffn_x = (2.0 ** scales.x_shifts[2 * i + block] for block in (0, 1))
        hidden = scale.hidden / scales.stream[i]
        found["q"].append(w.wq * (norm * attention_x * units["q"][i].reshape(-1, 1)))
        found["k"].append(w.wk * (norm * attention_x * units["k"][i].reshape(-1, 1)))
        found["v"].append(w.wv * (norm * attention_x * 2.0**value_s3 / scale.v.reshape(-1, 1)))
        found["o"].append(w.wo * (scale.o.reshape(-1) / scales.stream[i]))
        found["gate"].append(w.w1 * (norm * ffn_x / GATE_UNIT))
        found["up"].append(w.w3 * (ffn_x / (SILU_ONE * hidden[:, None])))
        found["down"].append(w.w2 * (scale.hidden * norm / (scales.stream[i] * scales.stream[i + 1])))
        if w.router is not None:
            found.setdefault("router", []).append(w.router * (norm * ffn_x / router_scale))
    found["logit"] = [folded.classifier * (norm * 2.0 ** scales.x_shifts[-1] / logit_scale)]
    return found
