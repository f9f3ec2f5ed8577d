"""Index and horizon of any map, found numerically on the scale of logarithms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from mirrorflow.errors import NoHorizonError
from mirrorflow.maps.base import MirrorMap, SeparableMap, require_map
from mirrorflow.maps.finite import log_radius
from mirrorflow.maps.horizon import Horizon, LpHorizon
from mirrorflow.maps.level import LevelHorizon

__all__ = ["HorizonEstimate", "estimate_horizon"]

LogDual = Callable[[Tensor], Tensor]
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
        horizon: the horizon: ℓ of that order; for a map that is not separable a `LevelHorizon`.
    """

    order: float
    error: float
    raw: float
    log_x: tuple[float, ...]
    local_order: tuple[float, ...]
    horizon: Horizon


def estimate_horizon(mirror_map: MirrorMap) -> HorizonEstimate:
    """Find the horizon of a map from `log r'` as a function of `l = log x`.

    With regular variation, `r'(x) = x^{α−1} s(x)` and s slowly varying, the slope of `log r'` tends
    to `α − 1`, like `1/l` if s is a power of a logarithm: slopes over doubling intervals of l are
    extrapolated by Aitken's process. If the slope itself grows without bound the variation is rapid
    and the horizon is ℓ∞. Maps with `log_to_dual` are followed to `x = exp(1e8)`, a `Custom` map to
    the end of float64.

    A map that is not separable is followed along a ray in a 3×4 tensor, with `⟨x, ∇R⟩/|x|` in the
    place of r', and its gauge is that of a far sublevel set.

    Args:
        mirror_map: any map.

    Returns:
        A `HorizonEstimate`.

    Raises:
        NoHorizonError: r' is bounded, the slope oscillates, or the domain is not R^d.

    Source: Bingham, Goldie & Teugels, Regular Variation, 1987; Aitken 1926.
    """
    require_map(mirror_map)
    if isinstance(mirror_map, SeparableMap):
        if not mirror_map.even:
            mirror_map.horizon()
        return _estimate(mirror_map, mirror_map.log_to_dual, None)
    mirror_map.horizon()
    return _estimate(mirror_map, _Ray(mirror_map), _far_level(mirror_map))


class _Ray:
    """`log (⟨x, ∇R(x)⟩/|x|)` along one ray, as a function of `log |x|`."""

    def __init__(self, mirror_map: MirrorMap) -> None:
        self.mirror_map = mirror_map
        point = torch.linspace(-1.1, 0.9, 12, dtype=torch.float64).reshape(3, 4)
        self.point: Tensor = point / torch.linalg.vector_norm(point)

    def __call__(self, log_x: Tensor) -> Tensor:
        return torch.stack([self._at(float(v)) for v in log_x]).log()

    def _at(self, log_x: float) -> Tensor:
        if log_x > 709:
            return torch.tensor(math.inf, dtype=torch.float64)
        dual = self.mirror_map.to_dual(self.point * math.exp(log_x))
        return (dual * self.point).sum()


def _far_level(mirror_map: MirrorMap) -> LevelHorizon:
    """The gauge of the farthest sublevel set of a round level that floats reach."""
    unit = torch.zeros(3, 4, dtype=torch.float64)
    unit[0, 0] = 1
    for exponent in (250, 200, 150, 100, 50, 20):
        try:
            log_radius(mirror_map, unit, 10.0**exponent)
        except (ValueError, RuntimeError):
            continue
        return LevelHorizon(mirror_map, 10.0**exponent)
    raise NoHorizonError(f"{mirror_map!r}: its potential does not reach 1e20 in float64")


def _estimate(mirror_map: MirrorMap, log_dual: LogDual, horizon: Horizon | None) -> HorizonEstimate:
    end = _end(mirror_map, log_dual)
    points = torch.tensor([end * 0.5**k for k in range(LEVELS, -1, -1)], dtype=torch.float64)
    values = _quiet(log_dual, points)
    slopes = values.diff() / points.diff()
    trace = tuple(float(v) for v in points), tuple(1 + float(s) for s in slopes)
    if _rapid(slopes):
        limit = LpHorizon(math.inf) if horizon is None else horizon
        return HorizonEstimate(math.inf, 0.0, math.inf, *trace, limit)
    _require_unbounded(mirror_map, values)
    _require_steady(mirror_map, log_dual, end)
    slope, error = _extrapolate([float(s) for s in slopes])
    raw = 1 + slope
    # The last change of an extrapolation is not a bound: ten times it has been one in every test.
    error = 10 * error + 1e-14 * abs(float(values[-1])) / end + 1e-13
    order = _simple(raw, error)
    limit = LpHorizon(order) if horizon is None else horizon
    return HorizonEstimate(order, error, raw, *trace, limit)


def _quiet(log_dual: LogDual, log_x: Tensor) -> Tensor:
    with torch.no_grad():
        return log_dual(log_x)


def _end(mirror_map: MirrorMap, log_dual: LogDual) -> float:
    """The largest l at which `log r'` is finite, up to FARTHEST, by bisection."""
    grid = torch.logspace(math.log10(0.5), math.log10(FARTHEST), 2000, dtype=torch.float64)
    finite = _quiet(log_dual, grid).isfinite()
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


def _require_unbounded(mirror_map: MirrorMap, values: Tensor) -> None:
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


def _require_steady(mirror_map: MirrorMap, log_dual: LogDual, end: float) -> None:
    """Deviations of the local slope within a window must shrink as the window moves out."""
    spreads = []
    for k in (3, 2, 1, 0):
        high = end * 0.5**k
        inner = torch.linspace(0.5 * high, high, 401, dtype=torch.float64)
        # A narrow difference sees an oscillation that a wide one averages away.
        width = max(1e-3 * high, 0.05) if high < 1e3 else 0.5
        ahead, behind = inner + 0.5 * width, inner - 0.5 * width
        local = (_quiet(log_dual, ahead.clamp(max=end)) - _quiet(log_dual, behind)) / (
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
