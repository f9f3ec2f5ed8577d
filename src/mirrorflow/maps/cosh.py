"""The hyperbolic cosine: dense geometry, horizon ℓ∞."""

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
    asinh_shift,
    log_asinh_exp,
    log_sinh_exp,
    magnitude,
)

__all__ = ["Cosh"]


@dataclass(frozen=True)
class Cosh(SeparableMap):
    """`r'(x) = s sinh(x/s)`, `r(x) = s²(cosh(x/s) − 1)`: horizon ℓ∞.

    Args:
        scale: the length s > 0 beyond which large entries are held back exponentially.

    Raises:
        ValueError: s is not in (0, ∞).
    """

    facts: ClassVar[Facts] = Facts(
        text="cosh(scale)",
        sample="cosh",
        dual="s sinh(x/s)",
        inverse="s asinh(u/s)",
        index="∞",
        horizon="ℓ∞",
        purpose="dense features: the largest weight is what counts",
    )

    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", as_scale(self.scale, "scale"))

    @property
    def index(self) -> float:
        """∞."""
        return float("inf")

    def potential_entries(self, x: Tensor) -> Tensor:
        """`s²(cosh(x/s) − 1) = 2 s² sinh²(x/2s)`."""
        x = require_floating(x, "x")
        return 2 * (self.scale * torch.sinh(x / (2 * self.scale))) ** 2

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`s² (z sinh z − cosh z + 1) = s² sinh z (z − tanh(z/2))`, `z = x/s`."""
        x = require_floating(x, "x")
        half = magnitude(x) / (2 * self.scale)
        rest = 2 * self.scale * (2 * half - torch.tanh(half))
        return (self.scale * torch.sinh(half)) * (torch.cosh(half) * rest)

    def conjugate_entries(self, u: Tensor) -> Tensor:
        """`|u| s (z − tanh(z/2))`, `z = asinh(|u|/s)`."""
        u = require_floating(u, "u")
        m = magnitude(u)
        z = asinh_ratio(m, self.scale)
        return m * (self.scale * (z - torch.tanh(0.5 * z)))

    def to_dual(self, x: Tensor) -> Tensor:
        """`s sinh(x/s)`."""
        x = require_floating(x, "x")
        z = x / self.scale
        far = z.abs() > math.log(torch.finfo(x.dtype).max) - 2
        # In halves: s sinh z may be finite where sinh z is not.
        half = torch.where(far, 0.5 * z, 0.0)
        split = (2 * self.scale * torch.sinh(half)) * torch.cosh(half)
        near = self.scale * torch.sinh(torch.where(far, 0.0, z))
        # z may vanish where x does not.
        return torch.where(z.abs() < 1e-5, x + x * (z * z / 6), torch.where(far, split, near))

    def to_primal(self, u: Tensor) -> Tensor:
        """`s asinh(u/s)`."""
        u = require_floating(u, "u")
        v = u / self.scale
        near = u - torch.where(v.isinf(), 0.0, u) * (v.clamp(-1, 1) ** 2 / 6)
        return torch.where(v.abs() < 1e-5, near, self.scale * asinh_ratio(u, self.scale))

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        """`x − s Δ`, with Δ a logarithm of a ratio in which `e^{|x|/s}` is divided out."""
        if self.scale == 1:
            return asinh_shift(x, delta)[0]
        z = x / self.scale
        far = z.isinf()  # there r' is beyond every delta
        moved = self.scale * asinh_shift(torch.where(far, 0.0, z), delta, self.scale)[0]
        return torch.where(far, x, moved)

    def log_to_dual(self, log_x: Tensor) -> Tensor:
        """`log(s sinh(e^l/s))`."""
        return log_sinh_exp(log_x - math.log(self.scale)) + math.log(self.scale)

    def log_to_primal(self, log_u: Tensor) -> Tensor:
        """`log(s asinh(e^l/s))`."""
        return log_asinh_exp(log_u - math.log(self.scale)) + math.log(self.scale)

    def hessian(self, x: Tensor) -> Tensor:
        """`cosh(x/s)`."""
        x = require_floating(x, "x")
        return torch.cosh(x / self.scale)

    def radial_growth(self) -> RadialGrowth:
        """`log dE/dQ ~ Q/s`."""
        return RadialGrowth(math.inf, order=1.0, rate=1 / self.scale, log_dual=self.log_to_dual)

    def horizon(self) -> LpHorizon:
        """ℓ∞."""
        return LpHorizon(float("inf"))
