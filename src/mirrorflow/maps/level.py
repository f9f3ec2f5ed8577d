"""The gauge of a sublevel set as a horizon of its own, for maps without a closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mirrorflow.maps.arguments import as_scale, require_finite, require_floating, require_same
from mirrorflow.maps.base import MirrorMap
from mirrorflow.maps.finite import finite_gauge, log_radius
from mirrorflow.maps.horizon import Horizon
from mirrorflow.maps.parse import as_map

__all__ = ["LevelHorizon"]


@dataclass(frozen=True)
class LevelHorizon(Horizon):
    """`Q_c`, the gauge of `{R ≤ c}` scaled by the axis radius `ρ_c`, for any mirror map.

    Everything comes from `R`, `∇R` and `∇R*`: with z the point of the ray through x where
    `R(z) = c`, the subgradient is `Q_c(x) ∇R(z)/⟨∇R(z), x⟩`, and the dual gauge is `⟨g, z⟩/ρ_c` at
    that `z = ∇R*(λg)` for which `R(z) = c`. It is Q itself if R is homogeneous, and tends to Q as
    `c → ∞`.
    Work is in float64.

    Args:
        map: a mirror map on all of R^d.
        level: c, in (0, ∞).

    Raises:
        ValueError: the level is out of range, or not reached by R on floats.
    """

    map: MirrorMap
    level: float = 1e100

    def __post_init__(self) -> None:
        object.__setattr__(self, "map", as_map(self.map, "map"))
        object.__setattr__(self, "level", as_scale(self.level, "level"))

    @property
    def order(self) -> None:
        """None: the gauge is known by its values only."""
        return None

    def gauge(self, x: Tensor) -> Tensor:
        """`Q_c(x)`, differentiable once (the derivative is `subgradient`)."""
        x = require_finite(x, "x")
        value = finite_gauge(self.map, x, self.level)
        if not x.requires_grad:
            return value
        # Q is 1-homogeneous: ⟨∇Q, x⟩ has its value and, with ∇Q held fixed, its gradient.
        return value + (self.subgradient(x.detach()) * (x - x.detach())).sum()

    def subgradient(self, x: Tensor) -> Tensor:
        """`∇Q_c(x)`; 0 at 0."""
        x = require_floating(x, "x")
        point = x.detach().to(torch.float64)
        gauge = finite_gauge(self.map, point, self.level)
        if gauge == 0:
            return torch.zeros_like(x)
        radius = math.exp(log_radius(self.map, point, self.level))
        normal = self.map.to_dual(point * (radius / gauge))
        normal = normal / normal.abs().max()
        return (normal * (gauge / (normal * point).sum())).to(x.dtype)

    def dual_gauge(self, g: Tensor) -> Tensor:
        """`Q_c°(g)`: the support function of the sublevel set, by bisection on `log λ`."""
        g = require_finite(g, "g")
        slope = g.detach().to(torch.float64)
        largest = slope.abs().max() if slope.numel() else slope.new_zeros(())
        if largest == 0:
            return g.new_zeros(())
        unit = slope / largest

        def potential(log_factor: float) -> float:
            point = self.map.to_primal(unit * math.exp(log_factor))
            return float(self.map.potential(point)) if point.isfinite().all() else math.inf

        found = self.map.to_primal(unit * math.exp(_cross(potential, self.level)))
        radius = math.exp(log_radius(self.map, slope, self.level))
        return (largest * (unit * (found / radius)).sum()).to(g.dtype)

    def project_subgradient(self, x: Tensor, g: Tensor, rtol: float = 1e-9) -> Tensor:
        """The gradient: the gauge is smooth away from 0. At 0 it is a ball that is not supported.

        Raises:
            ValueError: x is 0, or g has another shape.
        """
        x, g, rtol = require_same(x, g, rtol)  # nothing is tied
        if bool((x == 0).all()):
            raise ValueError("x is 0, where the subgradients of a level gauge are a whole ball")
        return self.subgradient(x)


def _cross(f: Callable[[float], float], level: float) -> float:
    """Where an increasing function of a logarithm passes the level."""
    low, high = -700.0, 709.0
    for _ in range(80):
        middle = 0.5 * (low + high)
        if f(middle) <= level:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
