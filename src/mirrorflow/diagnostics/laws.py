"""The predicted laws of growth: their limits, and what they say at a finite time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from mirrorflow.arrays import Array
from mirrorflow.checks import as_number
from mirrorflow.errors import NoHorizonError
from mirrorflow.maps import MirrorMap, RadialGrowth, SeparableMap, as_map, estimate_growth

__all__ = ["Prediction", "growth_of", "predict", "predict_from", "ray_flow", "residual_scale"]


_LOG_LARGEST = 700.0


@dataclass(frozen=True)
class Prediction:
    """Limits along a fixed direction of margin γ.

    Attributes:
        norm: the law of Q in words; `norm_exponent` is `d log Q/d log log t` (`dQ/d log log t`
            for "log log t"), `norm_log_constant` the logarithm of its constant.
        time_exponent: a in `ℓ ~ t^{−a}`; NaN if the loss falls slower than any power.
        log_exponent: c in `ℓ ~ 1/(t (log t)^c)`; NaN if there is no such law.
        loss_log_constant: the logarithm of its constant; NaN if unknown.
        degree: L.
        source: what to call it.
    """

    norm: str
    norm_exponent: float
    norm_log_constant: float
    time_exponent: float
    log_exponent: float
    loss_log_constant: float
    degree: float
    source: str


def predict(mirror_map: MirrorMap | str, degree: float, gamma: float) -> Prediction:
    """The laws that follow from `dE/dt = L q e^{−q}` along a fixed direction of margin γ.

    With `q = γ Q^L`, `log t` is `q + log dE/dQ` up to logarithms. So it is the growth of `dE/dQ`
    that decides (`MirrorMap.radial_growth`):

    - `dE/dQ ~ A Q^{α−1}` (index α): `Q ~ (log t/γ)^{1/L}` and `ℓ ~ C/(t (log t)^{2−α/L})` with
      `C = A/(L² γ^{α/L})`; A is `p − 1` for `Power(p)`, 1 for maps of index 1 and for `PNorm`,
      times the weight for `Scaled`, and for `Mixed` that of the larger term;
    - `log dE/dQ ~ c Q^m`: for `m = L` `Q ~ (log t/(c + γ))^{1/L}` and `ℓ ~ t^{−γ/(c+γ)}`; for
      `m < L` `Q ~ (log t/γ)^{1/L}` and `ℓ ~ 1/t` up to factors `e^{c Q^m}`; for `m > L`
      `Q ~ (log t/c)^{1/m}`, and ℓ falls slower than any power of t. For cosh with scale s, and
      the exponential (s = 1), `m = 1` and `c = 1/s`;
    - double exponential: `Q ~ log log t`; for L = 1 `ℓ ~ (log t)^{−γ}`.

    Args:
        mirror_map: the map of all parameters.
        degree: L, in (0, ∞).
        gamma: the margin, in (0, ∞).

    Raises:
        TypeError: not a map, or not a number.
        ValueError: a number out of range.
        NoHorizonError: the growth of the map cannot be told (see `estimate_growth`).
    """
    mirror_map = as_map(mirror_map)
    growth = growth_of(mirror_map)
    degree = as_number(degree, "degree", above=0)
    gamma = as_number(gamma, "gamma", above=0)
    return predict_from(growth, degree, gamma, f"the laws of {mirror_map!r} at L = {degree:g}")


def growth_of(mirror_map: MirrorMap) -> RadialGrowth:
    """What the map declares of its growth, or what can be told of it.

    Raises:
        TypeError: not a map.
        NoHorizonError: nothing can be told.
    """
    if not isinstance(mirror_map, MirrorMap):
        raise TypeError(
            f"mirror_map is a {type(mirror_map).__name__}; the laws of growth are those of one "
            "MirrorMap for all parameters"
        )
    try:
        return mirror_map.radial_growth()
    except NotImplementedError:
        return estimate_growth(mirror_map)


def predict_from(growth: RadialGrowth, L: float, gamma: float, source: str) -> Prediction:
    """`predict` from the growth of `dE/dQ`."""
    nan, m, c, log_gamma = math.nan, growth.order, growth.rate, math.log(gamma)
    if math.isinf(m):
        return Prediction("log log t", 1 / c, nan, nan, nan, nan, L, source)
    if m > L:
        return Prediction("(log t/c)^(1/m)", 1 / m, -math.log(c) / m, nan, nan, nan, L, source)
    if m == L:
        norm = "log t/(1/s + γ)" if L == 1 else "(log t/(c + γ))^(1/L)"
        constant = -math.log(c + gamma) / L
        return Prediction(norm, 1 / L, constant, gamma / (c + gamma), nan, nan, L, source)
    norm, root = "(log t/γ)^(1/L)", -log_gamma / L
    if math.isinf(growth.index):
        return Prediction(norm, 1 / L, root, 1.0, nan, nan, L, source)
    alpha = growth.index
    constant = growth.log_constant - 2 * math.log(L) + alpha * root
    return Prediction(norm, 1 / L, root, 1.0, 2 - alpha / L, constant, L, source)


def ray_flow(
    growth: RadialGrowth, degree: float, gamma: float, log_t: Array
) -> tuple[Array, Array]:
    """The flow along a fixed ray at finite times: `dE/dt = L q e^{−q}`, `q = γ Q^L`.

    `t = ∫ e^S dl` over `l = log Q`, with `S = q + log(Q dE/dQ) − log(L q)`, so that
    `log t = S − log S'(l)` up to a relative `1/q`; solved for l by bisection.

    Args:
        growth: of the map.
        degree: L.
        gamma: the margin of the ray.
        log_t: (T,) natural logarithms of the times, of some tens at least.

    Returns:
        `log Q` and `log ℓ = −q`, both (T,).
    """
    log_gamma = math.log(gamma)
    stiffness = _Stiffness(growth)

    def time(log_q: Array) -> Array:
        here = np.clip(log_gamma + degree * log_q, -_LOG_LARGEST, _LOG_LARGEST)
        q = np.exp(here)
        value, slope = stiffness(log_q)
        rise = degree * q + slope + 1 - degree
        with np.errstate(all="ignore"):
            found = q + value + log_q - math.log(degree) - here - np.log(rise)
        found = np.where((rise <= 0) | np.isnan(found), -np.inf, found)
        return np.where(value == np.inf, np.inf, found)  # past the end of float64

    high = (np.log(2 * log_t + 1e3) - log_gamma) / degree
    for _ in range(60):
        short = time(high) < log_t
        if not short.any():
            break
        high = np.where(short, high + 0.5, high)
    low = high - 2.0 ** np.arange(0, 7).sum()
    for _ in range(120):
        middle = 0.5 * (low + high)
        below = time(middle) < log_t
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    log_q = 0.5 * (low + high)
    return log_q, -np.exp(np.minimum(log_gamma + degree * log_q, _LOG_LARGEST))


class _Stiffness:
    """`log dE/dQ` and its slope as functions of `log Q`, on the ray through one entry.

    With `g(l) = log r'(e^l)` it is `g + log g'`. Beyond the end of float64 the asymptotic form
    goes on from there.
    """

    def __init__(self, growth: RadialGrowth) -> None:
        self.growth = growth
        self.end = math.inf
        self.offset = growth.log_constant if growth.log_constant == growth.log_constant else 0.0
        if growth.log_dual is not None:
            grid = np.linspace(-50.0, _LOG_LARGEST, 6001)
            bad = np.flatnonzero(~np.isfinite(self._local(grid)) & (grid > 0))
            if len(bad):
                self.end = float(grid[max(bad[0] - 2, 0)])
                end = np.array([self.end])
                self.offset = float((self._local(end) - self._limit(end))[0])

    def __call__(self, log_q: Array) -> tuple[Array, Array]:
        h = _step(log_q)
        ahead, behind = self._value(log_q + h), self._value(log_q - h)
        with np.errstate(all="ignore"):
            return self._value(log_q), (ahead - behind) / (2 * h)

    def _value(self, log_q: Array) -> Array:
        far = self._limit(log_q) + self.offset
        far = np.where(np.isnan(far), np.inf, far)
        if self.growth.log_dual is None:
            return far
        return np.where(log_q < self.end, self._local(np.minimum(log_q, self.end)), far)

    def _local(self, log_q: Array) -> Array:
        value, slope = local_slope(self.growth, log_q)
        with np.errstate(all="ignore"):
            total: Array = value + np.log(slope)
        return total

    def _limit(self, log_q: Array) -> Array:
        if math.isfinite(self.growth.index):
            return (self.growth.index - 1) * log_q
        with np.errstate(over="ignore"):
            if math.isinf(self.growth.order):
                return np.exp(self.growth.rate * np.exp(log_q))
            return self.growth.rate * np.exp(np.minimum(self.growth.order * log_q, _LOG_LARGEST))


def local_slope(growth: RadialGrowth, log_q: Array) -> tuple[Array, Array]:
    """`log r'` and `d log r'/d log x`, the local index minus one, at `x = e^{log_q}`."""
    if growth.log_dual is None:
        return (growth.index - 1) * log_q, np.full_like(log_q, growth.index - 1)
    h = _step(log_q)
    with torch.no_grad(), np.errstate(all="ignore"):
        value, ahead, behind = (
            growth.log_dual(torch.from_numpy(at)).numpy() for at in (log_q, log_q + h, log_q - h)
        )
        return value, (ahead - behind) / (2 * h)


def _step(log_q: Array) -> Array:
    """Of central differences in log Q."""
    found: Array = 1e-4 * np.maximum(1.0, 0.1 * np.abs(log_q))
    return found


def residual_scale(mirror_map: MirrorMap | str, log_gauge: float, log_margin: float) -> float:
    """The size of max(ε, δ, κ) that training is expected to reach at `Q(θ)` and `min q`.

    Once the direction of the flow is settled, what is left is of the order of

    - index α in (1, ∞): `1/q` (margins differ by O(1)), and `q^{−(α−1)}` for α < 2, where
      `|θ|^{α−1}` magnifies small entries; where the map is not homogeneous also the distance of
      its local index at Q from α (`|p−2| (a/b) Q^{−|p−2|}` for the mixed map with p > 2);
    - index 1: `d log r'/d log x` at Q, which is `1/log(Q/β)`, since duals differ by O(1) and grow
      like `log Q`;
    - index ∞: one over `d log r'/d log x` at Q, which is `s/Q` for cosh of scale s, and `1/q`.

    A `Scaled` map follows the path of its map at another pace, so that its weight plays no part.
    Constants depend on the data; they are not promised.

    Args:
        mirror_map: the map of all parameters.
        log_gauge: `log Q(θ)`, finite.
        log_margin: `log min_i q_i(θ)`, finite.

    Raises:
        TypeError: not a map, or not a number.
        ValueError: a number that is NaN or infinite.
        NoHorizonError: the map has no index.
    """
    mirror_map = as_map(mirror_map)
    log_gauge = as_number(log_gauge, "log_gauge")
    log_margin = as_number(log_margin, "log_margin")
    alpha = mirror_map.index
    try:
        growth = mirror_map.radial_growth()
    except (NotImplementedError, NoHorizonError):
        # The index is enough here, and the local behaviour.
        log_dual = mirror_map.log_to_dual if isinstance(mirror_map, SeparableMap) else None
        growth = RadialGrowth(alpha, log_dual=log_dual)
    at = np.array([min(max(log_gauge, -_LOG_LARGEST), 1e12)])
    local = float(local_slope(growth, at)[1][0])
    by_margin = math.exp(-max(log_margin, 0.0) * min(1.0, alpha - 1))
    if math.isinf(alpha):
        steep = 1 / local if local > 0 else (0.0 if log_gauge > 0 else 1.0)
        return min(1.0, steep + by_margin)
    if alpha == 1:
        return min(1.0, local) if local > 0 else 1 / max(1.0, log_gauge)
    apart = abs(local - (alpha - 1)) if math.isfinite(local) else 0.0
    # A difference of log r' over 1e-4 keeps so many digits.
    return min(1.0, by_margin + (apart if apart > 1e-10 * (1 + abs(log_gauge)) else 0.0))
