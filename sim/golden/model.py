"""Section 2 of docs/numerics.md: one token through the quantised model."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from compiler.quantised import Layer, Linear, QuantisedModel
from sim.golden import primitives as p
from sim.golden.noise import Noise
from sim.golden.primitives import Int, Scalar, Table

Float64 = npt.NDArray[np.float64]
Trace = dict[str, npt.NDArray[np.int64]]

ONE_HOT: Final = 64  # the activation that picks a column of the embedding
NORM_ADJUST: Final = -14  # leaves half the bit length as the exponent of 1/rms
ROUTER_LIFT: Final = 2  # bits that a router's logit gives up to be made positive
SHARE_SHIFT: Final = 7  # makes an expert's share of its probability and the reciprocal of the sum
SHARE_BITS: Final = 14  # bits behind the point of a share
SOFTMAX_ADJUST: Final = -21  # leaves what the sum of probabilities has beyond 7 bits
ROPE_SHIFT: Final = 7


class _Matrix:
    """A matrix with the dtypes that numpy is quick with.

    float64 products of int8 are exact: sums stay below 2**53, so the accumulator is the integer whatever the order.
    """

    def __init__(self, linear: Linear) -> None:
        self.weights: Float64 = linear.weights.astype(np.float64)
        self.multiplier: Int = linear.multiplier.astype(np.int64)

    def accumulate(self, activations: Int, start: int = 0, end: int | None = None) -> Int:
        """Accumulators of the product with the columns from `start` to `end`."""
        return (self.weights[:, start:end] @ activations.astype(np.float64)).astype(np.int64)


class Bias(NamedTuple):
    """What is added to q, k or v: the product of the two, shifted."""

    weights: Int  # (outputs,)
    multiplier: Int  # (outputs,)


class _Layer:
    """A layer's matrices, ready to run."""

    def __init__(self, layer: Layer) -> None:
        self.q, self.k, self.v, self.o = (_Matrix(m) for m in (layer.wq, layer.wk, layer.wv, layer.wo))
        of_experts = [(layer.w1, layer.w3, layer.w2)] if layer.router is None else [
            tuple(Linear(weights=weights, multiplier=m.multiplier) for m, weights in zip(
                (layer.w1, layer.w3, layer.w2), one, strict=True))
            for one in zip(layer.w1.weights, layer.w3.weights, layer.w2.weights, strict=True)]
        self.experts = [[_Matrix(m) for m in one] for one in of_experts]  # gate, up and down of each
        self.router = None if layer.router is None else _Matrix(layer.router)
        self.inverse = {name: None if one is None else one.astype(np.int64)
                        for name, one in (("q", layer.head_q), ("k", layer.head_k))}
        self.attention: Int = layer.attention.astype(np.int64)
        self.biases = {name: Bias(one.weights[:, 0].astype(np.int64), one.multiplier.astype(np.int64))
                       for name, one in (("q", layer.bias_q), ("k", layer.bias_k), ("v", layer.bias_v))
                       if one is not None}


def embedding(weights: Int, multiplier: Int, s1: int) -> Int:
    """Step 1: (dim,) column of the embedding to the residual stream."""
    return p.finish(p.factor(p.source(ONE_HOT * weights), multiplier, s1=s1))


def rms_norm(x: Int, square_shift: int, bias: int) -> tuple[int, Scalar]:
    """Step 2: the sum of squares, and 1/rms of the un-normalised residual stream."""
    total = p.reduce_sum(p.scale(x, x, s2=square_shift))
    return total, p.rsqrt(total, bias=bias, adjust=NORM_ADJUST)


def project(acc: Int, multiplier: Int, shifts: tuple[int, int, int], r: Scalar) -> Int:
    """Step 3, and 9 and 11: an accumulator over the un-normalised x8 to a normalised value."""
    return p.requantise(acc, multiplier, shifts, r.mantissa, late=r.exponent)


def add_bias(y: Int, bias: Bias | None, s1: int) -> Int:
    """Step 3, where the model has biases: the bias is made as an embedding is."""
    return y if bias is None else y + embedding(bias.weights, bias.multiplier, s1)


def rotate(y: Int, cos: Int, sin: Int, s3: int) -> Int:
    """Step 4: rotary embedding of heads (heads, head_dim) in 16 bits, then 8 bits."""
    swapped = y.reshape(*y.shape[:-1], -1, 2)[..., ::-1].reshape(y.shape)
    signed = np.stack((-sin, sin), axis=-1).reshape(-1)
    held = p.finish(p.factor(y, np.repeat(cos, 2), s1=ROPE_SHIFT))
    z = p.finish(p.factor(swapped, signed, s1=ROPE_SHIFT) + held)
    return p.output8(z, s3=s3)


