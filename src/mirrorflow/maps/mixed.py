"""A quadratic and a power added: one horizon, shared with neither perturbation."""

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
from mirrorflow.maps.numerics import (
    expm1,
    log_root_of_sum,
    magnitude,
    power,
    scaled_power,
    signed,
    typed_fraction,
)
from mirrorflow.maps.power import Power

__all__ = ["Mixed"]

# Enough for 1.001 ≤ p ≤ 1000 across the whole bend.
ITERATIONS = 8


@dataclass(frozen=True)
class Mixed(SeparableMap):
    """`r(x) = a x²/2 + b |x|^p/p`, `r'(x) = a x + b sgn x |x|^{p−1}`: horizon ℓ_max(2,p).

    For p > 2 it is `Power(p)` far out and quadratic near 0, so it has no flat point there; for
    p < 2 it is quadratic far out: the limit direction is that of `Quadratic`, approached like
    `Q^{−|p−2|}`. `Mixed(p, a, 0)` is `Quadratic()` times a, `Mixed(p, 0, b)` is `Power(p)` times b.

    Args:
        p: the exponent of the perturbation, in (1, ∞).
        a: the weight of the quadratic, `a ≥ 0`.
        b: the weight of the power, `b ≥ 0`; not both are 0.

    Raises:
        ValueError: p ≤ 1, a negative weight, or no weight at all.
    """

    facts: ClassVar[Facts] = Facts(
        text="mixed(p, a, b)",
        sample="mixed",
        dual="a x + b sgn x |x|^(p-1)",
        inverse="Newton",
        index="max(2, p)",
        horizon="ℓmax(2,p)",
        purpose="a power without the flat point at 0; a perturbed quadratic",
    )

    p: float = 4.0
    a: float = 1.0
    b: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", Power(self.p).p)
        for name, given in (("a", self.a), ("b", self.b)):
            value = as_real(given, name)
            if not 0 <= value < math.inf:
                raise ValueError(
                    f"{name} = {shown(given)} is not a weight; choose 0 <= {name} < inf"
                )
            object.__setattr__(self, name, value)
        if self.a == 0 and self.b == 0:
            raise ValueError("a = 0 and b = 0 leave no potential; make one of them positive")

    @property
    def _exponent(self) -> Fraction:
        return typed_fraction(self.p) - 1

    @property
    def index(self) -> float:
        """The larger exponent of those present."""
        if self.a == 0:
            return float(self.p)
        return 2.0 if self.b == 0 else max(2.0, float(self.p))

    @property
    def homogeneous(self) -> bool:
        """True if only one exponent is present."""
        return self.a == 0 or self.b == 0 or self.p == 2

    def potential_entries(self, x: Tensor) -> Tensor:
        """`a x²/2 + b |x|^p/p`."""
        x = require_floating(x, "x")
        e = self._exponent
        curved = scaled_power(magnitude(x), e + 1, self.b / self.p)
        return curved if self.a == 0 else 0.5 * self.a * x * x + curved

    def dual_energy_entries(self, x: Tensor) -> Tensor:
        """`a x²/2 + b (1 − 1/p)|x|^p`."""
        x = require_floating(x, "x")
        e = self._exponent
        curved = scaled_power(magnitude(x), e + 1, self.b * float(e / (e + 1)))
        return curved if self.a == 0 else 0.5 * self.a * x * x + curved

    def bregman_entries(self, x: Tensor, y: Tensor) -> Tensor:
        """`a (x − y)²/2` and b times that of `Power(p)`: both are nonnegative."""
        x, y = require_pair(x, y, "y")
        gap = x - y
        linear = (0.5 * self.a * gap) * gap
        if self.b == 0:
            return linear
        curved = Power(self.p).weighted_bregman(x, y, self.b)
        return curved if self.a == 0 else linear + curved

    def to_dual(self, x: Tensor) -> Tensor:
        """`a x + b sgn x |x|^{p−1}`."""
        x = require_floating(x, "x")
        return self.a * x + signed(scaled_power(magnitude(x), self._exponent, self.b), x)

    def to_primal(self, u: Tensor) -> Tensor:
        """The inverse of `to_dual`, by Newton's method on `log |x|` (convex, so monotone)."""
        u = require_floating(u, "u")
        w = magnitude(u)
        start = self._above(w)
        linear, curved = self.a * start, scaled_power(start, self._exponent, self.b)
        excess = torch.where(linear < curved, linear + (curved - w), curved + (linear - w))
        usable = (w > 0) & (start > 0) & w.isfinite()
        found = self._lowered(torch.where(usable, start, 1.0), torch.where(usable, excess, 0.0))
        return signed(torch.where(usable, found, start), u)

    def _above(self, w: Tensor) -> Tensor:
        """A point at which `r'` lies in [w, 2w]: the smaller solution for one term alone."""
        e = self._exponent
        bounds = []
        if self.a > 0:
            bounds.append(w / self.a)
        if self.b > 0:
            ratio = w / self.b
            far = power(w, 1 / e) * self.b ** (-1 / float(e)) if self.b < 1 else w
            bounds.append(torch.where(ratio.isinf(), far, power(ratio, 1 / e)))
        return bounds[0] if len(bounds) == 1 else torch.minimum(*bounds)

    def _lowered(self, m: Tensor, s: Tensor) -> Tensor:
        """`m' > 0` with `r'(m') = r'(m) − s`, for `m > 0` and `|s| ≤ r'(m)/2`.

        With `λ = log(m'/m)` and the shares `A + B = 1` of the two terms in `r'(m)`, solve
        `A expm1(λ) + B expm1(eλ) = −s/r'(m)`: no difference of large numbers appears. Newton on the
        logarithm of both sides, which is convex and nearly straight in λ, comes near from anywhere;
        two steps on the equation itself give the last digits and the derivatives.
        """
        e = float(self._exponent)
        # With the larger term in two factors, so that neither it nor the sum need be finite.
        linear, half = self.a * m, power(m, self._exponent / 2)
        ratio = ((self.b * half) / linear) * half if self.a > 0 else torch.full_like(m, math.inf)
        A, B = 1 / (1 + ratio), 1 / (1 + 1 / ratio)
        target = -torch.where(ratio < 1, (s / linear) * A, ((s / half) / (self.b * half)) * B)
        shift = _near(A.detach(), B.detach(), torch.log1p(target.detach()), e)
        for _ in range(2):
            one, many = expm1(shift), expm1(e * shift)
            shift = shift - (A * one + B * many - target) / (A * (1 + one) + e * B * (1 + many))
        return torch.where(shift.abs() < 0.5, m + m * expm1(shift), m * torch.exp(shift))

    def hessian(self, x: Tensor) -> Tensor:
        """`a + b (p−1)|x|^{p−2}`: infinite at 0 for p < 2."""
        x = require_floating(x, "x")
        e = self._exponent
        if self.b == 0:
            return torch.full_like(x, self.a)
        if e > 1:
            return self.a + scaled_power(magnitude(x), e - 1, self.b * float(e))
        return self.a + self.b * Power(self.p).hessian(x)

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        """By `_lowered` while `|s| ≤ r'(m)/2`, beyond that from the dual, where nothing cancels."""
        m, s = magnitude(x), signed(delta, x)
        u = self.a * m + scaled_power(m, self._exponent, self.b)
        near = (s.abs() <= 0.5 * u) & (m > 0)
        close = self._lowered(torch.where(near, m, 1.0), torch.where(near, s, 0.0))
        # In halves: the difference of two finite numbers may overflow.
        half = torch.where(near, 0.0, 0.5 * u - 0.5 * s)
        wide = (half.abs() > 0.25 * torch.finfo(half.dtype).max) & half.isfinite()
        log = torch.log(torch.where(wide, half.abs(), 1.0)) + math.log(2)
        beyond = signed(torch.exp(self.log_to_primal(log)), half)
        far = torch.where(wide, beyond, self.to_primal(torch.where(wide, 0.0, 2 * half)))
        return signed(torch.where(near, close, far), x)

    def log_to_dual(self, log_x: Tensor) -> Tensor:
        """`log(a e^l + b e^{(p−1)l})`."""
        if self.a == 0 or self.b == 0:
            e = 1.0 if self.b == 0 else float(self._exponent)
            return e * log_x + math.log(self.a + self.b)
        curved = float(self._exponent) * log_x + math.log(self.b)
        return torch.logaddexp(log_x + math.log(self.a), curved)

    def log_to_primal(self, log_u: Tensor) -> Tensor:
        """The inverse of `log_to_dual`, by the same Newton's method."""
        e = float(self._exponent)
        if self.a == 0 or self.b == 0:
            return (log_u - math.log(self.a + self.b)) / (1.0 if self.b == 0 else e)
        return log_root_of_sum(log_u, math.log(self.a), math.log(self.b), e)

    def radial_growth(self) -> RadialGrowth:
        """`dE/dQ ~ a Q` or `b (p−1) Q^{p−1}`, whichever is the larger far out."""
        index = self.index
        constant = self.a if index == 2 and self.p != 2 else 0.0
        if index == self.p:
            constant = self.b * float(self._exponent) + (self.a if self.p == 2 else 0.0)
        return RadialGrowth(index, math.log(constant), log_dual=self.log_to_dual)

    def horizon(self) -> LpHorizon:
        """ℓ of order `index`."""
        return LpHorizon(self.index)


def _near(A: Tensor, B: Tensor, wanted: Tensor, e: float) -> Tensor:
    """`λ` with `log(A e^λ + B e^{eλ}) = wanted`, by Newton's method."""
    log_a, log_b = torch.log(A), torch.log(B)
    shift = wanted / (A + e * B)
    for _ in range(ITERATIONS):
        linear = log_a + shift
        value = torch.logaddexp(linear, log_b + e * shift)
        share = torch.exp(linear - value)
        shift = shift - (value - wanted) / (share + e * (1 - share))
    return shift
