"""The power map: p-homogeneous geometry, horizon ℓp."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Tensor

from mirrorflow.checks import shown
from mirrorflow.maps.arguments import as_real, require_floating, require_pair
from mirrorflow.maps.base import SeparableMap
from mirrorflow.maps.facts import Facts
from mirrorflow.maps.growth import RadialGrowth
from mirrorflow.maps.horizon import LpHorizon
from mirrorflow.maps.numerics import expm1, magnitude, power, scaled_power, signed, typed_fraction

__all__ = ["Power"]


@dataclass(frozen=True)
class Power(SeparableMap):
    """`r(x) = |x|^p/p`, `r'(x) = sgn x |x|^{p−1}`, `p > 1`: horizon ℓp; `Power(2)` is `Quadratic`.

    At 0 the map is not smooth. For p > 2 a step from 0 jumps by `|delta|^{1/(p−1)}`, far more than
    delta when delta is small; for p < 2 the jump is far smaller than delta and may underflow to 0
    (p = 1.1: `|delta|^{10}`), so entries at 0 are stuck there. Start from entries away from 0.

    Args:
        p: the exponent, in (1, ∞). Near 1 features are sparse, large p makes them dense.

    Raises:
        ValueError: p ≤ 1, infinite or NaN.
        TypeError: p is not a number.

    Source: Azizan, Lale & Hassibi, IEEE TNNLS 2022 (q-norm stochastic mirror descent).
    """

    facts: ClassVar[Facts] = Facts(
        text="power(p)",
        sample="power(3)",
        dual="sgn x |x|^(p-1)",
        inverse="sgn u |u|^(1/(p-1))",
        index="p",
        horizon="ℓp",
        purpose="sparse to dense by one number, p near 1 to p large",
    )

    p: float

    def __post_init__(self) -> None:
        p = as_real(self.p, "p")
        if not 1 < p < math.inf:
            raise ValueError(
                f"p = {shown(self.p)} gives no Legendre potential; choose 1 < p < inf "
                "(for p -> 1 use HyperbolicEntropy, for p -> inf use Cosh)"
            )
        object.__setattr__(self, "p", p)

    @property
    def index(self) -> float:
        """`p`."""
        return self.p

    @property
    def homogeneous(self) -> bool:
        """True, of degree p."""
        return True

    @property
    def _exponent(self) -> Fraction:
        """`p − 1` as the number that was typed: for p = 1.1 it is 1/10, so its inverse is 10."""
        return typed_fraction(self.p) - 1

    def potential_entries(self, x: Tensor) -> Tensor:
        """`|x|^p/p`."""
        x = require_floating(x, "x")
        return scaled_power(magnitude(x), self._exponent + 1, 1 / self.p)

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`(1 − 1/p)|x|^p`."""
        x = require_floating(x, "x")
        e = self._exponent
        return scaled_power(magnitude(x), e + 1, float(e / (e + 1)))

    def conjugate_entries(self, u: Tensor) -> Tensor:
        """`(1 − 1/p)|u|^{p/(p−1)}`."""
        u = require_floating(u, "u")
        e = self._exponent
        return scaled_power(magnitude(u), 1 + 1 / e, float(e / (e + 1)))

    def to_dual(self, x: Tensor) -> Tensor:
        """`sgn x |x|^{p−1}`."""
        x = require_floating(x, "x")
        return signed(power(magnitude(x), self._exponent), x)

    def to_primal(self, u: Tensor) -> Tensor:
        """`sgn u |u|^{1/(p−1)}`."""
        u = require_floating(u, "u")
        return signed(power(magnitude(u), 1 / self._exponent), u)

    def hessian(self, x: Tensor) -> Tensor:
        """`(p−1)|x|^{p−2}`: infinite at 0 for p < 2, zero there for p > 2."""
        x = require_floating(x, "x")
        e = self._exponent
        if e == 1:
            return torch.ones_like(x)
        if e > 1:
            return scaled_power(magnitude(x), e - 1, float(e))
        return float(e) / power(magnitude(x), 1 - e)

    def bregman_entries(self, x: Tensor, y: Tensor) -> Tensor:
        """As for every separable map, in a unit c in which no power leaves the floats.

        `d(c x, c y) = c^p d(x, y)`; c is 1, or a power of two, so that the division is exact.
        """
        return self.weighted_bregman(x, y, 1.0)

    def weighted_bregman(self, x: Tensor, y: Tensor, weight: float) -> Tensor:
        """`weight` times `bregman_entries`, finite where the product is."""
        x, y = require_pair(x, y, "y")
        size = torch.maximum(x.detach().abs(), y.detach().abs())
        limits, inverse = torch.finfo(size.dtype), 1 / (2 * self.p)
        plain = (size < limits.max**inverse) & (size > limits.tiny**inverse)
        exponent = torch.frexp(size).exponent.clamp(math.log2(limits.tiny) + 4, None)
        unit = torch.where(plain | ~size.isfinite(), 1.0, torch.exp2(exponent.to(size.dtype) - 1))
        half = power(unit, (self._exponent + 1) / 2)
        return ((weight * half) * super().bregman_entries(x / unit, y / unit)) * half

    def _bregman_far(self, x: Tensor, y: Tensor) -> Tensor:
        """For p < 2 `x (u_x − u_y) − (e(x) − e(y))`: every term has the factor `p − 1`."""
        e = float(self._exponent)
        if e >= 1:
            return super()._bregman_far(x, y)
        change = e * torch.log(x.abs() / y.abs())
        ends = [power(m.abs(), self._exponent) for m in (x, y)]
        rise = torch.where(change.abs() < 1, ends[1] * expm1(change), ends[0] - ends[1])
        return x.abs() * rise - (self.dual_energy_entries(x) - self.dual_energy_entries(y))

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        """`m (1 − s/u)^{1/(p−1)}` while `|s| ≤ u/2`, beyond that `(u − s)^{1/(p−1)}`.

        `u = m^{p−1}` enters as a square, `u = w²`, so that neither it nor `s/u` overflows or
        vanishes while the answer is representable.
        """
        e = self._exponent
        if e == 1:
            return x - delta
        m, s = magnitude(x), signed(delta, x)
        w = power(m, e / 2)
        ratio = (s / w) / w
        near = ratio.abs() <= 0.5
        change = torch.log1p(-torch.where(near, ratio, 0.0)) / float(e)
        small = change.abs() < 0.5
        grown = m + m * expm1(torch.where(small, change, 0.0))
        scaled = m * torch.exp(torch.where(small, 0.0, change))
        # In halves: the difference of two finite numbers may overflow.
        left = torch.where(near, 1.0, (0.5 * w) * w - 0.5 * s)
        far = signed(power(2 * magnitude(left), 1 / e), left)
        root = power(torch.full_like(left, 2.0), 1 / e)
        wide = magnitude(left) > 0.25 * torch.finfo(left.dtype).max
        far = torch.where(wide, signed(power(magnitude(left), 1 / e) * root, left), far)
        return signed(torch.where(near, torch.where(small, grown, scaled), far), x)

    def log_to_dual(self, log_x: Tensor) -> Tensor:
        """`(p−1) l`."""
        return float(self._exponent) * log_x

    def log_to_primal(self, log_u: Tensor) -> Tensor:
        """`l/(p−1)`."""
        return log_u / float(self._exponent)

    def radial_growth(self) -> RadialGrowth:
        """`dE/dQ = (p−1) Q^{p−1}`."""
        e = float(self._exponent)
        return RadialGrowth(self.p, math.log(e), log_dual=self.log_to_dual)

    def horizon(self) -> LpHorizon:
        """ℓp."""
        return LpHorizon(self.p)
