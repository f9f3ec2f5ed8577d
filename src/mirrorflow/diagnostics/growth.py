"""Growth of the norm and decay of the loss, measured beside what the theory predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from mirrorflow.arrays import Array
from mirrorflow.checks import as_number, shown
from mirrorflow.diagnostics.laws import Prediction, growth_of, predict_from, ray_flow
from mirrorflow.errors import NoHorizonError
from mirrorflow.maps import MirrorMap, RadialGrowth, as_map

__all__ = ["FIRST_LOG_T", "Growth", "Law", "fit_growth"]


FIRST_LOG_T = 100 * math.log(10)  # t = 1e100
_BLOCKS = 6
_LAST_LOG_T = 1e12  # beyond, log ℓ + log t has lost the digits that its laws are about


@dataclass(frozen=True)
class Law:
    """One measured number with its 95 % interval, beside the prediction.

    Attributes:
        name: what is measured, as a formula.
        measured, low, high: the value and the interval.
        predicted: the limit of the theory, NaN if there is none.
        correction: what the same number is over this window on a fixed ray, by the map's own
            growth there, minus `predicted`.
        slack: size of what that leaves out, in the units of `measured`.
        agrees: `predicted + correction` lies in the interval widened by `slack`.
    """

    name: str
    measured: float
    low: float
    high: float
    predicted: float
    correction: float
    slack: float

    @property
    def agrees(self) -> bool:
        """True if measured and predicted cannot be told apart."""
        at = self.predicted + self.correction
        return self.low - self.slack <= at <= self.high + self.slack

    @property
    def asymptotic(self) -> bool:
        """False if the correction is as large as half of the prediction.

        An exponent of log t, and the logarithm of a constant, may be 0: there it is half of 1.
        """
        size = 1.0 if "(ℓ" in self.name else abs(self.predicted)
        return abs(self.correction) < 0.5 * size


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
    mirror_map: MirrorMap | str,
    degree: float | None = None,
    from_log_t: float = FIRST_LOG_T,
) -> Growth:
    """Fit the laws of norm and loss late in a run: exponents by local slopes, with intervals.

    With x = log log t: `d log Q/dx → 1/L` (index α finite), and
    `log ℓ = −log t − (2 − α/L) x + log C`. See `predict` for all maps and constants.
    Slopes are taken over blocks of equal length in x; the interval is Student's of
    their mean, and so widens where the curve bends. Beside each stands the limit of the theory, and
    a correction: what the same number is over the same window for the flow along a fixed ray, by
    the map's own growth there.

    It refuses where the limit says nothing: before t = 1e100 logarithmic corrections are above
    a few per cent (3 to 55 % at 1e10); a window shorter than a factor e in log t shows no
    slope; a correction of half the prediction or more is not asymptotic yet; and the growth of a
    `Custom` map may not be told. If the margin still moves, the verdict says so: the laws are those
    of a fixed direction.

    Args:
        run: a `Trajectory`, or a mapping or table with columns `log_t`, `log_loss`, `log_gauge`
            (natural logarithms; the loss is the one that the flow descends), and, if there is
            one, `log_log_t`.
        mirror_map: the map of all parameters.
        degree: `L`, in (0, ∞); taken from `run.degree` if None.
        from_log_t: use only later points, in (0, ∞); smaller values are at your own risk.

    Returns:
        A `Growth`.

    Raises:
        TypeError: run has no such columns of numbers, or no degree is known.
        ValueError: columns of different lengths, or a degree or time that is not positive.
    """
    mirror_map = as_map(mirror_map)
    if degree is None:
        degree = getattr(run, "degree", None)
    if degree is None:
        raise TypeError("run has no attribute `degree`; pass degree=L of the net")
    degree = as_number(degree, "degree", above=0)
    from_log_t = as_number(from_log_t, "from_log_t", above=0)
    log_t, log_loss, log_gauge = (_column(run, k) for k in ("log_t", "log_loss", "log_gauge"))
    if not len(log_t) == len(log_loss) == len(log_gauge):
        raise ValueError(
            f"run: log_t, log_loss and log_gauge have lengths {len(log_t)}, {len(log_loss)} and "
            f"{len(log_gauge)}; pass columns of one length"
        )
    last = float(np.max(log_t[np.isfinite(log_t)], initial=-math.inf))
    with np.errstate(all="ignore"):
        good = np.isfinite(log_t) & np.isfinite(log_loss) & np.isfinite(log_gauge)
        good &= (log_t >= from_log_t) & (log_loss < 0)
    log_t, log_loss, log_gauge = log_t[good], log_loss[good], log_gauge[good]
    order = np.argsort(log_t)
    log_t, log_loss, log_gauge = log_t[order], log_loss[order], log_gauge[order]
    points = len(log_t)
    refusal = _refusal(last, log_t, from_log_t)
    if refusal:
        return Growth((), refusal, from_log_t, points, math.nan)
    log_margin = np.log(-log_loss) - degree * log_gauge
    change = float(np.ptp(np.exp(np.clip(log_margin - log_margin[-1], -700, 700))))
    if not abs(log_margin[-1]) < 700:
        text = f"refused: the margin at the end is exp({log_margin[-1]:.4g}), beyond float64"
        return Growth((), text, from_log_t, points, change)
    try:
        radial = growth_of(mirror_map)
    except NoHorizonError as error:
        return Growth((), f"refused: {error}", from_log_t, points, change)
    gamma = math.exp(log_margin[-1])
    source = f"the laws of {mirror_map!r} at L = {degree:g}"
    expected = predict_from(radial, degree, gamma, source)
    laws = _laws(expected, radial, log_t, log_loss, log_gauge, gamma, change)
    early = next((law for law in laws if not law.asymptotic), None)
    if early is not None:
        text = (
            f"refused: not asymptotic yet at log t = {log_t[-1]:.4g}: by the growth of "
            f"{mirror_map!r}, {early.name} is {early.predicted + early.correction:.3g} over this "
            f"window, and {early.predicted:.3g} only in the limit; follow further"
        )
        return Growth((), text, from_log_t, points, change)
    verdict = _verdict(laws, change, log_t, expected)
    return Growth(laws, verdict, from_log_t, points, change)


def _column(run: Any, name: str) -> Array:
    value = getattr(run, name, None)
    if value is None:
        try:
            value = run[name]
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise TypeError(
                f"run is a {type(run).__name__} without a column {name!r}; pass a Trajectory or "
                "a table with log_t, log_loss and log_gauge"
            ) from error
    try:
        return np.asarray(value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"run: its column {name!r} = {shown(value)} is not made of real numbers"
        ) from error


def _refusal(last: float, used: Array, from_log_t: float) -> str:
    if len(used) < 4 * _BLOCKS or used[-1] < math.e * used[0]:
        return (
            f"refused: the run ends at t = 1e{last / math.log(10):.4g}, with {len(used)} points "
            f"from t = 1e{from_log_t / math.log(10):.4g} on. Before, logarithmic corrections hide "
            f"the laws; continue to t = 1e{math.e * from_log_t / math.log(10):.4g} at least, with "
            f"{4 * _BLOCKS} points or more"
        )
    return ""


def _laws(
    expected: Prediction,
    radial: RadialGrowth,
    log_t: Array,
    log_loss: Array,
    log_gauge: Array,
    gamma: float,
    change: float,
) -> tuple[Law, ...]:
    """Each law, measured on the run and in the same way on the flow along the ray."""
    x = np.log(log_t)
    seen = _numbers(expected, log_t, log_loss, log_gauge, gamma)
    ray_gauge, ray_loss = ray_flow(radial, expected.degree, gamma, log_t)
    model = _numbers(expected, log_t, ray_loss, ray_gauge, gamma)
    # What the ray leaves out shifts log t by O(1): several points share the loss, several entries
    # the norm. What the margin still moves, every law that contains γ does too.
    middle = float(np.exp(x.mean()))
    shift = (1 + math.log(middle)) / middle
    left = {
        "norm": shift + change,
        "time": 2 * shift / middle + change,
        "log": 2 * (shift + change),
    }
    laws = []
    for name, (kind, slope, values, predicted) in seen.items():
        _, _, ray, _ = model[name]
        measured, low, high = _blocks(x, values, slope=slope)
        on_ray = _blocks(x, ray, slope=slope)[0]
        size = max(abs(predicted), 1.0) if kind == "log" else abs(predicted)
        correction = on_ray - predicted
        # A direction with several entries, and the next order: a part of the correction.
        slack = size * (left[kind] + 1e-3) + 0.25 * abs(correction)
        laws.append(Law(name, measured, low, high, predicted, correction, slack))
    return tuple(laws)


def _numbers(
    expected: Prediction, log_t: Array, log_loss: Array, log_gauge: Array, gamma: float
) -> dict[str, tuple[str, bool, Array, float]]:
    """Of each law its kind, whether it is a slope in log log t or a mean, values, and limit."""
    x = np.log(log_t)
    found: dict[str, tuple[str, bool, Array, float]] = {}
    if expected.norm == "log log t":
        found["dQ/d log log t"] = ("norm", True, np.exp(log_gauge), expected.norm_exponent)
        if expected.degree == 1:
            name = "−d log ℓ/d log log t"
            found[name] = ("norm", True, -log_loss, gamma * expected.norm_exponent)
        return found
    scaled = log_gauge - expected.norm_exponent * x - expected.norm_log_constant
    found["d log Q/d log log t"] = ("norm", True, log_gauge, expected.norm_exponent)
    found[f"Q/{expected.norm}"] = ("norm", False, np.exp(scaled), 1.0)
    if math.isfinite(expected.time_exponent):
        local = -np.gradient(log_loss, log_t)
        found["−d log ℓ/d log t"] = ("time", False, local, expected.time_exponent)
    if log_t[-1] > _LAST_LOG_T:
        return found
    if math.isfinite(expected.log_exponent):
        excess = -(log_loss + log_t)
        found["−d log(ℓt)/d log log t"] = ("log", True, excess, expected.log_exponent)
    if math.isfinite(expected.loss_log_constant):
        constant = log_loss + log_t + expected.log_exponent * x
        found["log(ℓ t (log t)^c)"] = ("log", False, constant, expected.loss_log_constant)
    return found


def _blocks(x: Array, v: Array, *, slope: bool) -> tuple[float, float, float]:
    """Mean over blocks of equal length in x, of slopes or means, and the ends of its interval."""
    edges = np.linspace(x[0], x[-1], _BLOCKS + 1)
    which = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, _BLOCKS - 1)
    parts = [which == b for b in range(_BLOCKS) if (which == b).sum() >= 3]
    if len(parts) < 2:
        parts = [np.ones(len(x), dtype=bool)] * 2
    values = [
        float(np.polyfit(x[at] - x[at].mean(), v[at], 1)[0]) if slope else float(v[at].mean())
        for at in parts
    ]
    k, mean = len(values), float(np.mean(values))
    half = float(stdtrit(k - 1, 0.975) * np.std(values, ddof=1) / math.sqrt(k))
    return mean, mean - half, mean + half


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
