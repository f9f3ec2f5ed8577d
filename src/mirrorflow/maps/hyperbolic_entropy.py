"""The hyperbolic entropy: sparse geometry, horizon ℓ1."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mirrorflow.maps.base import SeparableMap, require_scale
from mirrorflow.maps.horizon import LpHorizon

__all__ = ["HyperbolicEntropy"]


@dataclass(frozen=True)
class HyperbolicEntropy(SeparableMap):
    """`r'(x) = asinh(x/β)`: horizon ℓ1; the map of a diagonal linear net `a² − b²`.

    `r(x) = x asinh(x/β) − √(x²+β²) + β`.

    Args:
        beta: the scale β > 0; small β is closer to ℓ1.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        require_scale(self.beta, "beta")

    @property
    def index(self) -> float:
        """1."""
        return 1.0

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`√(x²+β²) − β`."""
        root = torch.hypot(x, torch.full_like(x, self.beta))
        return x * (x / (root + self.beta))

    def potential_entries(self, x: Tensor) -> Tensor:
        """`x asinh(x/β) − √(x²+β²) + β`."""
        return x * torch.asinh(x / self.beta) - self.dual_energy_entries(x)

    def to_dual(self, x: Tensor) -> Tensor:
        """`asinh(x/β)`."""
        return torch.asinh(x / self.beta)

    def to_primal(self, u: Tensor) -> Tensor:
        """`β sinh u`."""
        return self.beta * torch.sinh(u)

    def hessian(self, x: Tensor) -> Tensor:
        """`1/√(x²+β²)`."""
        return 1 / torch.hypot(x, torch.full_like(x, self.beta))

    def horizon(self) -> LpHorizon:
        """ℓ1."""
        return LpHorizon(1.0)
