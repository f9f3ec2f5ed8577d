"""Log-scale forms of the maps of finite index: power, the entropies, logarithmic, mixed."""

# ruff: noqa: ARG002  one interface: some maps need x, some u
# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.flow.logscale.base import ACTIVE, ScaledMap

_BIG = 20.0  # beyond it sinh, asinh and log1p equal their leading term to rounding


class ScaledPower(ScaledMap):
    """`r'(x) = sgn x |x|^(p-1)`, the same at every level."""

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.primary, self.flat_at_zero = ("primal", True) if p > 2 else ("dual", False)

    def log_unit(self, rho: float) -> float:
        return (self.order - 1.0) * rho

    def dual(self, x: Array) -> Array:
        return x.copy() if self.order == 2 else np.sign(x) * np.abs(x) ** (self.order - 1.0)

    def primal(self, u: Array) -> Array:
        return u.copy() if self.order == 2 else np.sign(u) * np.abs(u) ** (1.0 / (self.order - 1.0))

    def slope(self, x: Array, u: Array) -> Array:
        p = self.order
        if p == 2:
            return np.ones_like(x)
        if p > 2:
            return (p - 1.0) * np.abs(x) ** (p - 2.0)
        with np.errstate(divide="ignore"):
            return (p - 1.0) * np.abs(u) ** ((p - 2.0) / (p - 1.0))

    def meet(self, line: Array, v: Array, stiffness: Array) -> Array:
        # the left side is odd in x and convex for x > 0: Newton from the right is monotone
        k, b = self.order - 1.0, v + stiffness * line
        a = np.abs(b)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            x = np.fmin(a / stiffness, a ** (1.0 / k))
            for _ in range(30):
                power = x ** (k - 1.0)
                step = (power * x + stiffness * x - a) / (k * power + stiffness)
                step = np.where(np.isfinite(step), step, 0.0)
                x = np.maximum(x - step, 0.0)
                if np.all(np.abs(step) <= 1e-10 * x):
                    break
        return np.sign(b) * x

    def energy(self, x: Array, u: Array) -> Array:
        return (1.0 - 1.0 / self.order) * np.abs(x) ** self.order


class ScaledHyperbolicEntropy(ScaledMap):
    """`r'(x) = asinh(x / beta)`; the dual, a logarithm, carries the state."""

    def __init__(self, beta: float) -> None:
        super().__init__(1.0)
        self.log_beta = float(np.log(beta))

    def log_unit(self, rho: float) -> float:
        return float(np.log1p(max(rho - self.log_beta, 0.0)))

    def dual(self, x: Array) -> Array:
        with np.errstate(divide="ignore"):
            z = np.log(np.abs(x)) + (self.rho - self.log_beta)
        return (
            np.sign(x)
            * np.exp(-self.scale)
            * np.where(z > _BIG, z + np.log(2.0), np.arcsinh(np.exp(np.minimum(z, _BIG))))
        )

    def primal(self, u: Array) -> Array:
        v = np.abs(u) * np.exp(self.scale)
        low = self.log_beta - self.rho
        with np.errstate(under="ignore"):
            return np.sign(u) * np.where(
                v > _BIG,
                np.exp(np.minimum(v + low - np.log(2.0), 700.0)),
                np.exp(min(low, 700.0)) * np.sinh(np.minimum(v, _BIG)),
            )

    def slope(self, x: Array, u: Array) -> Array:
        with np.errstate(divide="ignore", under="ignore"):
            return np.exp(-self.scale) / np.maximum(
                np.hypot(x, np.exp(self.log_beta - self.rho)), 1e-290
            )

    def energy(self, x: Array, u: Array) -> Array:
        b = np.exp(self.log_beta - self.rho)
        return np.exp(-self.scale) * (np.abs(x) * np.abs(x) / (np.hypot(x, b) + b + 1e-300))


class ScaledLogarithmic(ScaledHyperbolicEntropy):
    """`r'(x) = sgn x log(1 + |x|/beta)`."""

    def dual(self, x: Array) -> Array:
        with np.errstate(divide="ignore"):
            z = np.log(np.abs(x)) + (self.rho - self.log_beta)
        return (
            np.sign(x)
            * np.exp(-self.scale)
            * np.where(z > 2 * _BIG, z, np.log1p(np.exp(np.minimum(z, 2 * _BIG))))
        )

    def primal(self, u: Array) -> Array:
        v = np.abs(u) * np.exp(self.scale)
        low = self.log_beta - self.rho
        with np.errstate(under="ignore"):
            return np.sign(u) * np.where(
                v > 2 * _BIG,
                np.exp(np.minimum(v + low, 700.0)),
                np.exp(min(low, 700.0)) * np.expm1(np.minimum(v, 2 * _BIG)),
            )

    def slope(self, x: Array, u: Array) -> Array:
        with np.errstate(divide="ignore", under="ignore"):
            return np.exp(-self.scale) / (np.abs(x) + np.exp(self.log_beta - self.rho) + 1e-290)

    def energy(self, x: Array, u: Array) -> Array:
        b = np.exp(self.log_beta - self.rho)
        return np.exp(-self.scale) * np.abs(x) - b * np.abs(u)


