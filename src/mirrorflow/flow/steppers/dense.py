"""Newton's linear systems, dense: block elimination of the weights, then of the multipliers."""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return,return-value"
from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array
from mirrorflow.flow.logscale.base import turned, unturned
from mirrorflow.flow.steppers.activity import open_cases, responses
from mirrorflow.flow.steppers.clock import Clock
from mirrorflow.flow.steppers.frame import Frame
from mirrorflow.flow.steppers.linear_solver import Direction, Iterate

_NOISE = 1e-8  # residual of the dual equation, relative to its terms, from which rounding may rule


class DenseSolver:
    """Forms the Jacobian of the margins and factors one system an iteration."""

    exact = True

    def begin_step(self) -> None:
        """Nothing is carried from step to step."""

    def begin_stage(self, frame: Frame, base: Array, temperature: float, clock: Clock) -> None:
        self.frame, self.base, self.temperature, self.clock = frame, base, temperature, clock
        self.system: DenseSystem | None = None

    def linearise(self, x: Array) -> Array:
        q, self.jacobian = self.frame.margins.jacobian(x)
        return q

    def response(self, at: Iterate, residual: Array) -> Array | float:
        if not (self.frame.map.slaved and open_cases(at.mu, residual, self.temperature)):
            return 1.0
        if self.system is None:
            self.system = self._system(at)
        return responses(self.system.compliance, at.mu / self.temperature)

    def pull(self, mu: Array) -> Array:
        return self.jacobian.T @ mu

    def is_rounding(self, residual: Array, at: Iterate) -> bool:
        terms = np.abs(at.u) + np.abs(self.base) + at.mu @ np.abs(self.jacobian)
        if self.frame.map.coupled:  # an entry of a matrix has those of the largest
            terms = np.full_like(terms, terms.max())
        return bool(np.all(np.abs(residual) <= _NOISE * terms))

    def direction(self, at: Iterate, r1: Array, r2: Array) -> Direction | None:
        self.system = self._system(at)
        x0, x1, m0, m1, u0, u1 = self.system.solve(-r1, -r2)
        clock = self.clock
        if clock.direction is None:
            den, num = m1.sum(), clock.target - at.mu.sum() - m0.sum()
        else:
            den = clock.direction @ u1
            num = clock.target - clock.direction @ (at.u - self.base) - clock.direction @ u0
        if not np.isfinite(den) or den == 0:
            return None
        kappa = float(num / den)
        self.along = x1, m1, u1
        return Direction(x0 + kappa * x1, u0 + kappa * u1, m0 + kappa * m1, kappa)

    @property
    def own(self) -> Array:
        return self._factored().own

    def stiffness(self, entries: NDArray[np.int64]) -> Array:
        return self._factored().stiffness(entries, self.clock.direction, *self.along)

    def filter(self) -> Callable[[Array], Array]:
        system, clock, (x1, m1, u1) = self._factored(), self.clock, self.along

        def response(e: Array) -> Array:
            x0, _, m0, _, u0, _ = system.solve(e, np.zeros_like(system.w))
            if clock.direction is None:
                return x0 - x1 * (m0.sum() / m1.sum())
            return x0 - x1 * ((clock.direction @ u0) / (clock.direction @ u1))

        return response

    def _factored(self) -> DenseSystem:
        if self.system is None:
            raise RuntimeError("no direction was asked for")
        return self.system

    def _system(self, at: Iterate) -> DenseSystem:
        bend = self.frame.barrier_jacobian(at.q)
        coupling = self.frame.map.coupling(at.x, at.u)
        return DenseSystem(
            self.frame, at.x, at.slope, at.mu, self.temperature, self.jacobian, bend, at.basis,
            coupling,
        )  # fmt: skip


