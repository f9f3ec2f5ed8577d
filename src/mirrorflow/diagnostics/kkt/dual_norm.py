"""The dual of a net's horizon as a smooth function of a gradient, with its second derivatives.

`Q°` is a norm of the absolute entries, or of the singular values, of every block, and an ℓ norm
over the blocks. Smoothed by σ, `|r| → √(r² + σ²)` (at ℓ∞ a log-sum-exp), it is convex and twice
differentiable, and tends to `Q°` with σ → 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mirrorflow.arrays import Array, conjugate_order
from mirrorflow.diagnostics.geometry import Geometry, Group
from mirrorflow.maps import LpHorizon, SchattenHorizon

__all__ = ["DualNorm", "Part", "dual_norm"]


@dataclass(frozen=True)
class Part:
    """A dual norm of order p: of the entries at `places`, or of the singular values of `shapes`.

    Of several matrices the singular values are taken together. `shapes` is empty for entries.
    """

    order: float
    places: tuple[slice, ...]
    shapes: tuple[tuple[int, int], ...] = ()

    def expand(self, r: Array, columns: Array, sigma: float) -> tuple[float, Array, Array]:
        """Value at r, slope and second derivative along `columns`.

        Args:
            r: (d,) where.
            columns: (n, d) directions.
            sigma: of the smoothing.

        Returns:
            The norm, its derivative (n,) and its second derivative (n, n).
        """
        if not self.shapes:
            entries = np.concatenate([r[k] for k in self.places])
            whole = columns if entries.size == columns.shape[1] else self._gather(columns)
            value, slope, curve, rank_one = _norm(entries, self.order, sigma)
            first = whole @ slope
            second = (whole * curve) @ whole.T - rank_one * np.outer(first, first)
            return value, first, second
        bases = [_basis(r[k].reshape(s)) for k, s in zip(self.places, self.shapes, strict=True)]
        sizes = np.concatenate([values for _, values, _ in bases])
        value, slope, curve, rank_one = _norm(sizes, self.order, sigma)
        first = np.zeros(len(columns))
        second = np.zeros((len(columns), len(columns)))
        start = 0
        for place, shape, basis in zip(self.places, self.shapes, bases, strict=True):
            stop = start + len(basis[1])
            directions = columns[:, place].reshape(-1, *shape)
            own, bent = _along(directions, basis, slope[start:stop], curve[start:stop])
            first, second, start = first + own, second + bent, stop
        return value, first, second - rank_one * np.outer(first, first)

    def value(self, r: Array, sigma: float) -> float:
        """The smoothed norm at r."""
        if not self.shapes:
            return _norm(np.concatenate([r[k] for k in self.places]), self.order, sigma)[0]
        matrices = [r[k].reshape(s) for k, s in zip(self.places, self.shapes, strict=True)]
        sizes = np.concatenate([np.linalg.svd(m, compute_uv=False) for m in matrices])
        return _norm(sizes, self.order, sigma)[0]

    def _gather(self, columns: Array) -> Array:
        if len(self.places) == 1:
            return columns[:, self.places[0]]
        return np.concatenate([columns[:, k] for k in self.places], axis=1)


@dataclass(frozen=True)
class DualNorm:
    """`Q°(g) = ‖(Q_b°(g_b))_b‖` of an outer order over parts."""

    parts: tuple[Part, ...]
    order: float

    def expand(self, r: Array, columns: Array, sigma: float) -> tuple[float, Array, Array]:
        """`½ Q°(r)²`, with its first and second derivative along `columns`; see `Part.expand`."""
        found = [part.expand(r, columns, sigma) for part in self.parts]
        values = np.array([value for value, _, _ in found])
        outer, slope, curve, rank_one = _norm(values, self.order, 0.0)
        first = np.array([f for _, f, _ in found])  # (parts, n)
        gradient = outer * (slope @ first)
        bent = np.outer(slope, slope) * (1 - outer * rank_one) + outer * np.diag(curve)
        second = first.T @ bent @ first
        for weight, (_, _, own) in zip(outer * slope, found, strict=True):
            second = second + weight * own
        return 0.5 * outer * outer, gradient, second

    def value(self, r: Array, sigma: float) -> float:
        """`½ Q°(r)²`."""
        values = np.array([part.value(r, sigma) for part in self.parts])
        return 0.5 * _norm(values, self.order, 0.0)[0] ** 2


def dual_norm(shape: Geometry, sizes: dict[str, tuple[int, ...]]) -> DualNorm | None:
    """The dual of the horizon of a net; None where maps differ, or a horizon is no ℓp or Schatten.

    Args:
        shape: the geometry of the net.
        sizes: the shapes of its parameters, in the order of the flat vector.
    """
    if not shape.joint:
        return None
    group, starts, start = shape.groups[0], {}, 0
    for name, size in sizes.items():
        starts[name] = slice(start, start + math.prod(size))
        start += math.prod(size)
    parts = []
    for block in group.blocks:
        horizon = block.horizon
        if not isinstance(horizon, LpHorizon | SchattenHorizon):
            return None
        places = tuple(starts[name] for name in block.names)
        shapes: tuple[tuple[int, int], ...] = ()
        if isinstance(horizon, SchattenHorizon):
            shapes = tuple(_matrix(sizes[name]) for name in block.names)
        parts.append(Part(conjugate_order(horizon.p), places, shapes))
    return _merged(group, parts)


def _merged(group: Group, parts: list[Part]) -> DualNorm | None:
    """Parts of the order that their combination has are one part: an outer ℓ∞ is not smooth."""
    outer = conjugate_order(group.alpha)
    same = all(part.order == outer for part in parts)
    if same and len({bool(part.shapes) for part in parts}) == 1:
        places = tuple(place for part in parts for place in part.places)
        shapes = tuple(shape for part in parts for shape in part.shapes)
        return DualNorm((Part(outer, places, shapes),), 1.0)
    if len(parts) > 1 and math.isinf(outer):
        return None
    return DualNorm(tuple(parts), outer if len(parts) > 1 else 1.0)


def _matrix(size: tuple[int, ...]) -> tuple[int, int]:
    rows = 1 if len(size) < 2 else size[0]
    return rows, math.prod(size) // rows


def _norm(x: Array, p: float, sigma: float) -> tuple[float, Array, Array, float]:
    """`S(x)`, its slope h, and `diag(m), c` of its second derivative `diag(m) − c h hᵀ`."""
    if math.isinf(p):
        # σ log Σ 2 cosh(x/σ)
        size = np.abs(x)
        top = float(size.max())
        if sigma == 0 or len(x) == 1:
            return top, np.where(size == top, np.sign(x), 0.0), np.zeros_like(x), 0.0
        plus, minus = np.exp((size - top) / sigma), np.exp((-size - top) / sigma)
        total = float(plus.sum() + minus.sum())
        slope = np.sign(x) * (plus - minus) / total
        curve = (plus + minus) / total / sigma
        return top + sigma * math.log(total), slope, curve, 1 / sigma
    rho = np.sqrt(x * x + sigma * sigma)
    top = float(rho.max())
    if top == 0:
        return 0.0, np.zeros_like(x), np.zeros_like(x), 0.0
    value = float(top * ((rho / top) ** p).sum() ** (1 / p))
    u = np.maximum(rho / value, 1e-300)
    power = u ** (p - 2)
    curve = (power + (p - 2) * power * (x / (value * u)) ** 2) / value
    return value, power * x / value, curve, (p - 1) / value


def _basis(matrix: Array) -> tuple[Array, Array, Array]:
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return left, values, right


def _along(
    z: Array, basis: tuple[Array, Array, Array], slope: Array, curve: Array
) -> tuple[Array, Array]:
    """First derivatives along matrices z (n, a, b), and the second ones less the rank-one term.

    With `Ẑ = Uᵀ Z V` the second derivative of a function of singular values weighs the symmetric
    part of Ẑ by the divided differences of its slope, the antisymmetric one by
    `(h_i + h_j)/(σ_i + σ_j)`, and what lies outside the two spaces by `h_i/σ_i`.
    """
    left, values, right = basis
    n, k = len(z), len(values)
    onto = np.matmul(left.T, z)  # (n, k, b)
    square = np.matmul(onto, right.T)
    first = np.einsum("nii,i->n", square, slope)
    outside = np.divide(slope, values, out=curve.copy(), where=values > 0)
    above, below = values[:, None] + values, values[:, None] - values
    near = np.abs(below) <= 1e-9 * max(float(values.max()), 1e-300)
    mean = 0.5 * (curve[:, None] + curve)
    alike = np.where(near, mean, (slope[:, None] - slope) / np.where(near, 1.0, below))
    apart = np.divide(slope[:, None] + slope, above, out=mean.copy(), where=above > 0)
    even = 0.5 * (square + square.transpose(0, 2, 1))
    odd = 0.5 * (square - square.transpose(0, 2, 1))
    second = _weighted(even.reshape(n, -1), alike.reshape(-1))
    second += _weighted(odd.reshape(n, -1), apart.reshape(-1))
    if z.shape[2] > k:  # columns beyond the row space
        wide = np.repeat(outside, z.shape[2])
        second += _weighted(onto.reshape(n, -1), wide)
        second -= _weighted(square.reshape(n, -1), np.repeat(outside, k))
    if z.shape[1] > k:  # rows beyond the column space
        over = np.matmul(z, right.T)  # (n, a, k)
        second += _weighted(over.reshape(n, -1), np.tile(outside, z.shape[1]))
        second -= _weighted(square.reshape(n, -1), np.tile(outside, k))
    return first, second


def _weighted(rows: Array, weights: Array) -> Array:
    found: Array = (rows * weights) @ rows.T
    return found
