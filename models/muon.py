"""Momentum with orthogonalised updates for weight matrices (Muon), batched over matrices of one shape.

The few steps that fit a CPU budget go further than with AdamW, and no direction of a matrix grows much faster than the
others, which keeps activations tame for int8. Embedding and norms stay with AdamW.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

# Five steps of X <- aX + b(XX')X + c(XX')^2 X bring all singular values close to one.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """Nearly the closest (semi-)orthogonal matrices; matrices: (count, rows, columns)."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.transpose(1, 2) if tall else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay.

    Parameters
    ----------
    matrices: two-dimensional parameters, or three-dimensional ones that are stacks of matrices.
    lr: size of an update in units of the root mean square of a matrix entry.
    """

    def __init__(self, matrices: Iterable[Tensor], *, lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One update of all matrices."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                by_shape.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in by_shape.items():
                gradients = [matrix.grad for matrix in matrices]
                speeds = [self.state[m].setdefault("speed", torch.zeros_like(m)) for m in matrices]
                torch._foreach_lerp_(speeds, gradients, 1 - group["momentum"])
                updates = torch.stack(torch._foreach_lerp(gradients, speeds, group["momentum"]))
                # An orthogonal matrix has entries of root mean square 1 / sqrt(longer side).
                scale = group["lr"] * max(shape[-2:]) ** 0.5
                updates = orthogonalise(updates.flatten(0, -3)).view_as(updates)
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_sub_(matrices, list(updates * scale))
