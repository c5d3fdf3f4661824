"""Float model to integers: recipe R1 within the structure of docs/numerics.md.

Every real tensor is an integer tensor times a scale (`compiler.scales`). With the scales folded in, each operation has
a real matrix M such that `output = M @ input` between integers. M is then split into
`weights * multiplier * 2**-total`, the multiplier chosen first and the weights rounded with the scale it implies, and
`total` into the pipeline's shifts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from compiler.calibrate import Activations, calibrate, silu
from compiler.errors import InputError
from compiler.float_model import FloatModel
from compiler.fold import FoldedModel, fold, residual_basis
from compiler.quantised import Layer, Linear, QuantisedModel, Shape, Shifts, UInt8
from compiler.rotary import rotary_tables
from compiler.scales import Scales, choose_scales

Float = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

# Fixed by docs/numerics.md.
NORM_ADJUST: Final = -14  # of RSQRT: the exponent of 1/rms is half the bit length of the sum of squares
SOFTMAX_ADJUST: Final = -21  # of RECIP
ONE_HOT: Final = 64  # activation that picks an embedding column
GATE_UNIT: Final = 1 / 16
SILU_ONE: Final = 2.0**11
RSQRT_ONE: Final = 2.0**14  # mantissa * 2**-exponent of 1, after the adjustment
RECIP_BITS: Final = 21
ROPE_SHIFT: Final = 7

MULTIPLIER_MAX: Final = 255
WEIGHT_MAX: Final = 127
WIDE_MAX: Final = 32767
ACTIVATION_MAX: Final = 128
HEADROOM: Final = 1.5  # of 16-bit intermediates over the largest value seen
WIDE_SHIFT: Final = 6  # bits that q and k have beyond 8 while they rotate
VALUE_SHIFT: Final = 4  # bits that v has beyond 8 until its bias is in: the two are rounded apart
S1_MOST: Final = 31
RANGE_TOKENS: Final = 512  # of the calibration, to see how large accumulators get
HIDDEN_CHUNK: Final = 64
ATTENTION_S1: Final = 7  # A.V's accumulator has 15 bits after s0 + exponent, a multiplier 8
NORMALISED: Final = ("q", "k", "v", "gate", "down", "logit")  # operations that multiply by 1/rms


def split(matrices: Sequence[Float64]) -> tuple[list[Linear], int]:
    """Integers of one operation's matrices in every layer, and the total shift that they share.

    The shift is the largest with which the widest row still has a multiplier of 8 bits.
    """
    peaks = [np.abs(matrix).max(axis=1) for matrix in matrices]
    widest = max(float(peak.max()) for peak in peaks)
    if widest == 0.0:
        return [Linear(weights=np.zeros(m.shape, np.int8), multiplier=np.ones(len(m), np.uint8)) for m in matrices], 0
    total = math.floor(math.log2(MULTIPLIER_MAX * WEIGHT_MAX / widest))
    linears: list[Linear] = []
    for matrix, peak in zip(matrices, peaks, strict=True):
        multiplier = np.clip(np.ceil(peak * 2.0**total / WEIGHT_MAX), 1, MULTIPLIER_MAX)
        weights = np.rint(matrix * 2.0**total / multiplier[:, None])
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
        peak = np.abs(x.astype(np.float32) @ linear.weights.T.astype(np.float32)).max(axis=0)
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
        size = np.sqrt(np.mean(np.square(thin(a.ffn_x)), axis=1, keepdims=True) + activations.norm_epsilon)
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


def check_supported(model: FloatModel) -> None:
    """Raise `InputError` where a model does what the machine does not do yet: it must not be computed wrongly."""
    traits, context = model.traits, model.shape.context
    if traits.experts:
        raise InputError(f"this model routes each token to {traits.experts_used} of {traits.experts} experts, "
                         "which the machine cannot do yet; only `sim.reference` runs it")
    if model.q_norm is not None or model.k_norm is not None:
        raise InputError("this model normalises each head of q and k, which the machine cannot do yet; "
                         "only `sim.reference` runs it")
    if traits.window is not None and traits.window < context:
        raise InputError(f"this model attends to {traits.window} of {context} positions, which the machine cannot do "
                         "yet; only `sim.reference` runs it")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a model's integers are rounded from.

    Members
    -------
    activations: what scales were chosen from. basis: of the residual stream. folded: without norm gains, in that basis.
    scales: of all activations; o's are those that its multipliers imply.
    attention: multipliers from v's scale to o's, a layer each; attention_bits: behind their binary point.
    chunks: ends of the chunks of the hidden vector. square: s2 of the sum of squares. value_s3: s3 of v.
    matrices: of each operation the real matrix between its integers, one a layer.
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
    value_s3: int
    matrices: dict[str, list[Float64]]


def prepare(model: FloatModel, activations: Activations | None = None, *, chunk: int = HIDDEN_CHUNK) -> Prepared:
    """Everything about a model's integers but their rounding; parameters and errors as for `quantise`."""
    check_supported(model)
    activations = calibrate(model) if activations is None else activations
    shape = model.shape
    basis = residual_basis(shape.dim)
    folded = fold(model, basis)
    scales = choose_scales(shape, activations, basis)
    attention, o_scales, attention_bits = attention_multipliers(scales, shape)
    scales = replace(
        scales, layers=tuple(replace(s, o=o) for s, o in zip(scales.layers, o_scales, strict=True))
    )
    # So that no sum of squares can reach 2**32.
    square = max(0, math.ceil(math.log2(shape.dim)) - 1)
    logit_scale = activations.logit_peak * HEADROOM / WIDE_MAX or 1.0
    _, _, radius = rotary_tables(shape, model.traits.rope)
    value_s3 = 0 if model.v_bias is None else VALUE_SHIFT
    return Prepared(
        activations=activations, basis=basis, folded=folded, scales=scales, attention=attention,
        attention_bits=attention_bits, chunks=(*range(chunk, shape.hidden, chunk), shape.hidden), square=square,
        logit_scale=logit_scale, value_s3=value_s3,
        matrices=_matrices(folded, scales, square, logit_scale, radius, value_s3))


