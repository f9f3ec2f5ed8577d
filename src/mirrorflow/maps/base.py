"""The mirror map: a Legendre potential, its gradient and the inverse of the gradient."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mirrorflow.arrays import gauss_legendre
from mirrorflow.maps.arguments import require_floating, require_pair
from mirrorflow.maps.facts import Facts
from mirrorflow.maps.growth import RadialGrowth
from mirrorflow.maps.horizon import Horizon

__all__ = [
    "MirrorMap",
    "SeparableMap",
    "keep",
]


class MirrorMap(ABC):
    """A Legendre potential `R`; the dual variable is `u = ∇R(x)`, the inverse `x = ∇R*(u)`.

    Mirror flow is `d∇R(θ)/dt = −∇ℓ(θ)`; mirror descent is its explicit Euler step in `u`.
    Instances are immutable, hashable and print as the call that makes them; two are equal if their
    kind and their parameters are, whatever type of number they were given as. A map that is not
    separable acts on each parameter tensor as one block.

    Source: Jacobs & Montúfar, arXiv 2605.19458; Nemirovski & Yudin 1983.
    """

    separable: ClassVar[bool] = False
    facts: ClassVar[Facts]
    """Its row in the table of all maps; a map of yours needs none."""

    def state(self) -> dict[str, Any]:
        """Kind and parameters as plain Python values: what a saved state compares maps by.

        A map of yours that is no dataclass gives its `repr`.
        """
        kind = type(self).__name__
        if not is_dataclass(self):
            return {"map": kind, "text": repr(self)}
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"map": kind} | {
            name: value.state() if isinstance(value, MirrorMap) else value
            for name, value in values.items()
        }

    @property
    @abstractmethod
    def index(self) -> float:
        """Index of variation at infinity, `α = lim ⟨x, ∇R(x)⟩/R(x)`, in [1, ∞]."""

    @property
    def homogeneous(self) -> bool:
        """True if `R(cx) = c^α R(x)` for all `c > 0` exactly."""
        return False

    @abstractmethod
    def potential(self, x: Tensor) -> Tensor:
        """`R(x)`, a scalar (0-dimensional) tensor, with `R(0) = 0`."""

    @abstractmethod
    def to_dual(self, x: Tensor) -> Tensor:
        """`u = ∇R(x)`, the shape of x."""

    @abstractmethod
    def to_primal(self, u: Tensor) -> Tensor:
        """`x = ∇R*(u)`, the inverse of `to_dual`, the shape of u."""

    @abstractmethod
    def step(self, x: Tensor, delta: Tensor) -> Tensor:
        """`∇R*(∇R(x) − delta)` without cancellation; where delta is 0, x bit for bit."""

    @abstractmethod
    def horizon(self) -> Horizon:
        """The horizon function `Q`: the gauge of the limit of the scaled sublevel sets of R."""

    def radial_growth(self) -> RadialGrowth:
        """`dE/dQ` far out on a ray, from which the laws of growth follow.

        Raises:
            NotImplementedError: the map does not say.
        """
        raise NotImplementedError(
            f"{self!r} does not say how dE/dQ grows on a ray; give its class a radial_growth()"
        )

    def require_domain(self, x: Tensor, name: str = "x") -> None:
        """Raise unless x lies in the domain of R: TypeError for a dtype, ValueError for a value."""
        require_floating(x, name)

    def conjugate(self, u: Tensor) -> Tensor:
        """`R*(u) = sup_x ⟨u, x⟩ − R(x)`, a scalar tensor."""
        x = self.to_primal(u)
        return (u * x).sum() - self.potential(x)

    def dual_energy(self, x: Tensor) -> Tensor:
        """`E(x) = R*(∇R(x)) = ⟨x, ∇R(x)⟩ − R(x) ≥ 0`, a scalar tensor."""
        return (x * self.to_dual(x)).sum() - self.potential(x)

    def bregman(self, x: Tensor, y: Tensor) -> Tensor:
        """`D(x, y) = R(x) − R(y) − ⟨∇R(y), x − y⟩ ≥ 0`, a scalar tensor."""
        x, y = require_pair(x, y, "y")
        value = self.potential(x) - self.potential(y) - (self.to_dual(y) * (x - y)).sum()
        return without_nan(value, x.isnan().any() | y.isnan().any(), (x == y).all())

    def hessian(self, x: Tensor) -> Tensor:
        """The diagonal of `∇²R(x)`, the shape of x; only where the map is separable."""
        raise NotImplementedError(f"{self!r} is not separable: its Hessian is not a diagonal")


class SeparableMap(MirrorMap):
    """`R(x) = Σ_k r(x_k)` with one scalar, even, strictly convex function `r`, `r(0) = 0`.

    A subclass gives `r` (`potential_entries`), `r'` (`to_dual`), its inverse (`to_primal`),
    `r''` (`hessian`) and the cancellation-free move behind `step` (`_moved`).
    """

    separable: ClassVar[bool] = True
    even: ClassVar[bool] = True

    @abstractmethod
    def potential_entries(self, x: Tensor) -> Tensor:
        """`r(x_k)` entry by entry."""

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`e(x_k) = x_k r'(x_k) − r(x_k) = r*(r'(x_k))` entry by entry."""
        return x * self.to_dual(x) - self.potential_entries(x)

    def conjugate_entries(self, u: Tensor) -> Tensor:
        """`r*(u_k)` entry by entry."""
        return self.dual_energy_entries(self.to_primal(u))

    def bregman_entries(self, x: Tensor, y: Tensor) -> Tensor:
        """`r(x_k) − r(y_k) − r'(y_k)(x_k − y_k)` entry by entry.

        Near `x = y`, where the difference would cancel, it is `h² ∫ (1 − t) r''(y + th) dt`.
        """
        return bregman_entries(self, x, y)

    def _bregman_near(self, y: Tensor, h: Tensor) -> Tensor:
        """`d(y + h, y) = h² ∫ (1 − t) r''(y + th) dt` for a small h."""
        integral = torch.zeros_like(h)
        for node, weight in zip(*(rule.tolist() for rule in gauss_legendre(16)), strict=True):
            integral = integral + weight * (1 - node) * self.hessian(y + node * h)
        return h * (h * integral)

    def _bregman_far(self, x: Tensor, y: Tensor) -> Tensor:
        """`d(x, y)` for x and y of one sign and well apart."""
        return self.potential_entries(x) - self.potential_entries(y) - self.to_dual(y) * (x - y)

    def potential(self, x: Tensor) -> Tensor:
        """`R(x) = Σ_k r(x_k)`, a scalar tensor."""
        return self.potential_entries(x).sum()

    def dual_energy(self, x: Tensor) -> Tensor:
        """`E(x) = Σ_k e(x_k)`, a scalar tensor."""
        return self.dual_energy_entries(x).sum()

    def conjugate(self, u: Tensor) -> Tensor:
        """`R*(u) = Σ_k r*(u_k)`, a scalar tensor."""
        return self.conjugate_entries(u).sum()

    def bregman(self, x: Tensor, y: Tensor) -> Tensor:
        """`D(x, y) = Σ_k d(x_k, y_k)`, a scalar tensor."""
        return self.bregman_entries(x, y).sum()

    def step(self, x: Tensor, delta: Tensor) -> Tensor:
        """`∇R*(∇R(x) − delta)` entry by entry, without cancellation.

        Where delta is 0 and where x is infinite, the result is x bit for bit. float16 and
        bfloat16 are computed in float32 and rounded once.
        """
        x, delta = require_pair(x, delta, "delta")
        if x.dtype in (torch.float16, torch.bfloat16):
            moved = self._moved(x.float(), delta.float()).to(x.dtype)
        else:
            moved = self._moved(x, delta)
        return keep((delta == 0) | x.isinf(), x, moved)

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        """The move of `step`, for float32 and float64; delta = 0 needs no care.

        This default loses what delta has below the last digit of u: a map should give its own.
        """
        return self.to_primal(self.to_dual(x) - delta)

    def log_to_dual(self, log_x: Tensor) -> Tensor:
        """`log r'(e^l)`: `log |u|` from `l = log |x|`, also where x or u overflows."""
        return torch.log(self.to_dual(torch.exp(log_x)))

    def log_to_primal(self, log_u: Tensor) -> Tensor:
        """`log |x|` from `log |u|`: the inverse of `log_to_dual`."""
        return torch.log(self.to_primal(torch.exp(log_u)))


