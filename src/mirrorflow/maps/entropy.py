"""Entropies on the orthant and on the simplex: exponentiated gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from mirrorflow.errors import NoHorizonError
from mirrorflow.maps.base import MirrorMap, SeparableMap, keep, require_floating
from mirrorflow.maps.growth import RadialGrowth
from mirrorflow.maps.numerics import expm1

__all__ = ["NegativeEntropy", "SimplexEntropy"]


@dataclass(frozen=True)
class NegativeEntropy(SeparableMap):
    """`R(x) = Σ x log x − x` on the orthant `x ≥ 0`, `u = log x`: exponentiated gradient.

    `step(x, delta) = x e^{−delta}` keeps every sign, so positive parameters stay positive. An entry
    at exactly 0 is stuck there for ever (its dual is −∞). There is no horizon on R^d; on the
    orthant the growth is that of the ℓ1 norm (index 1). `require_domain` refuses negative entries;
    the other methods give NaN for them. Balance holds with `E = Σ x`.

    Source: Kivinen & Warmuth 1997.
    """

    even = False

    @property
    def index(self) -> float:
        """1 (along the orthant)."""
        return 1.0

    def require_domain(self, x: Tensor, name: str = "x") -> None:
        """Refuse negative entries."""
        super().require_domain(x, name)
        x = x.detach()
        if bool((x < 0).any()):
            raise ValueError(
                f"{name} has a negative entry ({float(x.min()):.6g}); {self!r} acts on the orthant "
                f"{name} >= 0: start from positive entries, or use maps.HyperbolicEntropy for "
                "both signs"
            )

    def potential_entries(self, x: Tensor) -> Tensor:
        """`x log x − x`."""
        require_floating(x, "x")
        return _x_log_x(x) - x

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`x`."""
        require_floating(x, "x")
        return x.clone()

    def conjugate_entries(self, u: Tensor) -> Tensor:
        """`e^u`."""
        require_floating(u, "u")
        return torch.exp(u)

    def bregman_entries(self, x: Tensor, y: Tensor) -> Tensor:
        """The Kullback–Leibler divergence, `x log(x/y) − x + y = y φ(x/y)`."""
        require_floating(x, "x")
        require_floating(y, "y")
        return divergence(x, y)

    def to_dual(self, x: Tensor) -> Tensor:
        """`log x`."""
        require_floating(x, "x")
        return torch.log(x)

    def to_primal(self, u: Tensor) -> Tensor:
        """`e^u`."""
        require_floating(u, "u")
        return torch.exp(u)

    def hessian(self, x: Tensor) -> Tensor:
        """`1/x`."""
        require_floating(x, "x")
        return 1 / x

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        """`x e^{−delta}`."""
        return grow(x, -delta)

    def log_to_dual(self, log_x: Tensor) -> Tensor:
        """`log |u| = log |l|`: the dual `u = l` has either sign."""
        return torch.log(log_x.abs())

    def log_to_primal(self, log_u: Tensor) -> Tensor:
        """`e^{log u}`, for `u > 0`."""
        return torch.exp(log_u)

    def radial_growth(self) -> RadialGrowth:
        """`dE/dQ = 1` on the orthant: `E = Σ x`."""
        return RadialGrowth(1.0, 0.0)

    def horizon(self) -> NoReturn:
        """None on R^d.

        Raises:
            NoHorizonError: always.
        """
        raise NoHorizonError(
            f"{self!r} has no horizon on R^d: its domain is the orthant. Restricted to the "
            "orthant it is "
            "maps.LpHorizon(1); for both signs use maps.HyperbolicEntropy"
        )


