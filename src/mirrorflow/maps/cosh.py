"""The hyperbolic cosine: dense geometry, horizon ℓ∞."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mirrorflow.maps.base import SeparableMap, require_scale
from mirrorflow.maps.horizon import LpHorizon

__all__ = ["Cosh"]


@dataclass(frozen=True)
class Cosh(SeparableMap):
    """`r'(x) = s sinh(x/s)`: horizon ℓ∞."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        require_scale(self.scale, "scale")

    @property
    def index(self) -> float:
        """∞."""
        return float("inf")

    def potential_entries(self, x: Tensor) -> Tensor:
        """`s²(cosh(x/s) − 1) = 2 s² sinh²(x/2s)`."""
        return 2 * (self.scale * torch.sinh(x / (2 * self.scale))) ** 2

    def to_dual(self, x: Tensor) -> Tensor:
        """`s sinh(x/s)`."""
        return self.scale * torch.sinh(x / self.scale)

    def to_primal(self, u: Tensor) -> Tensor:
        """`s asinh(u/s)`."""
        return self.scale * torch.asinh(u / self.scale)

    def hessian(self, x: Tensor) -> Tensor:
        """`cosh(x/s)`."""
        return torch.cosh(x / self.scale)

    def horizon(self) -> LpHorizon:
        """ℓ∞."""
        return LpHorizon(float("inf"))