class DenseSystem:
    """The factored linear system of one Newton iteration, scaled so that slopes may be 0 or inf."""

    def __init__(
        self,
        frame: Frame,
        x: Array,
        slope: Array,
        mu: Array,
        temperature: float,
        jac: Array,
        barrier_jac: Array | None,
        basis: Array | None,
        coupling: tuple[Array, Array] | None,
    ) -> None:
        hess = frame.margins.curvature(x, mu)
        if basis is not None:
            jac = jac @ basis
            hess = (basis.T @ _dense(hess) @ basis)[None]
        b, k = hess.shape[:2]
        self.shape, self.jac, self.hess, self.basis = (b, k), jac, hess, basis
        self.coupling = None
        self.slope, self.bend = slope, barrier_jac
        i = np.arange(k)
        self.own = np.abs(self.hess[:, i, i]).ravel()
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            self.s = 1.0 / np.sqrt(slope + self.own + 1e-290)
            lead = np.where(slope > 1e280, 1.0, slope * self.s**2)
        self.s = np.minimum(self.s, 1e100)
        s = self.s.reshape(b, k)
        self.k = -s[:, :, None] * self.hess * s[:, None, :]
        self.k[:, i, i] += lead.reshape(b, k)
        if coupling is not None:  # Woodbury, tensor by tensor a rank-one term
            columns, factors = coupling
            moved = self.apply_inverse(columns)
            small = factors[:, None] * (columns.T @ moved)
            small[np.diag_indices(len(factors))] += 1.0
            self.coupling = columns, factors, moved, small
        self.y = self.apply_inverse(jac.T)
        self.rows = jac if barrier_jac is None else barrier_jac @ jac
        self.w = mu / temperature
        self.compliance = self.rows @ self.y
        self.a = self.compliance * self.w[:, None]
        self.a[np.diag_indices(len(mu))] += 1.0

    def apply_inverse(self, r: Array) -> Array:
        """`(du/dx - H)^-1 r` for r (d, m)."""
        z = self._apply_blocks(r)
        if self.coupling is None:
            return z
        columns, factors, moved, small = self.coupling
        return z - moved @ np.linalg.solve(small, factors[:, None] * (columns.T @ z))

    def _apply_blocks(self, r: Array) -> Array:
        b, k = self.shape
        scaled = self.s[:, None] * r
        if k == 1:
            return self.s[:, None] * scaled / self.k.reshape(-1, 1)
        z = np.linalg.solve(self.k, scaled.reshape(b, k, -1)).reshape(b * k, -1)
        return self.s[:, None] * z

    def stiffness(
        self, at: NDArray[np.int64], clock: Array | None, x1: Array, m1: Array, u1: Array
    ) -> Array:
        """By how much the right side of the dual equation falls per unit of one entry of x, while
        all others give way, for the entries `at`: `1/k - du/dx`, k the inverse's diagonal."""
        k = self.shape[1]
        if k == 1:
            inverse = self.s[at] ** 2 / self.k.ravel()[at]
        else:
            blocks, own = np.unique(at // k, return_inverse=True)
            within = np.linalg.inv(self.k[blocks])[own, at % k, at % k]
            inverse = self.s[at] ** 2 * within
        y = self.y[at]
        pushed = y.T if self.bend is None else self.bend @ y.T
        m = np.linalg.solve(self.a, self.w[:, None] * pushed)
        inverse -= (y * m.T).sum(1)
        if clock is None:
            inverse += x1[at] * m.sum(0) / m1.sum()
        else:
            bent = self.hess_times(clock)
            push = self.apply_inverse(bent[:, None])[at, 0]
            pull = (self.jac @ clock + self.y.T @ bent) @ m
            inverse -= x1[at] * (clock[at] + push - pull) / (clock @ u1)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            found = np.abs(1.0 / inverse - self.slope[at])
        return np.nan_to_num(found, nan=1e290, posinf=1e290)

    def hess_times(self, v: Array) -> Array:
        b, k = self.shape
        if k == 1:
            return self.hess.ravel() * v
        return np.asarray((self.hess @ v.reshape(b, k, 1)).ravel())

    def solve(self, a: Array, r: Array) -> tuple[Array, ...]:
        """Particular and kappa-direction parts of `dx, dmu, du` for the two residual rows."""
        a = turned(self.basis, a)
        z = self.apply_inverse(a[:, None])[:, 0]
        m = np.linalg.solve(self.a, np.stack([self.w * (r - self.rows @ z), self.w], 1))
        m0, m1 = m[:, 0], m[:, 1]
        x0, x1 = z + self.y @ m0, self.y @ m1
        u0 = a + self.hess_times(x0) + self.jac.T @ m0
        u1 = self.hess_times(x1) + self.jac.T @ m1
        x0, x1, u0, u1 = (unturned(self.basis, v) for v in (x0, x1, u0, u1))
        return x0, x1, m0, m1, u0, u1


def _dense(blocks: Array) -> Array:
    """The matrix (d, d) with these diagonal blocks."""
    b, k = blocks.shape[:2]
    out = np.zeros((b, k, b, k))
    out[np.arange(b), :, np.arange(b)] = blocks
    return out.reshape(b * k, b * k)