class ScaledNegativeEntropy(ScaledMap):
    """`r'(x) = log x` on the orthant `x >= 0`, where the subgradients of the l1 norm at x_k = 0 are
    all `s <= 1`."""

    def __init__(self) -> None:
        super().__init__(1.0)

    def log_unit(self, rho: float) -> float:
        return float(np.log1p(max(rho, 0.0)))

    def dual(self, x: Array) -> Array:
        # a trial of Newton may leave the orthant: NaN, and a shorter step is tried
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.exp(-self.scale) * (np.log(x) + self.rho)

    def primal(self, u: Array) -> Array:
        with np.errstate(under="ignore"):
            return np.exp(np.minimum(u * np.exp(self.scale) - self.rho, 700.0))

    def slope(self, x: Array, u: Array) -> Array:
        return np.exp(-self.scale) / np.maximum(x, 1e-290)

    def grown(self, x: Array, u: Array, h: float) -> Array:
        return u + h * np.exp(-self.scale)

    def unit_dual(self) -> float:
        return float(np.exp(-self.scale))

    def energy(self, x: Array, u: Array) -> Array:
        return np.exp(-self.scale) * x

    def dual_gauge(self, g: Array) -> float:
        return max(float(g.max()), 0.0)

    def subgradient(self, x: Array, target: Array, active: float = ACTIVE) -> Array:
        return np.where(x > active * x.max(), 1.0, np.minimum(target, 1.0))


class ScaledMixed(ScaledMap):
    """`r'(x) = a x + b sgn x |x|^(p-1)`.

    At level rho the coefficients are `a e^rho` and `b e^((p-1) rho)`.
    """

    def __init__(self, p: float, a: float, b: float) -> None:
        super().__init__(max(2.0, p))
        self.primary = "primal" if p > 2 else "dual"
        self.p, self.log_a, self.log_b = p, float(np.log(a)), float(np.log(b))

    def log_unit(self, rho: float) -> float:
        return max(self.log_a + rho, self.log_b + (self.p - 1.0) * rho)

    def _coefficients(self) -> tuple[float, float]:
        return (
            float(np.exp(self.log_a + self.rho - self.scale)),
            float(np.exp(self.log_b + (self.p - 1.0) * self.rho - self.scale)),
        )

    def dual(self, x: Array) -> Array:
        a, b = self._coefficients()
        return a * x + b * np.sign(x) * np.abs(x) ** (self.p - 1.0)

    def primal(self, u: Array) -> Array:
        a, b = self._coefficients()
        v, k = np.abs(u), self.p - 1.0
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            top = np.minimum(v / a if a > 0 else np.inf, (v / b) ** (1.0 / k) if b > 0 else np.inf)
        # the left side is convex (p > 2) or concave in x: Newton is monotone from that side
        x = top if self.p >= 2 else np.minimum(0.5 * top, (0.5 * top**1.0))
        if self.p < 2:
            x = np.minimum(0.5 * v / max(a, 1e-300), (0.5 * v / max(b, 1e-300)) ** (1.0 / k))
        for _ in range(60):
            with np.errstate(divide="ignore", invalid="ignore"):
                step = (v - a * x - b * x**k) / (a + b * k * x ** (k - 1.0))
            step = np.where(np.isfinite(step), step, 0.0)
            x = np.maximum(x + step, 0.0)
            if np.all(np.abs(step) <= 4e-16 * x):
                break
        return np.sign(u) * x

    def slope(self, x: Array, u: Array) -> Array:
        a, b = self._coefficients()
        with np.errstate(divide="ignore"):
            return a + b * (self.p - 1.0) * np.abs(x) ** (self.p - 2.0)

    def energy(self, x: Array, u: Array) -> Array:
        a, b = self._coefficients()
        return 0.5 * a * x * x + b * (1.0 - 1.0 / self.p) * np.abs(x) ** self.p
