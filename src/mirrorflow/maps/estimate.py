"""Index and horizon of any map, found numerically on the scale of logarithms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from mirrorflow.errors import NoHorizonError
from mirrorflow.maps.base import MirrorMap, SeparableMap
from mirrorflow.maps.finite import log_radius
from mirrorflow.maps.growth import RadialGrowth
from mirrorflow.maps.horizon import Horizon, LpHorizon
from mirrorflow.maps.level import LevelHorizon
from mirrorflow.maps.parse import as_map

__all__ = ["HorizonEstimate", "estimate_growth", "estimate_horizon"]

LogDual = Callable[[Tensor], Tensor]
LEVELS = 9
STEPS = 64
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
    mirror_map = as_map(mirror_map)
    if isinstance(mirror_map, SeparableMap):
        if not mirror_map.even:
            mirror_map.horizon()
        return _estimate(mirror_map, mirror_map.log_to_dual, None)
    mirror_map.horizon()
    return _estimate(mirror_map, _Ray(mirror_map), _far_level(mirror_map))


def estimate_growth(mirror_map: MirrorMap | str) -> RadialGrowth:
    """The growth of `dE/dQ` on a ray, from the local behaviour of r' where float64 ends.

    Index α finite: `dE/dQ = Q r''(Q)`, and `A = lim Q^{2−α} r''(Q)` where that settles. Index ∞:
    with `w(x) = d log r'/dx ~ c m x^{m−1}`, m and c are extrapolated over doublings of x as the
    index is over doublings of log x.

    Args:
        mirror_map: any map.

    Raises:
        NoHorizonError: the index, or for a rapidly varying map m or c, cannot be told.
    """
    mirror_map = as_map(mirror_map)
    index = estimate_horizon(mirror_map).order
    if not isinstance(mirror_map, SeparableMap):
        if math.isfinite(index):
            return RadialGrowth(index)
        raise NoHorizonError(
            f"the growth of {mirror_map!r} cannot be told: it is not separable and varies rapidly; "
            "give its class a radial_growth()"
        )
    log_dual = mirror_map.log_to_dual
    # Beyond, differences of log r' have lost the digits.
    end = min(_end(mirror_map, log_dual), 700.0)
    if math.isfinite(index):
        constant = _log_constant(log_dual, index, end)
        return RadialGrowth(index, constant, log_dual=log_dual)
    logs = torch.tensor([end - 0.01 - k * math.log(2) for k in range(7, -1, -1)]).double()
    log_w = _log_slope(log_dual, logs) - logs
    steps = (log_w.diff() / math.log(2)).tolist()
    order = _settled(steps)
    if order is not None and order[1] <= 0.02:
        m = float(Fraction(1 + order[0]).limit_denominator(20))
        if abs(m - 1 - order[0]) <= max(order[1], 1e-6) and m > 0:
            rate = _settled((log_w - (m - 1) * logs).exp().tolist())
            if rate is not None and 0 < rate[1] <= 0.02 * rate[0]:
                return RadialGrowth(math.inf, order=m, rate=rate[0] / m, log_dual=log_dual)
    raise NoHorizonError(
        f"the growth of {mirror_map!r} cannot be told: log r' grows faster than every power of x, "
        "but not like c x^m as far as float64 reaches (m from the last doublings of x: "
        f"{', '.join(f'{1 + s:.4g}' for s in steps[-3:])}); give its class a radial_growth()"
    )


def _log_slope(log_dual: LogDual, log_x: Tensor) -> Tensor:
    """`log (d log r'/d log x)` by a central difference."""
    h = 1e-4
    rise = _quiet(log_dual, log_x + h) - _quiet(log_dual, log_x - h)
    return (rise / (2 * h)).log()


def _log_constant(log_dual: LogDual, index: float, end: float) -> float:
    """`lim log r''(x) + (2 − α) log x`, or NaN if it moves at the end by more than 1e-6."""
    log_x = torch.tensor([0.5 * end, 0.7 * end, end - 0.01], dtype=torch.float64)
    values = _quiet(log_dual, log_x) + _log_slope(log_dual, log_x) - (index - 1) * log_x
    settled = float(values.max() - values.min()) <= 1e-6
    return float(values[-1]) if settled else math.nan


def _settled(row: list[float]) -> tuple[float, float] | None:
    """Limit and error of a sequence that has settled or moves ever less, all in one direction."""
    changes = [b - a for a, b in zip(row[-4:], row[-3:], strict=False)]
    noise = 1e-7 * (1 + abs(row[-1]))
    if max(abs(c) for c in changes) <= noise:
        return row[-1], noise
    if abs(changes[-1]) <= noise and abs(changes[-2]) <= 1e-2 * (1 + abs(row[-1])):
        return row[-1], 10 * noise
    ratios = [b / a if a else math.inf for a, b in zip(changes, changes[1:], strict=False)]
    if min(ratios) <= 0 or max(ratios) > 0.75:
        return None
    left = changes[-1] * ratios[-1] / (1 - ratios[-1])
    return row[-1] + left, 0.2 * abs(left) + noise


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
    coarse = [float(s) for s in values.diff() / points.diff()]
    trace = tuple(float(v) for v in points), tuple(1 + s for s in coarse)
    tail = _Tail.of(log_dual, end)
    if _rapid(coarse, tail):
        limit = LpHorizon(math.inf) if horizon is None else horizon
        return HorizonEstimate(math.inf, 0.0, math.inf, *trace, limit)
    trend = _unsettled(mirror_map, coarse, tail)
    _require_steady(mirror_map, log_dual, tail, trend)
    settled = _by_logarithms(coarse, tail) or _by_powers(tail)
    if settled is None:
        raise NoHorizonError(trend)
    slope, error = settled
    _require_unbounded(mirror_map, values, slope, error)
    raw = 1 + slope
    order = _simple(raw, error)
    limit = LpHorizon(order) if horizon is None else horizon
    return HorizonEstimate(order, error + abs(order - raw), raw, *trace, limit)


@dataclass(frozen=True)
class _Tail:
    """The slope of `log r'` over the last half of `0 … end`, in `STEPS` equal steps of l.

    Attributes:
        end: the last l.
        slopes: (STEPS,), the last one at the end.
        noise: what rounding makes of one of them.
    """

    end: float
    slopes: tuple[float, ...]
    noise: float

    @classmethod
    def of(cls, log_dual: LogDual, end: float) -> _Tail:
        points = torch.linspace(0.5 * end, end, STEPS + 1, dtype=torch.float64)
        values = _quiet(log_dual, points)
        slopes = values.diff() / points.diff()
        # log r' is rounded, and so is x = exp(l), whose error the slope carries over.
        rounding = float(values.abs().max()) + end * float(slopes.abs().max()) + 1.0
        noise = 4 * torch.finfo(torch.float64).eps * rounding / float(points.diff().min())
        return cls(end, tuple(float(s) for s in slopes), noise)

    @property
    def changes(self) -> list[float]:
        """Differences of consecutive slopes."""
        return [b - a for a, b in zip(self.slopes, self.slopes[1:], strict=False)]


def _quiet(log_dual: LogDual, log_x: Tensor) -> Tensor:
    with torch.no_grad():
        return log_dual(log_x)


def _end(mirror_map: MirrorMap, log_dual: LogDual) -> float:
    """The largest l up to which `log r'` is finite and does not fall, at most FARTHEST.

    A formula that overflows inside may come back as a small number: r' cannot fall.
    """
    grid = torch.logspace(math.log10(0.5), math.log10(FARTHEST), 2000, dtype=torch.float64)
    values = _quiet(log_dual, grid)
    good = values.isfinite()
    falls = values.diff() < -1e-12 * (1 + values[1:].abs())
    good[1:] &= ~falls
    count = int(good.to(torch.int64).cumprod(0).sum())
    if count == 0:
        raise NoHorizonError(f"{mirror_map!r}: r' is not finite at x = {math.exp(0.5):.3g}")
    return float(grid[count - 1])


def _rapid(coarse: list[float], tail: _Tail) -> bool:
    """Whether the slope grows without bound, as far as it can be seen.

    A slope that rises to a limit, as where the next power of a sum takes over, does so within a
    few units of `1/slope` of l, a small part of the range: it does not rise by a tenth over three
    doublings in a row, nor evenly over the last tenth while it is far above every usual index.
    """
    last = coarse[-4:]
    changes = [b - a for a, b in zip(last, last[1:], strict=False)]
    slowly = (
        last[-1] > 3
        and all(b > 1.1 * a > 0 for a, b in zip(last, last[1:], strict=False))
        and all(b > 0.98 * a for a, b in zip(changes, changes[1:], strict=False))
    )
    first, middle, final = (tail.slopes[k] for k in (-1 - STEPS // 5, -1 - STEPS // 10, -1))
    if not (first > 0 and final > 50 and final > 1.02 * middle > 1.02 * first):
        return slowly
    ratio = math.log(final / middle) / math.log(middle / first)
    return slowly or final > 1e3 or 0.5 < ratio < 10


def _require_unbounded(mirror_map: MirrorMap, values: Tensor, slope: float, error: float) -> None:
    """r' must go to infinity: its increments over doublings of l must not die out."""
    if slope > error:
        return
    dual = torch.exp(values[-4:] - values[-1])
    first, second, third = (float(rise) for rise in dual.diff())
    shrink = max(third / second, second / first) if min(first, second) > 0 else 0.0
    if third > 1e-9 and shrink >= 0.93:
        return
    if third <= 1e-9 or shrink < 0.75:
        # The sum of the increments still to come, which fall like a geometric sequence.
        left = third * shrink / (1 - shrink) if third > 1e-9 else 0.0
        top = float(values[-1])
        bound = math.exp(top) * (1 + left) if top < 700 else math.inf
        raise NoHorizonError(
            f"{mirror_map!r} has no horizon: r' is bounded (it approaches {bound:.4g}), so the "
            "dual variable cannot follow the flow to infinity; choose a potential that grows "
            "faster than linearly"
        )
    raise NoHorizonError(
        f"{mirror_map!r} has no horizon that can be certified: r' still grows by "
        f"{100 * third:.2g} % over the last doubling of log x that float64 reaches, less and less "
        "each time, and whether it is bounded cannot be told; choose a potential that grows faster"
    )


