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

from mirrorflow.flow.scaled import Array, ScaledMap


@dataclass(frozen=True)
class Residual:
    gap: float
    epsilon: float
    delta: float


def residual(scaled: ScaledMap, x: Array, q: Array, g: Array, p: Array) -> Residual:
    """The three numbers at `x` (d,), margins `q` (n,), weights `p` (n,), `g = J' p`."""
    size, reach, work = scaled.gauge(x), scaled.dual_gauge(g), float(g @ x)
    low = float(q.min())
    if size == 0.0 or reach == 0.0 or low <= 0.0 or work <= 0.0:
        return Residual(1.0, 1.0, np.inf)
    target = g * (size / work)
    s, weight = scaled.subgradient(x, target), scaled.residual_weight(x)
    epsilon = float(np.linalg.norm(weight * (s - target)) / np.linalg.norm(weight * s))
    delta = float(p @ (q / low - 1.0) / p.sum())
    return Residual(1.0 - work / (reach * size), epsilon, delta)
