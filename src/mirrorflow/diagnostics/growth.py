"""Growth of the norm and decay of the loss, measured beside what the theory predicts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from mirrorflow.diagnostics.laws import Prediction, predict
from mirrorflow.maps import MirrorMap

__all__ = ["FIRST_LOG_T", "Growth", "Law", "fit_growth"]

Array = NDArray[np.float64]

FIRST_LOG_T = 100 * math.log(10)  # t = 1e100
_BLOCKS = 6


@dataclass(frozen=True)
class Law:
    """One measured number with its 95 % interval, beside the prediction.

    Attributes:
        name: what is measured, as a formula.
        measured, low, high: the value and the interval.
        predicted: the limit of the theory, NaN if there is none.
        correction: size of the first correction that the theory leaves out over the window, in
            the units of `measured`.
        agrees: the prediction lies in the interval widened by `correction`.
    """

    name: str
    measured: float
    low: float
    high: float
    predicted: float
    correction: float

    @property
    def agrees(self) -> bool:
        """True if measured and predicted cannot be told apart."""
        slack = abs(self.correction)
        return self.low - slack <= self.predicted <= self.high + slack


@dataclass(frozen=True)
class Growth:
    """The laws of a run, or the reason why none was fitted.

    Attributes:
        laws: empty if the fit was refused.
        verdict: a sentence.
        from_log_t: natural logarithm of the time from which on points are used.
        points: number of points used.
        margin_change: relative change of the margin over the window; the laws hold along a fixed
            direction.
    """

    laws: tuple[Law, ...]
    verdict: str
    from_log_t: float
    points: int
    margin_change: float

    @property
    def refused(self) -> bool:
        """True if no law was fitted."""
        return not self.laws


def fit_growth(
    run: Any,
    *,
    mirror_map: MirrorMap,
    degree: float | None = None,
    from_log_t: float = FIRST_LOG_T,
) -> Growth:
    """Fit the laws of norm and loss late in a run: exponents by local slopes, with intervals.

    With x = log log t: `d log Q/dx → 1/L` (a p-homogeneous map or index 1), and
    `log ℓ = −log t − (2 − p/L) x + log((p−1)/(L² γ^{p/L}))`. See `predict` for all maps.
    Slopes are taken over blocks of equal length in x; the interval is Student's of
    their mean, and so widens where the curve bends. The measured exponent of t in the loss is
    corrected by its own logarithm, `(2 − p/L)/log t`, before it is compared.

    It refuses where logarithmic corrections dominate: before t = 1e100 they are above
    a few per cent (3 to 55 % at 1e10), and a window shorter than a factor e in log t shows no
    slope. If the margin still moves, the verdict says so: the laws are those of a fixed direction.

    Args:
        run: a `Trajectory`, or a mapping or table with columns `log_t`, `log_loss`, `log_gauge`
            (natural logarithms; the loss is the one that the flow descends), and, if there is
            one, `log_log_t`.
        mirror_map: the map of all parameters.
        degree: `L`; taken from `run.degree` if None.
        from_log_t: use only later points; smaller values are at your own risk.

    Returns:
        A `Growth`.

    Raises:
        TypeError: run has no such columns, or no degree is known.
        ValueError: columns of different lengths, or a degree that is not positive.
    """
    if not isinstance(mirror_map, MirrorMap):
        raise TypeError(
            f"mirror_map is a {type(mirror_map).__name__}; the laws of growth are those of one "
            "MirrorMap for all parameters"
        )
    if degree is None:
        degree = getattr(run, "degree", None)
    if degree is None:
        raise TypeError("run has no attribute `degree`; pass degree=L of the net")
    if not degree > 0:
        raise ValueError(f"degree = {degree} must be positive")
    log_t, log_loss, log_gauge = (_column(run, k) for k in ("log_t", "log_loss", "log_gauge"))
    if not len(log_t) == len(log_loss) == len(log_gauge):
        raise ValueError(
            f"log_t, log_loss and log_gauge have lengths {len(log_t)}, {len(log_loss)} and "
            f"{len(log_gauge)}; pass columns of one length"
        )
    with np.errstate(all="ignore"):
        good = np.isfinite(log_t) & np.isfinite(log_loss) & np.isfinite(log_gauge)
        good &= (log_t >= from_log_t) & (log_loss < 0)
    log_t, log_loss, log_gauge = log_t[good], log_loss[good], log_gauge[good]
    order = np.argsort(log_t)
    log_t, log_loss, log_gauge = log_t[order], log_loss[order], log_gauge[order]
    refusal = _refusal(_column(run, "log_t"), log_t, from_log_t)
    if refusal:
        return Growth((), refusal, from_log_t, len(log_t), math.nan)
    log_margin = np.log(-log_loss) - degree * log_gauge
    gamma = float(np.exp(log_margin[-1]))
    change = float(np.ptp(np.exp(log_margin - log_margin[-1])))
    expected = predict(mirror_map, degree, gamma)
    laws = _laws(expected, log_t, log_loss, log_gauge, gamma, degree, change)
    verdict = _verdict(laws, change, log_t, expected)
    return Growth(laws, verdict, from_log_t, len(log_t), change)


def _column(run: Any, name: str) -> Array:
    value = getattr(run, name, None)
    if value is None:
        try:
            value = run[name]
        except (KeyError, TypeError, IndexError) as error:
            raise TypeError(
                f"run is a {type(run).__name__} without a column {name!r}; pass a Trajectory or "
                "a table with log_t, log_loss and log_gauge"
            ) from error
    return np.asarray(value, dtype=np.float64).reshape(-1)


def _refusal(everything: Array, used: Array, from_log_t: float) -> str:
    last = float(np.nanmax(everything[np.isfinite(everything)], initial=-math.inf))
    reached = f"the run ends at t = 1e{last / math.log(10):.4g}"
    if len(used) < 4 * _BLOCKS or used[-1] < math.e * used[0]:
        return (
            f"refused: {reached}, with {len(used)} points from "
            f"t = 1e{from_log_t / math.log(10):.4g} on. Before, logarithmic corrections hide the "
            f"laws; continue to t = 1e{math.e * from_log_t / math.log(10):.4g} at least, with "
            f"{4 * _BLOCKS} points or more"
        )
    return ""


def _laws(
    expected: Prediction,
    log_t: Array,
    log_loss: Array,
    log_gauge: Array,
    gamma: float,
    L: float,
    change: float,
) -> tuple[Law, ...]:
    x = np.log(log_t)
    middle = float(np.exp(x.mean()))
    laws = []
    rest = abs(expected.log_exponent) if math.isfinite(expected.log_exponent) else 2.0
    # q = log t + c log log t + …: the relative size of the first correction, in the middle.
    # What the margin still moves, every law that contains γ does too.
    relative = max(rest, 1.0) * (1 + math.log(middle)) / middle + change
    if expected.norm == "log log t":
        laws.append(_slope("dQ/d log log t", x, np.exp(log_gauge), expected.norm_exponent, 0.1))
    else:
        slow = expected.slow(middle, gamma)
        laws.append(
            _slope("d log Q/d log log t", x, log_gauge, expected.norm_exponent, relative + slow)
        )
        scaled = log_gauge - x / L if expected.norm == "(log t/γ)^(1/L)" else log_gauge - x
        laws.append(
            _mean(
                f"Q/{expected.norm}",
                x,
                np.exp(scaled - expected.norm_log_constant),
                1.0,
                relative + slow,
            )
        )
    if math.isfinite(expected.time_exponent):
        local = -np.gradient(log_loss, log_t)
        correction = expected.log_exponent / log_t if math.isfinite(expected.log_exponent) else 0.0
        laws.append(
            _mean(
                "−d log ℓ/d log t",
                x,
                local - correction,
                expected.time_exponent,
                2 * relative / middle + change + expected.slow(middle, gamma),
            )
        )
    if math.isfinite(expected.log_exponent):
        excess = log_loss + log_t
        laws.append(
            _slope("−d log(ℓt)/d log log t", x, -excess, expected.log_exponent, 2 * relative)
        )
    if math.isfinite(expected.loss_log_constant):
        constant = log_loss + log_t + expected.log_exponent * x
        laws.append(
            _mean("log(ℓ t (log t)^c)", x, constant, expected.loss_log_constant, 2 * relative)
        )
    if expected.norm == "log log t" and L == 1:
        laws.append(_slope("−d log ℓ/d log log t", x, -log_loss, gamma, 0.1 * max(gamma, 1.0)))
    return tuple(laws)


def _slope(name: str, x: Array, v: Array, predicted: float, correction: float) -> Law:
    def one(a: Array, b: Array) -> float:
        return float(np.polyfit(a - a.mean(), b, 1)[0])

    return _blocks(name, x, v, one, predicted, correction)


def _mean(name: str, x: Array, v: Array, predicted: float, correction: float) -> Law:
    def one(_: Array, b: Array) -> float:
        return float(b.mean())

    return _blocks(name, x, v, one, predicted, correction)


def _blocks(
    name: str,
    x: Array,
    v: Array,
    one: Callable[[Array, Array], float],
    predicted: float,
    correction: float,
) -> Law:
    edges = np.linspace(x[0], x[-1], _BLOCKS + 1)
    which = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, _BLOCKS - 1)
    values = [one(x[which == b], v[which == b]) for b in range(_BLOCKS) if (which == b).sum() >= 3]
    k = len(values)
    if k < 2:
        values, k = [one(x, v)] * 2, 2
    mean = float(np.mean(values))
    half = float(stdtrit(k - 1, 0.975) * np.std(values, ddof=1) / math.sqrt(k))
    return Law(name, mean, mean - half, mean + half, predicted, correction)


def _verdict(laws: tuple[Law, ...], change: float, log_t: Array, expected: Prediction) -> str:
    window = f"t = 1e{log_t[0] / math.log(10):.4g} to 1e{log_t[-1] / math.log(10):.4g}"
    if change > 0.02:
        return (
            f"over {window} the margin still moves by {100 * change:.2g} %: the direction has not "
            "converged, and the laws are those of a fixed direction; follow the run further"
        )
    wrong = [law.name for law in laws if not law.agrees]
    if wrong:
        return f"over {window} {', '.join(wrong)} disagree with {expected.source}"
    return f"over {window} all {len(laws)} laws agree with {expected.source}"
