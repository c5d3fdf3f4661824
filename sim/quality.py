"""Where the integers lose: what each tensor's rounding adds to the cross-entropy, and how far off the stream is.

Each tensor in turn is rounded as the quantiser rounds it, all else staying float; so the costs need not add up to
what the whole integer model loses. Activations are rounded with the scales that calibration chose, weights with the
multipliers and the 8 bits of their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from compiler.float_model import FloatModel
from compiler.prepare import ONE_HOT, Prepared, prepare
from compiler.quantise import finish, hidden_exponents, operation_bits, split
from sim.evaluate import surprise
from sim.golden import Golden
from sim.reference import Hook, Reference, softmax

Float = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]

WEIGHTS: Final = ("wq", "wk", "wv", "wo", "w1", "w3", "w2")
"""Of each layer, as `FloatModel` calls them."""
READERS: Final = {"wq": "attention_norm", "wk": "attention_norm", "wv": "attention_norm", "w1": "ffn_norm",
                  "w3": "ffn_norm", "router": "ffn_norm"}  # fmt: skip
"""Those that read the normalised stream, and the gain that is folded into them."""
OPERATIONS: Final = {"wq": "q", "wk": "k", "wv": "v", "wo": "o", "w1": "gate", "w3": "up", "w2": "down",
                     "router": "router"}
ACTIVATIONS: Final = ("x8", "q8", "k8", "v8", "o8", "h8")
FINAL: Final = "final.x8"
"""What the classifier reads."""
INT8: Final = (-128, 127)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one rounding costs.

    Members:
        tensor: "wq", or "x8"; layer: its number, None for all layers together and for what is in none.
        nats: by which the cross-entropy of the float model grows when this alone is rounded. error: its standard error,
        over the predictions.
    """

    tensor: str
    layer: int | None
    nats: float
    error: float


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What a model loses as integers, and where.

    Members:
        float_ce, int_ce: cross-entropies in nats a token. predictions: how many they are the mean of.
        costs: of each tensor, in all layers together and in each. stream_errors: after each layer, how much of the
        residual stream's length is off, as a fraction.
    """

    float_ce: float
    int_ce: float
    predictions: int
    costs: tuple[Cost, ...]
    stream_errors: tuple[float, ...]

    @property
    def excess(self) -> float:
        """What the integers add, as a fraction of the float cross-entropy."""
        return self.int_ce / self.float_ce - 1.0


def own_stories(model: FloatModel, *, count: int, length: int, seed: int = 1) -> list[list[int]]:
    """Stories that the float model tells, sampled at temperature 1; not those that it is calibrated on."""
    rng, reference = np.random.default_rng(seed), Reference(model)
    stories: list[list[int]] = []
    for _ in range(count):
        reference.reset()
        tokens = [min(model.begin, model.shape.vocab - 1)]
        while len(tokens) <= min(length, model.shape.context):
            odds = softmax(reference.step(tokens[-1]).astype(np.float64))
            tokens.append(int(rng.choice(len(odds), p=odds / odds.sum())))
        stories.append(tokens[1:])
    return stories


def measure(model: FloatModel, stories: Sequence[Sequence[int]], *, costs: bool = True,
            progress: Callable[[str, int], None] = lambda what, steps: None,
            weight_bits: int | None = None) -> Quality:
    """Measure on stories, each of which starts anew.

    Parameters
    ----------
    stories: tokens, without the one that begins a sequence; each at most as long as the context.
    costs: measure each tensor's, too: some 13 evaluations a layer.
    progress: is told what is measured next, and how many measurements there are.
    weight_bits: as for `compiler.quantise.quantise`.

    Raises `InputError` for other `weight_bits`.
    """
    prepared = prepare(model, weight_bits=weight_bits)
    roundings = list(_roundings(model, prepared)) if costs else []
    progress("the float model", len(roundings) + 2)
    exact = _surprises(model, stories)
    found: list[Cost] = []
    for tensor, layer, rounded, hook in roundings:
        progress(tensor if layer is None else f"{tensor} of layer {layer}", len(roundings) + 2)
        more = _surprises(rounded, stories, hook) - exact
        found.append(Cost(tensor=tensor, layer=layer, nats=float(more.mean()),
                          error=float(more.std() / np.sqrt(len(more)))))
    progress("the integers", len(roundings) + 2)
    int_ce, errors = _integers(model, prepared, stories)
    return Quality(float_ce=float(exact.mean()), int_ce=int_ce, predictions=sum(map(len, stories)), costs=tuple(found),
                   stream_errors=errors)


def _fed(model: FloatModel, story: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Each token with the one that is to be predicted from it."""
    return zip([min(model.begin, model.shape.vocab - 1), *story], story, strict=False)