def quantise(model: FloatModel, activations: Activations | None = None, *, chunk: int = HIDDEN_CHUNK) -> QuantisedModel:
    """Make the integer model of a float model.

    Parameters
    ----------
    activations: from `calibrate`, which runs where they are not given.
    chunk: hidden channels that share a block exponent.

    Raises `InputError` for what `check_supported` names.
    """
    return finish(model, prepare(model, activations, chunk=chunk))


def finish(model: FloatModel, prepared: Prepared) -> QuantisedModel:
    """Round what was prepared."""
    shape, scales, square = model.shape, prepared.scales, prepared.square
    cos, sin, radius = rotary_tables(shape, model.traits.rope)
    bias, bias_shifts = _biases(model, scales, radius, prepared.value_s3)
    inputs = _inputs(prepared.activations, scales, prepared.basis, prepared.chunks)
    fed = {"q": inputs.attention, "k": inputs.attention, "v": inputs.attention, "o": inputs.o, "gate": inputs.ffn,
           "up": inputs.ffn, "down": inputs.hidden, "logit": [inputs.final]}  # fmt: skip
    linears: dict[str, list[Linear]] = {}
    shifts: dict[str, tuple[int, int, int]] = {}
    for name, x in fed.items():
        linears[name], total = split(prepared.matrices[name])
        shifts[name] = place(total, linears[name], x)
    # A sum of squares four times smaller takes one bit from the exponent of 1/rms, which s2 gets back.
    deficit = max(0, -min(shifts[name][2] for name in NORMALISED))
    square += 2 * deficit
    for name, (s0, s1, s2) in shifts.items():
        shifts[name] = (s0, s1, s2 + deficit) if name in NORMALISED else _without_negative(s0, s1, s2)
    embedded, embed_total = split([prepared.folded.embed.T / (ONE_HOT * scales.stream[0])])
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
                **{name: every[i] for name, every in bias.items()},
            )
            for i in range(shape.layers)
        ),
        classifier=linears["logit"][0],
        final_x_shift=scales.x_shifts[-1],
        rope_cos=cos,
        rope_sin=sin,
        norm_bias=max(1, round(model.traits.norm_epsilon * shape.dim / (scales.stream[-1] ** 2 * 2.0**square))),
        shifts=Shifts(
            embed_s1=embed_total,
            square=square,
            q=shifts["q"], k=shifts["k"], v=shifts["v"],
            rotate_q_s3=WIDE_SHIFT, rotate_k_s3=WIDE_SHIFT,
            attention=(0, ATTENTION_S1, RECIP_BITS + prepared.attention_bits - ATTENTION_S1),
            o=shifts["o"], gate=shifts["gate"], up=shifts["up"], down=shifts["down"], logit=shifts["logit"],
            value_s3=prepared.value_s3, **bias_shifts,
        ),
        hidden_chunks=prepared.chunks,
        logit_scale=prepared.logit_scale,
    )