def _require_steady(mirror_map: MirrorMap, log_dual: LogDual, tail: _Tail, trend: str) -> None:
    """The slope must not swing back and forth by as much as before, as the window moves out.

    One turn is no oscillation: it may be the last term of a sum that takes over. Then the reason is
    `trend`.
    """
    swings, seen = [], []
    for k in (3, 2, 1, 0):
        high = tail.end * 0.5**k
        inner = torch.linspace(0.5 * high, high, 401, dtype=torch.float64)
        # A narrow difference sees an oscillation that a wide one averages away.
        width = max(1e-3 * high, 0.05) if high < 1e3 else 0.5
        ahead, behind = (inner + 0.5 * width).clamp(max=tail.end), inner - 0.5 * width
        local = (_quiet(log_dual, ahead) - _quiet(log_dual, behind)) / (ahead - behind)
        rounding = tail.noise * tail.end / (2 * STEPS) / (0.5 * width)
        swings.append(max(_swing(local) - 2 * rounding, 0.0))
        seen.append(local)
    if swings[-1] > 1e-7 and swings[-1] > 0.8 * max(swings[:-1]):
        if _turns(torch.cat(seen), 0.5 * swings[-1]) < 2:
            raise NoHorizonError(trend)
        raise NoHorizonError(
            f"{mirror_map!r} has no horizon: the local index of r' keeps oscillating by "
            f"{swings[-1]:.3g} as x grows, so scaled sublevel sets do not converge"
        )


