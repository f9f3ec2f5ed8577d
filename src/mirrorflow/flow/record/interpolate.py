"""Cubic interpolation in `log log(1 + t)`, with slopes that neighbouring rows have to bear out."""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np

from mirrorflow.arrays import Array

_DOUBT = 3.0  # a slope may miss the parabola's by this multiple of what third differences explain
_SECANTS = 5.0  # and exceed the secant by this factor


def loglog(log_t: Array) -> Array:
    """`log log(1 + t)` of `log t`, also for t below 1 and above the doubles."""
    with np.errstate(divide="ignore", under="ignore"):
        return np.where(log_t < -30.0, log_t, np.log(np.logaddexp(0.0, log_t)))


def loglog_slope(log_t: Any) -> Any:
    """`d loglog / d log t`."""
    with np.errstate(over="ignore", under="ignore"):
        exact = np.exp(-np.logaddexp(0.0, -log_t)) / np.maximum(np.logaddexp(0.0, log_t), 1e-300)
    return np.where(np.asarray(log_t) < -30.0, 1.0, exact)


def pace_of(log_t: Any) -> Any:
    """`1 + log(1 + t)`, which never vanishes."""
    return 1.0 + np.logaddexp(0.0, log_t)


def pace_slope(log_t: Any) -> Any:
    """`d log pace / d log t`."""
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(-np.logaddexp(0.0, -log_t)) / pace_of(log_t)


def plausible(slopes: Array, z: Array, values: Array, k: int) -> Array:
    """The slopes (2, c) at rows k and k + 1 of `values` (r, c) at `z` (r,), mended where noise.

    Where a coordinate is slaved to others, as inside the cube for a rapid map, its velocity is a
    difference of nearly equal terms: an error of the tolerance in x is one of a hundred per cent
    in it. The parabola through three rows misses a true slope by `h h' |f'''|/6`, which the third
    differences tell; a slope that is farther off gives way to the parabola's.
    """
    if len(z) < 4:
        return slopes
    third = _third(z, values)
    out = slopes.copy()
    for end in (0, 1):
        at = k + end
        low = min(max(at - 1, 0), len(z) - 3)
        i, j = (m for m in range(low, low + 3) if m != at)
        a, b = z[i] - z[at], z[j] - z[at]
        to_a, to_b = (values[i] - values[at]) / a, (values[j] - values[at]) / b
        parabola = (to_a * b - to_b * a) / (b - a)
        far = np.abs(slopes[end] - parabola) > _DOUBT * third * abs(a * b)
        out[end] = np.where(far | ~np.isfinite(slopes[end]), parabola, slopes[end])
    return out


def _third(z: Array, values: Array) -> Array:
    """The largest third divided difference of neighbouring rows, per column: about `|f'''|/6`."""
    d = values
    for order in (1, 2, 3):
        d = np.diff(d, axis=0) / (z[order:] - z[:-order])[:, None]
    return np.abs(d).max(0)


def hermite(values: Array, slopes: Array, s: float) -> tuple[Array, Array]:
    """Cubic on [0, 1] through two rows, and its derivative.

    A slope beyond five secants and twice the slope of the other end, which is as steep about an
    extremum, is not believed: where it is that steep (a weight crossing zero for p > 2) it is cut.
    The last column, the loss, is smooth: it also gets a tenth of its value.
    """
    secant = values[1] - values[0]
    other = np.abs(np.where(np.isfinite(slopes), slopes, 0.0))[::-1]
    bound = _SECANTS * np.abs(secant) + 2.0 * other + 1e-9 * np.abs(values).max()
    bound[:, -1] += 0.1 * np.abs(values[:, -1]).max()
    slopes = np.where(np.isfinite(slopes), np.clip(slopes, -bound, bound), secant)
    value: Array = (
        values[0]
        + s * s * (3 - 2 * s) * secant
        + s * (1 - s) ** 2 * slopes[0]
        + s * s * (s - 1) * slopes[1]
    )
    slope: Array = (
        6 * s * (1 - s) * secant + (1 - s) * (1 - 3 * s) * slopes[0] + s * (3 * s - 2) * slopes[1]
    )
    return value, slope
