"""The hyperbolic entropy: sparse geometry, horizon ℓ1."""

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
    asinh_ratio,
    expm1,
    log_asinh_exp,
    log_sinh_exp,
    magnitude,
    product_minus,
    signed,
)

__all__ = ["HyperbolicEntropy"]


@dataclass(frozen=True)
class HyperbolicEntropy(SeparableMap):
    """`r'(x) = asinh(x/β)`: horizon ℓ1; the map of a diagonal linear net `a² − b²`.

    `r(x) = x asinh(x/β) − √(x²+β²) + β`.

    Linear within β of 0 (there it is `Quadratic()/β`), logarithmic beyond. An entry that starts
    at 0 moves by about `β delta`: for tiny β it is stuck there for a long time, so start from
    entries of the size of β or larger.

    Args:
        beta: the scale β > 0; small β is closer to ℓ1.

    Raises:
        ValueError: β is not in (0, ∞).

    Source: Ghai, Hazan & Singer, ALT 2020; Woodworth et al., COLT 2020.
    """

    facts: ClassVar[Facts] = Facts(
        text="hyperbolic_entropy(beta)",
        sample="hyperbolic_entropy",
        dual="asinh(x/β)",
        inverse="β sinh u",
        index="1",
        horizon="ℓ1",
        purpose="sparse features; smooth at 0, the first choice for ℓ1",
    )

    beta: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", as_scale(self.beta, "beta"))

    @property
    def index(self) -> float:
        """1."""
        return 1.0

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`√(x²+β²) − β`."""
        x = require_floating(x, "x")
        root = torch.hypot(x, torch.full_like(x, self.beta))
        return x * (x / (root + self.beta))

    def potential_entries(self, x: Tensor) -> Tensor:
        """`x asinh(x/β) − √(x²+β²) + β`."""
        x = require_floating(x, "x")
        m = magnitude(x)
        return product_minus(m, asinh_ratio(m, self.beta), self.dual_energy_entries(x))

    def conjugate_entries(self, u: Tensor) -> Tensor:
        """`β (cosh u − 1) = 2 β sinh²(u/2)`."""
        u = require_floating(u, "u")
        half = torch.sinh(0.5 * u)
        return (2 * self.beta * half) * half

    def to_dual(self, x: Tensor) -> Tensor:
        """`asinh(x/β)`."""
        x = require_floating(x, "x")
        return asinh_ratio(x, self.beta)

    def to_primal(self, u: Tensor) -> Tensor:
        """`β sinh u`."""
        u = require_floating(u, "u")
        half = torch.sinh(0.5 * u)
        # cosh and sinh of the half angle: β sinh u may be finite where sinh u is not.
        return torch.where(
            u.abs() < 1, self.beta * torch.sinh(u), (2 * self.beta * half) * torch.cosh(0.5 * u)
        )

    def _bregman_far(self, x: Tensor, y: Tensor) -> Tensor:
        """`x (u_x − u_y) − (e(x) − e(y))`, the difference of duals as one logarithm."""
        low, high = torch.minimum(x.abs(), y.abs()), torch.maximum(x.abs(), y.abs())
        beta = torch.full_like(low, self.beta)
        roots = torch.hypot(low, beta), torch.hypot(high, beta)
        slope = 1 + (0.5 * low + 0.5 * high) / (0.5 * roots[0] + 0.5 * roots[1])
        gap, start = (high - low) * (0.5 * slope), 0.5 * low + 0.5 * roots[0]
        rise = torch.log1p(gap / start)
        rise = torch.where(rise.isinf(), torch.log(gap) - torch.log(start), rise)
        rise = torch.where(x.abs() < y.abs(), -rise, rise)
        fall = self.dual_energy_entries(x) - self.dual_energy_entries(y)
        return product_minus(x.abs(), rise, fall)

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        """`m' = m e^{−s} − d sinh s` with `m = |x|`, `s = sgn(x) delta`, `d = β²/(√(x²+β²) + m)`.

        The terms add up when the entry grows; when it shrinks their difference is the answer.
        Below `|s| = ½` the increment is added to m. What s has beyond ±64 multiplies last, so that
        no factor overflows before the answer does.
        """
        m, s = magnitude(x), signed(delta, x)
        inner = s.clamp(-64, 64)
        excess = torch.exp((s - inner).abs())
        # d sinh s in an order, and with halves, in which d does not vanish before it is large.
        both = 0.5 * torch.hypot(m, torch.full_like(m, self.beta)) + 0.5 * m
        sinh = ((0.5 * self.beta * torch.sinh(inner)) / both) * self.beta
        near = m + (m * expm1(-inner) - sinh)
        decay = m * torch.exp(-inner)
        far = torch.where(s < 0, decay * excess, decay / excess) - sinh * excess
        return signed(torch.where(s.abs() < 0.5, near, far), x)

    def log_to_dual(self, log_x: Tensor) -> Tensor:
        """`log asinh(e^l/β)`."""
        return log_asinh_exp(log_x - math.log(self.beta))

    def log_to_primal(self, log_u: Tensor) -> Tensor:
        """`log(β sinh e^l)`."""
        return log_sinh_exp(log_u) + math.log(self.beta)

    def hessian(self, x: Tensor) -> Tensor:
        """`1/√(x²+β²)`."""
        x = require_floating(x, "x")
        return 1 / torch.hypot(x, torch.full_like(x, self.beta))

    def radial_growth(self) -> RadialGrowth:
        """`dE/dQ → 1`."""
        return RadialGrowth(1.0, 0.0, log_dual=self.log_to_dual)

    def horizon(self) -> LpHorizon:
        """ℓ1."""
        return LpHorizon(1.0)
