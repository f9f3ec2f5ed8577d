"""The mirror map: a Legendre potential, its gradient and the inverse of the gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from mirrorflow.maps.horizon import Horizon

__all__ = ["MirrorMap", "SeparableMap", "require_floating", "require_scale"]


def require_floating(value: Tensor, name: str) -> None:
    """Refuse what has no real geometry: integer, boolean and complex tensors."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor, got {type(value).__name__}; "
            f"wrap it with torch.as_tensor({name}, dtype=torch.float64)"
        )
    if not value.is_floating_point():
        raise TypeError(
            f"{name} has dtype {value.dtype}; a mirror map acts on real floating-point tensors "
            "(float16, bfloat16, float32, float64). Convert it, for example with "
            f"{name}.to(torch.float64)"
        )


def require_scale(value: float, name: str) -> None:
    """Refuse a scale parameter outside (0, ∞)."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} = {value} is not a scale; choose 0 < {name} < inf")


class MirrorMap(ABC):
    """A Legendre potential `R`; the dual variable is `u = ∇R(x)`, the inverse `x = ∇R*(u)`.

    Mirror flow is `d∇R(θ)/dt = −∇ℓ(θ)`; mirror descent is its explicit Euler step in `u`.
    Instances are immutable, hashable and print as the call that makes them. A map that is not
    separable acts on each parameter tensor as one block.

    Source: Jacobs & Montúfar, arXiv 2605.19458; Nemirovski & Yudin 1983.
    """

    separable: ClassVar[bool] = False

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

    def conjugate(self, u: Tensor) -> Tensor:
        """`R*(u) = sup_x ⟨u, x⟩ − R(x)`, a scalar tensor."""
        x = self.to_primal(u)
        return (u * x).sum() - self.potential(x)

    def dual_energy(self, x: Tensor) -> Tensor:
        """`E(x) = R*(∇R(x)) = ⟨x, ∇R(x)⟩ − R(x) ≥ 0`, a scalar tensor."""
        return (x * self.to_dual(x)).sum() - self.potential(x)

    def bregman(self, x: Tensor, y: Tensor) -> Tensor:
        """`D(x, y) = R(x) − R(y) − ⟨∇R(y), x − y⟩ ≥ 0`, a scalar tensor."""
        return self.potential(x) - self.potential(y) - (self.to_dual(y) * (x - y)).sum()

    def hessian(self, x: Tensor) -> Tensor:
        """The diagonal of `∇²R(x)`, the shape of x; only where the map is separable."""
        raise NotImplementedError(f"{self!r} is not separable: its Hessian is not a diagonal")


class SeparableMap(MirrorMap):
    """`R(x) = Σ_k r(x_k)` with one scalar, even, strictly convex function `r`, `r(0) = 0`.

    A subclass gives `r` (`potential_entries`), `r'` (`to_dual`), its inverse, `r''` (`hessian`)
    and the stable forms of `e(x) = x r'(x) − r(x)` and of `step`.
    """

    separable: ClassVar[bool] = True

    @abstractmethod
    def potential_entries(self, x: Tensor) -> Tensor:
        """`r(x_k)` entry by entry."""

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`e(x_k) = x_k r'(x_k) − r(x_k) = r*(r'(x_k))` entry by entry."""
        return x * self.to_dual(x) - self.potential_entries(x)

    def conjugate_entries(self, u: Tensor) -> Tensor:
        """`r*(u_k)` entry by entry."""
        return self.dual_energy_entries(self.to_primal(u))

    def potential(self, x: Tensor) -> Tensor:
        """`R(x) = Σ_k r(x_k)`, a scalar tensor."""
        return self.potential_entries(x).sum()

    def dual_energy(self, x: Tensor) -> Tensor:
        """`E(x) = Σ_k e(x_k)`, a scalar tensor."""
        return self.dual_energy_entries(x).sum()

    def conjugate(self, u: Tensor) -> Tensor:
        """`R*(u) = Σ_k r*(u_k)`, a scalar tensor."""
        return self.conjugate_entries(u).sum()

    def step(self, x: Tensor, delta: Tensor) -> Tensor:
        """`∇R*(∇R(x) − delta)` entry by entry; where delta is 0, x bit for bit."""
        moved = self.to_primal(self.to_dual(x) - delta)
        return torch.where(delta == 0, x, moved)
