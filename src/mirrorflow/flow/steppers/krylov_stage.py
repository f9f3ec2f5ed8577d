"""The implicit stage for large nets: the same equations and Newton iteration as `newton`, with
the linear systems by `krylov`, so that no n x d and no d x d array is ever formed."""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.flow.margins.products import Products
from mirrorflow.flow.steppers.activity import FLOOR, admit
from mirrorflow.flow.steppers.base import Failed, State, Step
from mirrorflow.flow.steppers.clock import Clock
from mirrorflow.flow.steppers.crossing import BENT, FLATTEST, Halving, Trial
from mirrorflow.flow.steppers.frame import Frame
from mirrorflow.flow.steppers.implicit import ImplicitStepper
from mirrorflow.flow.steppers.krylov import Bordered, MarginGram
from mirrorflow.flow.steppers.newton import Stage

_TRUST = 0.5  # largest relative move of x in one Newton step
_FORCING = 1e-2  # relative residual of the linear systems
_USEFUL = 0.1  # the largest relative residual with which a direction is still taken
_SLOW = 25  # GMRES iterations from which the Gram matrix is renewed
_STEADY = 1e-3  # share of the largest slope below which an entry does not count as giving way
_FLAT = 1e-3  # slopes below this share of a Hessian row are raised to it in the scaling


