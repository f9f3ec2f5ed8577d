"""The logarithmic map: another potential with horizon ℓ1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mirrorflow.maps.arguments import as_scale, require_floating
from mirrorflow.maps.base import SeparableMap
from mirrorflow.maps.facts import Facts
from mirrorflow.maps.growth import RadialGrowth
from mirrorflow.maps.horizon import LpHorizon
from mirrorflow.maps.numerics import (
    expm1,
    expm1_minus,
    log1p_ratio,
    log_expm1_exp,
    log_log1p_exp,
    magnitude,
    minus_log1p,
    product_minus,
    signed,
)

__all__ = ["Logarithmic"]


@dataclass(frozen=True)
class Logarithmic(SeparableMap):
    """`r'(x) = sgn x log(1+|x|/β)`: horizon ℓ1, distinct from `HyperbolicEntropy`.

    `r(x) = (|x|+β) log(1+|x|/β) − |x|`. Like the hyperbolic entropy it is linear within β of 0.

    Args:
        beta: the scale β > 0.

    Raises:
        ValueError: β is not in (0, ∞).
    """

    facts: ClassVar[Facts] = Facts(
        text="logarithmic(beta)",
        sample="logarithmic",
        dual="sgn x log(1+|x|/β)",
        inverse="sgn u β expm1|u|",
        index="1",
        horizon="ℓ1",
        purpose="another potential with the same ℓ1 limit",
    )

    beta: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", as_scale(self.beta, "beta"))

    @property
    def index(self) -> float:
        """1."""
        return 1.0

    def potential_entries(self, x: Tensor) -> Tensor:
        """`(|x|+β) log(1+|x|/β) − |x| = β (z log(1+z) − (z − log(1+z)))`, `z = |x|/β`."""
        x = require_floating(x, "x")
        m = magnitude(x)
        z, u = m / self.beta, log1p_ratio(m, self.beta)
        far = z > 1e6
        near = m * u - self.beta * minus_log1p(torch.where(far, 1.0, z))
        return torch.where(far, m * (u - 1) + self.beta * u, near)

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`|x| − β log(1+|x|/β)`."""
        x = require_floating(x, "x")
        m = magnitude(x)
        z = m / self.beta
        far = z > 1e6
        near = self.beta * minus_log1p(torch.where(far, 1.0, z))
        return torch.where(far, m - self.beta * log1p_ratio(m, self.beta), near)

    def conjugate_entries(self, u: Tensor) -> Tensor:
        """`β (e^{|u|} − 1 − |u|)`."""
        u = require_floating(u, "u")
        m = magnitude(u)
        far = m > 40
        growth = torch.exp(torch.where(far, 0.5 * m, 0.0))
        near = self.beta * expm1_minus(torch.where(far, 0.0, m))
        return torch.where(far, (self.beta * growth) * growth, near)

    def to_dual(self, x: Tensor) -> Tensor:
        """`sgn x log(1+|x|/β)`."""
        x = require_floating(x, "x")
        return signed(log1p_ratio(magnitude(x), self.beta), x)

    def to_primal(self, u: Tensor) -> Tensor:
        """`sgn u β expm1|u|`."""
        u = require_floating(u, "u")
        m = magnitude(u)
        # In halves: β expm1|u| may be finite where expm1|u| is not.
        far = (2 * self.beta * torch.sinh(0.5 * m)) * torch.exp(0.5 * m)
        return signed(torch.where(m < 1, self.beta * expm1(m), far), u)

    def _bregman_far(self, x: Tensor, y: Tensor) -> Tensor:
        """`x (u_x − u_y) − (e(x) − e(y))`, the difference of duals as one logarithm."""
        low, high = torch.minimum(x.abs(), y.abs()), torch.maximum(x.abs(), y.abs())
        gap, start = high - low, low + self.beta
        # Below beta, start may be 1e308 times smaller than the gap.
        rise = torch.log1p(gap / start)
        rise = torch.where(rise.isinf(), torch.log(gap) - torch.log(start), rise)
        rise = torch.where(x.abs() < y.abs(), -rise, rise)
        fall = self.dual_energy_entries(x) - self.dual_energy_entries(y)
        return product_minus(x.abs(), rise, fall)

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        """`m' = m e^{−s} − β(1 − e^{−s})`, then `(m − β expm1 s)β/(m+β)` past 0."""
        m, s = magnitude(x), signed(delta, x)
        half = 0.5 * s
        growth, decay, sinh = torch.exp(half), torch.exp(-half), 2 * torch.sinh(half)
        rise = self.beta * sinh
        weight = self.beta / (m + self.beta)
        left = m - rise * growth
        crossed = m * weight - (rise * weight) * growth
        near = m - ((m + self.beta) * sinh) * decay
        far = (m * decay) * decay - rise * decay
        kept = torch.where(s < 0.5, near, far)
        return signed(torch.where(left < 0, crossed, kept), x)

    def log_to_dual(self, log_x: Tensor) -> Tensor:
        """`log log1p(e^l/β)`."""
        return log_log1p_exp(log_x - math.log(self.beta))

    def log_to_primal(self, log_u: Tensor) -> Tensor:
        """`log(β expm1 e^l)`."""
        return log_expm1_exp(log_u) + math.log(self.beta)

    def hessian(self, x: Tensor) -> Tensor:
        """`1/(|x|+β)`."""
        x = require_floating(x, "x")
        return 1 / (x.abs() + self.beta)

    def radial_growth(self) -> RadialGrowth:
        """`dE/dQ → 1`."""
        return RadialGrowth(1.0, 0.0, log_dual=self.log_to_dual)

    def horizon(self) -> LpHorizon:
        """ℓ1."""
        return LpHorizon(1.0)
