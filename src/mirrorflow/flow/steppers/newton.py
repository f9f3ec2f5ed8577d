"""One implicit stage: primal-dual Newton on the dual equation, the weights and the clock.

With `base` the known part of the dual, the unknowns are `x` (d,), `mu` (n,) and `kappa`:

    u(x) = base + J(x)' mu,      T log mu_i + b_i(q(x)) = kappa,      clock(u, mu) = target,

where `b = -log w` is the barrier of the loss.  So `mu` is `kappa`'s softmax at temperature T,
and `kappa` is the multiplier of the clock.
"""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return,return-value"
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array
from mirrorflow.flow.logscale.base import turned, unturned
from mirrorflow.flow.steppers.activity import FLOOR, admit, open_cases, responses
from mirrorflow.flow.steppers.clock import Clock
from mirrorflow.flow.steppers.crossing import BENT, FLATTEST, Halving, Trial
from mirrorflow.flow.steppers.frame import Frame

_TRUST = 0.5  # largest relative move of x in one Newton step
_NOISE = 1e-8  # residual of the dual equation, relative to its terms, from which rounding may rule
_NOISY = 30.0  # times the tolerance: moves of x that rounding may cause


@dataclass(frozen=True)
class Stage:
    """A solved stage; `filter(e)` is the response of x to a dual perturbation e (d,)."""

    x: Array
    u: Array
    mu: Array
    filter: Callable[[Array], Array]


# frame, x, u, mu, base, temperature, clock, tolerance
StageSolver = Callable[[Frame, Array, Array, Array, Array, float, Clock, float], Stage | None]


class _Bordered:
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


def solve_stage(
    frame: Frame,
    x: Array,
    u: Array,
    mu: Array,
    base: Array,
    temperature: float,
    clock: Clock,
    tol: float,
    max_iterations: int = 30,
) -> Stage | None:
    """Newton from `(x, u, mu)`; None if it does not converge (the caller shortens the step)."""
    kappa: float | None = None
    best = last = np.inf
    system: _Bordered | None = None
    dual_primary = frame.map.primary == "dual"
    slaved, kinked = frame.map.slaved, frame.margins.kinked
    halving = Halving(len(x))
    for iteration in range(max_iterations):
        frame.newton_count += 1
        q, jac = frame.margins.jacobian(x)
        mu = np.maximum(mu, FLOOR * mu.sum())
        log_mu = np.log(mu)
        b, bend = frame.barrier(q), frame.barrier_jacobian(q)
        if kappa is None:
            kappa = float(mu @ (b + temperature * log_mu) / mu.sum())
        if not dual_primary:
            u = frame.map.dual(x)
        slope, basis = frame.map.slope(x, u), frame.map.basis(x, u)
        crossing = frame.map.crossing(u)
        if crossing is not None:  # below, rounding in J' mu moves x by more than its size
            slope = np.maximum(slope, FLATTEST * slope.max())
        coupling = frame.map.coupling(x, u)
        r2 = b + temperature * log_mu - kappa
        response: Array | float = 1.0
        if slaved and open_cases(mu, r2, temperature):
            try:
                if system is None:
                    system = _Bordered(frame, x, slope, mu, temperature, jac, bend, basis, coupling)
                response = responses(system.compliance, mu / temperature)
            except np.linalg.LinAlgError:
                return None
        admit(mu, r2, temperature, response)
        r1 = u - base - jac.T @ mu
        if kinked:
            r1 -= frame.margins.beyond(x, mu)
        resolved = slaved and _is_rounding(frame, r1, np.abs(u) + np.abs(base) + mu @ np.abs(jac))
        try:
            system = _Bordered(frame, x, slope, mu, temperature, jac, bend, basis, coupling)
            x0, x1, m0, m1, u0, u1 = system.solve(-r1, -r2)
        except np.linalg.LinAlgError:
            return None
        if clock.direction is None:
            den, num = m1.sum(), clock.target - mu.sum() - m0.sum()
        else:
            den = clock.direction @ u1
            num = clock.target - clock.direction @ (u - base) - clock.direction @ u0
        if not np.isfinite(den) or den == 0:
            return None
        dk = float(num / den)
        dmu, dx, du = m0 + dk * m1, x0 + dk * x1, u0 + dk * u1
        if not (np.all(np.isfinite(dx)) and np.all(np.isfinite(du))):
            return None
        size = frame.map.extent(x)
        if size == 0.0:
            size = max(frame.map.extent(dx), 1e-300)
        sm = float(np.abs(dmu[mu > 1e-9 * mu.max()]).sum() / mu.sum())
        if crossing is None:
            sx = frame.map.extent(dx) / size
            damp = min(1.0, _TRUST / sx) if sx > 0 and np.any(x) else 1.0
            new, x_line, u, v = _shorter(frame, basis, slope, system.own, x, u, dx, du, damp)
            curved = frame.map.extent(new - x - dx) / size
        else:
            at = np.flatnonzero(np.abs(frame.map.displaced(x, u, du) - x - dx) > BENT * np.abs(dx))
            stiffness = system.stiffness(at, clock.direction, x1, m1, u1)
            trial = Trial(frame, at, stiffness, x, u, dx, du)
            damp = trial.damping(size)
            x_line, v = x + damp * dx, u + damp * du
            new = halving.limit(x, trial.at(damp))
            sx, curved = trial.moved(new, crossing, size)
        rel = damp * dmu / mu
        mu = mu * np.where(
            rel > -0.5,
            1.0 + np.maximum(rel, -0.5),
            np.maximum(0.5 * np.exp(np.minimum(rel + 0.5, 0.0)), 1e-5),
        )
        kappa += damp * dk
        x = new
        moved = kinked and frame.margins.settle(x_line, x, mu)
        # a flat potential turns rounding in J' mu into moves of x that do not become smaller
        noise = resolved and sm < 1e-2 * tol and 0.3 * last < sx < _NOISY * tol
        last = sx
        done = (noise or sx < tol) and sm < 30 * tol and curved < tol
        if slaved:  # x is the logarithm of u, which has to be right as well
            done &= bool(np.abs(du).max() <= 30 * tol * np.abs(v).max())
        settled = (
            iteration > 4
            and sm < 30 * tol
            and curved < 1e-2
            and np.abs(r1).max() < 1e-12 * np.abs(u).max()
        )
        if (done or settled) and not moved:
            if not dual_primary:
                u = frame.map.dual(x)
            return Stage(x, u, np.maximum(mu, 0.0), _filter(system, clock, x1, m1, u1))
        if iteration > 5 and sx + sm > 10 * best:
            return None
        best = min(best, sx + sm)
    return None


