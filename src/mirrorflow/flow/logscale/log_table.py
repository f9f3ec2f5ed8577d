"""A scalar map as a table on logarithmic scales: dual and slope without calling the function."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mirrorflow.arrays import Array
from mirrorflow.maps import SeparableMap

__all__ = ["LogTable"]

_SPACING = 0.05
_GRID = _SPACING * np.arange(-14_000, 14_001)  # log x over all magnitudes of doubles
_AGREES = 1e-7  # of log r' at the middle of a panel, below which its slope is right to 1e-5


class LogTable:
    """`log r'` as a function of `log x`, by cubics through its values and derivatives.

    Contract: a power is met exactly. Panels in which a cubic is no more than a guess, such as those
    with a kink of r', are marked.

    Args:
        mirror_map: a separable map; the table spans where r' is finite, positive and increasing.
    """

    def __init__(self, mirror_map: SeparableMap) -> None:
        values = mirror_map.log_to_dual(torch.from_numpy(_GRID)).numpy()
        with np.errstate(invalid="ignore"):
            usable = np.isfinite(values)
            usable[1:] &= np.diff(values) > 0.0
        # the stretch around 1 without a gap
        one = len(_GRID) // 2
        gaps = np.flatnonzero(~usable)
        first = int(gaps[gaps < one].max(initial=-1)) + 1
        last = int(gaps[gaps > one].min(initial=len(_GRID)))
        self.log_x, self.log_dual = _GRID[first:last], values[first:last]
        x = torch.from_numpy(np.exp(self.log_x))
        with np.errstate(all="ignore"):
            power = mirror_map.hessian(x).numpy() * np.exp(self.log_x - self.log_dual)
            chord = np.gradient(self.log_dual, self.log_x)
            self.power = np.where(np.isfinite(power) & (power > 0.0), power, chord)
        middles = np.asarray(self.log_x[:-1] + 0.5 * _SPACING, dtype=np.float64)
        self.exact = np.ones(len(middles), dtype=bool)
        told, _, _ = self.dual(middles)
        true = mirror_map.log_to_dual(torch.from_numpy(middles)).numpy()
        with np.errstate(invalid="ignore"):
            self.exact = np.abs(told - true) <= _AGREES

    def dual(self, log_x: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """`log r'`, `d log r'/d log x`, and whether both are right to the digits of the table."""
        place = (log_x - self.log_x[0]) / _SPACING
        inside = (place >= 0.0) & (place <= len(self.log_x) - 1)
        place = np.where(inside, place, np.where(place > 0.0, len(self.log_x) - 1.0, 0.0))
        k = np.minimum(place.astype(np.int64), len(self.log_x) - 2)
        t = place - k
        a, b = self.log_dual[k], self.log_dual[k + 1]
        da, db = _SPACING * self.power[k], _SPACING * self.power[k + 1]
        rise = b - a
        c, d = 3.0 * rise - 2.0 * da - db, da + db - 2.0 * rise
        value = a + t * (da + t * (c + t * d))
        slope = (da + t * (2.0 * c + 3.0 * t * d)) / _SPACING
        return value, slope, inside & self.exact[k]

    def primal(self, log_u: Array) -> Array:
        """`log x`, a straight line between the points of the table."""
        out: Array = np.interp(log_u, self.log_dual, self.log_x)
        return out
