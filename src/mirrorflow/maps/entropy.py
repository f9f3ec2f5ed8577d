"""Entropies on the orthant and on the simplex: exponentiated gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NoReturn

import torch
from torch import Tensor

from mirrorflow.checks import as_integer
from mirrorflow.errors import NoHorizonError
from mirrorflow.maps.arguments import require_floating, require_pair
from mirrorflow.maps.base import MirrorMap, SeparableMap, keep
from mirrorflow.maps.facts import Facts
from mirrorflow.maps.growth import RadialGrowth
from mirrorflow.maps.numerics import expm1

__all__ = ["NegativeEntropy", "SimplexEntropy"]


@dataclass(frozen=True)
class NegativeEntropy(SeparableMap):
    """`R(x) = Σ x log x − x` on the orthant `x ≥ 0`, `u = log x`: exponentiated gradient.

    `step(x, delta) = x e^{−delta}` keeps every sign, so positive parameters stay positive. An entry
    at exactly 0 is stuck there for ever (its dual is −∞). There is no horizon on R^d; on the
    orthant the growth is that of the ℓ1 norm (index 1). A negative entry is refused, but for
    `step` and inside `torch.compile`. Balance holds with `E = Σ x`.

    Source: Kivinen & Warmuth 1997.
    """

    facts: ClassVar[Facts] = Facts(
        text="negative_entropy",
        sample="negative_entropy",
        dual="log x",
        inverse="e^u",
        index="1",
        horizon="none on R^d",
        purpose="positive parameters: exponentiated gradient",
    )

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
        x = require_orthant(x, "x")
        plain = _x_log_x(x) - x
        return torch.where(plain.isinf(), x * (torch.log(x) - 1), plain)

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`x`."""
        x = require_orthant(x, "x")
        return x.clone()

    def conjugate_entries(self, u: Tensor) -> Tensor:
        """`e^u`."""
        u = require_floating(u, "u")
        return torch.exp(u)

    def bregman_entries(self, x: Tensor, y: Tensor) -> Tensor:
        """The Kullback–Leibler divergence, `x log(x/y) − x + y = y φ(x/y)`."""
        x = require_orthant(x, "x")
        x, y = require_pair(x, require_orthant(y, "y"), "y")
        return divergence(x, y)

    def to_dual(self, x: Tensor) -> Tensor:
        """`log x`."""
        x = require_orthant(x, "x")
        return torch.log(x)

    def to_primal(self, u: Tensor) -> Tensor:
        """`e^u`."""
        u = require_floating(u, "u")
        return torch.exp(u)

    def hessian(self, x: Tensor) -> Tensor:
        """`1/x`."""
        x = require_orthant(x, "x")
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

    facts: ClassVar[Facts] = Facts(
        text="simplex_entropy(dim)",
        sample="simplex_entropy",
        dual="log x",
        inverse="softmax u",
        index="none",
        horizon="none on R^d",
        purpose="probabilities: exponentiated gradient on the simplex",
    )

    dim: int = -1

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", as_integer(self.dim, "dim", least=-64, most=64))

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
        self._require_dim(x, name)
        if x.numel() == 0:
            raise ValueError(f"{name} has shape {tuple(x.shape)}: an empty simplex has no points")
        off = float((x.sum(self.dim) - 1).abs().max())
        if bool((x < 0).any()) or not off <= 1000 * torch.finfo(x.dtype).eps:
            raise ValueError(
                f"{name} is not on the simplex along dim = {self.dim}: its least entry is "
                f"{float(x.min()):.6g} and its sums miss 1 by up to {off:.6g}; start from "
                f"torch.softmax(..., dim={self.dim})"
            )

    def _require_dim(self, x: Tensor, name: str = "x") -> None:
        if not -x.ndim <= self.dim < x.ndim:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, which lacks dim = {self.dim}")

    def potential(self, x: Tensor) -> Tensor:
        """`Σ x log x`."""
        x = require_orthant(x, "x")
        return _x_log_x(x).sum()

    def dual_energy(self, x: Tensor) -> Tensor:
        """`R*(∇R(x)) = Σ log Σ_dim x`: 0 on the simplex."""
        x = require_orthant(x, "x")
        self._require_dim(x)
        return torch.log(x.sum(self.dim)).sum()

    def conjugate(self, u: Tensor) -> Tensor:
        """`Σ logsumexp_dim(u)`."""
        u = require_floating(u, "u")
        self._require_dim(u, "u")
        return torch.logsumexp(u, self.dim).sum()

    def bregman(self, x: Tensor, y: Tensor) -> Tensor:
        """The Kullback–Leibler divergence."""
        x = require_orthant(x, "x")
        x, y = require_pair(x, require_orthant(y, "y"), "y")
        return divergence(x, y).sum()

    def to_dual(self, x: Tensor) -> Tensor:
        """`log x`."""
        x = require_orthant(x, "x")
        return torch.log(x)

    def to_primal(self, u: Tensor) -> Tensor:
        """`softmax(u)`."""
        u = require_floating(u, "u")
        self._require_dim(u, "u")
        return torch.softmax(u, self.dim)

    def step(self, x: Tensor, delta: Tensor) -> Tensor:
        """`x e^{−delta}` normalised; along `dim` where delta is all 0, x bit for bit.

        A constant added to delta changes nothing: the least delta among the positive entries is
        subtracted first. An infinite delta acts as its limit: +∞ empties an entry, −∞ every other.
        float16 and bfloat16 are computed in float32 and rounded once.
        """
        x, delta = require_pair(x, delta, "delta")
        self._require_dim(x)
        if x.dtype in (torch.float16, torch.bfloat16):
            moved = self._moved(x.float(), delta.float()).to(x.dtype)
        else:
            moved = self._moved(x, delta)
        still = (delta == 0).expand_as(x).all(self.dim, keepdim=True)
        return keep(still | (x == 0).all(self.dim, keepdim=True), x, moved)

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        if x.numel() == 0:
            return x - delta
        least = torch.where(x == 0, math.inf, delta).amin(self.dim, keepdim=True).detach()
        # Equal infinities cancel; entries at 0 stay there, whatever their delta.
        equal = (delta == least) & delta.isinf()
        excess = torch.where(equal | (x == 0), 0.0, delta - least)
        log_total = torch.logsumexp(torch.log(x) - excess, self.dim, keepdim=True)
        moved = grow(x, -excess - log_total)
        total = moved.sum(self.dim, keepdim=True)
        # The logarithm loses digits of the sum; a sum right to rounding is left alone.
        rounding = 4 * torch.finfo(x.dtype).eps
        return torch.where((total - 1).abs() > rounding, moved / total, moved)

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
    """`x e^f`, as an increment for small f; 0 stays 0."""
    small = log_factor.abs() < 0.5
    increment = x + x * expm1(torch.where(small, log_factor, 0.0))
    # In quarters: from the least float to the largest is e^1454.
    quarter = torch.exp(0.25 * torch.where(small | (x == 0), 0.0, log_factor))
    return torch.where(small, increment, (((x * quarter) * quarter) * quarter) * quarter)


