"""Log-scale form of the spectral maps: a scalar map on the singular values.

`du/dx` is diagonal in the basis of the singular vectors `a_i b_j'`, symmetric and antisymmetric in
i and j (Daleckii-Krein: divided differences of the scalar map):

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

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.flow.logscale.base import ACTIVE, ScaledMap
from mirrorflow.flow.logscale.place import Place


class ScaledSpectral(ScaledMap):
    """The scalar map `inner` on the singular values of each tensor."""

    coupled = dense = True

    def __init__(self, inner: ScaledMap, places: list[Place]) -> None:
        super().__init__(inner.order)
        self.inner, self.places = inner, places
        self.primary, self.rapid, self.slaved = inner.primary, inner.rapid, inner.slaved
        self._known: tuple[Array, Array, Array] | None = None

    def at_level(self, rho: float, x: Array, step: float, delta: float) -> None:
        self.inner.at_level(rho, self._values(x), step, delta)
        self.rho, self.scale, self._known = rho, self.inner.scale, None

    def reach(self) -> float:
        return self.inner.reach()

    def scale_level(self, log_unit: float) -> float:
        return self.inner.scale_level(log_unit)

    def steepness(self, x: Array) -> float:
        return self.inner.steepness(self._values(x))

    def steepness_level(self, x: Array, log_unit: float) -> float:
        return self.inner.steepness_level(self._values(x), log_unit)

    def stretched(self, x: Array, near: Array, u: Array, u_end: Array, share: float) -> Array:
        first, last, size = (float(self._values(v).max()) for v in (u, u_end, near))
        at = first + share * (last - first)
        return near * (float(self.inner.primal(np.array([at]))[0]) / size)

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

    def inverse(self, u: Array) -> Array:
        return self._map(u, self.inner.inverse)

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
            top = self._values(carrier).max(keepdims=True)
            for place in self.places:
                directions, steep = self._tensor(place.matrix(carrier), top)
                basis[np.ix_(place.at, place.at)] = directions
                slopes[place.at] = steep
            self._known = carrier.copy(), basis, slopes
        return self._known[1], self._known[2]

    def _tensor(self, carrier: Array, top: Array) -> tuple[Array, Array]:
        def each(apply: Callable[..., Array], *values: Array) -> Array:
            """With the largest value of all tensors, to which the floor of a rapid map refers."""
            last = tops if len(values) == 2 else (top,)
            return apply(*(np.append(v, t) for v, t in zip(values, last, strict=True)))[:-1]

        left, values, right = np.linalg.svd(carrier)
        rows, columns = carrier.shape
        k = len(values)
        dual = self.primary == "dual"
        other = each(self.inner.primal if dual else self.inner.dual, values)
        x, u = (other, values) if dual else (values, other)
        tops = self._both(top)
        directions = np.kron(left, right.T)  # column i * columns + j is a_i b_j'
        slopes = np.zeros((rows, columns))
        flat = each(self.inner.slope, np.zeros(1), np.zeros(1))[0]
        outer = _ratio(u, x, np.full(k, flat))
        slopes[k:, :] = outer[None, :] if rows > k else 0.0
        slopes[:, k:] = outer[:, None] if columns > k else 0.0
        mean = each(self.inner.slope, *(0.5 * np.add.outer(v, v).ravel() for v in (x, u)))
        mean = mean.reshape(k, k)
        apart, total = np.subtract.outer(x, x), np.add.outer(x, x)
        symmetric = _ratio(np.subtract.outer(u, u), apart, mean)
        symmetric = np.where(np.abs(apart) <= self.inner.smooth_over(total), mean, symmetric)
        opposite = _ratio(np.add.outer(u, u), total, np.full((k, k), flat))
        i, j = np.triu_indices(k, 1)
        slopes[i, j], slopes[j, i] = symmetric[i, j], opposite[i, j]
        slopes[np.arange(k), np.arange(k)] = each(self.inner.slope, x, u)
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
        if np.isinf(self.order):
            return self._of_the_largest(x, target, active)
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

    def _of_the_largest(self, x: Array, target: Array, active: float) -> Array:
        """Spectral norm: `A H B'` on the spaces of the largest values, H >= 0 of trace 1."""
        parts = [np.linalg.svd(place.matrix(x), full_matrices=False) for place in self.places]
        top = max(float(values.max()) for _, values, _ in parts)
        found, out = [], np.zeros_like(x)
        for place, (left, values, right) in zip(self.places, parts, strict=True):
            kept = values >= (1.0 - active) * top
            left, right = left[:, kept], right[kept]
            inner = left.T @ place.matrix(target) @ right.T
            sizes, turn = np.linalg.eigh(0.5 * (inner + inner.T))
            found.append((place, left @ turn, np.maximum(sizes, 0.0), turn.T @ right))
        total = sum(float(sizes.sum()) for _, _, sizes, _ in found)
        if total == 0.0:
            found = [(place, a, np.ones_like(sizes), b) for place, a, sizes, b in found]
            total = float(sum(len(sizes) for _, _, sizes, _ in found))
        for place, a, sizes, b in found:
            out[place.at] = ((a * (sizes / total)) @ b).ravel()
        return out


def _ratio(a: Array, b: Array, at_zero: Array) -> Array:
    """`a / b`; infinite where only b vanishes, `at_zero` where both do."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b != 0.0, a / np.where(b == 0.0, 1.0, b), np.where(a, np.inf, at_zero))
