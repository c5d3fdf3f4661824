"""Float model to integers: recipe R1 within the structure of docs/numerics.md.

The real matrix M of each operation (`compiler.prepare`) is split into `weights * multiplier * 2**-total`, the
multiplier chosen first and the weights rounded with the scale it implies, and `total` into the pipeline's shifts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from compiler.calibrate import Activations, silu
from compiler.float_model import FloatModel
from compiler.head_norms import common_bias
from compiler.prepare import (
    HEADROOM,
    HIDDEN_CHUNK,
    ONE_HOT,
    ROUTER_LIFT,
    WIDE_MAX,
    WIDE_SHIFT,
    Prepared,
    prepare,
)
from compiler.quantised import MULTIPLIER_MAX, S1_MOST, Layer, Linear, QuantisedModel, Shifts
from compiler.scales import Scales
from compiler.weight_bits import FOUR_BIT_MAX, FOUR_BIT_UNIT

Float = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

# Fixed by docs/numerics.md.
NORM_ADJUST: Final = -14  # of RSQRT: the exponent of 1/rms is half the bit length of the sum of squares
SOFTMAX_ADJUST: Final = -21  # of RECIP
RECIP_BITS: Final = 21

WEIGHT_MAX: Final = 127
ACTIVATION_MAX: Final = 128
RANGE_TOKENS: Final = 512  # of the calibration, to see how large accumulators get
ATTENTION_S1: Final = 7  # A.V's accumulator has 15 bits after s0 + exponent, a multiplier 8
NORMALISED: Final = ("q", "k", "v", "gate", "down", "logit", "router")  # operations that multiply by 1/rms


def split(matrices: Sequence[Float64], weight_bits: int = 8) -> tuple[list[Linear], int]:
    """Integers of one operation's matrices in every layer, and the total shift that they share.

    The shift is the largest with which the widest row still has a multiplier of 8 bits. Weights of four bits are
    multiples of 16, and their row's scale is the nearest that a multiplier can make, not the next larger: what they
    were trained with.
    """
    unit, most = (FOUR_BIT_UNIT, FOUR_BIT_MAX) if weight_bits == 4 else (1, WEIGHT_MAX)
    peaks = [np.abs(matrix).max(axis=-1) for matrix in matrices]
    peaks = [peak if peak.ndim == 1 else peak.max(axis=0) for peak in peaks]  # experts share their multipliers
    widest = max(float(peak.max()) for peak in peaks)
    if widest == 0.0:
        return [Linear(weights=np.zeros(m.shape, np.int8), multiplier=np.ones(len(peak), np.uint8))
                for m, peak in zip(matrices, peaks, strict=True)], 0
    total = math.floor(math.log2(MULTIPLIER_MAX * most * unit / widest))
    linears: list[Linear] = []
    for matrix, peak in zip(matrices, peaks, strict=True):
        wanted = peak * 2.0**total / (most * unit)
        multiplier = np.clip(np.rint(wanted) if weight_bits == 4 else np.ceil(wanted), 1, MULTIPLIER_MAX)
        weights = np.clip(np.rint(matrix * 2.0**total / (multiplier[:, None] * unit)), -most, most) * unit
        linears.append(Linear(weights=weights.astype(np.int8), multiplier=multiplier.astype(np.uint8)))
    return linears, total


def place(total: int, linears: Sequence[Linear], inputs: Sequence[Float]) -> tuple[int, int, int]:
    """Share a total shift among s0, s1 and s2 so that both 16-bit intermediates just fit.

    Parameters
    ----------
    inputs: (tokens, inputs) for each layer, the int8 activations that calibration saw.

    Returns
    -------
    s0, s1, s2, where s2 is negative if the operation needs more than 16 bits in between.
    """
    peak_a = peak_b = 1.0
    for linear, x in zip(linears, inputs, strict=True):
        made = np.abs(x.astype(np.float32) @ linear.weights.swapaxes(-1, -2).astype(np.float32))
        peak = made.reshape(-1, made.shape[-1]).max(axis=0)
        peak_a, peak_b = max(peak_a, float(peak.max())), max(peak_b, float((peak * linear.multiplier).max()))
    s0 = max(0, math.ceil(math.log2(peak_a * HEADROOM / WIDE_MAX)))
    s1 = max(0, math.ceil(math.log2(peak_b * HEADROOM / WIDE_MAX)) - s0)
    return s0, s1, total - s0 - s1


def biases(values: Sequence[Float64]) -> tuple[list[Linear], int]:
    """Integers of a bias in every layer, and the shift that they share: 64 * weight * multiplier * 2**-shift.

    Any number is near some product of two of 8 bits, so of all multipliers the best is taken.
    values: (outputs,) in units of what they are added to.
    """
    peak = max(float(np.abs(value).max()) for value in values)
    if peak == 0.0:
        return [Linear(weights=np.zeros((len(v), 1), np.int8), multiplier=np.ones(len(v), np.uint8)) for v in values], 0
    shift = min(S1_MOST, math.floor(math.log2(ONE_HOT * WEIGHT_MAX * MULTIPLIER_MAX / min(peak, WIDE_MAX))))
    multiplier = np.arange(1, MULTIPLIER_MAX + 1)[:, None]
    linears: list[Linear] = []
    for value in values:
        wanted = value * 2.0**shift / ONE_HOT
        weights = np.clip(np.rint(wanted / multiplier), -WEIGHT_MAX, WEIGHT_MAX)  # (multipliers, outputs)
        best = np.abs(weights * multiplier - wanted).argmin(axis=0)
        chosen = np.take_along_axis(weights, best[None], axis=0)[0]
        linears.append(Linear(weights=chosen[:, None].astype(np.int8), multiplier=(best + 1).astype(np.uint8)))
    return linears, shift


@dataclass(frozen=True)
class _Inputs:
    """int8 activations of every matmul, as calibration saw them: one array (tokens, inputs) for each layer."""

    attention: list[Float]
    ffn: list[Float]
    final: Float
    o: list[Float]
    hidden: list[Float]


def hidden_exponents(h: Float) -> Float:
    """Block exponents, (tokens, 1), of one chunk of the hidden vector, (tokens, channels), in the integers' unit."""
    top = np.abs(h).max(axis=1, keepdims=True)
    return np.maximum(0, np.floor(np.log2(np.maximum(top, 1.0))) - 6)