def normalised_rotation(y: Int, inverse: Int, cos: Int, sin: Int, s3: int, shifts: tuple[int, int, int],
                        bias: int) -> tuple[Int, Int]:
    """Step 4 where heads are normalised: q8 or k8, and for each head the sum of squares and 1/rms."""
    signed, s1, square, s2 = np.stack((-sin, sin), axis=-1).reshape(-1), *shifts
    rows, norms = list[Int](), list[list[int]]()
    for head, gains in zip(y, inverse, strict=True):
        t = p.factor(head, gains, s1=s1)
        total = p.reduce_sum(p.scale(t, t, s2=square))
        r = p.rsqrt(total, bias=bias, adjust=NORM_ADJUST)
        shift, swapped = s2 + r.exponent, head.reshape(-1, 2)[:, ::-1].reshape(-1)
        held = p.finish(p.scale(p.factor(head, np.repeat(cos, 2), s1=ROPE_SHIFT), r.mantissa, s2=shift))
        z = p.finish(p.scale(p.factor(swapped, signed, s1=ROPE_SHIFT), r.mantissa, s2=shift) + held)
        rows.append(p.output8(z, s3=s3))
        norms.append([total, *r])
    return np.array(rows), np.array(norms)


def softmax(scores: Int) -> tuple[Int, int, Scalar]:
    """Step 6: (positions,) scores to 7-bit probabilities, their sum and its reciprocal."""
    top = p.negate(p.reduce_max(scores))
    probabilities = p.finish(scores + top.mantissa, Table.EXP2)
    total = p.reduce_sum(probabilities)
    return probabilities, total, p.recip(total, adjust=SOFTMAX_ADJUST)


def attend(acc: Int, multiplier: Int, shifts: tuple[int, int, int], t: Scalar) -> Int:
    """Step 7: un-normalised A.V accumulators of one head to 8 bits."""
    return p.output8(p.finish(p.requantise(acc, multiplier, shifts, t.mantissa, early=t.exponent)))


def add(acc: Int, multiplier: Int, shifts: tuple[int, int, int], x: Int) -> Int:
    """Step 8: Wo onto the residual stream."""
    return p.finish(p.requantise(acc, multiplier, shifts) + x)


def gate(acc: Int, multiplier: Int, shifts: tuple[int, int, int], r: Scalar) -> Int:
    """Step 9, w1: SiLU of the normalised gate."""
    return p.finish(project(acc, multiplier, shifts, r), Table.SILU)


def up(acc: Int, multiplier: Int, shifts: tuple[int, int, int], g: Int) -> Int:
    """Step 9, w3: un-normalised hidden vector."""
    return p.finish(p.requantise(acc, multiplier, shifts, g))


def down(acc: Int, multiplier: Int, shifts: tuple[int, int, int], c: Scalar, x: Int) -> Int:
    """Step 10: one chunk of w2 onto the residual stream."""
    return p.finish(p.requantise(acc, multiplier, shifts, c.mantissa, late=c.exponent) + x)


def shares(y: Int, unit: int) -> tuple[list[int], list[Int]]:
    """Step 9, two experts of a token: (experts,) logits to the two that are chosen and the share of each.

    Of equal ones the lower number; the second is the best of the logits without their lowest bits. A share has
    SHARE_BITS behind its point.
    """
    first = int(np.argmax(y))
    others = np.arange(len(y)) != first
    lifted = p.sat16(p.rshift(y, ROUTER_LIFT) + p.MANTISSA_ONE)
    second = int(np.argmax(np.where(others, lifted, 0)))
    scaled = p.rshift(lifted, unit)
    power = p.finish(scaled + p.negate(p.reduce_max(scaled)).mantissa, Table.EXP2)
    t = p.recip(p.reduce_max(power[others]), bias=p.EXP2_TOP, adjust=SOFTMAX_ADJUST)
    share = p.finish(p.scale(power, t.mantissa, s2=SHARE_SHIFT + t.exponent))
    return [first, second], [share, share[others]]


def shared_rms(share: Int, r: Scalar) -> Scalar:
    """Step 9: 1/rms times the largest share."""
    return Scalar(p.reduce_max(p.finish(p.scale(share, r.mantissa, s2=SHARE_BITS))), r.exponent)


