"""The horizon of spectral maps: norms of the singular values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mirrorflow.checks import shown
from mirrorflow.maps.arguments import require_floating, require_same
from mirrorflow.maps.horizon import Horizon, LpHorizon, as_matrix
from mirrorflow.maps.projection import project_simplex

__all__ = ["SchattenHorizon", "thin_svd"]


@dataclass(frozen=True)
class SchattenHorizon(Horizon):
    """`Q(X) = ‖σ(X)‖_p`: nuclear norm at p = 1, Frobenius at 2, spectral norm at ∞.

    A tensor of more than two dimensions is the matrix of its first dimension by the rest; a vector
    is a matrix of one row, so that there `Q` is the Euclidean norm for every p.

    Args:
        p: the order, in [1, ∞].

    Raises:
        ValueError: p < 1 or NaN.
    """

    p: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", LpHorizon(self.p).p)

    @property
    def order(self) -> float:
        """`p`."""
        return self.p

    def gauge(self, x: Tensor) -> Tensor:
        """`‖σ(X)‖_p`."""
        return LpHorizon(self.p).gauge(torch.linalg.svdvals(_matrix(x, "x")))

    def dual_gauge(self, g: Tensor) -> Tensor:
        """`‖σ(G)‖_{p*}`."""
        return LpHorizon(self.p).dual_gauge(torch.linalg.svdvals(_matrix(g, "g")))

    def subgradient(self, x: Tensor) -> Tensor:
        """`U diag(s) Vᵀ` with s a subgradient of ℓp at `σ(X)`."""
        matrix = _matrix(x, "x")
        left, values, right = thin_svd(matrix)
        floor = values.max() * torch.finfo(matrix.dtype).eps * max(matrix.shape)
        values = torch.where(values > floor, values, 0.0)
        return ((left * LpHorizon(self.p).subgradient(values)) @ right).reshape(x.shape)

    def project_subgradient(self, x: Tensor, g: Tensor, rtol: float = 1e-9) -> Tensor:
        """Nuclear norm: `U Vᵀ + W`, `‖W‖ ≤ 1` off the row and column spaces; spectral norm:
        `U H Vᵀ` over the maximal singular space, `H ≥ 0` of trace 1; at 0 the dual unit ball."""
        x, g, rtol = require_same(x, g, rtol)
        matrix, target = _matrix(x, "x"), _matrix(g, "g")
        left, values, right = thin_svd(matrix)
        if values.max() == 0:
            left, values, right = thin_svd(target)
            inner = LpHorizon(self.p).project_subgradient(torch.zeros_like(values), values)
            return ((left * inner) @ right).reshape(x.shape)
        if self.p == 1:
            kept = values > rtol * values.max()
            left, right = left[:, kept], right[kept]
            rest = target - left @ (left.T @ target)
            rest = rest - (rest @ right.T) @ right
            outer, free, inner = thin_svd(rest)
            return (left @ right + (outer * free.clamp(max=1)) @ inner).reshape(x.shape)
        if not math.isinf(self.p):
            return self.subgradient(x)
        top = values >= (1 - rtol) * values.max()
        left, right = left[:, top], right[top]
        square = left.T @ target @ right.T
        weights, basis = torch.linalg.eigh(0.5 * (square + square.T))
        core: Tensor = (basis * project_simplex(weights)) @ basis.T
        result: Tensor = left @ core @ right
        return result.reshape(x.shape)


def _matrix(value: Tensor, name: str) -> Tensor:
    """The matrix, of which there are singular values: finite and not empty."""
    matrix = as_matrix(require_floating(value, name))
    if matrix.numel() == 0 or not bool(matrix.isfinite().all()):
        raise ValueError(
            f"{name} = {shown(value)} has no singular values; pass finite entries, at least one"
        )
    return matrix


def thin_svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`U, σ, Vᵀ` with `min(shape)` singular values."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return left, values, right
