"""Q_c, the gauge of a sublevel set of finite level: the approach to the horizon."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mirrorflow.checks import shown
from mirrorflow.maps.arguments import as_real, require_finite
from mirrorflow.maps.base import MirrorMap, SeparableMap
from mirrorflow.maps.horizon import as_matrix
from mirrorflow.maps.parse import as_map
from mirrorflow.maps.spectral import Spectral

__all__ = ["finite_gauge", "finite_gauges", "finite_radii", "log_radius"]


def finite_gauge(mirror_map: MirrorMap, x: Tensor, level: float) -> Tensor:
    """`Q_c(x) = inf {s > 0 : R(ρ_c x/s) ≤ c}`, with `R(ρ_c e₁) = c`: tends to Q as `c → ∞`.

    Normalised by the axes, so that `Q_c(e₁) = 1` at every level. If R is homogeneous, `Q_c = Q`.

    Args:
        mirror_map: the map.
        x: a point, any shape, taken as one block.
        level: `c`, in (0, ∞), reached by R on floats.

    Returns:
        A scalar tensor (0 at x = 0), by bisection on `log s`.

    Raises:
        ValueError: the level is out of range.
        NoHorizonError: a map on a restricted domain.
    """
    mirror_map = as_map(mirror_map)
    x = require_finite(x, "x")
    given, level = level, as_real(level, "level")
    if not 0 < level < math.inf:
        raise ValueError(f"level = {shown(given)} is not a level; choose 0 < level < inf")
    mirror_map.horizon()
    dtype, x = x.dtype, x.detach().to(torch.float64)
    largest = float(x.abs().max()) if x.numel() else 0.0
    if largest == 0:
        return x.new_zeros((), dtype=dtype)
    axis = torch.zeros_like(x).flatten()
    axis[0] = 1
    pair = torch.stack([axis.reshape(x.shape), x / largest])
    radius, reached = _log_scales(mirror_map, pair, level).tolist()
    return x.new_tensor(math.exp(radius - reached) * largest, dtype=dtype)


def finite_gauges(mirror_map: MirrorMap, points: Tensor, level: float) -> Tensor:
    """`finite_gauge` of many nonzero points of order 1 at once, shape (n, …) to (n,), float64."""
    axis = torch.zeros_like(points[:1]).flatten()
    axis[0] = 1
    together = torch.cat([axis.reshape(points[:1].shape), points]).to(torch.float64)
    scales = _log_scales(mirror_map, together, level)
    return torch.exp(scales[0] - scales[1:])


def finite_radii(mirror_map: MirrorMap, directions: Tensor, levels: Tensor) -> Tensor:
    """`1/Q_c` of k nonzero directions (k, …) at m levels (m,) at once, shape (m, k), float64.

    How far the scaled sublevel set reaches in each direction: the outline of the unit ball.
    """
    axis = torch.zeros_like(directions[:1]).flatten()
    axis[0] = 1
    rays = torch.cat([axis.reshape(directions[:1].shape), directions]).to(torch.float64)
    count = len(levels)
    together = rays.repeat(count, *[1] * (rays.ndim - 1))
    scales = _log_scales(
        mirror_map, together, levels.to(torch.float64).repeat_interleave(len(rays))
    )
    scales = scales.reshape(count, len(rays))
    return torch.exp(scales[:, 1:] - scales[:, :1])


def log_radius(mirror_map: MirrorMap, x: Tensor, level: float) -> float:
    """`log ρ_c`: where the first axis of the shape of x leaves the sublevel set."""
    axis = torch.zeros(x.numel(), dtype=torch.float64, device=x.device)
    axis[0] = 1
    return float(_log_scales(mirror_map, axis.reshape(1, *x.shape), level))


def _log_scales(mirror_map: MirrorMap, points: Tensor, level: float | Tensor) -> Tensor:
    """`log τ` with `R(τ x) = c` for each of the points, by bisection together.

    The level is one for all points, or one for each.
    """
    if isinstance(mirror_map, Spectral):
        matrices = points.reshape(len(points), *as_matrix(points[0]).shape)
        return _log_scales(mirror_map.map, torch.linalg.svdvals(matrices), level)
    limits = torch.finfo(points.dtype)
    low = points.new_full((len(points),), math.log(limits.smallest_normal))
    high = points.new_full((len(points),), math.log(limits.max))
    for _ in range(80):
        middle = 0.5 * (low + high)
        # Past the range of floats a potential may be NaN (∞ − ∞): that is above any level.
        inside = _potentials(mirror_map, points, middle) <= level
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    if not bool((_potentials(mirror_map, points, low) >= 0.9 * level).all()):
        raise ValueError(
            f"level = {level} is not reached by the potential of {mirror_map!r} in float64; choose "
            "a level nearer 1"
        )
    return 0.5 * (low + high)


def _potentials(mirror_map: MirrorMap, points: Tensor, log_scale: Tensor) -> Tensor:
    scaled = points * log_scale.exp().reshape(-1, *[1] * (points.ndim - 1))
    if isinstance(mirror_map, SeparableMap):
        return mirror_map.potential_entries(scaled).reshape(len(scaled), -1).sum(1)
    return torch.stack([mirror_map.potential(each) for each in scaled])
