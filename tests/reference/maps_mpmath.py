"""Every separable map from its textbook formula, to 50 digits: the oracle of the fast versions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp

# 50 digits of the answer, also where the textbook formula cancels 60.
mp.mp.dps = 110

Function = Callable[[mp.mpf], mp.mpf]


def odd(f: Function) -> Function:
    return lambda x: mp.sign(x) * f(abs(x))


@dataclass(frozen=True)
class Reference:
    """`r`, `r'`, its inverse and `r''` of an even potential."""

    potential: Function
    to_dual: Function
    to_primal: Function
    hessian: Function

    def dual_energy(self, x: mp.mpf) -> mp.mpf:
        return x * self.to_dual(x) - self.potential(x)

    def conjugate(self, u: mp.mpf) -> mp.mpf:
        return self.dual_energy(self.to_primal(u))

    def bregman(self, x: mp.mpf, y: mp.mpf) -> mp.mpf:
        return self.potential(x) - self.potential(y) - self.to_dual(y) * (x - y)

    def step(self, x: mp.mpf, delta: mp.mpf) -> mp.mpf:
        return self.to_primal(self.to_dual(x) - delta)


def quadratic() -> Reference:
    return Reference(lambda x: x * x / 2, lambda x: x, lambda u: u, lambda _: mp.mpf(1))


def power(p: str) -> Reference:
    q = mp.mpf(mp.fraction(*map(int, p.split("/")))) if "/" in p else mp.mpf(p)
    return Reference(
        lambda x: abs(x) ** q / q,
        odd(lambda x: x ** (q - 1)),
        odd(lambda u: u ** (1 / (q - 1))),
        lambda x: (q - 1) * abs(x) ** (q - 2),
    )


def hyperbolic_entropy(beta: str) -> Reference:
    b = mp.mpf(beta)
    return Reference(
        lambda x: x * mp.asinh(x / b) - mp.sqrt(x * x + b * b) + b,
        lambda x: mp.asinh(x / b),
        lambda u: b * mp.sinh(u),
        lambda x: 1 / mp.sqrt(x * x + b * b),
    )


def logarithmic(beta: str) -> Reference:
    b = mp.mpf(beta)
    return Reference(
        lambda x: (abs(x) + b) * mp.log1p(abs(x) / b) - abs(x),
        odd(lambda x: mp.log1p(x / b)),
        odd(lambda u: b * mp.expm1(u)),
        lambda x: 1 / (abs(x) + b),
    )


def mixed(p: str, a: str, b: str) -> Reference:
    q, v, w = mp.mpf(p), mp.mpf(a), mp.mpf(b)

    def dual(x: mp.mpf) -> mp.mpf:
        return v * x + w * x ** (q - 1)

    def primal(u: mp.mpf) -> mp.mpf:
        if u == 0:
            return u
        # Newton on a convex increasing function of log x, from the right.
        log_x = min(mp.log(u / v), mp.log(u / w) / (q - 1))
        for _ in range(200):
            x = mp.exp(log_x)
            change = mp.log(dual(x) / u) * dual(x) / (v * x + (q - 1) * w * x ** (q - 1))
            log_x -= change
            if abs(change) < mp.mpf(10) ** -100:
                break
        return mp.exp(log_x)

    return Reference(
        lambda x: v * x * x / 2 + w * abs(x) ** q / q,
        odd(dual),
        odd(primal),
        lambda x: v + w * (q - 1) * abs(x) ** (q - 2),
    )


def scaled(other: Reference, weight: str) -> Reference:
    w = mp.mpf(weight)
    return Reference(
        lambda x: w * other.potential(x),
        lambda x: w * other.to_dual(x),
        lambda u: other.to_primal(u / w),
        lambda x: w * other.hessian(x),
    )


def cosh(scale: str) -> Reference:
    s = mp.mpf(scale)
    return Reference(
        lambda x: s * s * (mp.cosh(x / s) - 1),
        lambda x: s * mp.sinh(x / s),
        lambda u: s * mp.asinh(u / s),
        lambda x: mp.cosh(x / s),
    )


def exponential() -> Reference:
    return Reference(
        lambda x: mp.expm1(abs(x)) - abs(x),
        odd(mp.expm1),
        odd(mp.log1p),
        lambda x: mp.exp(abs(x)),
    )


def double_exponential() -> Reference:
    def potential(x: mp.mpf) -> mp.mpf:
        # In z = sinh t the integrand is analytic in a strip; pieces follow its growth. Its scale
        # is divided out, since mp.quad stops at an absolute error.
        end = abs(mp.sinh(x))
        pieces = [max(mp.mpf(0), end - cut) for cut in (120, 60, 30, 15, 8, 4, 2, 1, 0.5, 0)]
        points = sorted({mp.mpf(0), *pieces})
        scale = mp.sinh(end)
        with mp.workdps(60):
            return scale * mp.quad(lambda z: mp.sinh(z) / scale / mp.sqrt(1 + z * z), points)

    return Reference(
        potential,
        lambda x: mp.sinh(mp.sinh(x)),
        lambda u: mp.asinh(mp.asinh(u)),
        lambda x: mp.cosh(mp.sinh(x)) * mp.cosh(x),
    )