def _surprises(model: FloatModel, stories: Sequence[Sequence[int]], hook: Hook | None = None) -> Float64:
    """Of every prediction, in nats."""
    reference, found = Reference(model), list[float]()
    for story in stories:
        reference.reset()
        found += [surprise(reference.step(token, hook=hook).astype(np.float64), target)
                  for token, target in _fed(model, story)]
    return np.array(found)


def _integers(model: FloatModel, prepared: Prepared,
              stories: Sequence[Sequence[int]]) -> tuple[float, tuple[float, ...]]:
    """Cross-entropy of the integer model, and the error of the residual stream after each layer."""
    quantised = finish(model, prepared)
    reference, golden, layers = Reference(model), Golden(quantised), model.shape.layers
    found, off, size = list[float](), np.zeros(layers), np.zeros(layers)
    names = [*(f"layer{i}.attention.x" for i in range(1, layers)), "final.x"]
    for story in stories:
        reference.reset()
        golden.reset()
        for token, target in _fed(model, story):
            floats: dict[str, Float] = {}
            trace: dict[str, npt.NDArray[np.int64]] = {}
            reference.step(token, hook=floats.__setitem__)
            golden.step(token, trace=trace)
            found.append(surprise(golden.logits * quantised.logit_scale, target))
            for i, name in enumerate(names):
                exact = floats[name] @ prepared.basis
                # A layer leaves the stream on the scale of the next one.
                off[i] += np.square(trace[f"layer{i}.x"] * prepared.scales.stream[i + 1] - exact).sum()
                size[i] += np.square(exact).sum()
    return float(np.mean(found)), tuple(np.sqrt(off / size).tolist())


def _roundings(model: FloatModel, prepared: Prepared) -> Iterator[tuple[str, int | None, FloatModel, Hook | None]]:
    """Every measurement: tensor, layer, the model with its rounded weights, the hook that rounds activations."""
    layers = range(model.shape.layers)
    yield "embed", None, replace(model, embed=_rounded_embedding(prepared)), None
    for tensor in (*WEIGHTS, *(("router",) if model.router is not None else ())):
        rounded = _rounded_weights(model, prepared, tensor)
        exact: npt.NDArray[np.float32] = getattr(model, tensor)
        yield tensor, None, replace(model, **{tensor: rounded}), None
        for i in layers:
            one = exact.copy()
            one[i] = rounded[i]
            yield tensor, i, replace(model, **{tensor: one}), None
    yield "classifier", None, replace(model, classifier=_rounded_classifier(model, prepared)), None
    for tensor in ACTIVATIONS:
        yield tensor, None, model, _hook(prepared, tensor, {*layers})
        for i in layers:
            yield tensor, i, model, _hook(prepared, tensor, {i})
    yield FINAL, None, model, _hook(prepared, FINAL, set())


def _kept(matrices: Sequence[Float64], weight_bits: int = 8) -> list[Float64]:
    """Of each entry of an operation's matrices, the factor by which its rounding changes it."""
    linears, total = split(matrices, weight_bits)
    return [np.divide(linear.weights * linear.multiplier[:, None].astype(np.float64) * 2.0**-total, matrix,
                      out=np.ones_like(matrix), where=matrix != 0)
            for linear, matrix in zip(linears, matrices, strict=True)]


