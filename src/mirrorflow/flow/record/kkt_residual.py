"""How far a point is from a KKT point, with the flow's own multipliers.

gap     = 1 - <g, x> / (Q°(g) Q(x)),            g = J' p
              zero exactly where g is in the cone of dQ(x)
epsilon = |s - lambda g| / |s|,   s in dQ nearest to lambda g,   lambda = Q(x) / <g, x>
slack   = 1 - <s, x> / Q(x)
delta   = sum_i p_i (q_i / min q - 1)

Where dQ is a set (l1, l_inf), entries that are small but not zero, or large but not largest, keep a
converged x away from its limit's set.  As in `diagnostics.certify`, s is taken from dQ at a
point that differs by a share of the largest entry; slack is what that costs, and of several shares
the one with the smallest max(epsilon, slack) counts.
"""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.diagnostics.kkt.ladder import TOLERANCES
from mirrorflow.flow.logscale.base import ScaledMap


@dataclass(frozen=True)
class Residual:
    gap: float
    epsilon: float
    delta: float
    slack: float

    @property
    def worst(self) -> float:
        """`max(epsilon, delta, slack)`."""
        return max(self.epsilon, self.delta, self.slack)


def residual(scaled: ScaledMap, x: Array, q: Array, g: Array, p: Array) -> Residual:
    """The numbers at `x` (d,), margins `q` (n,), weights `p` (n,), `g = J' p`."""
    size, reach, work = scaled.gauge(x), scaled.dual_gauge(g), float(g @ x)
    low = float(q.min())
    if size == 0.0 or reach == 0.0 or low <= 0.0 or work <= 0.0:
        return Residual(1.0, 1.0, np.inf, 0.0)
    target = g * (size / work)
    weight = scaled.residual_weight(x)
    found: list[tuple[float, float]] = []
    for active in TOLERANCES:
        s = scaled.subgradient(x, target, active)
        slack = max(0.0, 1.0 - float(s @ x) / size)
        if found and slack == found[-1][1] == 0.0:
            continue  # no entry is nearly zero or nearly largest
        found.append(
            (float(np.linalg.norm(weight * (s - target)) / np.linalg.norm(weight * s)), slack)
        )
    epsilon, slack = min(found, key=max)
    delta = float(p @ (q / low - 1.0) / p.sum())
    return Residual(1.0 - work / (reach * size), epsilon, delta, slack)
