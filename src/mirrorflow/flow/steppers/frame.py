"""The equations at one level: map, margins and loss in the units of `theta = exp(rho) x`."""

from __future__ import annotations

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.flow.logscale.base import ScaledMap
from mirrorflow.flow.margins.base import Margins
from mirrorflow.flow.margins.loss import FlowLoss

_LATE = 45.0


class Frame:
    """Units of a step: `theta = e^rho x`, `u_true = e^scale u`, `q_true = e^(L rho) q`.

    The multipliers then carry `e^(scale - (L - 1) rho)` and temperatures `e^(L rho)`.
    """

    def __init__(self, margins: Margins, scaled: ScaledMap, loss: FlowLoss) -> None:
        self.margins, self.map, self.loss = margins, scaled, loss
        self.newton_count = 0
        self.rho = 0.0

    @property
    def log_unit(self) -> float:
        """`log` of the unit of q."""
        return self.margins.degree * self.rho

    @property
    def log_mu_unit(self) -> float:
        """`log` of the unit of mu."""
        return self.map.scale - (self.margins.degree - 1.0) * self.rho

    @property
    def mu_level(self) -> float:
        """The same in units of q; a double where it is none itself."""
        below = (self.margins.degree - 1.0) * self.rho * float(np.exp(-self.log_unit))
        return self.map.scale_level(self.log_unit) - below

    def set_level(self, rho: float, x: Array, step: float, delta: float) -> None:
        self.rho = rho
        self.map.at_level(rho, x, step, delta)

    def _late(self, q: Array) -> bool:
        low = float(q.min())
        return self.loss.name == "exponential" or (
            low > 0 and np.log(low) + self.log_unit > np.log(_LATE)
        )

    def barrier(self, q: Array) -> Array:
        """`-log w` in units of q."""
        if self._late(q):
            return q
        unit = float(np.exp(self.log_unit))
        return self.loss.barrier(q * unit) / unit

    def barrier_jacobian(self, q: Array) -> Array | None:
        return (
            None if self._late(q) else self.loss.barrier_jacobian(q * float(np.exp(self.log_unit)))
        )

    def one(self) -> float:
        """The true temperature 1 in units of q; 0 when it underflows."""
        return float(np.exp(-self.log_unit)) if self.log_unit < 600.0 else 0.0

    def soft_level(self, q: Array) -> float:
        """`-log sum w` in units of q: the smallest barrier, softened."""
        return self.soft_level_of(self.barrier(q))

    def soft_level_of(self, b: Array) -> float:
        """The same of the barriers `b` (n,)."""
        low, one = float(b.min()), self.one()
        if one == 0.0:
            return low
        return low - one * float(np.log(np.exp(-np.minimum((b - low) / one, 745.0)).sum()))

    def loss_level(self, q: Array) -> float:
        """`-log loss` in units of q."""
        if self._late(q):
            return self.soft_level(q)
        unit = float(np.exp(self.log_unit))
        return -self.loss.log_loss(q * unit) / unit
