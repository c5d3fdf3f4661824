"""Training with weights of four bits: every product is made with what the machine will hold.

A row of weights becomes whole numbers from -7 to 7 times a scale of its own, where the compiler rounds them: with the
norm's gain inside, and in the basis in which the residual stream will be (`compiler.fold`). The gradient passes the
rounding as if it were not there (straight-through estimator; Bengio et al., 2013).
"""

from __future__ import annotations

import torch
from torch import Tensor

from compiler.fold import residual_basis

WEIGHT_MOST = 7


def rounded(weights: Tensor) -> Tensor:
    """(outputs, inputs) rounded row by row; the largest weight of a row is exact."""
    scale = weights.detach().abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / WEIGHT_MOST
    return weights + ((weights / scale).round() * scale - weights).detach()


class Basis:
    """Rounding in the basis of the machine's residual stream, and back."""

    def __init__(self, dim: int, device: torch.device) -> None:
        self.turn = torch.from_numpy(residual_basis(dim)).to(device, torch.float32)

    def reader(self, weights: Tensor) -> Tensor:
        """(outputs, dim), of the normalised stream."""
        return rounded(weights @ self.turn) @ self.turn.T

    def writer(self, weights: Tensor) -> Tensor:
        """(dim, inputs), whose products are added to the stream."""
        return self.turn @ rounded(self.turn.T @ weights)