def keep(mask: Tensor, x: Tensor, moved: Tensor) -> Tensor:
    """`moved`, but x bit for bit under the mask; derivatives are those of `moved` everywhere."""
    kept = torch.where(mask, x, moved)
    if not moved.requires_grad:
        return kept
    value = moved.detach()
    # x − (+0) keeps the sign of −0; an infinite `moved` would make 0·∞ of the difference.
    return torch.where(mask & value.isfinite(), x.detach() - (value - moved), kept)


def bregman_entries(mirror_map: SeparableMap, x: Tensor, y: Tensor) -> Tensor:
    """The Bregman divergence of a separable map, entry by entry, relative accuracy throughout.

    Three forms, each free of cancellation where it is used: `r(x) + e(y) − x r'(y)` for opposite
    signs (every term is then nonnegative); a 16-point quadrature of `(1 − t) r''` while x/y lies
    in 0.3 … 3.3 and `|x − y|` is at most twice `r'/r''`, so that it changes by a moderate factor;
    and the definition elsewhere, where it loses a digit at most.
    """
    x, y = require_pair(x, y, "y")
    h = x - y
    u, curvature = mirror_map.to_dual(y), mirror_map.hessian(y)
    same = x.sign() * y.sign() > 0
    close = torch.minimum(x.abs(), y.abs()) >= 0.3 * torch.maximum(x.abs(), y.abs())
    near = same & close & (h.abs() <= 2 * u.abs() / curvature)
    step, start = torch.where(near, h, 0.0), torch.where(near, y, 1.0)
    area = mirror_map._bregman_near(start, step)
    far = mirror_map._bregman_far(x, y)
    apart = mirror_map.potential_entries(x) + mirror_map.dual_energy_entries(y) - x * u
    far = torch.where(same, far, apart)
    return without_nan(torch.where(near, area, far), x.isnan() | y.isnan(), x == y)


def without_nan(value: Tensor, unknown: Tensor, equal: Tensor) -> Tensor:
    """A divergence whose terms overflow against each other is ∞, and 0 between equal points."""
    value = torch.where(value.isnan() & ~unknown, math.inf, value)
    return torch.where(equal, 0.0, value)