def _turns(values: Tensor, least: float) -> int:
    """How often a sequence turns back by more than `least`."""
    count, direction = 0, 0
    low = high = float(values[0])
    for value in values.tolist():
        low, high = min(low, value), max(high, value)
        if direction >= 0 and high - value > least:
            count, direction, low = count + direction, -1, value
        elif direction <= 0 and value - low > least:
            count, direction, high = count - direction, 1, value
    return count


def _swing(values: Tensor) -> float:
    """The largest move against the trend; 0 for a monotone sequence."""
    fall = (values.cummax(0).values - values).max()
    rise = (values - values.cummin(0).values).max()
    return float(torch.minimum(fall, rise))


def _by_logarithms(coarse: list[float], tail: _Tail) -> tuple[float, float] | None:
    """Limit and error of a slope with corrections such as `1/l`: one sign, shrinking by doublings.

    The slope at the very end must lie where such a correction puts it, between that of the last
    doubling and the limit: a term that only begins to count there would lift it out.
    """
    changes = [b - a for a, b in zip(coarse[-5:], coarse[-4:], strict=False)]
    fine = tail.changes
    floor = 30 * tail.noise
    if min(abs(c) for c in changes) <= floor:
        return None
    ratios = [b / a for a, b in zip(changes, changes[1:], strict=False)]
    if min(ratios) <= 0 or max(ratios) > 0.9 or ratios[-1] > 0.75:
        return None
    if ratios[-1] > max(0.6, 1.02 * ratios[-2]):
        return None  # slower than every power of l, such as 1/log l
    onward = [b * math.copysign(1, changes[-1]) for b in fine[-8:]]
    if min(onward) < -floor or onward[-1] > onward[0] + floor:
        return None
    limit, change = _extrapolate(coarse)
    # The last change of an extrapolation is not a bound: ten times it, and a twentieth of what
    # was extrapolated, have been one in every test.
    error = max(10 * change, 0.05 * abs(limit - coarse[-1])) + tail.noise + 1e-13
    low, high = sorted((coarse[-1], limit))
    if not low - error <= tail.slopes[-1] <= high + error or error > 0.05:
        return None
    return limit, error


