"""The doubly exponential map: the flow's norm grows like log log t; horizon ℓ∞."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mirrorflow.maps.arguments import require_floating
from mirrorflow.maps.base import SeparableMap
from mirrorflow.maps.facts import Facts
from mirrorflow.maps.growth import RadialGrowth
from mirrorflow.maps.horizon import LpHorizon
from mirrorflow.maps.numerics import asinh_shift, log_asinh_exp, log_sinh_exp
from mirrorflow.maps.quadrature import integral_from_zero

__all__ = ["DoubleExponential"]


@dataclass(frozen=True)
class DoubleExponential(SeparableMap):
    """`r'(x) = sinh(sinh x)`: horizon ℓ∞; a linear model's loss falls like `(log t)^{−γ}` only.

    `r` has no closed form; it is integrated numerically. float64 holds `|x| ≤ 7.25`.
    """

    facts: ClassVar[Facts] = Facts(
        text="double_exponential",
        sample="double_exponential",
        dual="sinh(sinh x)",
        inverse="asinh(asinh u)",
        index="∞",
        horizon="ℓ∞",
        purpose="the slowest: a linear model's loss falls like (log t)^-γ",
    )

    @property
    def index(self) -> float:
        """∞."""
        return float("inf")

    def potential_entries(self, x: Tensor) -> Tensor:
        """`∫_0^x sinh(sinh t) dt`, by Gauss–Legendre quadrature."""
        x = require_floating(x, "x")
        return integral_from_zero(self.to_dual, x)

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`x r'(x) − r(x)`; ∞ where r' is."""
        x = require_floating(x, "x")
        u = self.to_dual(x)
        far = u.isinf()
        near = torch.where(far, 0.0, x)
        energy = near * self.to_dual(near) - self.potential_entries(near)
        return torch.where(far, math.inf, energy)

    def to_dual(self, x: Tensor) -> Tensor:
        """`sinh(sinh x)`."""
        x = require_floating(x, "x")
        return torch.sinh(torch.sinh(x))

    def to_primal(self, u: Tensor) -> Tensor:
        """`asinh(asinh u)`."""
        u = require_floating(u, "u")
        return torch.asinh(torch.asinh(u))

    def hessian(self, x: Tensor) -> Tensor:
        """`cosh(sinh x) cosh x`."""
        x = require_floating(x, "x")
        return torch.cosh(torch.sinh(x)) * torch.cosh(x)

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        """Two moves of `Cosh`: that of `sinh x` by delta is the delta of that of x."""
        return asinh_shift(x, asinh_shift(torch.sinh(x), delta)[1])[0]

    def log_to_dual(self, log_x: Tensor) -> Tensor:
        """`log sinh(sinh e^l)`."""
        return log_sinh_exp(log_sinh_exp(log_x))

    def log_to_primal(self, log_u: Tensor) -> Tensor:
        """`log asinh(asinh e^l)`."""
        return log_asinh_exp(log_asinh_exp(log_u))

    def radial_growth(self) -> RadialGrowth:
        """`log dE/dQ ~ e^Q/2`."""
        return RadialGrowth(math.inf, order=math.inf, rate=1.0, log_dual=self.log_to_dual)

    def horizon(self) -> LpHorizon:
        """ℓ∞."""
        return LpHorizon(float("inf"))
