"""Log-scale form of the p-norm maps: `du/dx` is a diagonal and a rank-one term per tensor."""

# ruff: noqa: ARG002  one interface: some maps need x, some u
# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mirrorflow.arrays import Array, conjugate_order, lp_norm
from mirrorflow.flow.logscale.base import ACTIVE, ScaledMap
from mirrorflow.flow.logscale.place import Place


class ScaledPNorm(ScaledMap):
    """`u = N sgn x (|x|/N)^(p-1)` with the p-norm N of each tensor; the same at every level."""

    coupled = True

    def __init__(self, p: float, places: list[Place]) -> None:
        super().__init__(2.0)
        self.p, self.places = p, places
        self.primary = "primal" if p > 2 else "dual"

    def log_unit(self, rho: float) -> float:
        return rho

    def _each(self, v: Array, p: float, apply: Callable[[Array, float], Array]) -> Array:
        """`apply(entries, their p-norm)` tensor by tensor."""
        out = np.zeros_like(v)
        for place in self.places:
            part = v[place.at]
            out[place.at] = apply(part, lp_norm(part, p) or 1.0)
        return out

    def _unit(self, v: Array, p: float) -> Array:
        """`sgn v (|v|/N)^(p-1)`, the gradient of the p-norm."""
        return self._each(v, p, lambda a, n: np.sign(a) * (np.abs(a) / n) ** (p - 1.0))

    def dual(self, x: Array) -> Array:
        return self._each(x, self.p, lambda a, n: n * np.sign(a) * (np.abs(a) / n) ** (self.p - 1))

    def primal(self, u: Array) -> Array:
        q = conjugate_order(self.p)
        return self._each(u, q, lambda a, n: n * np.sign(a) * (np.abs(a) / n) ** (q - 1.0))

    def slope(self, x: Array, u: Array) -> Array:
        p, q = self.p, conjugate_order(self.p)
        with np.errstate(divide="ignore"):
            if p > 2:
                return (p - 1.0) * self._each(x, p, lambda a, n: (np.abs(a) / n) ** (p - 2.0))
            # from u, which is still there where x has underflowed
            return (p - 1.0) * self._each(u, q, lambda a, n: (np.abs(a) / n) ** (2.0 - q))

    def coupling(self, x: Array, u: Array) -> tuple[Array, Array]:
        columns = np.zeros((len(x), len(self.places)))
        unit = self._unit(x, self.p)
        for k, place in enumerate(self.places):
            columns[place.at, k] = unit[place.at]
        return columns, np.full(len(self.places), 2.0 - self.p)

    def mobilise(self, x: Array, u: Array, g: Array) -> Array:
        q = conjugate_order(self.p)
        with np.errstate(divide="ignore", invalid="ignore"):
            bend = self._each(u, q, lambda a, n: (np.abs(a) / n) ** (q - 2.0))
            out = np.where(g == 0.0, 0.0, (q - 1.0) * bend * g)
        unit = self._unit(u, q)
        for place in self.places:
            w = unit[place.at]
            out[place.at] += (2.0 - q) * w * float(w @ g[place.at])
        return out

    def stiffen(self, x: Array, u: Array, dx: Array) -> Array:
        columns, factors = self.coupling(x, u)
        return super().stiffen(x, u, dx) + columns @ (factors * (columns.T @ dx))

    def grown(self, x: Array, u: Array, h: float) -> Array:
        return u * np.exp(h)

    def radial_pull(self, x: Array, y: Array, u: Array) -> float:
        return float(x @ u)  # of degree one, the dual is its own derivative along the ray

    def unit_dual(self) -> float:
        return 1.0

    def energy(self, x: Array, u: Array) -> Array:
        return self._each(x, self.p, lambda a, n: np.full_like(a, 0.5 * n * n / len(a)))

    def gauge(self, x: Array) -> float:
        return lp_norm(np.array([lp_norm(x[place.at], self.p) for place in self.places]), 2.0)

    def dual_gauge(self, g: Array) -> float:
        q = conjugate_order(self.p)
        return lp_norm(np.array([lp_norm(g[place.at], q) for place in self.places]), 2.0)

    def subgradient(self, x: Array, target: Array, active: float = ACTIVE) -> Array:
        return self.dual(x) / self.gauge(x)
