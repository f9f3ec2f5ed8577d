"""A map times a positive weight: a learning rate of its own for a layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from mirrorflow.checks import shown
from mirrorflow.maps.arguments import as_scale, require_floating
from mirrorflow.maps.base import SeparableMap
from mirrorflow.maps.facts import Facts
from mirrorflow.maps.growth import RadialGrowth
from mirrorflow.maps.horizon import Horizon
from mirrorflow.maps.mixed import Mixed
from mirrorflow.maps.power import Power

__all__ = ["Scaled"]


@dataclass(frozen=True)
class Scaled(SeparableMap):
    """`w R`: `u = w ∇R(x)`, the same horizon. A step of `w R` by delta is one of `R` by `delta/w`.

    So a mapping from layers to scaled maps gives each layer its own time scale.

    Args:
        map: a separable map.
        weight: w, in (0, ∞).

    Raises:
        TypeError: `map` is not separable.
        ValueError: w is not in (0, ∞).
    """

    facts: ClassVar[Facts] = Facts(
        text="scaled(map, weight)",
        sample="scaled(power(3), 2)",
        dual="w r'(x)",
        inverse="r*'(u/w)",
        index="of map",
        horizon="of map",
        purpose="a time scale of its own for a layer",
    )

    map: SeparableMap
    weight: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", as_scale(self.weight, "weight"))
        if not isinstance(self.map, SeparableMap):
            raise TypeError(
                f"map = {shown(self.map)} is not separable; scale the learning rate of its "
                "parameter group instead, or put the weight inside: Spectral(Scaled(map, weight))"
            )

    @property
    def even(self) -> bool:  # type: ignore[override]
        """As the map."""
        return self.map.even

    @property
    def index(self) -> float:
        """As the map."""
        return self.map.index

    @property
    def homogeneous(self) -> bool:
        """As the map."""
        return self.map.homogeneous

    def require_domain(self, x: Tensor, name: str = "x") -> None:
        """As the map."""
        self.map.require_domain(x, name)

    def potential_entries(self, x: Tensor) -> Tensor:
        """`w r(x)`."""
        same = self._absorbed()
        if same is not None:
            return same.potential_entries(x)
        return self.weight * self.map.potential_entries(x)

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`w e(x)`."""
        same = self._absorbed()
        if same is not None:
            return same.dual_energy_entries(x)
        return self.weight * self.map.dual_energy_entries(x)

    def conjugate_entries(self, u: Tensor) -> Tensor:
        """`w r*(u/w)`."""
        u = require_floating(u, "u")
        same = self._absorbed()
        if same is not None:
            return same.conjugate_entries(u)
        return self.weight * self.map.conjugate_entries(u / self.weight)

    def bregman_entries(self, x: Tensor, y: Tensor) -> Tensor:
        """`w d(x, y)`."""
        same = self._absorbed()
        if same is not None:
            return same.bregman_entries(x, y)
        return self.weight * self.map.bregman_entries(x, y)

    def to_dual(self, x: Tensor) -> Tensor:
        """`w r'(x)`."""
        x = require_floating(x, "x")
        plain = self.weight * self.map.to_dual(x)
        if self.weight >= 1:
            return plain
        # w r' may be finite where r' is not.
        far = torch.exp(self.log_to_dual(torch.log(x.abs())))
        return torch.where(plain.isinf(), torch.copysign(far, x), plain)

    def to_primal(self, u: Tensor) -> Tensor:
        """`r'^{-1}(u/w)`."""
        u = require_floating(u, "u")
        plain = self.map.to_primal(u / self.weight)
        if self.weight >= 1:
            return plain
        far = torch.exp(self.log_to_primal(torch.log(u.abs())))
        return torch.where(plain.isinf(), torch.copysign(far, u), plain)

    def hessian(self, x: Tensor) -> Tensor:
        """`w r''(x)`."""
        same = self._absorbed()
        if same is not None:
            return same.hessian(x)
        return self.weight * self.map.hessian(x)

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        moved = self.map.step(x, delta / self.weight)
        if self.weight >= 1:
            return moved
        # delta/w may overflow where the answer does not.
        far = (delta / self.weight).isinf() & delta.isfinite()
        u = self.to_dual(x)
        apart = torch.where(u.isinf(), x, self.to_primal(u - torch.where(far, delta, 0.0)))
        return torch.where(far, apart, moved)

    def _absorbed(self) -> SeparableMap | None:
        """The weighted powers with the weight inside, so that it enters before anything overflows.

        The other maps have no such form: a tiny weight on a potential that overflows gives ∞.
        """
        w = self.weight
        if isinstance(self.map, Power):
            return Mixed(self.map.p, 0.0, w)
        if isinstance(self.map, Mixed) and max(self.map.a, self.map.b) * w < math.inf:
            a, b = self.map.a * w, self.map.b * w
            kept = (a > 0) == (self.map.a > 0) and (b > 0) == (self.map.b > 0)
            return Mixed(self.map.p, a, b) if kept else None
        return None

    def log_to_dual(self, log_x: Tensor) -> Tensor:
        """`log w + log r'(e^l)`."""
        return self.map.log_to_dual(log_x) + math.log(self.weight)

    def log_to_primal(self, log_u: Tensor) -> Tensor:
        """The inverse of `log_to_dual`."""
        return self.map.log_to_primal(log_u - math.log(self.weight))

    def radial_growth(self) -> RadialGrowth:
        """As the map, w times as much."""
        growth = self.map.radial_growth()
        return replace(
            growth,
            log_constant=growth.log_constant + math.log(self.weight),
            log_dual=self.log_to_dual,
        )

    def horizon(self) -> Horizon:
        """As the map."""
        return self.map.horizon()