def _unfolded(prepared: Prepared, weights: Float64, gain: Float | None) -> npt.NDArray[np.float32]:
    """A matrix of the folded model as it is in the float model; `gain` where it reads the stream."""
    if gain is None:
        return (prepared.basis @ weights).astype(np.float32)
    return ((weights @ prepared.basis.T) / np.where(gain == 0, 1, gain)).astype(np.float32)


def _rounded_weights(model: FloatModel, prepared: Prepared, tensor: str) -> npt.NDArray[np.float32]:
    operation = OPERATIONS[tensor]
    factors = _kept(prepared.matrices[operation], operation_bits(prepared, operation))
    gains: Sequence[Float | None] = getattr(model, READERS[tensor]) if tensor in READERS else [None] * len(factors)
    return np.array([_unfolded(prepared, getattr(layer, tensor) * factor, gain)
                     for layer, factor, gain in zip(prepared.folded.layers, factors, gains, strict=True)])


def _rounded_classifier(model: FloatModel, prepared: Prepared) -> npt.NDArray[np.float32]:
    (factor,) = _kept(prepared.matrices["logit"])
    return _unfolded(prepared, prepared.folded.classifier * factor, model.final_norm)


def _rounded_embedding(prepared: Prepared) -> npt.NDArray[np.float32]:
    (factor,) = _kept([prepared.folded.embed.T / (ONE_HOT * prepared.scales.stream[0])])
    return ((prepared.folded.embed * factor.T) @ prepared.basis.T).astype(np.float32)


def _int8(x: Float, scale: Float | float) -> Float:
    """Rounded to int8 in that scale, and back."""
    return (np.clip(np.rint(x / scale), *INT8) * scale).astype(np.float32)


def _hook(prepared: Prepared, tensor: str, layers: set[int]) -> Hook:
    """Rounds an activation of some layers. x8 is what a block's matmuls read; the norm is taken of the same."""
    scales, basis = prepared.scales, prepared.basis

    def x8(i: int, block: int, x: Float) -> Float:
        return _int8(x @ basis, scales.stream[i] * 2.0 ** scales.x_shifts[2 * i + block]) @ basis.T

    def h8(i: int, h: Float, size: float) -> Float:
        scaled = h * size / scales.layers[i].hidden
        for start, end in zip((0, *prepared.chunks), prepared.chunks, strict=False):
            part = scaled[start:end]
            part[:] = _int8(part, 2.0 ** hidden_exponents(part[None])[0, 0])
        return (scaled * scales.layers[i].hidden / size).astype(np.float32)

    sizes: dict[int, float] = {}

    def hook(name: str, x: Float) -> Float | None:
        where, _, what = name.partition(".")
        if tensor == FINAL and name == "final.x":
            return _int8(x @ basis, scales.stream[-1] * 2.0 ** scales.x_shifts[-1]) @ basis.T
        if not where.startswith("layer"):
            return None
        i = int(where.removeprefix("layer"))
        if what == "ffn.x":
            sizes[i] = float(np.sqrt(np.mean(np.square(x)) + prepared.activations.norm_epsilon))
        if i not in layers:
            return None
        match tensor, what:
            case "x8", "attention.x":
                return x8(i, 0, x)
            case "x8", "ffn.x":
                return x8(i, 1, x)
            case "q8", "q":
                return _int8(x, scales.layers[i].q)
            case "k8", "k":
                return _int8(x, scales.layers[i].k)
            case "v8", "v":
                return _int8(x, scales.layers[i].v)
            case "o8", "o":
                return _int8(x, scales.layers[i].o)
            case "h8", "h":
                return h8(i, x, sizes[i])
            case _:
                return None

    return hook
