"""The duality gap of the linearised max-margin problem: stationarity in the horizon's own norm.

At θ scaled to `Q(θ) = 1`, with `q = min_i q_i(θ)`, no direction v with `Q(v) <= 1` has all
`⟨∇q_i(θ), v⟩` above `min Q°(Σ μ_i ∇q_i)` over `μ >= 0, Σ μ_i = 1`; θ itself has `L q` (Euler). The
two agree exactly where θ is a KKT point.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from mirrorflow.arrays import Array
from mirrorflow.diagnostics.kkt.cone import KinkCone
from mirrorflow.diagnostics.kkt.dual_norm import DualNorm

__all__ = ["least_dual_norm", "most_generators"]

_MOST = 800  # generators, above which a Newton step is too long
_WORK = 4e9  # generators² × entries
_STAGES, _SHRINK = 22, 0.3
_NEWTON = 12
_RIDGE = 1e-14


def most_generators(entries: int) -> int:
    """How many margins and kinks take part, of a net with so many parameters."""
    return min(_MOST, max(1, int(math.sqrt(_WORK / entries))))


def least_dual_norm(cone: KinkCone, norm: DualNorm, start: Array) -> Array:
    """`(λ, κ)` that minimises `Q°(Σ λ_i g_i + Σ κ_j d_j)/Σ λ_i` over `λ >= 0`, `0 <= κ_j <= λ_i`.

    The ratio is minimised as `½ Q°² − Σ λ`, smoothed, by a barrier method; smoothing and barrier
    go to 0 together.

    Args:
        cone: the m gradients g, with their K kinks d.
        norm: the dual of the horizon.
        start: (m,) multipliers to begin from.

    Returns:
        (m + K,), of any scale.
    """
    m, count = len(cone.base), len(cone.base) + len(cone.owner)
    columns = np.vstack([cone.base, cone.extra]).astype(np.float64, copy=False)
    scale = np.maximum(np.linalg.norm(cone.base.astype(np.float64, copy=False), axis=1), 1e-300)
    scale = np.concatenate([scale, scale[cone.owner]])
    columns = columns / scale[:, None]
    gain = np.concatenate([1 / scale[:m], np.zeros(count - m)])
    y = np.maximum(start, 0.0) * scale[:m]
    y = y + 1e-2 * float(y.max()) if y.max() > 0 else np.ones(m)
    y = np.concatenate([y, 0.5 * y[cone.owner]])
    problem = _Problem(columns, gain, norm, cone.owner, m)
    best, best_ratio = y, math.inf
    y = problem.rescaled(y)
    r = y @ columns
    sigma = 0.1 * float(np.abs(r).max(initial=0.0)) + 1e-300
    weight = 0.1 * float(gain @ y) / count
    for _ in range(_STAGES):
        try:
            y = problem.centre(y, sigma, weight)
        except (LinAlgError, ValueError):  # rounding, close to the end
            break
        y = problem.rescaled(y)
        ratio = problem.ratio(y)
        if ratio < best_ratio:
            done = best_ratio - ratio <= 1e-9 * ratio
            best, best_ratio = y, ratio
            if done:
                break
        sigma, weight = sigma * _SHRINK, weight * _SHRINK
    found: Array = best / scale
    return found


class _Problem:
    def __init__(
        self, columns: Array, gain: Array, norm: DualNorm, owner: np.ndarray, m: int
    ) -> None:
        self.columns, self.gain, self.norm = columns, gain, norm
        self.owner, self.m = owner, m
        self.at = m + np.arange(len(owner))

    def ratio(self, y: Array) -> float:
        return math.sqrt(2 * self.norm.value(y @ self.columns, 0.0)) / float(self.gain @ y)

    def rescaled(self, y: Array) -> Array:
        """The multiple of y with the smallest `½ Q°² − Σ λ`."""
        square = 2 * self.norm.value(y @ self.columns, 0.0)
        return y * (float(self.gain @ y) / square) if square > 0 else y

    def _slacks(self, y: Array) -> Array:
        return np.concatenate([y, y[self.owner] - y[self.at]])

    def _value(self, y: Array, sigma: float, weight: float) -> float:
        slacks = self._slacks(y)
        if not (slacks > 0).all():
            return math.inf
        smooth = self.norm.value(y @ self.columns, sigma)
        return smooth - float(self.gain @ y) - weight * float(np.log(slacks).sum())

    def centre(self, y: Array, sigma: float, weight: float) -> Array:
        """Newton's method at one smoothing and one weight of the barrier."""
        for _ in range(_NEWTON):
            _, gradient, hessian = self.norm.expand(y @ self.columns, self.columns, sigma)
            gradient = gradient - self.gain - weight / y
            hessian[np.arange(len(y)), np.arange(len(y))] += weight / y**2
            if len(self.owner):
                rest = y[self.owner] - y[self.at]
                np.add.at(gradient, self.owner, -weight / rest)
                gradient[self.at] += weight / rest
                bend = weight / rest**2
                np.add.at(hessian, (self.owner, self.owner), bend)
                np.add.at(hessian, (self.at, self.at), bend)
                np.add.at(hessian, (self.owner, self.at), -bend)
                np.add.at(hessian, (self.at, self.owner), -bend)
            unit = 1 / np.sqrt(np.maximum(np.diag(hessian), 1e-300))
            scaled = hessian * unit[:, None] * unit + _RIDGE * np.eye(len(y))
            step = -unit * cho_solve(cho_factor(scaled), unit * gradient)
            decrement = -float(gradient @ step)
            if not decrement > 1e-4 * weight:
                break
            fall = -np.divide(self._slacks(step), self._slacks(y))
            length = min(1.0, 0.9 / max(float(fall.max()), 1e-300))
            value = self._value(y, sigma, weight)
            while self._value(y + length * step, sigma, weight) > value - 0.1 * length * decrement:
                length *= 0.5
                if length < 1e-8:
                    return y
            y = y + length * step
        return y
