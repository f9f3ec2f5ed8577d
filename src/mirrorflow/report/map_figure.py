"""A picture of mirror maps: potentials, dual maps, and unit balls on the way to the horizon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mirrorflow.errors import NoHorizonError
from mirrorflow.maps import MirrorMap, SeparableMap, Spectral
from mirrorflow.maps.finite import finite_gauges
from mirrorflow.report.style import colour as report_colour
from mirrorflow.report.style import figure

__all__ = ["map_figure"]

_LEVELS = (1e-2, 1.0, 1e2, 1e6, 1e30)


def map_figure(shown: Sequence[MirrorMap]) -> Figure:
    """Draw maps: `r/r(1)` and `u/u(1)` of the separable ones, and for each the unit ball of `Q_c`.

    Balls: pale at `c = 0.01`, dark at `c = 1e30`, dashed the limit Q, in two dimensions (two
    singular values for a spectral map). A homogeneous map has one ball at every level.

    Args:
        shown: the maps; those without a horizon have no ball.

    Raises:
        ValueError: nothing to draw.
    """
    if not shown:
        raise ValueError("shown is empty; give at least one map")
    balls = [each for each in shown if _has_horizon(each)]
    columns = 4
    rows = math.ceil(len(balls) / columns)
    made, axes = figure(1 + rows, columns, size=(10, 3.2 + 2.5 * rows), squeeze=False)
    grid = axes[0, 0].get_gridspec()
    for ax in axes[0]:
        ax.remove()
    _curves(made, grid, shown)
    for ax, each in zip(axes[1:].flat, balls, strict=False):
        _ball(ax, each)
    for ax in list(axes[1:].flat)[len(balls) :]:
        ax.set_axis_off()
    return made


def _has_horizon(mirror_map: MirrorMap) -> bool:
    try:
        mirror_map.horizon()
    except NoHorizonError:
        return False
    return True


def _curves(made: Figure, grid: Any, shown: Sequence[MirrorMap]) -> None:
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)
    left, right = made.add_subplot(grid[0, :2]), made.add_subplot(grid[0, 2:])
    styles: dict[float, int] = {}
    for each in shown:
        if not isinstance(each, SeparableMap) or not each.even:
            continue
        order = each.index
        dash = ("-", "--", ":", "-.")[styles.get(order, 0) % 4]
        styles[order] = styles.get(order, 0) + 1
        look: dict[str, Any] = {"color": _colour(order), "linestyle": dash, "label": _name(each)}
        left.plot(x, each.potential_entries(x) / each.potential_entries(one), **look)
        right.plot(x, each.to_dual(x) / each.to_dual(one), **look)
    left.set(title="potential r(x)/r(1)", ylim=(0, 6), xlabel="x")
    right.set(title="dual map u(x)/u(1)", ylim=(-5, 5), xlabel="x")
    if left.lines:
        right.legend(fontsize=7, loc="lower right", ncols=2)


def _ball(ax: Axes, mirror_map: MirrorMap) -> None:
    angles = torch.linspace(0, math.pi / 2, 41, dtype=torch.float64)
    points = torch.stack([torch.cos(angles), torch.sin(angles)], 1)
    limit = mirror_map.horizon()
    spectral = isinstance(mirror_map, Spectral)
    blocks = torch.diag_embed(points) if spectral else points
    order = limit.order if limit.order is not None else 2.0
    for k, level in enumerate(_LEVELS):
        if mirror_map.homogeneous:
            break
        gauges = finite_gauges(mirror_map, blocks, level)
        ax.plot(
            *_whole(points / gauges[:, None]), color=_colour(order), alpha=0.25 + 0.18 * k, lw=1
        )
    gauges = torch.stack([limit.gauge(x) for x in blocks])
    dashed = "-" if mirror_map.homogeneous else "--"
    shade = _colour(order) if mirror_map.homogeneous else "black"
    ax.plot(*_whole(points / gauges[:, None]), dashed, color=shade, lw=1.2)
    ax.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal", xticks=[-1, 0, 1])
    ax.set_yticks([-1, 0, 1])
    ax.set_title(_name(mirror_map), fontsize=8)


def _whole(quarter: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A curve in the first quadrant, mirrored to the other three and closed."""
    x, y = quarter[:, 0], quarter[:, 1]
    back_x, back_y = x.flip(0), y.flip(0)
    return torch.cat([x, -back_x, -x, back_x]), torch.cat([y, back_y, -y, -back_y])


def _colour(order: float) -> Any:
    """The report's scale from sparse to dense, stretched so that ℓ4 and ℓ∞ differ."""
    return report_colour(order, high=10.0)


def _name(mirror_map: MirrorMap) -> str:
    return repr(mirror_map).replace("map=", "").replace("()", "")
