"""A scalar function `r'` on a grid of all floats: brackets for its inverse, sums of its area."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mirrorflow.arrays import gauss_legendre
from mirrorflow.maps.adaptive import adaptive_integral

__all__ = ["DualTable", "tabulate"]

Scalar = Callable[[Tensor], Tensor]
Pair = Callable[[Tensor], tuple[Tensor, Tensor]]
# Of log x. A cubic through two neighbours is then wrong by 1e-8 at most where r' is smooth.
SPACING = 0.05
# Entries integrated at once, so that 16 points for each stay within some 10 MB.
CHUNK = 1 << 16


@dataclass(frozen=True)
class DualTable:
    """`r'` and its integrals at K points `x_k > 0`, over all floats where r' increases.

    Attributes:
        x: `x_k`, shape (K,), increasing, float64, like all that follow.
        dual: `r'(x_k)`.
        log_dual: `log r'(x_k)`.
        rows: for each panel `log r'(x_k)`, one over its rise, the coefficients of a cubic for log x
            in the share of that rise, and the ends of the panel, shape (K − 1, 8).
        area: `∫_0^{x_k} r'`.
        energy: `∫_0^{x_k} t dr'(t)`.
        smooth: shape (K − 1,): whether one Gauss–Legendre sum integrates the panel to rounding.
        reason: what r' does beyond the last point: "overflows", "bounded" or "not finite".
    """

    x: Tensor
    dual: Tensor
    log_dual: Tensor
    rows: Tensor
    area: Tensor
    energy: Tensor
    smooth: Tensor
    reason: str

    def to(self, device: torch.device) -> DualTable:
        """The same on a device."""
        moved: dict[str, Any] = {
            k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)
        }
        return replace(self, **moved)

    def bracket(self, w: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`low ≤ x ≤ high` with `r'(x) = w` between them, a cubic guess of it, and of
        `d log r'/d log x` there."""
        log_w = w.log()
        k = (torch.searchsorted(self.log_dual, log_w, right=True) - 1).clamp(0, len(self.x) - 2)
        start, scale, a, b, c, d, low, high = self.rows[k].unbind(1)
        s = ((log_w - start) * scale).clamp(0, 1)
        guess = torch.addcmul(c, s, d)
        guess = torch.addcmul(b, s, guess)
        guess = torch.addcmul(a, s, guess)
        bend = torch.addcmul(b, s, torch.addcmul(2 * c, s, d, value=3)) * scale
        return low, high, guess.exp().clamp(low, high), 1 / bend

    def integrals(self, value: Scalar, x: Tensor) -> tuple[Tensor, Tensor]:
        """`∫_0^x r'` and `∫_0^x t dr'(t)` for `x ≥ 0` (n,), from the last point below each."""
        parts = [self._integrals(value, part) for part in x.split(CHUNK)]  # type: ignore[no-untyped-call]
        return torch.cat([a for a, _ in parts]), torch.cat([e for _, e in parts])

    def _integrals(self, value: Scalar, x: Tensor) -> tuple[Tensor, Tensor]:
        k = (torch.searchsorted(self.x, x, right=True) - 1).clamp(0, len(self.x) - 2)
        begin, length = self.x[k], x - self.x[k]
        inside = length >= 0
        begin, length = torch.where(inside, begin, 0.0), torch.where(inside, length, x)
        base = [torch.where(inside, sums[k], 0.0) for sums in (self.area, self.energy, self.dual)]
        last = value(x)
        points, weights = _panel(begin, length)
        values = value(points)
        area = (values * weights).sum(1) * length
        lift = ((last[:, None] - values) * weights).sum(1) * length
        rough = ~(self.smooth[k] & inside & (x <= self.x[-1])) & x.isfinite() & (x > 0)
        if bool(rough.any()):
            a, b = begin[rough], (begin + length)[rough]
            exact = adaptive_integral(
                lambda t, _: value(t), a, b, crowd=8, scale=base[0][rough] + area[rough].abs()
            )
            area[rough] = exact
            lift[rough] = last[rough] * (b - a) - exact
        return base[0] + area, base[1] + (begin * (last - base[2]) + lift)


@lru_cache(maxsize=1)
def _grid() -> Tensor:
    """All magnitudes of float64 in equal ratios, 1 among them."""
    count = int(math.log(torch.finfo(torch.float64).max) / SPACING)
    return (SPACING * torch.arange(-count + 20, count + 1, dtype=torch.float64)).exp()


