"""The explicit stepper: Dormand-Prince 5(4) on `du/dtau = J(x)' p`, in the normalised clock tau.

Cheap steps and no linear algebra, for large nets and short times. Late in the flow the margins of
the support are held together on a time scale that shrinks like 1/q; the step follows it, so the
number of steps grows with q and not with log q.
"""

from __future__ import annotations

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.flow.steppers.base import Failed, State, Step, make_state
from mirrorflow.flow.steppers.clock import Segment
from mirrorflow.flow.steppers.frame import Frame

_A = [
    [],
    [1 / 5],
    [3 / 40, 9 / 40],
    [44 / 45, -56 / 15, 32 / 9],
    [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
    [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
    [35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
]
_ERROR = [71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40]
# weights of the slopes at a share s of the step, as polynomials s, s^2, s^3, s^4 (Shampine 1986)
_WITHIN = np.array(
    [
        [1, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432],
        [0, 0, 0, 0],
        [0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799],
        [0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072],
        [0, 127303824393 / 49829197408, -318862633887 / 49829197408, 701980252875 / 199316789632],
        [0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844],
        [0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423],
    ]
)
_PARTS = 8  # rows that a step may be recorded in, so that cubics between them hold the tolerance


class ExplicitStepper:
    """Order 5 with an error estimate of order 4; a step of relative length h moves u by `h |u|`."""

    order = 5
    error_order = 5
    remembers = False

    def __init__(self, tol: float, delta: float, max_step: float) -> None:
        self.tol, self.delta, self.max_step = tol, delta, max_step

    def step(self, frame: Frame, rho: float, state: State, h: float) -> Step | Failed:
        """Try one step of relative length h from `state` at `rho`."""
        h = min(h, self.max_step)
        frame.set_level(rho, state.x, 0.0, self.delta)
        x, u = state.x, state.u
        total = h * frame.map.pace(u, state.g)
        if not np.isfinite(total):
            return Failed(h)
        slopes: list[Array] = []
        levels: list[float] = []
        us = u
        for row in _A:
            us = u + total * sum((a * g for a, g in zip(row, slopes, strict=True)), 0.0 * u)
            xs = frame.map.primal(us)
            p, level = self._weights(frame, xs)
            slopes.append(frame.margins.pull(xs, p))
            levels.append(level)
        end = make_state(frame, xs, us, None)
        if not np.all(np.isfinite(xs)):
            return Failed(h)
        before, after = frame.loss_level(state.q), frame.loss_level(end.q)
        if after < before - 1e-9 * abs(before):
            return Failed(
                h
            )  # the loss falls along the flow; in a wide net tol alone may not see it
        e = total * sum((w * g for w, g in zip(_ERROR, slopes, strict=True)), 0.0 * u)
        dx = frame.map.primal(us + e) - xs
        size = max(frame.map.extent(xs), frame.map.extent(x))
        error = max(frame.map.extent(dx) / size, frame.map.dual_ratio(e, us))
        unit = frame.mu_level
        # dt = e^phi dtau by the method's own weights, while phi changes little enough for that
        spread = (np.array(levels) - levels[0]) * float(np.exp(min(frame.log_unit, 700.0)))

        def segment(end: State, weights: Array) -> Segment:
            elapsed = None
            if np.abs(spread[:-1]).max() < 2.0 and (mean := float(np.exp(spread) @ weights)) > 0:
                elapsed = (levels[0] + unit, float(np.log(mean * total)))
            return Segment(
                total,
                (frame.soft_level(state.q), frame.soft_level(end.q)),
                (state.phi_rate, end.phi_rate),
                np.zeros(2),
                float(np.log(total)),
                frame.log_unit,
                unit,
                elapsed,
            )

        whole = segment(end, np.array([*_A[-1], 0.0]))
        within = []
        if error <= self.tol and whole.elapsed is not None:
            for s in self._shares(frame, state, end, total, slopes):
                weights = _WITHIN @ s ** np.arange(1, 5)
                us = u + total * (weights @ np.array(slopes))
                point = make_state(frame, frame.map.primal(us), us, None)
                within.append((point, segment(point, weights)))
        return Step(end, error / self.tol, whole, h, tuple(within))

    def _shares(
        self, frame: Frame, state: State, end: State, total: float, slopes: list[Array]
    ) -> Array:
        """Where in the step rows are needed: a cubic over 1/n of it errs by `n^-4`."""
        us = state.u + total * (_WITHIN @ 0.5 ** np.arange(1, 5) @ np.array(slopes))
        with np.errstate(invalid="ignore", over="ignore"):
            turn = frame.map.mobilise(state.x, state.u, state.g)
            turn = turn - frame.map.mobilise(end.x, end.u, end.g)
        cubic = 0.5 * (state.x + end.x) + 0.125 * total * np.nan_to_num(turn, posinf=0, neginf=0)
        miss = frame.map.extent(frame.map.primal(us) - cubic) / frame.map.extent(end.x)
        parts = min(np.ceil((miss / self.tol) ** 0.25), _PARTS) if np.isfinite(miss) else _PARTS
        return np.arange(1.0, parts) / parts

    def _weights(self, frame: Frame, x: Array) -> tuple[Array, float]:
        b = frame.barrier(frame.margins.values(x))
        p = np.exp(-np.minimum((b - b.min()) / max(frame.one(), 1e-300), 700.0))
        return np.asarray(p / p.sum()), frame.soft_level_of(b)
