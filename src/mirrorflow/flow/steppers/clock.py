"""Physical time from the step's own clock, in logarithms.

`dt = e^phi dtau` with `phi = -log sum w` and `tau = sum mu`.  Over a step phi may change by 1
or by 1e100; what is integrated is `exp(phi(y) + log tau'(y))` with both exponents cubic in the
radial variable y, on nodes graded towards the end where all of the time is spent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from mirrorflow.arrays import Array, gauss_legendre

_GAUSS, _WEIGHT = gauss_legendre(4)
_EDGES = np.concatenate(
    [np.linspace(0.0, 1.0 - 1 / 24, 24), 1.0 - 2.0 ** -np.arange(4.6, 52.0), [1.0]]
)
_LEFT, _WIDTH = _EDGES[:-1, None], np.diff(_EDGES)[:, None]
NODES: Array = (_LEFT + _WIDTH * _GAUSS).ravel()
_LOG_WEIGHTS: Array = np.log((_WIDTH * _WEIGHT).ravel())


_STEEP = 50.0  # e-folds of the clock's rate in one step


@dataclass(frozen=True)
class Clock:
    """`<direction, u - base> = target`; without a direction `sum mu = target`."""

    target: float
    direction: Array | None = None


@dataclass(frozen=True)
class Segment:
    """One step in y over [0, h]: phi and its slope at both ends, log dtau/dy, the whole dtau.

    Phi and `tau_level`, the log of the unit of tau, are in units `e^log_unit`: both exponents may
    exceed doubles, the second one for rapid maps.
    """

    h: float
    phi: tuple[float, float]
    slope: tuple[float, float]
    log_rate: Array  # at equispaced points of [0, h], ends included
    log_tau: float
    log_unit: float
    tau_level: float
    elapsed: tuple[float, float] | None = None  # if the stepper has integrated the time itself


def log_elapsed(s: Segment) -> tuple[float, float]:
    """`log` of the step's time as `(level, excess)`: `level e^log_unit + excess`.

    The level is phi at the end and the unit of tau, so the sum is finite whenever it is a double
    at all.
    """
    if s.elapsed is not None:
        return s.elapsed
    unit = float(np.exp(min(s.log_unit, 690.0)))
    rate, peak = _rate_on_nodes(s), float(s.log_rate.max())
    # bend the rate so that the step's total is the integrator's
    have = np.exp(rate - peak + _LOG_WEIGHTS)
    bump = NODES * (1.0 - NODES)
    target = s.log_tau - float(np.log(s.h)) - peak
    if np.isfinite(target):
        bend = 0.0
        for _ in range(8):
            e = have * np.exp(bend * bump)
            gap = np.log(e.sum()) - target
            bend -= gap / max((e * bump).sum() / e.sum(), 1e-12)
            bend = float(np.clip(bend, -8.0, 8.0))
            if abs(gap) < 1e-13:
                break
        rate = rate + bend * bump
    fall = (s.phi[1] - s.phi[0]) * unit
    d0, d1 = (_limited(d * s.h, s.phi[1] - s.phi[0]) for d in s.slope)
    x = 1.0 - NODES  # distance from the end, where cancellation must not happen
    below = x * x * (1.0 + 2.0 * NODES) * fall - unit * (
        NODES * x * x * d0 - NODES * NODES * x * d1
    )
    exponent = -below + rate + _LOG_WEIGHTS
    top = float(exponent.max())
    excess = top + float(np.log(np.exp(exponent - top).sum())) + float(np.log(s.h))
    return s.phi[1] + s.tau_level, excess


def clock_defect(s: Segment) -> float:
    """What the step's clock leaves open, as a relative error of its length in y, hence of Q(t).

    `log dtau/dy`, interpolated over the step, implies a duration; the integrator has another. If
    they differ by d, `log t` is uncertain by about d, and `log Q` by d times its growth per log t.
    """
    if s.elapsed is not None:
        return 0.0
    rate = _rate_on_nodes(s)
    top = float(rate.max())
    total = top + float(np.log(np.exp(rate - top + _LOG_WEIGHTS).sum())) + float(np.log(s.h))
    unit = float(np.exp(min(s.log_unit, 690.0)))
    grown = (s.phi[1] - s.phi[0]) * unit + float(s.log_rate[-1] - s.log_rate[0])
    return abs(total - s.log_tau) * s.h / max(grown, s.h)


def _rate_on_nodes(s: Segment) -> Array:
    """`log dtau/dy` on `NODES`."""
    if float(np.ptp(s.log_rate)) < _STEEP:
        return np.asarray(_lagrange(len(s.log_rate)) @ s.log_rate)
    # only the end of the step counts, and a quartic would overshoot
    at = np.linspace(0.0, 1.0, len(s.log_rate))
    rate = np.interp(NODES, at, s.log_rate)
    last = at[-2] < NODES
    t = (NODES[last] - at[-2]) / (at[-1] - at[-2])
    bow = 0.5 * float(s.log_rate[-1] - 2.0 * s.log_rate[-2] + s.log_rate[-3])
    rate[last] -= max(bow, 0.0) * t * (1.0 - t)
    return rate


@cache
def _lagrange(points: int) -> Array:
    """Interpolation from equispaced points of [0, 1] to `NODES`, shape (nodes, points)."""
    at = np.linspace(0.0, 1.0, points)
    columns = [np.prod([(NODES - b) / (a - b) for b in at if b != a], axis=0) for a in at]
    return np.stack(columns, 1)


def _limited(d: float, secant: float) -> float:
    """Keep a Hermite slope within three secants (Fritsch-Carlson), so that phi stays monotone."""
    if not np.isfinite(d):
        return 3.0 * secant
    low, high = sorted((0.0, 3.0 * secant))
    return float(min(max(d, low), high))