def divergence(x: Tensor, y: Tensor) -> Tensor:
    """`x log(x/y) − x + y ≥ 0`, entry by entry.

    Near `x = y`, with `v = (x−y)/(x+y)`: `2x(atanh v − v) + 2 v²(x+y)/2`-like series, so that the
    square of a small difference keeps its digits.
    """
    total, gap = 0.5 * x + 0.5 * y, x - y
    v = 0.5 * gap / torch.where(total == 0, 1.0, total)
    near = v.abs() < 0.2
    w = torch.where(near, v, 0.0)
    tail = torch.zeros_like(w)
    for k in range(27, 1, -2):
        tail = tail * (w * w) + 1 / k
    # log(x/y) = 2 atanh v and x = (x+y)(1+v)/2, so d = (x+y)((1+v) atanh v − v).
    close = total * (2 * (w * w) * (1 + (1 + w) * (w * tail)))
    ratio = x / y
    limits = torch.finfo(ratio.dtype)
    plain = (ratio >= limits.tiny) & (ratio <= limits.max)
    log_ratio = torch.where(plain, torch.log(torch.where(plain, ratio, 1.0)), x.log() - y.log())
    far = torch.where(x == 0, 0.0, x * log_ratio) - gap
    return torch.where(near, close, far)


def require_orthant(value: Tensor, name: str) -> Tensor:
    """The tensor, without negative entries (not looked at inside `torch.compile` and `vmap`).

    Raises:
        TypeError: see `require_floating`.
        ValueError: a negative entry.
    """
    value = require_floating(value, name)
    if torch.compiler.is_compiling() or torch._C._functorch.is_batchedtensor(value):
        return value
    if bool((value < 0).any()):
        raise ValueError(
            f"{name} has a negative entry ({float(value.detach().min()):.6g}); entropies act on "
            f"{name} >= 0: use maps.HyperbolicEntropy for both signs"
        )
    return value


def _x_log_x(x: Tensor) -> Tensor:
    """`x log x`, 0 at 0."""
    result: Tensor = torch.special.xlogy(x, x)
    return result
