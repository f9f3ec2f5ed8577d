"""The horizon function of a mirror map: the norm whose margin the flow maximises."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from mirrorflow.arrays import conjugate_order
from mirrorflow.checks import shown
from mirrorflow.maps.arguments import as_real, require_floating, require_same
from mirrorflow.maps.projection import project_ball, project_simplex

__all__ = ["Horizon", "LpHorizon", "as_matrix", "lp_norm"]


class Horizon(ABC):
    """Horizon function `Q`: convex, 1-homogeneous, the gauge of `lim S_c/ρ_c`, `S_c = {R ≤ c}`.

    Source: Pesme, Dragomir & Flammarion, NeurIPS 2024; arXiv 2605.19458.
    """

    @property
    @abstractmethod
    def order(self) -> float | None:
        """`α` in [1, ∞] if `Q` is of ℓα type (ℓα norm, Schatten-α norm), else None."""

    @abstractmethod
    def gauge(self, x: Tensor) -> Tensor:
        """`Q(x)`, a scalar tensor, without overflow where the result is representable."""

    @abstractmethod
    def dual_gauge(self, g: Tensor) -> Tensor:
        """`Q°(g) = sup {⟨g, x⟩ : Q(x) ≤ 1}`, a scalar tensor."""

    @abstractmethod
    def subgradient(self, x: Tensor) -> Tensor:
        """One element of `∂Q(x)`: `⟨s, x⟩ = Q(x)`, `Q°(s) ≤ 1`."""

    @abstractmethod
    def project_subgradient(self, x: Tensor, g: Tensor, rtol: float = 1e-9) -> Tensor:
        """The element of `∂Q(x)` nearest to g in the Euclidean norm.

        Args:
            x: the point, any shape.
            g: what to project, the shape of x.
            rtol: entries (singular values) below `rtol` times the largest count as 0, those
                within `rtol` of the largest as maximal.
        """

    def is_subgradient(self, x: Tensor, g: Tensor, rtol: float = 1e-9) -> bool:
        """Whether g lies in `∂Q(x)`, up to `rtol` relative to the size of `∂Q(x)`."""
        x, g, rtol = require_same(x, g, rtol)
        nearest = self.project_subgradient(x, g, rtol)
        size = max(float(torch.linalg.vector_norm(nearest)), 1e-300)
        return float(torch.linalg.vector_norm(g - nearest)) <= rtol * size


@dataclass(frozen=True)
class LpHorizon(Horizon):
    """`Q(x) = ‖x‖_p`, `1 ≤ p ≤ ∞`; dual `‖g‖_{p*}` with `1/p + 1/p* = 1`.

    Args:
        p: the order, in [1, ∞].

    Raises:
        ValueError: p < 1 or NaN.
    """

    p: float

    def __post_init__(self) -> None:
        p = as_real(self.p, "p")
        if not p >= 1:
            raise ValueError(f"p = {shown(self.p)} is not an order of a norm; choose p in [1, inf]")
        object.__setattr__(self, "p", p)

    @property
    def order(self) -> float:
        """`p`."""
        return self.p

    @property
    def dual_order(self) -> float:
        """`p* = p/(p−1)`."""
        return conjugate_order(self.p)

    def gauge(self, x: Tensor) -> Tensor:
        """`‖x‖_p`, scaled by the largest entry so that powers neither overflow nor vanish."""
        return lp_norm(require_floating(x, "x"), self.p)

    def dual_gauge(self, g: Tensor) -> Tensor:
        """`‖g‖_{p*}`."""
        return lp_norm(require_floating(g, "g"), self.dual_order)

    def subgradient(self, x: Tensor) -> Tensor:
        """`sgn x |x|^{p−1}/‖x‖_p^{p−1}`; at ℓ∞ the mean over the maximal entries; 0 at 0."""
        x = require_floating(x, "x")
        largest = _largest(x)
        scaled = x / torch.where(largest > 0, largest, 1.0)
        if math.isinf(self.p):
            maximal = (scaled.abs() == 1).to(x.dtype)
            return scaled.sign() * maximal / maximal.sum().clamp(min=1)
        norm = torch.where(largest > 0, lp_norm(scaled, self.p), 1.0)
        return scaled.sign() * (scaled.abs() / norm) ** (self.p - 1)

    def project_subgradient(self, x: Tensor, g: Tensor, rtol: float = 1e-9) -> Tensor:
        """ℓ1: clamped to [−1, 1] where x is 0; ℓ∞: a simplex over the maximal entries; else one.

        At x = 0 it is the projection on the unit ball of `‖·‖_{p*}`.
        """
        x, g, rtol = require_same(x, g, rtol)
        largest = _largest(x)
        if largest == 0:
            return project_ball(g, self.dual_order)
        if self.p == 1:
            return torch.where(x.abs() <= rtol * largest, g.clamp(-1, 1), x.sign())
        if not math.isinf(self.p):
            return self.subgradient(x)
        maximal = x.abs() >= (1 - rtol) * largest
        result = torch.zeros_like(g)
        result[maximal] = x.sign()[maximal] * project_simplex((g * x.sign())[maximal])
        return result


def as_matrix(x: Tensor) -> Tensor:
    """The matrix that a spectral map sees: `(out, in·k·k)` for a kernel, one row for a vector."""
    return x.reshape(1, -1) if x.ndim < 2 else x.reshape(x.shape[0], -1)


def lp_norm(x: Tensor, p: float) -> Tensor:
    """`‖x‖_p` over all entries, scaled by the largest; differentiable away from 0."""
    if p == math.inf:
        return _largest(x)
    largest = _largest(x).detach()
    plain = (largest > 0) & largest.isfinite()
    magnitude = x.abs() / torch.where(plain, largest, 1.0)
    if p == 1:
        total = magnitude.sum()
    else:
        total = (magnitude**p).sum()
        total = torch.where(plain, total, 1.0) ** (1 / p)
    return torch.where(plain, largest * total, largest)


def _largest(x: Tensor) -> Tensor:
    return x.abs().max() if x.numel() else x.new_zeros(())
