"""The axis of time, which carries two readings: `log₁₀ log₁₀ t`, and t itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mirrorflow.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["as_times", "both_readings", "loglog10", "mark_times"]

_LN10 = math.log(10.0)


def loglog10(log_log_t: Any) -> Array:
    """`log₁₀ log₁₀ t` from the natural `log log t`; −inf up to t = 1."""
    return np.asarray(log_log_t, dtype=np.float64) / _LN10 - math.log10(_LN10)


def as_times(log_t: Any) -> Array:
    """`log₁₀ log₁₀ t` from the natural `log t`; NaN up to t = 1."""
    log_t = np.asarray(log_t, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(log_t > 0, np.log10(log_t / _LN10), np.nan)


def both_readings(k: float) -> str:
    """The label of `log₁₀ log₁₀ t = k`: k, and in a second line `t = 10^(10^k)`."""
    whole = round(k)
    if abs(k - whole) > 1e-9:
        power = f"{10.0**k:.3g}" if k < 4 else f"10^{{{k:.3g}}}"
    else:
        k = whole
        power = f"{10.0**k:g}" if k <= 3 else f"10^{{{whole}}}"
    reading = "10" if power == "1" else f"$10^{{{power}}}$"
    return f"{k:g}\n{reading}"


def mark_times(ax: Axes) -> None:
    """Ticks with both readings, and the name of the axis."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda k, _: both_readings(k)))
    ax.set_xlabel("log₁₀ log₁₀ t, below it t")
