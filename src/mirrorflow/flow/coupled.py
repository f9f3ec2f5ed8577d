"""Log-scale forms of maps that couple the entries of a tensor: p-norm and spectral maps.

Their `du/dx` is no diagonal. That of `½|x|_p^2` is a diagonal and a rank-one term per tensor; that
of a spectral map is diagonal in the basis of the singular vectors `a_i b_j'`, symmetric and
antisymmetric in i and j (Daleckii-Krein: divided differences of the scalar map):

    a_i b_i':                      r''(x_i)
    (a_i b_j' + a_j b_i')/√2:      (u_i - u_j)/(x_i - x_j)
    (a_i b_j' - a_j b_i')/√2:      (u_i + u_j)/(x_i + x_j)
    a_i b_j',  one of them beyond the smaller dimension:      u_i/x_i
"""

# ruff: noqa: ARG002  one interface: some maps need x, some u
# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirrorflow.flow.scaled import ACTIVE, Array, ScaledMap, conjugate_order, lp_norm

_CLOSE = 1e-7  # relative distance of singular values below which a difference is a derivative


@dataclass(frozen=True)
class Place:
    """Where the entries of a tensor, in its own order, are in x; a tensor is its first dimension by
    the rest, a vector one row."""

    at: NDArray[np.int64]
    shape: tuple[int, int]

    @staticmethod
    def of(at: NDArray[np.int64], shape: tuple[int, ...]) -> Place:
        rows = shape[0] if len(shape) > 1 else 1
        return Place(at, (rows, len(at) // rows))

    def matrix(self, x: Array) -> Array:
        return x[self.at].reshape(self.shape)


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


class ScaledSpectral(ScaledMap):
    """The scalar map `inner` on the singular values of each tensor."""

    coupled = dense = True

    def __init__(self, inner: ScaledMap, places: list[Place]) -> None:
        super().__init__(inner.order)
        self.inner, self.places = inner, places
        self.primary = inner.primary
        self._known: tuple[Array, Array, Array] | None = None

    def at_level(self, rho: float, x: Array, step: float, delta: float) -> None:
        self.inner.at_level(rho, self._values(x), step, delta)
        self.rho, self.scale, self._known = rho, self.inner.scale, None

    def reach(self) -> float:
        return self.inner.reach()

    def _values(self, x: Array) -> Array:
        """All singular values, tensor by tensor."""
        return np.concatenate(
            [np.linalg.svd(place.matrix(x), compute_uv=False) for place in self.places]
        )

    def _map(self, v: Array, apply: Callable[[Array], Array]) -> Array:
        """`A diag(apply(values)) B'`, the values of all tensors in one array."""
        parts = [np.linalg.svd(place.matrix(v), full_matrices=False) for place in self.places]
        new = apply(np.concatenate([values for _, values, _ in parts]))
        out, begin = np.zeros_like(v), 0
        for place, (left, values, right) in zip(self.places, parts, strict=True):
            end = begin + len(values)
            out[place.at] = ((left * new[begin:end]) @ right).ravel()
            begin = end
        return out

    def dual(self, x: Array) -> Array:
        return self._map(x, self.inner.dual)

    def primal(self, u: Array) -> Array:
        return self._map(u, self.inner.primal)

    def _both(self, values: Array) -> tuple[Array, Array]:
        """Singular values of x and of u, from those of the one that carries them."""
        if self.primary == "dual":
            return self.inner.primal(values), values
        return values, self.inner.dual(values)

    def basis(self, x: Array, u: Array) -> Array:
        return self._diagonal(x, u)[0]

    def slope(self, x: Array, u: Array) -> Array:
        return self._diagonal(x, u)[1]

    def _diagonal(self, x: Array, u: Array) -> tuple[Array, Array]:
        carrier = u if self.primary == "dual" else x
        if self._known is None or not np.array_equal(self._known[0], carrier):
            basis, slopes = np.zeros((len(x), len(x))), np.zeros(len(x))
            for place in self.places:
                directions, steep = self._tensor(place.matrix(carrier))
                basis[np.ix_(place.at, place.at)] = directions
                slopes[place.at] = steep
            self._known = carrier.copy(), basis, slopes
        return self._known[1], self._known[2]

    def _tensor(self, carrier: Array) -> tuple[Array, Array]:
        left, values, right = np.linalg.svd(carrier)
        rows, columns = carrier.shape
        k = len(values)
        x, u = self._both(values)
        directions = np.kron(left, right.T)  # column i * columns + j is a_i b_j'
        slopes = np.zeros((rows, columns))
        flat = self.inner.slope(np.zeros(1), np.zeros(1))[0]
        outer = _ratio(u, x, np.full(k, flat))
        slopes[k:, :] = outer[None, :] if rows > k else 0.0
        slopes[:, k:] = outer[:, None] if columns > k else 0.0
        mean = self.inner.slope(*(0.5 * np.add.outer(v, v).ravel() for v in (x, u))).reshape(k, k)
        apart, total = np.subtract.outer(x, x), np.add.outer(x, x)
        symmetric = _ratio(np.subtract.outer(u, u), apart, mean)
        symmetric = np.where(np.abs(apart) <= _CLOSE * total, mean, symmetric)
        opposite = _ratio(np.add.outer(u, u), total, np.full((k, k), flat))
        i, j = np.triu_indices(k, 1)
        slopes[i, j], slopes[j, i] = symmetric[i, j], opposite[i, j]
        slopes[np.arange(k), np.arange(k)] = self.inner.slope(x, u)
        one, two = directions[:, i * columns + j], directions[:, j * columns + i]
        directions[:, i * columns + j] = (one + two) / np.sqrt(2.0)
        directions[:, j * columns + i] = (one - two) / np.sqrt(2.0)
        return directions, slopes.ravel()

    def mobilise(self, x: Array, u: Array, g: Array) -> Array:
        basis, slopes = self._diagonal(x, u)
        along = basis.T @ g
        with np.errstate(divide="ignore", invalid="ignore"):
            return basis @ np.where(along == 0.0, 0.0, along / slopes)

    def grown(self, x: Array, u: Array, h: float) -> Array:
        if self.primary == "dual":
            return self._map(u, lambda v: self.inner.grown(self.inner.primal(v), v, h))
        return self._map(x, lambda v: self.inner.dual(v * np.exp(h)))

    def radial_pull(self, x: Array, y: Array, u: Array) -> float:
        return self.inner.radial_pull(self._values(x), self._values(y), self._values(u))

    def unit_dual(self) -> float:
        return self.inner.unit_dual()

    def energy(self, x: Array, u: Array) -> Array:
        carrier = u if self.primary == "dual" else x
        each = self.inner.energy(*self._both(self._values(carrier)))
        out, begin = np.zeros_like(x), 0
        for place in self.places:
            end = begin + min(place.shape)
            out[place.at] = each[begin:end].sum() / len(place.at)
            begin = end
        return out

    def gauge(self, x: Array) -> float:
        return self.inner.gauge(self._values(x))

    def dual_gauge(self, g: Array) -> float:
        return self.inner.dual_gauge(self._values(g))

    def subgradient(self, x: Array, target: Array, active: float = ACTIVE) -> Array:
        if self.order != 1.0:
            return self._map(x, lambda v: self.inner.subgradient(v, v, active))
        # nuclear norm: A B' on the space of x, off it anything of spectral norm at most 1
        top, out = self._values(x).max(), np.zeros_like(x)
        for place in self.places:
            left, values, right = np.linalg.svd(place.matrix(x), full_matrices=False)
            kept = values > active * top
            left, right = left[:, kept], right[kept]
            rest = place.matrix(target)
            rest = rest - left @ (left.T @ rest)
            rest = rest - (rest @ right.T) @ right
            outer, free, inner = np.linalg.svd(rest, full_matrices=False)
            out[place.at] = (left @ right + (outer * np.minimum(free, 1.0)) @ inner).ravel()
        return out


def _ratio(a: Array, b: Array, at_zero: Array) -> Array:
    """`a / b`; infinite where only b vanishes, `at_zero` where both do."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b != 0.0, a / np.where(b == 0.0, 1.0, b), np.where(a, np.inf, at_zero))