def _without_negative(s0: int, s1: int, s2: int) -> tuple[int, int, int]:
    """The same total with s2 >= 0: the value in between then is as small as the result."""
    if s2 < 0:
        s1, s2 = s1 + s2, 0
    if s1 < 0:
        s0, s1 = s0 + s1, 0
    return max(s0, 0), s1, s2


def _wide(radius: Float64) -> Float64:
    """Units of the wide q and k in one of q8 and k8, (head_dim,): the rotation multiplies by the radius of the pair and
    shifts it out again."""
    return 2.0 ** (WIDE_SHIFT + ROPE_SHIFT) / np.repeat(radius, 2)


def _biases(model: FloatModel, scales: Scales, radius: Float64,
            value_s3: int) -> tuple[dict[str, list[Linear]], dict[str, int]]:
    """Integers and shifts of the biases, by their names in `Layer` and `Shifts`; none where the model has none."""
    if model.q_bias is None or model.k_bias is None or model.v_bias is None:
        return {}, {}
    heads = model.shape.head_dim
    units: dict[str, tuple[Float, list[Float64]]] = {
        "bias_q": (model.q_bias, [_wide(radius) / scale.q for scale in scales.layers]),
        "bias_k": (model.k_bias, [_wide(radius) / scale.k for scale in scales.layers]),
        "bias_v": (model.v_bias, [2.0**value_s3 / scale.v for scale in scales.layers])}
    found: dict[str, list[Linear]] = {}
    shifts: dict[str, int] = {}
    for name, (values, per_layer) in units.items():
        found[name], shifts[name] = biases([
            (value.astype(np.float64).reshape(-1, heads) * unit).reshape(-1)
            for value, unit in zip(values, per_layer, strict=True)])
    return found, shifts


def _matrices(
    folded: FoldedModel, scales: Scales, square: int, logit_scale: float, radius: Float64, value_s3: int
) -> dict[str, list[Float64]]:
    """For each operation M in every layer, with all scales and fixed factors of docs/numerics.md inside."""
    dim = folded.basis.shape[0]
    # x / rms(x) = x8 * 2**x_shift * norm / sqrt(S), and the machine's mantissa * 2**-exponent is RSQRT_ONE / sqrt(S).
    norm = math.sqrt(dim) * 2.0 ** (-square / 2) / RSQRT_ONE
    found: dict[str, list[Float64]] = {name: [] for name in ("q", "k", "v", "o", "gate", "up", "down")}
    for i, (w, scale) in enumerate(zip(folded.layers, scales.layers, strict=True)):
        attention_x, ffn_x = (2.0 ** scales.x_shifts[2 * i + block] for block in (0, 1))
        wide = _wide(radius)
        hidden = scale.hidden / scales.stream[i]
        found["q"].append(w.wq * (norm * attention_x * (wide / scale.q).reshape(-1, 1)))
        found["k"].append(w.wk * (norm * attention_x * (wide / scale.k).reshape(-1, 1)))
        found["v"].append(w.wv * (norm * attention_x * 2.0**value_s3 / scale.v.reshape(-1, 1)))
        found["o"].append(w.wo * (scale.o.reshape(-1) / scales.stream[i]))
        found["gate"].append(w.w1 * (norm * ffn_x / GATE_UNIT))
        found["up"].append(w.w3 * (ffn_x / (SILU_ONE * hidden[:, None])))
        found["down"].append(w.w2 * (scale.hidden * norm / (scales.stream[i] * scales.stream[i + 1])))
    found["logit"] = [folded.classifier * (norm * 2.0 ** scales.x_shifts[-1] / logit_scale)]
    return found


def accumulator_bits(model: QuantisedModel) -> int:
    """Bits of a two's complement accumulator in which no sum of this model can overflow."""
    shape = model.shape
    layers = [
        m for layer in model.layers
        for m in (layer.wq, layer.wk, layer.wv, layer.wo, layer.w1, layer.w3, layer.w2)
    ]
    rows = [int(np.abs(m.weights.astype(np.int64)).sum(axis=1).max()) for m in (*layers, model.classifier)]
    worst = max(
        ACTIVATION_MAX * max(rows),
        ACTIVATION_MAX * ACTIVATION_MAX * shape.head_dim,  # scores
        ACTIVATION_MAX * WEIGHT_MAX * shape.context,  # A.V: probabilities have 7 bits
        ACTIVATION_MAX * ONE_HOT,  # embedding
    )
    return worst.bit_length() + 1
