"""The squared p-norm: homogeneous of degree two with the horizon of any p; not separable."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Tensor

from mirrorflow.maps.arguments import require_floating, require_pair
from mirrorflow.maps.base import MirrorMap, keep
from mirrorflow.maps.facts import Facts
from mirrorflow.maps.growth import RadialGrowth
from mirrorflow.maps.horizon import LpHorizon
from mirrorflow.maps.numerics import expm1, magnitude, power, signed, typed_fraction
from mirrorflow.maps.power import Power

__all__ = ["PNorm"]


@dataclass(frozen=True)
class PNorm(MirrorMap):
    """`R(x) = ½‖x‖_p²`, `1 < p < ∞`; `R* = ½‖u‖_{p*}²`: horizon ℓp, index 2.

    `u = ‖x‖_p · sgn x (|x|/‖x‖_p)^{p−1}`. Unlike `Power(p)`, whose horizon it shares, it keeps the
    scale of the gradient: with it the norm grows as with `Quadratic`. `PNorm(2)` is `Quadratic`.
    It couples all entries of a tensor, so it
    has no diagonal Hessian and its balance holds for whole layers only.

    Args:
        p: the order of the norm, in (1, ∞).

    Raises:
        ValueError: p ≤ 1, infinite or NaN.

    Source: Grove, Littlestone & Schuurmans 2001; Gentile 2003.
    """

    facts: ClassVar[Facts] = Facts(
        text="p_norm(p)",
        sample="p_norm(3)",
        dual="∇ ½‖x‖_p²",
        inverse="∇ ½‖u‖_p*²",
        index="2",
        horizon="ℓp",
        purpose="the ℓp limit with the growth of the quadratic map",
    )

    p: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", Power(self.p).p)

    @property
    def _exponent(self) -> Fraction:
        return typed_fraction(self.p) - 1

    @property
    def index(self) -> float:
        """2."""
        return 2.0

    @property
    def homogeneous(self) -> bool:
        """True, of degree 2."""
        return True

    def potential(self, x: Tensor) -> Tensor:
        """`½‖x‖_p²`."""
        x = require_floating(x, "x")
        size = LpHorizon(self.p).gauge(x)
        return (0.5 * size) * size

    def dual_energy(self, x: Tensor) -> Tensor:
        """`½‖x‖_p²`: the potential itself, as for every map of degree 2."""
        return self.potential(x)

    def conjugate(self, u: Tensor) -> Tensor:
        """`½‖u‖_{p*}²`."""
        u = require_floating(u, "u")
        size = LpHorizon(self.p).dual_gauge(u)
        return (0.5 * size) * size

    def to_dual(self, x: Tensor) -> Tensor:
        """`‖x‖_p · sgn x (|x|/‖x‖_p)^{p−1}`."""
        x = require_floating(x, "x")
        return _gradient(x, self._exponent)

    def to_primal(self, u: Tensor) -> Tensor:
        """`‖u‖_{p*} · sgn u (|u|/‖u‖_{p*})^{1/(p−1)}`."""
        u = require_floating(u, "u")
        return _gradient(u, 1 / self._exponent)

    def step(self, x: Tensor, delta: Tensor) -> Tensor:
        """`∇R*(∇R(x) − delta)`; where all of delta is 0, x bit for bit.

        With `q = 1/(p−1)`, `ρ = delta/u` and the weights `w = |x|^p/‖x‖_p^p` the norm changes by
        `λ = (1/p*) log Σ w |1−ρ|^{p*}` and the entry by `|1−ρ|^q e^{(1−q)λ}`: as an increment
        where `|ρ| ≤ ½`.
        """
        x, delta = require_pair(x, delta, "delta")
        if x.dtype in (torch.float16, torch.bfloat16):
            moved = self._moved(x.float(), delta.float()).to(x.dtype)
        else:
            moved = self._moved(x, delta)
        return keep((delta == 0).all() | x.isinf(), x, moved)

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        e = self._exponent
        q = 1 / e
        u = self.to_dual(x)
        near = delta.abs() <= 0.5 * u.abs()
        ratio = torch.where(near & (u != 0), delta / torch.where(u == 0, 1.0, u), 0.0)
        log_ratio = torch.log1p(-ratio)
        direct = self.to_primal(u - delta)
        norm = LpHorizon(self.p).gauge(x)
        share = power(magnitude(x) / torch.where(norm > 0, norm, 1.0), e + 1)
        rise = (share * expm1(float(q + 1) * log_ratio)).sum()
        shift = float(1 - q) / float(q + 1) * torch.log1p(rise.clamp(min=-0.9))
        close = x + x * expm1(float(q) * log_ratio + shift)
        # One entry past the half changes the norm of all: then the dual is accurate to its norm.
        return torch.where(near.all(), close, direct)

    def radial_growth(self) -> RadialGrowth:
        """`dE/dQ = Q`: `E = Q²/2`."""
        return RadialGrowth(2.0, 0.0)

    def horizon(self) -> LpHorizon:
        """ℓp."""
        return LpHorizon(self.p)


def _gradient(x: Tensor, exponent: Fraction) -> Tensor:
    """`∇ ½‖x‖²` of the norm of order `exponent + 1`."""
    norm = LpHorizon(float(exponent + 1)).gauge(x)
    unit = magnitude(x) / torch.where(norm > 0, norm, 1.0)
    return signed(norm * power(unit, exponent), x)
