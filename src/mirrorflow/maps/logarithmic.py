"""The logarithmic map: another potential with horizon ℓ1."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mirrorflow.maps.base import SeparableMap, require_scale
from mirrorflow.maps.horizon import LpHorizon

__all__ = ["Logarithmic"]


@dataclass(frozen=True)
class Logarithmic(SeparableMap):
    """`r'(x) = sgn x log(1+|x|/β)`: horizon ℓ1, distinct from `HyperbolicEntropy`."""

    beta: float = 1.0

    def __post_init__(self) -> None:
        require_scale(self.beta, "beta")

    @property
    def index(self) -> float:
        """1."""
        return 1.0

    def potential_entries(self, x: Tensor) -> Tensor:
        """`(|x|+β) log(1+|x|/β) − |x|`."""
        a = x.abs()
        return (a + self.beta) * torch.log1p(a / self.beta) - a

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`|x| − β log(1+|x|/β)`."""
        a = x.abs()
        return a - self.beta * torch.log1p(a / self.beta)

    def to_dual(self, x: Tensor) -> Tensor:
        """`sgn x log(1+|x|/β)`."""
        return x.sign() * torch.log1p(x.abs() / self.beta)

    def to_primal(self, u: Tensor) -> Tensor:
        """`sgn u β expm1|u|`."""
        return u.sign() * self.beta * torch.expm1(u.abs())

    def hessian(self, x: Tensor) -> Tensor:
        """`1/(|x|+β)`."""
        return 1 / (x.abs() + self.beta)

    def horizon(self) -> LpHorizon:
        """ℓ1."""
        return LpHorizon(1.0)
