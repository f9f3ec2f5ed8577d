"""The horizon function of a mirror map: the norm whose margin the flow maximises."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Horizon", "LpHorizon"]


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
        if not self.p >= 1:
            raise ValueError(f"p = {self.p} is not an order of a norm; choose p in [1, inf]")

    @property
    def order(self) -> float:
        """`p`."""
        return self.p

    def gauge(self, x: Tensor) -> Tensor:
        """`‖x‖_p`, scaled by the largest entry so that powers neither overflow nor vanish."""
        return _norm(x, self.p)

    def dual_gauge(self, g: Tensor) -> Tensor:
        """`‖g‖_{p*}`."""
        if self.p == 1:
            return _norm(g, math.inf)
        return _norm(g, 1.0 if math.isinf(self.p) else self.p / (self.p - 1))

    def subgradient(self, x: Tensor) -> Tensor:
        """`sgn x |x|^{p−1}/‖x‖_p^{p−1}`; at ℓ∞ the mean over the maximal entries; 0 at 0."""
        largest = x.abs().max() if x.numel() else x.new_zeros(())
        if largest == 0:
            return torch.zeros_like(x)
        scaled = x / largest
        if math.isinf(self.p):
            maximal = (scaled.abs() == 1).to(x.dtype)
            return scaled.sign() * maximal / maximal.sum()
        return scaled.sign() * (scaled.abs() / _norm(scaled, self.p)) ** (self.p - 1)


def _norm(x: Tensor, p: float) -> Tensor:
    magnitude = x.abs()
    largest = magnitude.max() if x.numel() else x.new_zeros(())
    if math.isinf(p) or largest == 0 or not torch.isfinite(largest):
        return largest
    return largest * ((magnitude / largest) ** p).sum() ** (1 / p)