def _int8(x: Float, scale: Float | float) -> Float:
    return np.clip(np.rint(x / scale), -WEIGHT_MAX - 1, WEIGHT_MAX)


def _inputs(activations: Activations, scales: Scales, basis: Float64, chunks: Sequence[int]) -> _Inputs:
    def thin(x: Float) -> Float:
        return x[:: max(1, len(x) // RANGE_TOKENS)]

    def x8(x: Float, use: int) -> Float:
        return _int8(thin(x) @ basis, scales.stream[use // 2] * 2.0 ** scales.x_shifts[use])

    def h8(i: int) -> Float:
        a = activations.layers[i]
        x = np.repeat(a.ffn_x, len(a.gate) // len(a.ffn_x), axis=0)  # a row for each expert that a token uses
        size = np.sqrt(np.mean(np.square(thin(x)), axis=1, keepdims=True) + activations.norm_epsilon)
        h = silu(thin(a.gate)) * thin(a.up) * size / scales.layers[i].hidden
        for start, end in zip((0, *chunks), chunks, strict=False):
            h[:, start:end] /= 2.0 ** hidden_exponents(h[:, start:end])
        return _int8(h, 1.0)

    layers = range(len(activations.layers))
    return _Inputs(
        attention=[x8(activations.layers[i].attention_x, 2 * i) for i in layers],
        ffn=[x8(activations.layers[i].ffn_x, 2 * i + 1) for i in layers],
        final=x8(activations.final_x, 2 * len(activations.layers)),
        o=[
            _int8(thin(activations.layers[i].o), scales.layers[i].o).reshape(-1, scales.layers[i].o.size)
            for i in layers
        ],
        hidden=[h8(i) for i in layers],
    )


def quantise(model: FloatModel, activations: Activations | None = None, *, chunk: int = HIDDEN_CHUNK,
             weight_bits: int | None = None) -> QuantisedModel:
    """Make the integer model of a float model.

    Parameters
    ----------
    activations: from `calibrate`, which runs where they are not given.
    chunk: hidden channels that share a block exponent.
    weight_bits: of the layers' matrices, 4 or 8; None: what the model was trained for.

    Raises `InputError` for other `weight_bits`.
    """
    return finish(model, prepare(model, activations, chunk=chunk, weight_bits=weight_bits))


def finish(model: FloatModel, prepared: Prepared) -> QuantisedModel:
    """Round what was prepared."""
    shape, scales, square = model.shape, prepared.scales, prepared.square
    bias, bias_shifts = _biases(model, prepared)
    inputs = _inputs(prepared.activations, scales, prepared.basis, prepared.chunks)
    fed = {"q": inputs.attention, "k": inputs.attention, "v": inputs.attention, "o": inputs.o, "gate": inputs.ffn,
           "up": inputs.ffn, "down": inputs.hidden, "logit": [inputs.final]}  # fmt: skip
    if "router" in prepared.matrices:
        fed["router"] = inputs.ffn
    linears: dict[str, list[Linear]] = {}
    shifts: dict[str, tuple[int, int, int]] = {}
    for name, x in fed.items():
        linears[name], total = split(prepared.matrices[name], operation_bits(prepared, name))
        shifts[name] = place(total, linears[name], x)
    # A sum of squares four times smaller takes one bit from the exponent of 1/rms, which s2 gets back.
    deficit = max(0, -min(shifts[name][2] for name in NORMALISED if name in shifts))
    square += 2 * deficit
    for name, (s0, s1, s2) in shifts.items():
        shifts[name] = (s0, s1, s2 + deficit) if name in NORMALISED else _without_negative(s0, s1, s2)
    embedded, embed_total = split([prepared.folded.embed.T / (ONE_HOT * scales.stream[0])])
    # What not every model has.
    norms = prepared.head_norms.items()
    further: list[dict[str, Any]] = [
        {name: every[i] for name, every in bias.items()}
        | {f"head_{name}": norm.inverse[i].reshape(-1) for name, norm in norms} for i in range(shape.layers)]
    further_shifts: dict[str, Any] = bias_shifts | {f"head_{name}": norm.shifts for name, norm in norms}
    return QuantisedModel(
        shape=shape,
        embed=embedded[0].weights.T.copy(),
        embed_multiplier=embedded[0].multiplier,
        layers=tuple(
            Layer(
                wq=linears["q"][i], wk=linears["k"][i], wv=linears["v"][i], attention=prepared.attention[i],
                wo=linears["o"][i], w1=linears["gate"][i], w3=linears["up"][i], w2=linears["down"][i],
                attention_x_shift=scales.x_shifts[2 * i], ffn_x_shift=scales.x_shifts[2 * i + 1],
                score_shifts=scales.score_shifts[i],
                stream_shift=round(math.log2(scales.stream[i + 1] / scales.stream[i])),
                router=linears["router"][i] if "router" in linears else None,
                **further[i],
            )
            for i in range(shape.layers)
        ),
        classifier=linears["logit"][0],
        final_x_shift=scales.x_shifts[-1],
        rope_cos=prepared.cos,
        rope_sin=prepared.sin,
        norm_bias=max(1, round(model.traits.norm_epsilon * shape.dim / (scales.stream[-1] ** 2 * 2.0**square))),
        shifts=Shifts(
            embed_s1=embed_total,
            square=square,
            q=shifts["q"], k=shifts["k"], v=shifts["v"],
            rotate_q_s3=WIDE_SHIFT, rotate_k_s3=WIDE_SHIFT,
            attention=(0, ATTENTION_S1, RECIP_BITS + prepared.attention_bits - ATTENTION_S1),
            o=shifts["o"], gate=shifts["gate"], up=shifts["up"], down=shifts["down"], logit=shifts["logit"],
            value_s3=prepared.value_s3,
            router=shifts.get("router", (0, 0, 0)), router_unit=prepared.router_bits - ROUTER_LIFT,
            **further_shifts,
            head_bias=common_bias([*prepared.head_norms.values()]) if prepared.head_norms else 1,
        ),
        hidden_chunks=prepared.chunks,
        logit_scale=prepared.logit_scale,
        experts_used=model.traits.experts_used if model.traits.experts else 0,
        window=model.traits.window if model.traits.window and model.traits.window < shape.context else 0,
        weight_bits=prepared.weight_bits,
    )


def operation_bits(prepared: Prepared, name: str) -> int:
    """Bits of an operation's weights."""
    return 8 if name in ("logit", "router") else prepared.weight_bits


def _without_negative(s0: int, s1: int, s2: int) -> tuple[int, int, int]:
    """The same total with s2 >= 0: the value in between then is as small as the result."""
    if s2 < 0:
        s1, s2 = s1 + s2, 0
    if s1 < 0:
        s0, s1 = s0 + s1, 0
    return max(s0, 0), s1, s2


def _biases(model: FloatModel, prepared: Prepared) -> tuple[dict[str, list[Linear]], dict[str, int]]:
    """Integers and shifts of the biases, by their names in `Layer` and `Shifts`; none where the model has none."""
    if model.q_bias is None or model.k_bias is None or model.v_bias is None:
        return {}, {}
    heads = model.shape.head_dim
    units: dict[str, tuple[Float, list[Float64]]] = {
        "bias_q": (model.q_bias, prepared.units["q"]),
        "bias_k": (model.k_bias, prepared.units["k"]),
        "bias_v": (model.v_bias, [2.0**prepared.value_s3 / scale.v for scale in prepared.scales.layers])}
    found: dict[str, list[Linear]] = {}
    shifts: dict[str, int] = {}
    for name, (values, per_layer) in units.items():
        found[name], shifts[name] = biases([
            (value.astype(np.float64).reshape(-1, heads) * unit).reshape(-1)
            for value, unit in zip(values, per_layer, strict=True)])
    return found, shifts


def accumulator_bits(model: QuantisedModel) -> int:
    """Bits of a two's complement accumulator in which no sum of this model can overflow."""
    shape = model.shape
    layers = [
        m for layer in model.layers
        for m in (layer.wq, layer.wk, layer.wv, layer.wo, layer.w1, layer.w3, layer.w2, layer.router) if m is not None
    ]
    rows = [int(np.abs(m.weights.astype(np.int64)).sum(axis=-1).max()) for m in (*layers, model.classifier)]
    worst = max(
        ACTIVATION_MAX * max(rows),
        ACTIVATION_MAX * ACTIVATION_MAX * shape.head_dim,  # scores
        ACTIVATION_MAX * WEIGHT_MAX * shape.context,  # A.V: probabilities have 7 bits
        ACTIVATION_MAX * ONE_HOT,  # embedding
    )
    return worst.bit_length() + 1
