"""Steepest descent in three norms, with momentum: what the rival optimizers of a claim do.

Steepest descent in a norm Q moves by the unit vector that the gradient likes best,
`θ ← θ − η argmax {⟨m, d⟩ : Q(d) <= 1}`, m an average of gradients. On homogeneous nets its
direction tends to KKT points of the max-margin problem of Q (Tsilivis et al. 2024; Gronich & Vardi
2026). They live beside the question that they are asked; `mirrorflow.optim` is mirror descent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["SignDescent", "SpectralDescent", "polar_factor"]


def polar_factor(matrix: Tensor) -> Tensor:
    """`U Vᵀ` of `U Σ Vᵀ`, over the singular values that are not rounding; 0 of 0.

    Muon computes it by five Newton–Schulz steps in bfloat16, which leave singular values between
    about 0.7 and 1.2; here they are 1.
    """
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    noise = values.max() * torch.finfo(matrix.dtype).eps * max(matrix.shape)
    kept = (values > noise).to(matrix.dtype)
    found: Tensor = (left * kept) @ right
    return found


class _Steepest(torch.optim.Optimizer, ABC):
    """`m ← μ m + (1 − μ) g`, `θ ← θ − η d(m)`."""

    def __init__(self, params: Iterable[Any], lr: float, momentum: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @abstractmethod
    def direction(self, average: Tensor) -> Tensor:
        """The unit vector with the largest product with the averaged gradient."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                average = state.setdefault("average", torch.zeros_like(p))
                average.mul_(group["momentum"]).add_(p.grad, alpha=1 - group["momentum"])
                p.sub_(group["lr"] * self.direction(average))
        return value


class SignDescent(_Steepest):
    """Steepest descent in the ℓ∞ norm of all parameters: `θ ← θ − η sgn(m)` (signum).

    Args:
        params: as for any optimizer.
        lr: η > 0.
        momentum: μ in [0, 1).
    """

    def direction(self, average: Tensor) -> Tensor:
        """`sgn m`."""
        return average.sign()


class SpectralDescent(_Steepest):
    """Steepest descent in the largest spectral norm over matrices: `W ← W − η U Vᵀ` (Muon).

    Args:
        params: matrices.
        lr: η > 0.
        momentum: μ in [0, 1).
    """

    def direction(self, average: Tensor) -> Tensor:
        """The polar factor of m."""
        return polar_factor(average)
