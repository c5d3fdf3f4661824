"""Rewriting a float model without changing what it computes, so that its integers come out better.

RMSNorm gains go into the matrices that read the normalised stream. The residual stream is turned into another
orthogonal basis: sums of squares stay what they are, so RMSNorm does not notice, and channels that stick out, which
would cost all others their bits, are spread over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compiler.float_model import FloatModel

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FoldedLayer:
    """Matrices of one layer, (outputs, inputs) each, over the turned and normalised residual stream.

    Where there are experts, w1, w2 and w3 have them in front, and there is a router, (experts, dim).
    """

    wq: Float64
    wk: Float64
    wv: Float64
    wo: Float64
    w1: Float64
    w2: Float64
    w3: Float64
    router: Float64 | None = None


@dataclass(frozen=True, kw_only=True)
class FoldedModel:
    """A float model without norm gains. `basis` is (dim, dim): the turned stream is `x @ basis`."""

    embed: Float64
    layers: tuple[FoldedLayer, ...]
    classifier: Float64
    basis: Float64


def residual_basis(dim: int) -> Float64:
    """An orthogonal matrix of any size whose every entry is small: Hartley's transform with alternating signs.

    A formula, not a random draw, so that it is the same on every machine.
    """
    angle = 2 * np.pi * (np.outer(np.arange(dim), np.arange(dim)) % dim) / dim
    # Without signs the first basis vector would be the mean of all channels, which may stick out itself. Squares
    # modulo something prime are as irregular as needed.
    signs = np.where(np.arange(dim) ** 2 % 103 % 2, -1.0, 1.0)
    return signs[:, None] * (np.cos(angle) + np.sin(angle)) / np.sqrt(dim)


def fold(model: FloatModel, basis: Float64) -> FoldedModel:
    """Fold norm gains and turn the residual stream by `basis`."""

    def reader(weights: npt.NDArray[np.float32], gain: npt.NDArray[np.float32]) -> Float64:
        return (weights.astype(np.float64) * gain) @ basis

    def writer(weights: npt.NDArray[np.float32]) -> Float64:
        return basis.T @ weights.astype(np.float64)

    layers = tuple(
        FoldedLayer(
            wq=reader(model.wq[i], model.attention_norm[i]),
            wk=reader(model.wk[i], model.attention_norm[i]),
            wv=reader(model.wv[i], model.attention_norm[i]),
            wo=writer(model.wo[i]),
            w1=reader(model.w1[i], model.ffn_norm[i]),
            w3=reader(model.w3[i], model.ffn_norm[i]),
            router=None if model.router is None else reader(model.router[i], model.ffn_norm[i]),
            w2=writer(model.w2[i]),
        )
        for i in range(model.shape.layers)
    )
    return FoldedModel(
        embed=model.embed.astype(np.float64) @ basis,
        layers=layers,
        classifier=reader(model.classifier, model.final_norm),
        basis=basis,
    )