class KrylovStages:
    """Solves stages; keeps the preconditioner's Gram matrix through a step."""

    def __init__(self) -> None:
        self.gram: MarginGram | None = None
        self.mobility = self.compliance = np.zeros(0)  # the first (d,) where known, else empty
        self.iterations = 0
        self.probe = np.random.default_rng(0)

    def begin(self) -> None:
        """Forget the last step, so that a step depends on its start only."""
        self.gram, self.mobility, self.probe = None, np.zeros(0), np.random.default_rng(0)

    def __call__(
        self,
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
        """Newton from `(x, u, mu)`; None if it does not converge."""
        dual_primary = frame.map.primary == "dual"
        kappa: float | None = None
        best, missed = np.inf, 0
        back, last, share = np.zeros(len(x)), np.inf, 1.0
        rows: Array | None = None
        firm, halving = np.zeros(0), Halving(len(x))
        for iteration in range(max_iterations):
            frame.newton_count += 1
            at = frame.margins.linearise(x)
            q = at.q
            mu = np.maximum(mu, FLOOR * mu.sum())
            log_mu, b = np.log(mu), frame.barrier(q)
            if kappa is None:
                kappa = float(mu @ (b + temperature * log_mu) / mu.sum())
            if not dual_primary:
                u = frame.map.dual(x)
            slope = frame.map.slope(x, u)
            crossing = frame.map.crossing(u)
            if crossing is not None:
                slope = np.maximum(slope, FLATTEST * slope.max())
            r2 = b + temperature * log_mu - kappa
            if rows is None:
                at.weigh(mu)
                rows = self._rows(at, len(x))
                firm = rows if crossing is None else rows + _stiffness(at, slope, mu / temperature)
            # as if x did not move, weights would be raised here and taken back by Newton for ever
            admit(mu, r2, temperature, self._response(at, slope, rows, mu / temperature))
            r1 = u - base - at.pull(mu)
            at.weigh(mu)
            system = self._system(frame, at, slope, rows, mu, temperature, clock, q)
            if clock.direction is None:
                aim = clock.target - float(mu.sum())
            else:
                aim = clock.target - float(clock.direction @ (u - base - r1))
            dx, dmu, dk, du, left = system.solve(-r1, -r2, aim, _FORCING)
            self.iterations += system.iterations
            if system.iterations > _SLOW:
                self.gram, self.mobility = None, np.zeros(0)
            missed += left > _FORCING
            if missed > 1 or not (
                left < _USEFUL and np.isfinite(dx).all() and np.isfinite(du).all()
            ):
                return None  # the Hessian dominates: the step is too long for the linear solver
            size = frame.map.extent(x)
            if size == 0.0:
                size = max(frame.map.extent(dx), 1e-300)
            sm = float(np.abs(dmu[mu > 1e-9 * mu.max()]).sum() / mu.sum())
            if crossing is None:
                sx = frame.map.extent(dx) / size
                damp = min(1.0, _TRUST / sx) if sx > 0 and np.any(x) else 1.0
                turned = float(dx @ back) < 0.0 and sx > 0.5 * last
                share = 0.5 * share if turned else min(1.0, 2.0 * share)
                back, last = dx, sx
                if iteration > 2:  # to and fro about a bend of the margins: half as far
                    damp = min(damp, share)
                new, u = _shorter(frame, slope, rows, x, u, dx, du, damp)
                curved = frame.map.extent(new - x - dx) / size
            else:
                bent = np.abs(frame.map.displaced(x, u, du) - x - dx) > BENT * np.abs(dx)
                trial = Trial(frame, np.flatnonzero(bent), firm[bent], x, u, dx, du)
                damp = trial.damping(size)
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
            if sx < tol and sm < 30 * tol and curved < tol:
                if not dual_primary:
                    u = frame.map.dual(x)
                return Stage(x, u, np.maximum(mu, 0.0), _filter(system, clock))
            if iteration > 5 and sx + sm > 10 * best:
                return None
            best = min(best, sx + sm)
        return None

    def _rows(self, at: Products, d: int) -> Array:
        """The norms of the rows of H, estimated from two products with signs."""
        signs = self.probe.integers(0, 2, (2, d)) * 2.0 - 1.0
        zero = np.zeros(len(at.q))
        return np.sqrt(np.mean([at.tangent(v, zero)[1] ** 2 for v in signs], axis=0))

    def _response(self, at: Products, slope: Array, rows: Array, stiffness: Array) -> Array:
        """By how much of what its barrier asks for the log of a weight moves (n,), while x gives
        way to this weight alone: one, where the weight is too small to move x."""
        if not self.mobility.size:
            with np.errstate(divide="ignore", over="ignore"):
                self.mobility = 1.0 / (np.maximum(slope, _FLAT * rows) + 1e-290)
            self.compliance = at.diagonal(self.mobility)
        return np.maximum(1.0 / (1.0 + stiffness * self.compliance), 1e-300)

    def _system(
        self,
        frame: Frame,
        at: Products,
        slope: Array,
        rows: Array,
        mu: Array,
        temperature: float,
        clock: Clock,
        q: Array,
    ) -> Bordered:
        stiffness = mu / temperature
        floor = _FLAT * rows
        if self.gram is None:
            self.gram = MarginGram.build(at, self.mobility, stiffness * self.compliance)
        return Bordered(
            at, slope, floor, stiffness, frame.barrier_jacobian(q), clock.direction, self.gram
        )


def _shorter(
    frame: Frame,
    slope: Array,
    rows: Array,
    x: Array,
    u: Array,
    dx: Array,
    du: Array,
    damp: float,
) -> tuple[Array, Array]:
    """The new x, and u where it is primary: each entry takes the shorter of its steps in both."""
    dual_primary = frame.map.primary == "dual"
    x_line, v = x + damp * dx, u + damp * du
    x_dual = frame.map.primal(v) if dual_primary else x + frame.map.primal(v) - frame.map.primal(u)
    near = np.abs(v - u) < 0.1 * np.abs(u)
    take = (np.abs(x_line - x) <= np.abs(x_dual - x)) | (slope < rows) | near
    if dual_primary:
        take &= (slope < 1e12) & ~near
        u = np.where(take, frame.map.dual(x_line), v)
    new = np.where(take, x_line, x_dual)
    return new, u


def _stiffness(at: Products, slope: Array, stiffness: Array) -> Array:
    """About by how much the margins let `J' mu` fall per unit of one entry of x (d,), where each
    margin gives way as the entries that are not near zero do."""
    mobility = 1.0 / np.maximum(slope, _STEADY * slope.max())
    give = at.diagonal(mobility)
    return at.squares(stiffness / (1.0 + stiffness * give))


def _filter(system: Bordered, clock: Clock) -> Callable[[Array], Array]:
    def response(e: Array) -> Array:
        target = 0.0 if clock.direction is None else -float(clock.direction @ e)
        return system.solve(e, np.zeros(system.n), target, _FORCING)[0]

    return response


class KrylovStepper(ImplicitStepper):
    """The implicit method with matrix-free stages."""

    remembers = True

    def __init__(
        self, order: int, tol: float, delta: float, max_step: float, max_early: float
    ) -> None:
        super().__init__(order, tol, delta, max_step, max_early)
        self.stages = KrylovStages()
        self.solve_stage = self.stages

    def step(self, frame: Frame, rho: float, state: State, h: float) -> Step | Failed:
        self.stages.begin()
        return super().step(frame, rho, state, h)