def _by_powers(tail: _Tail) -> tuple[float, float] | None:
    """Limit and error of a slope that has settled, or settles like `e^{−c l}`: sums of powers."""
    floor = 30 * tail.noise
    fine = tail.changes
    late = tail.slopes[-(STEPS // 5) :]
    spread = max(late) - min(late)
    before, last = sum(fine[-16:-8]), sum(fine[-8:])
    if abs(last) > floor and (abs(last) > 0.98 * abs(before) or last * before < 0):
        return None  # a term that only begins to count
    if spread <= max(1e-8 * (1 + abs(late[-1])), floor):
        return late[-1], 10 * spread + 10 * tail.noise + 1e-13
    # Steps over which the changes are above rounding, as wide as that allows.
    for stride in (4, 2, 1):
        sums = [sum(fine[k - stride : k]) for k in range(len(fine), 4 * stride - 1, -stride)][:4]
        if len(sums) < 4 or min(abs(s) for s in sums) <= floor:
            continue
        ratios = [a / b for a, b in zip(sums, sums[1:], strict=False)]
        if max(ratios) > 0.5 or min(ratios) <= 0 or max(ratios) > 1.1 * min(ratios):
            return None
        left = sums[0] * ratios[0] / (1 - ratios[0])
        error = 0.1 * abs(left) + 10 * tail.noise + 1e-13
        # The last slope is that of a step, not of its end: half a step more is included in `left`.
        return tail.slopes[-1] + left, error + abs(left) * (max(ratios) / min(ratios) - 1)
    return None


def _unsettled(mirror_map: MirrorMap, coarse: list[float], tail: _Tail) -> str:
    """Why no limit can be told from what was seen."""
    shown = ", ".join(f"{1 + s:.6g}" for s in coarse[-4:])
    fine = tail.changes
    last = (
        f"rises by {fine[-1]:.2g} in the last step"
        if fine[-1] > 0
        else f"falls by {-fine[-1]:.2g} in the last step"
    )
    return (
        f"{mirror_map!r} has no horizon that can be certified: its local index has not settled "
        f"where float64 ends, at x = exp({tail.end:.4g}): over the last doublings of log x it is "
        f"{shown}, and it {last}. A sum whose last term only begins to count, an index that "
        "oscillates slowly and one that grows without bound look alike there; give the map as a "
        "class with its own log_to_dual, which can be followed further"
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