@dataclass(frozen=True)
class SimplexEntropy(MirrorMap):
    """`R(x) = Σ x log x` on simplices along `dim`: `step(x, delta) = x e^{−delta}/Σ x e^{−delta}`.

    The dual is defined up to a constant along `dim`: `u = log x`, and `to_primal` is softmax. Each
    step normalises, so sums stay 1 up to rounding. An entry at exactly 0 is stuck there for ever.
    The domain is bounded: there is no index and no horizon.

    Args:
        dim: the dimension along which entries add up to 1.

    Source: Kivinen & Warmuth 1997; Beck & Teboulle 2003.
    """

    dim: int = -1

    def __post_init__(self) -> None:
        if isinstance(self.dim, bool) or not isinstance(self.dim, int):
            raise TypeError(f"dim = {self.dim!r} is not a dimension; pass an int such as -1")

    @property
    def index(self) -> float:
        """None.

        Raises:
            NoHorizonError: always.
        """
        raise self._none()

    def require_domain(self, x: Tensor, name: str = "x") -> None:
        """Refuse negative entries, sums more than a thousand ulp off 1, and a missing `dim`."""
        super().require_domain(x, name)
        x = x.detach()
        if not -x.ndim <= self.dim < x.ndim:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, which lacks dim = {self.dim}")
        off = float((x.sum(self.dim) - 1).abs().max())
        if bool((x < 0).any()) or not off <= 1000 * torch.finfo(x.dtype).eps:
            raise ValueError(
                f"{name} is not on the simplex along dim = {self.dim}: its least entry is "
                f"{float(x.min()):.6g} and its sums miss 1 by up to {off:.6g}; start from "
                f"torch.softmax(..., dim={self.dim})"
            )

    def potential(self, x: Tensor) -> Tensor:
        """`Σ x log x`."""
        require_floating(x, "x")
        return _x_log_x(x).sum()

    def dual_energy(self, x: Tensor) -> Tensor:
        """`R*(∇R(x)) = Σ log Σ_dim x`: 0 on the simplex."""
        require_floating(x, "x")
        return torch.log(x.sum(self.dim)).sum()

    def conjugate(self, u: Tensor) -> Tensor:
        """`Σ logsumexp_dim(u)`."""
        require_floating(u, "u")
        return torch.logsumexp(u, self.dim).sum()

    def bregman(self, x: Tensor, y: Tensor) -> Tensor:
        """The Kullback–Leibler divergence."""
        require_floating(x, "x")
        require_floating(y, "y")
        return divergence(x, y).sum()

    def to_dual(self, x: Tensor) -> Tensor:
        """`log x`."""
        require_floating(x, "x")
        return torch.log(x)

    def to_primal(self, u: Tensor) -> Tensor:
        """`softmax(u)`."""
        require_floating(u, "u")
        return torch.softmax(u, self.dim)

    def step(self, x: Tensor, delta: Tensor) -> Tensor:
        """`x e^{−delta}` normalised; along `dim` where delta is all 0, x bit for bit."""
        require_floating(x, "x")
        require_floating(delta, "delta")
        log_x = torch.log(x)
        moved = grow(x, -delta - torch.logsumexp(log_x - delta, self.dim, keepdim=True))
        return keep((delta == 0).all(self.dim, keepdim=True), x, moved)

    def horizon(self) -> NoReturn:
        """None.

        Raises:
            NoHorizonError: always.
        """
        raise self._none()

    def _none(self) -> NoHorizonError:
        return NoHorizonError(
            f"{self!r} has no index and no horizon: its domain, the simplex, is bounded"
        )


def grow(x: Tensor, log_factor: Tensor) -> Tensor:
    """`x e^f`, as an increment for small f."""
    small = log_factor.abs() < 0.5
    increment = x + x * expm1(torch.where(small, log_factor, 0.0))
    half = torch.exp(0.5 * torch.where(small, 0.0, log_factor))
    return torch.where(small, increment, (x * half) * half)


def divergence(x: Tensor, y: Tensor) -> Tensor:
    """`x log(x/y) − x + y ≥ 0`, entry by entry.

    Near `x = y`, with `v = (x−y)/(x+y)`: `2x(atanh v − v) + 2 v²(x+y)/2`-like series, so that the
    square of a small difference keeps its digits.
    """
    total, gap = x + y, x - y
    v = gap / torch.where(total == 0, 1.0, total)
    near = v.abs() < 0.2
    w = torch.where(near, v, 0.0)
    tail = torch.zeros_like(w)
    for k in range(27, 1, -2):
        tail = tail * (w * w) + 1 / k
    # log(x/y) = 2 atanh v and x = (x+y)(1+v)/2, so d = (x+y)((1+v) atanh v − v).
    close = total * (w * w) * (1 + (1 + w) * (w * tail))
    far = torch.special.xlogy(x, x / y) - gap
    return torch.where(near, close, far)


def _x_log_x(x: Tensor) -> Tensor:
    """`x log x`, 0 at 0."""
    result: Tensor = torch.special.xlogy(x, x)
    return result
