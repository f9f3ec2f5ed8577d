"""The Euclidean map: mirror flow is gradient flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mirrorflow.maps.arguments import require_floating, require_pair
from mirrorflow.maps.base import SeparableMap, keep
from mirrorflow.maps.facts import Facts
from mirrorflow.maps.growth import RadialGrowth
from mirrorflow.maps.horizon import LpHorizon

__all__ = ["Quadratic"]


@dataclass(frozen=True)
class Quadratic(SeparableMap):
    """`r(x) = x²/2`, `r'(x) = x`: gradient flow, horizon ℓ2."""

    facts: ClassVar[Facts] = Facts(
        text="quadratic",
        sample="quadratic",
        dual="x",
        inverse="u",
        index="2",
        horizon="ℓ2",
        purpose="gradient flow, the baseline",
    )

    @property
    def index(self) -> float:
        """2."""
        return 2.0

    @property
    def homogeneous(self) -> bool:
        """True."""
        return True

    def potential_entries(self, x: Tensor) -> Tensor:
        """`x²/2`."""
        x = require_floating(x, "x")
        return 0.5 * x * x

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`x²/2`."""
        x = require_floating(x, "x")
        return 0.5 * x * x

    def to_dual(self, x: Tensor) -> Tensor:
        """`u = x`."""
        x = require_floating(x, "x")
        return x.clone()

    def to_primal(self, u: Tensor) -> Tensor:
        """`x = u`."""
        u = require_floating(u, "u")
        return u.clone()

    def hessian(self, x: Tensor) -> Tensor:
        """`1`."""
        x = require_floating(x, "x")
        return torch.ones_like(x)

    def bregman_entries(self, x: Tensor, y: Tensor) -> Tensor:
        """`(x − y)²/2`."""
        x, y = require_pair(x, y, "y")
        gap = x - y
        return (0.5 * gap) * gap

    def step(self, x: Tensor, delta: Tensor) -> Tensor:
        """`x − delta`: a step of gradient descent."""
        x, delta = require_pair(x, delta, "delta")
        return keep(delta == 0, x, x - delta)

    def log_to_dual(self, log_x: Tensor) -> Tensor:
        """`l`."""
        return log_x.clone()

    def log_to_primal(self, log_u: Tensor) -> Tensor:
        """`l`."""
        return log_u.clone()

    def radial_growth(self) -> RadialGrowth:
        """`dE/dQ = Q`."""
        return RadialGrowth(2.0, 0.0, log_dual=self.log_to_dual)

    def horizon(self) -> LpHorizon:
        """ℓ2."""
        return LpHorizon(2.0)
