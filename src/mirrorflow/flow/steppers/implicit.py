"""The implicit stepper: SDIRK in the dual variable, in a radial clock, with primal-dual stages.

The clock is the linear functional `Lambda = <x_n, u>`, advanced by `<x_n, u(e^h x_n) - u(x_n)>`:
a converged direction is linear in it, so any Runge-Kutta method follows it exactly and `h` is
`d log Q` for every map. Before alignment the clock is `tau = sum mu`. The choice is made anew at
each step, so no event has to be located.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.flow.logscale.base import turned, unturned
from mirrorflow.flow.steppers.base import Failed, State, Step, make_state
from mirrorflow.flow.steppers.clock import Clock, Segment, clock_defect
from mirrorflow.flow.steppers.dense import DenseSolver
from mirrorflow.flow.steppers.frame import Frame
from mirrorflow.flow.steppers.linear_solver import LinearSolver
from mirrorflow.flow.steppers.newton import Stage, solve_stage
from mirrorflow.flow.steppers.tableau import TABLEAUX

_SHAPE = np.linspace(0.0, 1.0, 5)  # where the radial rate is evaluated over a step
_COAST = 1e-10  # Hölder gap from which the direction has arrived, so that only the error bounds h
_COAST_FROM = 30.0  # log q from which corrections of order 1/q to interpolation are rounding
_COAST_STEP = 2.0  # then the largest step in log Q
_BALANCE = 0.05  # share of the tolerance that the drift of a conserved difference may take
_SLOW_GROWTH = 0.02  # share of the energy below which its growth in a step does not count
_FINE = 1e-9  # step in log Q below which doubles do not hold `u(e^h x) - u(x)` well, rapid maps
_ALIGNED = 0.1  # cosine, in the horizon pairing, from which the radial clock is used


class ImplicitStepper:
    """Order 1, 2, 3 (Alexander) or 4 (Hairer-Wanner), stiffly accurate and L-stable."""

    def __init__(
        self,
        order: int,
        tol: float,
        delta: float,
        max_step: float,
        max_early: float,
        linear: LinearSolver | None = None,
        newton_tol: float | None = None,
    ) -> None:
        self.linear: LinearSolver = DenseSolver() if linear is None else linear
        # where GMRES gave up, a step of the same length most often fails again
        self.remembers = not self.linear.exact
        self.tableau = TABLEAUX[order]
        self.order, self.error_order = order, self.tableau.error_order
        self.tol, self.delta, self.max_step, self.max_early = tol, delta, max_step, max_early
        self.newton_tol = min(1e-2 * tol, 1e-5) if newton_tol is None else newton_tol

    def temperature(self, frame: Frame, q_min: float) -> float:
        return max(frame.one(), self.delta * q_min)

    def step(self, frame: Frame, rho: float, state: State, h: float) -> Step | Failed:
        """Try one step of relative length h from `state` at `rho`; `Failed` if Newton failed."""
        x, p, g, q = state.x, state.p, state.g, state.q
        low = float(q.min())
        size, reach = frame.map.gauge(x), frame.map.dual_gauge(g)
        radial = bool(low > 0 and size > 0 and g @ x > _ALIGNED * reach * size)
        if not radial:
            h = min(h, self.max_early)
        elif (
            frame.map.rapid
            or float(g @ x) < (1.0 - _COAST) * reach * size
            or frame.log_unit + float(np.log(low)) < _COAST_FROM
        ):
            h = min(h, self.max_step)
        else:
            h = min(h, max(self.max_step, _COAST_STEP))
        frame.margins.begin(x)
        self.linear.begin_step()
        tab, gamma = self.tableau, self.tableau.gamma
        before = frame.map.scale
        frame.set_level(rho, x, h if radial else 0.0, self.delta)
        # the dual unit may move with h (rapid maps): so does the unit of tau
        moved = float(np.exp(np.clip(frame.map.scale - before, -700.0, 700.0)))
        state = replace(state, phi_rate=state.phi_rate * moved)
        u = state.u if frame.map.primary == "dual" else frame.map.dual(x)
        fine = radial and frame.map.slaved and h < _FINE
        if fine:
            total = h * frame.map.radial_pull(x, x, u) / float(g @ x)
            u_end, advance = u, total
        elif radial:
            grown = x * np.exp(h)
            u_end = (
                frame.map.dual(grown) if frame.map.primary == "primal" else frame.map.grown(x, u, h)
            )
            advance = float(x @ (u_end - u))
            total = advance / float(g @ x)
        else:
            total = h * frame.map.pace(u, g)
            u_end, advance = u, total
        if not (np.isfinite(total) and total > 0):
            return Failed(h)
        parts: list[Array] = []
        xs, us, mus = x, u, p * (gamma * total)
        out = None
        sums = np.zeros(len(tab.a))
        for s in range(len(tab.a)):
            base = u + sum((tab.a[s, j] / gamma * parts[j] for j in range(s)), np.zeros_like(u))
            xg, ug = self._guess(
                frame, radial, s, h, x, u, u_end, base, parts, xs, us, gamma * total * g
            )
            if radial:
                ratio = frame.map.gauge(xg) / size
                temp = max(frame.one(), self.delta * low * ratio**frame.margins.degree)
                if s == 0 and frame.map.rapid:  # J is the larger, the further the guess is
                    mus = mus * ratio ** (1.0 - frame.margins.degree)
                clock = Clock(gamma * total) if fine else Clock(gamma * advance, x)
            else:
                temp, clock = self.temperature(frame, low), Clock(gamma * total)
            out = solve_stage(frame, self.linear, xg, ug, mus, base, temp, clock, self.newton_tol)
            if out is None:
                return Failed(h)
            xs, us, mus = out.x, out.u, out.mu
            parts.append(us - base)
            sums[s] = mus.sum()
        if out is None:
            raise RuntimeError("the tableau has no stage")
        tau = float(sums @ tab.a[-1]) / gamma
        error = self._error(frame, parts, out, state, total)
        end = make_state(frame, xs, us, mus / mus.sum())
        segment = self._segment(frame, radial, h, state, u, end, tau)
        if radial and frame.map.rapid:
            # there x is the logarithm of the dual, so its error says little about that of the clock
            error = max(error, clock_defect(segment))
        error = max(error, self._imbalance(frame, x, u, end))
        return Step(end, error / self.tol, segment, h)

    def _guess(
        self,
        frame: Frame,
        radial: bool,
        s: int,
        h: float,
        x: Array,
        u: Array,
        u_end: Array,
        base: Array,
        parts: list[Array],
        xs: Array,
        us: Array,
        explicit: Array,
    ) -> tuple[Array, Array]:
        if not radial and frame.map.crossing(us) is not None:
            ug = base + (parts[-1] if parts else explicit)
            return frame.map.primal(ug), ug
        if not radial:
            # a zero slope (p > 2 at 0) gives Newton no direction: start such entries explicitly
            still = frame.map.slope(xs, us) == 0.0
            if not still.any():
                return xs, us
            xg = frame.map.primal(us + explicit)
            xg = xg if frame.map.coupled else np.where(still, xg, xs)
            return xg, frame.map.dual(xg)
        c = float(self.tableau.nodes[s])
        if frame.map.rapid:
            # in Q the stages lie close together, at the end of the step: start from the last one
            guess = frame.map.stretched(x, x if s == 0 else xs, u, u_end, c)
            return guess, frame.map.dual(guess)
        ug = u + c * (u_end - u) if s == 0 or h > 0.6 else base + parts[-1]
        return frame.map.primal(ug), ug

    def _error(
        self,
        frame: Frame,
        parts: list[Array],
        last: Stage,
        start: State,
        total: float,
    ) -> float:
        """The filtered embedded difference, relative, in the horizon norm and in the dual."""
        tab, x, u = self.tableau, last.x, last.u
        if tab.order == 1:
            # backward Euler carries no embedded method: half the difference to the explicit step
            e = 0.5 * (parts[0] - total * start.g)
        else:
            e = sum((w / tab.gamma * f for w, f in zip(tab.error, parts, strict=True)), 0.0 * u)
        basis = frame.map.basis(x, u)
        dx, along = turned(basis, last.filter(e)), turned(basis, e)
        if not frame.map.rapid:
            direct = turned(basis, frame.map.primal(u + e) - x)
            dx = np.where(np.abs(direct) < np.abs(dx), direct, dx)
        with np.errstate(over="ignore", invalid="ignore"):
            du = frame.map.stiffen(x, u, dx)
        du = np.where(np.isfinite(du), np.clip(du, -np.abs(along), np.abs(along)), along)
        dx, du = unturned(basis, dx), unturned(basis, du)
        crossing = frame.map.crossing(u)
        if crossing is not None:
            dx = np.where(crossing, 0.0, dx)
        size = max(frame.map.extent(x), frame.map.extent(start.x))
        return max(frame.map.extent(dx) / size, frame.map.dual_ratio(du, u))

    def _imbalance(self, frame: Frame, x: Array, u: Array, end: State) -> float:
        """The change of the conserved differences of energies, which is an error that is known.

        With E the energy and c a bound of `change / (E_1 - E_0)` over all steps, the drift relative
        to the present energy stays below c, whatever the number of steps.
        """
        before, after = frame.map.energy(x, u), frame.map.energy(end.x, end.u)
        change = np.abs(frame.margins.imbalance(after) - frame.margins.imbalance(before))
        if change.size == 0:
            return 0.0
        grown = float(np.abs(after).sum() - np.abs(before).sum())
        total = float(np.abs(after).sum())
        if not total > 0.0:
            return 0.0
        # what Newton leaves does not shrink with the step
        excess = max(float(change.max()) - 0.1 * self.newton_tol * total, 0.0)
        return excess / max(grown, _SLOW_GROWTH * total) / _BALANCE

    def _segment(
        self,
        frame: Frame,
        radial: bool,
        h: float,
        start: State,
        u: Array,
        end: State,
        tau: float,
    ) -> Segment:
        """What the quadrature of physical time needs of the step."""
        unit = frame.mu_level
        phi = (frame.soft_level(start.q), frame.soft_level(end.q))
        log_tau = float(np.log(tau))
        if not radial:
            slopes = (start.phi_rate, end.phi_rate)
            return Segment(tau, phi, slopes, np.zeros(2), log_tau, frame.log_unit, unit)
        # y in [0, h] runs along Lambda(y) = <x_n, u(e^y x_n)>, which has the step's own ends
        rates = np.array([_radial_rate(frame, start.x, u, h * c) for c in _SHAPE])
        pull = np.log([float(start.g @ start.x), float(end.g @ start.x)])
        log_rate = (
            np.log(np.maximum(rates, 1e-290 * rates.max())) - pull[0] - _SHAPE * np.diff(pull)
        )
        ends = np.exp(log_rate[[0, -1]])
        slope = (start.phi_rate * float(ends[0]), end.phi_rate * float(ends[1]))
        return Segment(h, phi, slope, log_rate, log_tau, frame.log_unit, unit)


def _radial_rate(frame: Frame, x: Array, u: Array, y: float) -> float:
    """`d<x, u(e^y x)>/dy`, where `u` is the dual at y = 0."""
    grown = x * np.exp(y)
    with np.errstate(over="ignore", invalid="ignore"):
        at = u if y == 0.0 else frame.map.dual(grown)
    return frame.map.radial_pull(x, grown, at)