def tabulate(value: Scalar, both: Pair) -> DualTable:
    """Tabulate r' from 1 outwards, up to where it is finite and increases.

    Args:
        value: `r'`, of any shape.
        both: `r'` and `r''`, shape (n,).
    """
    x = _grid()
    dual = value(x)
    middle = int((x - 1).abs().argmin())
    good = dual.isfinite() & (dual > 0)
    rising = dual.diff() > 0
    count = int((good[middle + 1 :] & rising[middle:]).to(torch.int64).cumprod(0).sum())
    depth = int((good[:middle] & rising[:middle]).flip(0).to(torch.int64).cumprod(0).sum())
    first, last = middle - depth, middle + count
    limits = torch.finfo(torch.float64)
    highest = float(x[last + 1]) if last + 1 < len(x) else limits.max
    low = _edge(value, float(x[first]), float(x[first - 1]) if first > 0 else 5e-324, upward=False)
    high = _edge(value, float(x[last]), highest, upward=True)
    inner = x[first : last + 1]
    ends = [torch.tensor([end], dtype=x.dtype) for end in (low, high)]
    x = torch.cat([ends[0][ends[0] < inner[0]], inner, ends[1][ends[1] > inner[-1]]])
    dual, slope = both(x)
    reason = _reason(value, float(x[-1]), float(dual[-1]))
    area, energy, smooth = _sums(value, x, dual)
    rows = _cubics(x, dual.log(), dual / (slope * x))
    return DualTable(x, dual, dual.log(), rows, area, energy, smooth, reason)


def _cubics(x: Tensor, log_dual: Tensor, bend: Tensor) -> Tensor:
    """Hermite's cubics for log x in log r', whose derivative is `bend`; lines where that fails."""
    log_x, length = x.log(), log_dual.diff()
    rise, near, far = log_x.diff(), bend[:-1] * length, bend[1:] * length
    bad = ~(near + far).isfinite()
    near, far = torch.where(bad, rise, near), torch.where(bad, rise, far)
    cubic = log_x[:-1], near, 3 * rise - 2 * near - far, near + far - 2 * rise
    return torch.stack([log_dual[:-1], 1 / length, *cubic, x[:-1], x[1:]], 1)


def _edge(value: Scalar, inside: float, outside: float, *, upward: bool) -> float:
    """The last float from inside towards outside at which r' is finite, positive and monotone."""
    kept = float(value(torch.tensor([inside], dtype=torch.float64)))

    def good(x: float) -> tuple[bool, float]:
        v = float(value(torch.tensor([x], dtype=torch.float64)))
        rises = v > kept if upward else v < kept
        return math.isfinite(v) and v > 0 and rises, v

    ok, v = good(outside)
    if ok:
        return outside
    for _ in range(64):
        middle = math.sqrt(inside) * math.sqrt(outside)
        if not min(inside, outside) < middle < max(inside, outside):
            break
        ok, v = good(middle)
        if ok:
            inside, kept = middle, v
        else:
            outside = middle
    return inside


def _reason(value: Scalar, x: float, dual: float) -> str:
    limits = torch.finfo(torch.float64)
    if dual > 1e-6 * limits.max or x > 0.99 * limits.max:
        return "overflows"
    ahead = value(torch.tensor([x * (1 + 1e-9), x * (1 + SPACING)], dtype=torch.float64))
    return "bounded" if bool(ahead.isfinite().all()) else "not finite"


def _panel(begin: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Points (n, 16) and weights (16,) of Gauss–Legendre."""
    rule = torch.tensor(np.stack(gauss_legendre(16), 1), dtype=begin.dtype, device=begin.device)
    return torch.addcmul(begin[:, None], rule[:, 0], length[:, None]), rule[:, 1]


def _sums(value: Scalar, x: Tensor, dual: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Areas and energies up to each point, and whether each panel is smooth."""
    begin, length = x[:-1], x.diff()
    half = 0.5 * length
    sums = []
    for start, width in ((begin, length), (begin, half), (begin + half, half)):
        points, weights = _panel(start, width)
        sums.append((value(points) * weights).sum(1) * width)
    panels = sums[1] + sums[2]
    # Areas next to underflow have few digits, and none that count.
    smooth = ((sums[0] - panels).abs() <= 1e-14 * panels.abs()) | (panels.abs() < 1e-290)
    rough = ~smooth & panels.isfinite()
    if bool(rough.any()):
        panels[rough] = adaptive_integral(
            lambda t, _: value(t), begin[rough], x[1:][rough], crowd=8, scale=panels[rough].abs()
        )
    # ∫ t dr' over a panel, in terms that are all positive.
    lift = begin * dual.diff() + (dual[1:] * length - panels).clamp(min=0)
    # Below the first point r' is taken as a power: it is of the size of the smallest floats.
    first = 0.5 * dual[:1] * x[:1]
    return (
        torch.cat([first, first + panels.cumsum(0)]),
        torch.cat([first, first + lift.cumsum(0)]),
        smooth,
    )
