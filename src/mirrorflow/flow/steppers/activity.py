"""Which margins act in a stage: far ones are parked, those that come into play are raised.

Newton on the linearised barrier would let the first contaminate x, and would raise the `log mu` of
the second by a few units an iteration only, which looks like divergence.  How far a weight has to
move depends on what x does meanwhile: where the potential is flat, x gives way at once and the
weight, however small, is what the dual equation makes it.
"""

# NumPy types many reductions as Any
# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import numpy as np

from mirrorflow.arrays import Array

FLOOR = 1e-14  # share of the total weight below which a margin does not act
_IDLE = 1e-6  # a margin below this share whose barrier is not met is set to the floor
_RISE = 1e-3  # up to this share a weight is set to its barrier's at once, not by Newton
_FAR = 1e6  # temperatures above its barrier at which a margin is parked whatever x does


def open_cases(mu: Array, r2: Array, temperature: float) -> bool:
    """True if `admit` needs to know how x responds."""
    share = mu / mu.sum()
    above = (share > 1.01 * FLOOR) & (share < _IDLE) & (r2 < _FAR * temperature)
    below = (share < _RISE) & (r2 < -temperature)
    return bool(np.any(below | (above & (r2 > 5.0 * temperature))))


def responses(compliance: Array, stiffness: Array) -> Array:
    """`s_i = dlog mu_i / d(-r2_i / T)` of the linearised stage, all other equations kept.

    Args:
        compliance: (n, n) move of the barriers `J K^-1 J'` per unit of mu.
        stiffness: (n,) `mu / T`.
    """
    a = compliance * stiffness[:, None]
    a[np.diag_indices(len(stiffness))] += 1.0
    # an indefinite K leaves the sign open; small in size still means that x gives way
    return np.clip(np.abs(np.diagonal(np.linalg.inv(a))), 1e-300, 1.0)


def admit(mu: Array, r2: Array, temperature: float, response: Array | float = 1.0) -> None:
    """Park the margins that do not act and raise those that come into play, in place.

    The change z of `log mu_i` solves `z + (1/s_i - 1)(e^z - 1) = -r2_i / T`: the barrier to the
    full, and x as the linear system has it.  With `s = 1`, x does not move.

    Args:
        mu: (n,) weights.
        r2: (n,) residuals of `T log mu + b = kappa`.
        temperature: T.
        response: (n,) s, or one for all.
    """
    total = mu.sum()
    low = np.flatnonzero(mu < _RISE * total)
    if not low.size:  # all others stay as they are
        return
    b, weight = -r2[low] / temperature, mu[low]
    s = response[low] if isinstance(response, np.ndarray) else np.full(low.size, response)
    z = _change(b, 1.0 / s - 1.0)
    idle = (weight < _IDLE * total) & (z < -5.0)
    mu[low[idle]] = FLOOR * total
    r2[low[idle | ((weight <= 1.01 * FLOOR * total) & (b < 0))]] = 0.0
    rise = z > 1.0
    at = low[rise]
    if at.size:
        lift = np.minimum(z[rise], np.log(_RISE * total / mu[at]))
        mu[at] *= np.exp(lift)
        r2[at] += temperature * lift


def _change(b: Array, k: Array) -> Array:
    """The root z of `z + k(e^z - 1) = b`.  The left side is convex and increasing: Newton from the
    right of the root is monotone."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(b > 0, np.fmin(b, np.log1p(b / k)), np.where(k == 0, b, 0.0))
    for _ in range(8):
        e = np.exp(np.minimum(z, 700.0))
        z = z - (z + k * (e - 1.0) - b) / (1.0 + k * e)
    return z
