"""Q_c, the gauge of a sublevel set of finite level: the approach to the horizon."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mirrorflow.maps.base import MirrorMap, require_floating

__all__ = ["finite_gauge"]


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
    require_floating(x, "x")
    if not 0 < level < math.inf:
        raise ValueError(f"level = {level} is not a level; choose 0 < level < inf")
    mirror_map.horizon()
    dtype, x = x.dtype, x.detach().to(torch.float64)
    largest = float(x.abs().max()) if x.numel() else 0.0
    if largest == 0:
        return x.new_zeros((), dtype=dtype)
    axis = torch.zeros_like(x).flatten()
    axis[0] = 1
    radius = _log_scale(mirror_map, axis.reshape(x.shape), level)
    reached = _log_scale(mirror_map, x / largest, level)
    return x.new_tensor(math.exp(radius - reached) * largest, dtype=dtype)


def _log_scale(mirror_map: MirrorMap, x: Tensor, level: float) -> float:
    """`log τ` with `R(τ x) = c`."""
    limits = torch.finfo(x.dtype)
    low, high = math.log(limits.smallest_normal), math.log(limits.max)
    for _ in range(80):
        middle = 0.5 * (low + high)
        value = float(mirror_map.potential(x * math.exp(middle)))
        # Past the range of floats a potential may be NaN (∞ − ∞): that is above any level.
        if value <= level:
            low = middle
        else:
            high = middle
    if not float(mirror_map.potential(x * math.exp(low))) >= 0.9 * level:
        raise ValueError(
            f"level = {level} is not reached by the potential of {mirror_map!r} in float64; choose "
            "a level nearer 1"
        )
    return 0.5 * (low + high)