def _shorter(
    frame: Frame,
    basis: Array | None,
    slope: Array,
    own: Array,
    x: Array,
    u: Array,
    dx: Array,
    du: Array,
    damp: float,
) -> tuple[Array, Array, Array, Array]:
    """The new x, the end of the step along x, u, and the end along u: each entry takes the shorter
    of its steps in x and in u."""
    dual_primary = frame.map.primary == "dual"
    x_line = x + damp * dx
    v = u + damp * du
    x_dual = frame.map.primal(v) if dual_primary else x + frame.map.primal(v) - frame.map.primal(u)
    line, bent = turned(basis, x_line - x), turned(basis, x_dual - x)
    near = np.abs(turned(basis, v - u)) < 0.1 * np.abs(turned(basis, u))
    take = (np.abs(line) <= np.abs(bent)) | (slope < own) | near
    if dual_primary:
        # where x underflows, or the two agree, the dual update keeps what x cannot hold
        take &= (slope < 1e12) & ~near
    if frame.map.coupled:
        new, u = _chosen(frame, basis, take, x, u, x_line, x_dual, v)
    else:
        new = np.where(take, x_line, x_dual)
        if dual_primary:
            u = np.where(take, frame.map.dual(x_line), v)
    return new, x_line, u, v


def _is_rounding(frame: Frame, residual: Array, terms: Array) -> bool:
    """Whether the dual equation holds as far as its terms have digits."""
    if frame.map.coupled:  # an entry of a matrix has those of the largest
        terms = np.full_like(terms, terms.max())
    return bool(np.all(np.abs(residual) <= _NOISE * terms))


def _chosen(
    frame: Frame,
    basis: Array | None,
    take: NDArray[np.bool_],
    x: Array,
    u: Array,
    x_line: Array,
    x_dual: Array,
    v: Array,
) -> tuple[Array, Array]:
    """x and u after a step that goes along x where `take` says so and along u elsewhere; the choice
    is made in the variable that carries the information, the other follows."""
    if frame.map.primary == "dual":
        by_line, by_dual = frame.map.dual(x_line) - u, v - u
    else:
        by_line, by_dual = x_line - x, x_dual - x
    move = unturned(basis, np.where(take, turned(basis, by_line), turned(basis, by_dual)))
    if frame.map.primary == "dual":
        return frame.map.primal(u + move), u + move
    return x + move, u


def _filter(
    system: _Bordered, clock: Clock, x1: Array, m1: Array, u1: Array
) -> Callable[[Array], Array]:
    def response(e: Array) -> Array:
        x0, _, m0, _, u0, _ = system.solve(e, np.zeros_like(system.w))
        if clock.direction is None:
            return x0 - x1 * (m0.sum() / m1.sum())
        return x0 - x1 * ((clock.direction @ u0) / (clock.direction @ u1))

    return response
