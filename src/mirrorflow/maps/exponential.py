"""The exponential map: dense geometry with a kink-free dual, horizon ℓ∞."""

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
from mirrorflow.maps.numerics import (
    expm1,
    expm1_minus,
    log_expm1_exp,
    log_log1p_exp,
    magnitude,
    minus_log1p,
    product_minus,
    signed,
)

__all__ = ["Exponential"]


@dataclass(frozen=True)
class Exponential(SeparableMap):
    """`r'(x) = sgn x expm1|x|`, `r(x) = e^{|x|} − 1 − |x|`: horizon ℓ∞, distinct from `Cosh`."""

    facts: ClassVar[Facts] = Facts(
        text="exponential",
        sample="exponential",
        dual="sgn x expm1|x|",
        inverse="sgn u log(1+|u|)",
        index="∞",
        horizon="ℓ∞",
        purpose="another potential with the same ℓ∞ limit",
    )

    @property
    def index(self) -> float:
        """∞."""
        return float("inf")

    def potential_entries(self, x: Tensor) -> Tensor:
        """`e^{|x|} − 1 − |x|`."""
        x = require_floating(x, "x")
        return expm1_minus(magnitude(x))

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`(|x| − 1) e^{|x|} + 1`."""
        x = require_floating(x, "x")
        m = magnitude(x)
        small = m < 1
        near = torch.where(small, m, 0.0)
        far = torch.where(small, 1.0, m)
        close = near * expm1(near) - expm1_minus(near)
        return torch.where(small, close, (far - 1) * torch.exp(far) + 1)

    def conjugate_entries(self, u: Tensor) -> Tensor:
        """`(1+|u|) log(1+|u|) − |u|`."""
        u = require_floating(u, "u")
        m = magnitude(u)
        return product_minus(m, torch.log1p(m), minus_log1p(m))

    def to_dual(self, x: Tensor) -> Tensor:
        """`sgn x expm1|x|`."""
        x = require_floating(x, "x")
        return signed(expm1(magnitude(x)), x)

    def to_primal(self, u: Tensor) -> Tensor:
        """`sgn u log(1+|u|)`."""
        u = require_floating(u, "u")
        return signed(torch.log1p(magnitude(u)), u)

    def hessian(self, x: Tensor) -> Tensor:
        """`e^{|x|}`."""
        x = require_floating(x, "x")
        return torch.exp(magnitude(x))

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        """`m + log1p(−s e^{−m})`, and `−log1p(s − expm1 m)` once the entry crosses 0."""
        m, s = magnitude(x), signed(delta, x)
        past = s - expm1(m)
        crossed = past > 0
        kept = m + torch.log1p(-torch.where(crossed, 0.0, s * torch.exp(-m)))
        return signed(torch.where(crossed, -torch.log1p(past.clamp(min=0.0)), kept), x)

    def log_to_dual(self, log_x: Tensor) -> Tensor:
        """`log expm1(e^l)`."""
        return log_expm1_exp(log_x)

    def log_to_primal(self, log_u: Tensor) -> Tensor:
        """`log log1p(e^l)`."""
        return log_log1p_exp(log_u)

    def radial_growth(self) -> RadialGrowth:
        """`log dE/dQ ~ Q`."""
        return RadialGrowth(math.inf, order=1.0, rate=1.0, log_dual=self.log_to_dual)

    def horizon(self) -> LpHorizon:
        """ℓ∞."""
        return LpHorizon(float("inf"))
