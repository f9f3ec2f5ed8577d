"""Index and horizon of any separable map, found numerically on the scale of logarithms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from mirrorflow.errors import NoHorizonError
from mirrorflow.maps.base import MirrorMap, SeparableMap
from mirrorflow.maps.horizon import LpHorizon

__all__ = ["HorizonEstimate", "estimate_horizon"]

LEVELS = 9
FARTHEST = 1e8


@dataclass(frozen=True)
class HorizonEstimate:
    """What `estimate_horizon` found.

    Attributes:
        order: the index of variation `α`, in [1, ∞]; a simple fraction if one lies within `error`.
        error: estimated error of `order`; 0 where the variation is rapid (`α = ∞`).
        raw: the extrapolated number itself.
        log_x: the logarithms of x at which the variation was looked at, shape (T,).
        local_order: `1 + d log r'/d log x` between them, shape (T − 1,): what was extrapolated.
    """

    order: float
    error: float
    raw: float
    log_x: tuple[float, ...]
    local_order: tuple[float, ...]

    @property
    def horizon(self) -> LpHorizon:
        """The ℓα norm."""
        return LpHorizon(self.order)


def estimate_horizon(mirror_map: MirrorMap) -> HorizonEstimate:
    """Find the horizon of a separable map from `log r'` as a function of `l = log x`.

    With regular variation, `r'(x) = x^{α−1} s(x)` and s slowly varying, the slope of `log r'` tends
    to `α − 1`, like `1/l` if s is a power of a logarithm: slopes over doubling intervals of l are
    extrapolated by Aitken's process. If the slope itself grows without bound the variation is rapid
    and the horizon is ℓ∞. Maps with `log_to_dual` are followed to `x = exp(1e8)`, a `Custom` map to
    the end of float64.

    Args:
        mirror_map: a separable map. (For `Spectral` estimate its scalar map.)

    Returns:
        A `HorizonEstimate`.

    Raises:
        TypeError: not separable.
        NoHorizonError: r' is bounded, the slope oscillates, or the domain is not R^d.

    Source: Bingham, Goldie & Teugels, Regular Variation, 1987; Aitken 1926.
    """
    if not isinstance(mirror_map, SeparableMap):
        raise TypeError(
            f"mirror_map = {mirror_map!r} is not separable; its horizon() is exact, and the "
            "estimate "
            "applies to its scalar map"
        )
    if not mirror_map.even:
        mirror_map.horizon()
    end = _end(mirror_map)
    points = torch.tensor([end * 0.5**k for k in range(LEVELS, -1, -1)], dtype=torch.float64)
    values = _log_dual(mirror_map, points)
    slopes = values.diff() / points.diff()
    trace = tuple(float(v) for v in points), tuple(1 + float(s) for s in slopes)
    if _rapid(slopes):
        return HorizonEstimate(math.inf, 0.0, math.inf, *trace)
    _require_unbounded(mirror_map, values)
    _require_steady(mirror_map, end)
    limit, error = _extrapolate([float(s) for s in slopes])
    raw = 1 + limit
    # The last change of an extrapolation is not a bound: ten times it has been one in every test.
    error = 10 * error + 1e-14 * abs(float(values[-1])) / end + 1e-13
    return HorizonEstimate(_simple(raw, error), error, raw, *trace)


def _log_dual(mirror_map: SeparableMap, log_x: Tensor) -> Tensor:
    with torch.no_grad():
        return mirror_map.log_to_dual(log_x)


def _end(mirror_map: SeparableMap) -> float:
    """The largest l at which `log r'` is finite, up to FARTHEST, by bisection."""
    grid = torch.logspace(math.log10(0.5), math.log10(FARTHEST), 2000, dtype=torch.float64)
    finite = _log_dual(mirror_map, grid).isfinite()
    count = int(finite.to(torch.int64).cumprod(0).sum())
    if count == 0:
        raise NoHorizonError(f"{mirror_map!r}: r' is not finite at x = {math.exp(0.5):.3g}")
    return float(grid[count - 1])


def _rapid(slopes: Tensor) -> bool:
    """Whether the slope grows at every doubling, at the end by half of itself and past 3.

    A slope that tends to a limit, like that of a sum of powers, has stopped growing by then.
    """
    growing = bool((slopes.diff() > 0)[-3:].all())
    return growing and float(slopes[-1]) > max(3.0, 1.4 * float(slopes[-2]))


def _require_unbounded(mirror_map: SeparableMap, values: Tensor) -> None:
    """r' must go to infinity: its increments over doublings of l must not die out."""
    dual = torch.exp(values[-4:] - values[-1])
    rises = dual.diff()
    if float(rises[-1]) < 1e-9 or (
        float(rises[-1]) < 0.7 * float(rises[-2]) < 0.5 * float(rises[-3])
    ):
        bound = math.exp(float(values[-1])) if float(values[-1]) < 700 else math.inf
        raise NoHorizonError(
            f"{mirror_map!r} has no horizon: r' is bounded (it approaches {bound:.6g}), so the "
            "dual "
            "variable cannot follow the flow to infinity; choose a potential that grows faster "
            "than "
            "linearly"
        )


def _require_steady(mirror_map: SeparableMap, end: float) -> None:
    """Deviations of the local slope within a window must shrink as the window moves out."""
    spreads = []
    for k in (3, 2, 1, 0):
        high = end * 0.5**k
        inner = torch.linspace(0.5 * high, high, 401, dtype=torch.float64)
        # A narrow difference sees an oscillation that a wide one averages away.
        width = max(1e-3 * high, 0.05) if high < 1e3 else 0.5
        ahead, behind = inner + 0.5 * width, inner - 0.5 * width
        local = (_log_dual(mirror_map, ahead.clamp(max=end)) - _log_dual(mirror_map, behind)) / (
            ahead.clamp(max=end) - behind
        )
        spreads.append(float(local.max() - local.min()))
    if spreads[-1] > 1e-3 and spreads[-1] > 0.8 * max(spreads[:-1]):
        raise NoHorizonError(
            f"{mirror_map!r} has no horizon: the local index of r' keeps oscillating by "
            f"{spreads[-1]:.3g} as x grows, so scaled sublevel sets do not converge"
        )


def _extrapolate(slopes: list[float]) -> tuple[float, float]:
    """Iterated Aitken extrapolation: the row that has settled best, and its last change."""
    best, error = slopes[-1], abs(slopes[-1] - slopes[-2])
    row = slopes
    while len(row) >= 4:
        new = []
        for a, b, c in zip(row, row[1:], row[2:], strict=False):
            bend = (c - b) - (b - a)
            noise = 1e-14 * (1 + abs(c))
            new.append(c - (c - b) ** 2 / bend if abs(bend) > noise else c)
        change = abs(new[-1] - new[-2])
        if change < error:
            best, error = new[-1], change
        row = new
    return best, error


def _simple(raw: float, error: float) -> float:
    """The simplest fraction within the error, at least 1; `raw` itself if there is none."""
    if error > 0.02:
        return max(raw, 1.0)
    for bottom in range(1, 101):
        near = Fraction(round(raw * bottom), bottom)
        if abs(float(near) - raw) <= max(error, 1e-9):
            return max(float(near), 1.0)
    return max(raw, 1.0)