class Golden:
    """An integer decoder with a KV cache.

    Parameters
    ----------
    model: the integers to run.
    noise: what draws tokens; without, the likeliest one is taken. top_k: from how many of the likeliest; 0: from all.

    Members
    -------
    position: of the next token. logits: (vocab,) of the last classified one.
    """

    def __init__(self, model: QuantisedModel, noise: Noise | None = None, top_k: int = 0) -> None:
        self._noise, self._top_k = noise, top_k
        self.model, self.shape = model, model.shape
        self._layers = [_Layer(layer) for layer in model.layers]
        self._classifier = _Matrix(model.classifier)
        self._embed_multiplier = model.embed_multiplier.astype(np.int64)
        self._cos, self._sin = model.rope_cos.astype(np.int64), model.rope_sin.astype(np.int64)
        # x8 is made with the shift of the matmul that reads it next.
        self._attention_x_shifts = [layer.attention_x_shift for layer in model.layers] + [model.final_x_shift]
        self.reset()

    def reset(self) -> None:
        """Forget the sequence."""
        shape = self.shape
        cache = (shape.layers, shape.kv_heads, shape.context, shape.head_dim)
        self._keys, self._values = np.zeros(cache), np.zeros(cache)
        self.logits: Int = np.zeros(shape.vocab, np.int64)
        self.position = 0
        if self._noise is not None:
            self._noise.restart()

    def step(self, token: int, *, classify: bool = True, trace: Trace | None = None) -> int | None:
        """Run one token.

        Parameters
        ----------
        token: to embed at `position`.
        classify: compute the logits; prompt tokens go without.
        trace: receives every tensor under its name, in the model's own shape.

        Returns
        -------
        The token with the highest logit, noise included, or None without `classify`.
        """
        if not 0 <= token < self.shape.vocab:
            raise ValueError(f"token {token} is not in the vocabulary of {self.shape.vocab}")
        if self.position >= self.shape.context:
            raise ValueError(f"position {self.position} is past the context of {self.shape.context}")
        if self._noise is not None:
            self._noise.begin()
        model, kept = self.model, Trace() if trace is None else trace
        x = embedding(model.embed[token].astype(np.int64), self._embed_multiplier, model.shifts.embed_s1)
        kept["embed.x"] = x
        for i in range(self.shape.layers):
            x = self._attention(i, x, kept)
            x = self._feed_forward(i, x, kept)
        chosen = self._classify(x, kept) if classify else None
        self.position += 1
        return chosen

    def _norm(self, x: Int, x_shift: int, kept: Trace, name: str) -> tuple[Int, Scalar]:
        """x8 and 1/rms at the entry of a block."""
        x8 = p.output8(x, s3=x_shift)
        total, r = rms_norm(x, self.model.shifts.square, self.model.norm_bias)
        kept[f"{name}.x8"], kept[f"{name}.norm"] = x8, np.array([total, *r])
        return x8, r

    def _rotate(self, name: str, inverse: Int | None, y: Int, s3: int, shifts: tuple[int, int, int],
                kept: Trace) -> Int:
        """q8 or k8, of heads that are normalised where there is an `inverse`."""
        cos, sin = self._cos[self.position], self._sin[self.position]
        if inverse is None:
            return rotate(y, cos, sin, s3)
        made, kept[f"{name}.norm"] = normalised_rotation(
            y, inverse.reshape(y.shape), cos, sin, s3, shifts, self.model.shifts.head_bias)
        return made

    def _attention(self, i: int, x: Int, kept: Trace) -> Int:
        shape, shifts, layer, position = self.shape, self.model.shifts, self._layers[i], self.position
        name = f"layer{i}"
        x8, r = self._norm(x, self._attention_x_shifts[i], kept, f"{name}.attention")
        q = project(layer.q.accumulate(x8), layer.q.multiplier, shifts.q, r)
        k = project(layer.k.accumulate(x8), layer.k.multiplier, shifts.k, r)
        v = project(layer.v.accumulate(x8), layer.v.multiplier, shifts.v, r)
        q = add_bias(q, layer.biases.get("q"), shifts.bias_q)
        k = add_bias(k, layer.biases.get("k"), shifts.bias_k)
        v8 = p.output8(p.finish(add_bias(v, layer.biases.get("v"), shifts.bias_v)), s3=shifts.value_s3)
        q, k = p.finish(q).reshape(shape.heads, -1), p.finish(k).reshape(shape.kv_heads, -1)
        q8 = self._rotate(f"{name}.q", layer.inverse["q"], q, shifts.rotate_q_s3, shifts.head_q, kept)
        k8 = self._rotate(f"{name}.k", layer.inverse["k"], k, shifts.rotate_k_s3, shifts.head_k, kept)
        kept |= {f"{name}.q": q, f"{name}.k": k, f"{name}.v8": v8, f"{name}.q8": q8, f"{name}.k8": k8}
        self._keys[i, :, position], self._values[i, :, position] = k8, v8.reshape(shape.kv_heads, -1)

        # (kv_heads, queries_per_kv, positions); a window leaves out the first ones.
        first = max(0, position + 1 - self.model.window) if self.model.window else 0
        grouped = q8.reshape(shape.kv_heads, -1, shape.head_dim).astype(np.float64)
        dots = grouped @ self._keys[i, :, first : position + 1].swapaxes(1, 2)
        s0s = self.model.layers[i].score_shifts
        shifted = [p.rshift(one, s0) for one, s0 in zip(dots.astype(np.int64), s0s, strict=True)]
        scores = p.sat16(np.array(shifted)).reshape(shape.heads, -1)
        softmaxes = [softmax(row) for row in scores]
        probabilities = np.array([one[0] for one in softmaxes]).reshape(*dots.shape)
        acc = (probabilities.astype(np.float64) @ self._values[i, :, first : position + 1]).astype(np.int64)
        o8 = np.array(
            [
                attend(a, m, shifts.attention, one[2])
                for a, m, one in zip(
                    acc.reshape(shape.heads, -1), layer.attention.reshape(shape.heads, -1), softmaxes, strict=True
                )
            ]
        )
        for head, (row, total, t) in enumerate(softmaxes):
            kept[f"{name}.scores.head{head}"], kept[f"{name}.p.head{head}"] = scores[head], row
            kept[f"{name}.softmax.head{head}"] = np.array([total, *t])
        kept[f"{name}.o8"] = o8
        x = add(layer.o.accumulate(o8.reshape(-1)), layer.o.multiplier, shifts.o, x)
        kept[f"{name}.attention.out"] = x
        return x

    def _feed_forward(self, i: int, x: Int, kept: Trace) -> Int:
        shifts, layer, name = self.model.shifts, self._layers[i], f"layer{i}"
        x8, r = self._norm(x, self.model.layers[i].ffn_x_shift, kept, f"{name}.ffn")
        chosen, factors = [0], [r]
        if layer.router is not None:
            y = p.finish(project(layer.router.accumulate(x8), layer.router.multiplier, shifts.router, r))
            chosen = [int(np.argmax(y))]
            if self.model.experts_used == 2:
                chosen, share = shares(y, shifts.router_unit)
                factors = [shared_rms(one, r) for one in share]
            kept |= {f"{name}.router": y, f"{name}.experts": np.array(chosen)}
        x = p.sat16(p.rshift(x, self.model.layers[i].stream_shift))
        for expert, factor in zip(chosen, factors, strict=True):
            x = self._network(name, layer.experts[expert], x8, r, factor, x, kept)
        kept[f"{name}.x"] = x
        return x

    def _network(self, name: str, matrices: list[_Matrix], x8: Int, r: Scalar, factor: Scalar, x: Int,
                 kept: Trace) -> Int:
        """One feed-forward network onto the residual stream. r: 1/rms; factor: the same, with the expert's share."""
        shifts, (w1, w3, w2) = self.model.shifts, matrices
        g = gate(w1.accumulate(x8), w1.multiplier, shifts.gate, r)
        h = up(w3.accumulate(x8), w3.multiplier, shifts.up, g)
        h8, exponents, start = np.zeros_like(h), list[int](), 0
        for end in self.model.hidden_chunks:
            e = p.block(p.reduce_maxabs(h[start:end]))
            h8[start:end] = p.output8(h[start:end], out=e.exponent)
            acc = w2.accumulate(h8[start:end], start, end)
            x = down(acc, w2.multiplier, shifts.down, p.combine(factor, e), x)
            exponents.append(e.exponent)
            start = end
        kept |= {f"{name}.gate": g, f"{name}.h": h, f"{name}.h8": h8, f"{name}.block": np.array(exponents)}
        return x

    def _classify(self, x: Int, kept: Trace) -> int:
        x8, r = self._norm(x, self.model.final_x_shift, kept, "final")
        y = project(self._classifier.accumulate(x8), self._classifier.multiplier, self.model.shifts.logit, r)
        self.logits = kept["logits"] = p.finish(y)
        if self._noise is None:
            return int(np.argmax(self.logits))
        kept["noise"] = self._noise.draw(self.shape.vocab)
        if not self._top_k:
            return int(np.argmax(p.finish(y + kept["noise"])))
        return int(np.argmax(p.likeliest(self.logits, self._top_k, p.finish(self.logits + kept["noise"]))))
