"""Outlines of unit balls in the plane of two weights: `Q_c` at a level, and the horizon `Q`."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from mirrorflow.arrays import Array
from mirrorflow.maps import MirrorMap, Spectral
from mirrorflow.maps.finite import finite_radii

__all__ = ["ANGLES", "ball_radii", "horizon_radii"]

ANGLES = 96
"""Directions of an outline, evenly around the circle; the axes and the diagonals are among them."""


def ball_radii(mirror_map: MirrorMap, levels: list[float]) -> Array:
    """(m, 96) how far `{Q_c ≤ 1}` reaches in each direction: `1/Q_c`, 1 on the axes.

    A spectral map shows two singular values, any other map two weights.

    Args:
        mirror_map: the map.
        levels: m values c > 0.
    """
    radii: Array = finite_radii(
        mirror_map, _directions(mirror_map), torch.tensor(levels, dtype=torch.float64)
    ).numpy()
    return radii


def horizon_radii(mirror_map: MirrorMap) -> Array:
    """(96,) the same of the horizon function: `1/Q`."""
    horizon = mirror_map.horizon()
    return np.array([1 / float(horizon.gauge(u)) for u in _directions(mirror_map)])


def _directions(mirror_map: MirrorMap) -> Tensor:
    angle = torch.arange(ANGLES, dtype=torch.float64) * (2 * math.pi / ANGLES)
    around = torch.stack([angle.cos(), angle.sin()], 1)
    return torch.diag_embed(around) if isinstance(mirror_map, Spectral) else around
