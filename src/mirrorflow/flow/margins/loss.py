"""The losses as weights of margins, in the log domain: `w_i = -d loss / d q_i`.

exponential   -log w = q
logistic      -log w = q + log(1 + e^-q)
cross-entropy -log w_ik = q_ik + log(1 + sum_l e^-q_il)

where l runs over the wrong classes of point i.
"""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array
from mirrorflow.losses import Loss

_LATE = 45.0  # log(1 + e^-45) is below rounding: all losses are exponential from here on


def logsumexp(a: Array) -> float:
    top = float(a.max())
    return top + float(np.log(np.exp(a - top).sum()))


class FlowLoss:
    """One loss; `point` (n,) groups the margins of a data point."""

    def __init__(self, name: Loss, point: NDArray[np.int64]) -> None:
        self.name, self.point = name, point
        self.count = int(point.max()) + 1
        # a point with one margin makes cross-entropy the logistic loss
        self.coupled = name == "cross_entropy" and self.count < len(point)

    def _softplus(self, q: Array) -> Array:
        """Per margin, `log(1 + sum over its point of e^-q)`."""
        if not self.coupled:
            return np.logaddexp(0.0, -q)
        top = np.zeros(self.count)
        np.maximum.at(top, self.point, -q)
        total = np.zeros(self.count)
        np.add.at(total, self.point, np.exp(-q - top[self.point]))
        total = np.where(top > 0.0, total + np.expm1(-top), total)
        return (top + np.log1p(total))[self.point]

    def barrier(self, q: Array) -> Array:
        """`-log w` (n,)."""
        if self.name == "exponential" or q.min() > _LATE:
            return q
        return q + self._softplus(q)

    def barrier_jacobian(self, q: Array) -> Array | None:
        """`d(-log w)/dq` (n, n), or None for the identity."""
        if self.name == "exponential" or q.min() > _LATE:
            return None
        s = np.exp(-q - self._softplus(q))
        if not self.coupled:
            return np.diag(1.0 - s)
        return np.eye(len(q)) - (self.point[:, None] == self.point) * s[None, :]

    def log_loss(self, q: Array) -> float:
        if self.name == "exponential" or q.min() > _LATE:
            return logsumexp(-q)
        if not self.coupled:
            return float(np.log(np.logaddexp(0.0, -q).sum()))
        first = np.unique(self.point, return_index=True)[1]
        return float(np.log(self._softplus(q)[first].sum()))
