"""One implicit stage: primal-dual Newton on the dual equation, the weights and the clock.

With `base` the known part of the dual, the unknowns are `x` (d,), `mu` (n,) and `kappa`:

    u(x) = base + J(x)' mu,      T log mu_i + b_i(q(x)) = kappa,      clock(u, mu) = target,

where `b = -log w` is the barrier of the loss.  So `mu` is `kappa`'s softmax at temperature T,
and `kappa` is the multiplier of the clock.  The linear systems are a `LinearSolver`'s.
"""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirrorflow.arrays import Array
from mirrorflow.flow.logscale.base import turned, unturned
from mirrorflow.flow.steppers.activity import FLOOR, admit
from mirrorflow.flow.steppers.clock import Clock
from mirrorflow.flow.steppers.crossing import BENT, FLATTEST, TRUST, Halving, Trial
from mirrorflow.flow.steppers.frame import Frame
from mirrorflow.flow.steppers.linear_solver import Direction, Iterate, LinearSolver

_ITERATIONS = 30
_ACTING = 1e-9  # share of the largest weight from which a weight's move counts
_LOOSE = 30.0  # times the tolerance: moves of the weights, and of u where x is its logarithm
_NOISY = 30.0  # times the tolerance: moves of x that rounding may cause
_QUIET = 1e-2  # times the tolerance: moves of the weights while rounding rules x
_STUCK = 0.3  # a move above this share of the last is not becoming smaller
_EARLY = 4  # iterations before which a residual at rounding decides nothing
_ROUNDED = 1e-12  # residual of the dual equation, relative to u, that is rounding
_STRAIGHT = 1e-2  # departure from the line up to which such a residual is believed
_PATIENCE = 5  # iterations before divergence is judged
_DIVERGED = 10.0  # times the best move so far
_HALF, _LOWEST = -0.5, 1e-5  # relative moves of a weight are linear down to here, then exponential
_NEAR = 0.1  # relative moves of u below which steps in x and in u are taken for one
_STEEP = 1e12  # slopes from which x cannot hold what u says
_WAVERS = 2  # iterations after which a move to and fro is shortened


@dataclass(frozen=True)
class Stage:
    """A solved stage; `filter(e)` is the response of x to a dual perturbation e (d,)."""

    x: Array
    u: Array
    mu: Array
    filter: Callable[[Array], Array]


def solve_stage(
    frame: Frame,
    linear: LinearSolver,
    x: Array,
    u: Array,
    mu: Array,
    base: Array,
    temperature: float,
    clock: Clock,
    tol: float,
) -> Stage | None:
    """Newton from `(x, u, mu)`; None if it does not converge (the caller shortens the step)."""
    linear.begin_stage(frame, base, temperature, clock)
    kappa: float | None = None
    best = last = np.inf
    slaved, kinked = frame.map.slaved, frame.margins.kinked
    halving, wavering = Halving(len(x)), _Wavering(len(x))
    for iteration in range(_ITERATIONS):
        frame.newton_count += 1
        q = linear.linearise(x)
        mu = np.maximum(mu, FLOOR * mu.sum())
        barrier = frame.barrier(q) + temperature * np.log(mu)
        if kappa is None:
            kappa = float(mu @ barrier / mu.sum())
        at = _iterate(frame, x, u, q, mu)
        u, r2 = at.u, barrier - kappa
        try:
            admit(mu, r2, temperature, linear.response(at, r2))
            r1 = u - base - linear.pull(mu)
            if kinked:
                r1 -= frame.margins.beyond(x, mu)
            resolved = slaved and linear.is_rounding(r1, at)
            d = linear.direction(at, r1, r2)
        except np.linalg.LinAlgError:
            return None
        if d is None or not (np.all(np.isfinite(d.x)) and np.all(np.isfinite(d.u))):
            return None
        size = frame.map.extent(x)
        if size == 0.0:
            size = max(frame.map.extent(d.x), 1e-300)
        if at.crossing is None:
            sx = frame.map.extent(d.x) / size
            damp = min(1.0, TRUST / sx) if sx > 0 and np.any(x) else 1.0
            if not linear.exact:
                damp = min(damp, wavering.share(d.x, sx, iteration))
            new, x_line, u, v = _shorter(frame, at, linear.own, d, damp)
            curved = frame.map.extent(new - x - d.x) / size
        else:
            bent = np.abs(frame.map.displaced(x, u, d.u) - x - d.x) > BENT * np.abs(d.x)
            entries = np.flatnonzero(bent)
            trial = Trial(frame, entries, linear.stiffness(entries), x, u, d.x, d.u)
            damp = trial.damping(size)
            x_line, v = x + damp * d.x, u + damp * d.u
            new = halving.limit(x, trial.at(damp))
            sx, curved = trial.moved(new, at.crossing, size)
        sm = float(np.abs(d.mu[mu > _ACTING * mu.max()]).sum() / mu.sum())
        mu = _moved_weights(mu, damp * d.mu)
        kappa += damp * d.kappa
        x = new
        moved = kinked and frame.margins.settle(x_line, x, mu)
        done = sx < tol and sm < _LOOSE * tol and curved < tol
        if linear.exact and not done:
            # a flat potential turns rounding in J' mu into moves of x that do not become smaller
            noise = resolved and sm < _QUIET * tol and _STUCK * last < sx < _NOISY * tol
            done = noise and curved < tol
        last = sx
        if linear.exact and slaved:  # x is the logarithm of u, which has to be right as well
            done = done and bool(np.abs(d.u).max() <= _LOOSE * tol * np.abs(v).max())
        if linear.exact and not done and iteration > _EARLY:
            within = sm < _LOOSE * tol and curved < _STRAIGHT
            done = within and bool(np.abs(r1).max() < _ROUNDED * np.abs(u).max())
        if done and not moved:
            u = u if frame.map.primary == "dual" else frame.map.dual(x)
            return Stage(x, u, np.maximum(mu, 0.0), linear.filter())
        if iteration > _PATIENCE and sx + sm > _DIVERGED * best:
            return None
        best = min(best, sx + sm)
    return None


