"""How far a point is from a KKT point, with the flow's own multipliers.

gap     = 1 - <g, x> / (Q°(g) Q(x)),            g = J' p
              zero exactly where g is in the cone of dQ(x)
epsilon = min over s in dQ(x) of |s - lambda g| / |s|,   lambda = Q(x) / <g, x>
delta   = sum_i p_i (q_i / min q - 1)
"""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mirrorflow.flow.scaled import Array, ScaledMap, lp_norm

_ACTIVE = 1e-6  # entries below this share of the largest count as zero in a subgradient


@dataclass(frozen=True)
class Residual:
    gap: float
    epsilon: float
    delta: float


def subgradient_near(x: Array, target: Array, order: float) -> Array:
    """The element of `dQ(x)` for the order-p norm nearest to `target` (d,), entry by entry."""
    a = np.abs(x)
    top = a.max()
    if order == 1.0:
        return np.where(a > _ACTIVE * top, np.sign(x), np.clip(target, -1.0, 1.0))
    if np.isinf(order):
        weight = np.where(a >= (1.0 - _ACTIVE) * top, np.maximum(target * np.sign(x), 0.0), 0.0)
        total = weight.sum()
        if total == 0.0:
            weight = (a == top).astype(np.float64)
            total = weight.sum()
        return np.sign(x) * weight / total
    size = lp_norm(x, order)
    return np.sign(x) * (a / size) ** (order - 1.0)


def residual(scaled: ScaledMap, x: Array, q: Array, g: Array, p: Array) -> Residual:
    """The three numbers at `x` (d,), margins `q` (n,), weights `p` (n,), `g = J' p`."""
    size, reach, work = scaled.gauge(x), scaled.dual_gauge(g), float(g @ x)
    low = float(q.min())
    if size == 0.0 or reach == 0.0 or low <= 0.0 or work <= 0.0:
        return Residual(1.0, 1.0, np.inf)
    target = g * (size / work)
    s = subgradient_near(x, target, scaled.order)
    epsilon = float(np.linalg.norm(s - target) / np.linalg.norm(s))
    delta = float(p @ (q / low - 1.0) / p.sum())
    return Residual(1.0 - work / (reach * size), epsilon, delta)