def _iterate(frame: Frame, x: Array, u: Array, q: Array, mu: Array) -> Iterate:
    if frame.map.primary != "dual":
        u = frame.map.dual(x)
    slope, crossing = frame.map.slope(x, u), frame.map.crossing(u)
    if crossing is not None:  # below, rounding in J' mu moves x by more than its size
        slope = np.maximum(slope, FLATTEST * slope.max())
    return Iterate(x, u, slope, frame.map.basis(x, u), crossing, q, mu)


def _moved_weights(mu: Array, move: Array) -> Array:
    """`mu + move`, kept positive: below half, the logarithm moves instead."""
    relative = move / mu
    far = np.maximum(0.5 * np.exp(np.minimum(relative - _HALF, 0.0)), _LOWEST)
    return mu * np.where(relative > _HALF, 1.0 + np.maximum(relative, _HALF), far)


class _Wavering:
    """Shortens moves of all of x that go to and fro about a bend of the margins."""

    def __init__(self, d: int) -> None:
        self.back, self.last, self.part = np.zeros(d), np.inf, 1.0

    def share(self, dx: Array, size: float, iteration: int) -> float:
        """The share of the move dx, of this relative size, to take."""
        turned_back = float(dx @ self.back) < 0.0 and size > 0.5 * self.last
        self.part = 0.5 * self.part if turned_back else min(1.0, 2.0 * self.part)
        self.back, self.last = dx, size
        return self.part if iteration > _WAVERS else 1.0


def _shorter(
    frame: Frame, at: Iterate, own: Array, d: Direction, damp: float
) -> tuple[Array, Array, Array, Array]:
    """The new x, the end of the step along x, u, and the end along u: each entry takes the shorter
    of its steps in x and in u."""
    x, u, basis = at.x, at.u, at.basis
    dual_primary = frame.map.primary == "dual"
    x_line, v = x + damp * d.x, u + damp * d.u
    x_dual = frame.map.primal(v) if dual_primary else x + frame.map.primal(v) - frame.map.primal(u)
    line, bent = turned(basis, x_line - x), turned(basis, x_dual - x)
    near = np.abs(turned(basis, v - u)) < _NEAR * np.abs(turned(basis, u))
    take = (np.abs(line) <= np.abs(bent)) | (at.slope < own) | near
    if dual_primary:
        # where x underflows, or the two agree, the dual update keeps what x cannot hold
        take &= (at.slope < _STEEP) & ~near
    if frame.map.coupled:
        new, u = _either(frame, basis, take, x, u, x_line, x_dual, v)
    else:
        new = np.where(take, x_line, x_dual)
        if dual_primary:
            u = np.where(take, frame.map.dual(x_line), v)
    return new, x_line, u, v


def _either(
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
