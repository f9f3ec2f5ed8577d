"""Mirror maps: potentials, dual maps, and unit balls on the way to the horizon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from mirrorflow.checks import shown
from mirrorflow.errors import NoHorizonError
from mirrorflow.maps import MirrorMap, SeparableMap, Spectral, as_map
from mirrorflow.maps.finite import finite_gauges
from mirrorflow.plot.theme import DASHES, new_axes, paint_of_order, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["dual", "has_horizon", "map_name", "potential", "several_maps", "unit_ball"]

_LEVELS = (1e-2, 1.0, 1e2, 1e6, 1e30)


@styled
def potential(mirror_maps: Any, *, ax: Axes | None = None) -> Axes:
    """The potentials `r(x)/r(1)` of one map or several; blue is sparse, orange dense.

    Args:
        mirror_maps: a map, its text such as "cosh(0.5)", or several in a list; separable ones.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes.

    Raises:
        TypeError, ValueError: not maps, none at all, or one that has no scalar potential.
        MissingExtraError: matplotlib is not installed.
    """
    return _curves(several_maps(mirror_maps), ax, "potential")


@styled
def dual(mirror_maps: Any, *, ax: Axes | None = None) -> Axes:
    """The dual maps `u(x)/u(1)`, `u = r'(x)`; the arguments are those of `potential`.

    Raises:
        TypeError, ValueError, MissingExtraError: as `potential`.
    """
    return _curves(several_maps(mirror_maps), ax, "dual map")


@styled
def unit_ball(mirror_map: MirrorMap | str, *, ax: Axes | None = None) -> Axes:
    """Unit balls of `Q_c` in the plane as the level c grows, and that of the horizon Q.

    Pale is c = 0.01, dark c = 1e30, dashed the limit Q. A homogeneous map has one ball at every
    level. A spectral map is shown by its two singular values.

    Args:
        mirror_map: a map with a horizon, or its text.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes.

    Raises:
        TypeError, ValueError: not a map.
        NoHorizonError: a map without a horizon.
        MissingExtraError: matplotlib is not installed.
    """
    if not isinstance(mirror_map, MirrorMap | str):
        raise TypeError(
            f"mirror_map = {shown(mirror_map)} is a {type(mirror_map).__name__}; pass a MirrorMap"
        )
    mirror_map = as_map(mirror_map)
    limit = mirror_map.horizon()
    ax = new_axes(ax, square=True)
    angles = torch.linspace(0, math.pi / 2, 41, dtype=torch.float64)
    points = torch.stack([torch.cos(angles), torch.sin(angles)], 1)
    blocks = torch.diag_embed(points) if isinstance(mirror_map, Spectral) else points
    colour = paint_of_order(ax, limit.order if limit.order is not None else 2.0)
    homogeneous = mirror_map.homogeneous
    for k, level in enumerate(() if homogeneous else _LEVELS):
        gauges = finite_gauges(mirror_map, blocks, level)
        label = f"c = {level:g}" if k in (0, len(_LEVELS) - 1) else None
        ball = _whole(points / gauges[:, None])
        ax.plot(*ball, color=colour, alpha=0.25 + 0.18 * k, linewidth=1, label=label)
    gauges = torch.stack([limit.gauge(x) for x in blocks])
    edge = colour if homogeneous else ax.xaxis.label.get_color()
    ball = _whole(points / gauges[:, None])
    ax.plot(*ball, "-" if homogeneous else "--", color=edge, linewidth=1.2, label="limit Q")
    ax.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
    ax.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    ax.set_title(map_name(mirror_map))
    return ax


def several_maps(mirror_maps: Any) -> list[MirrorMap]:
    """One map or several as a list.

    Raises:
        TypeError: something else.
        ValueError: none at all.
    """
    if isinstance(mirror_maps, MirrorMap | str):
        return [as_map(mirror_maps, "mirror_maps")]
    if not isinstance(mirror_maps, Sequence) or isinstance(mirror_maps, bytes):
        raise TypeError(
            f"mirror_maps = {shown(mirror_maps)} is a {type(mirror_maps).__name__}; pass a "
            "MirrorMap, or a list of them"
        )
    if not mirror_maps:
        raise ValueError("mirror_maps is empty; pass at least one map")
    for each in mirror_maps:
        if not isinstance(each, MirrorMap | str):
            raise TypeError(f"mirror_maps holds {shown(each)}; pass MirrorMaps")
    return [as_map(each, "mirror_maps") for each in mirror_maps]


def has_horizon(mirror_map: MirrorMap) -> bool:
    """True if the map has unit balls to show."""
    try:
        mirror_map.horizon()
    except NoHorizonError:
        return False
    return True


def map_name(mirror_map: MirrorMap) -> str:
    """The call that makes it, shortened."""
    return repr(mirror_map).replace("map=", "").replace("()", "")


def _curves(mirror_maps: list[MirrorMap], ax: Axes | None, what: str) -> Axes:
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)
    for each in mirror_maps:
        if not isinstance(each, SeparableMap) or not each.even:
            raise ValueError(
                f"mirror_maps holds {shown(each)}, whose potential is no even function of one "
                "number; draw its unit_ball"
            )
    ax = new_axes(ax)
    for k, each in enumerate(mirror_maps):
        assert isinstance(each, SeparableMap)
        function = each.potential_entries if what == "potential" else each.to_dual
        ax.plot(
            x,
            function(x) / function(one),
            DASHES[k % len(DASHES)],
            color=paint_of_order(ax, each.index),
            label=map_name(each),
        )
    letter, limits = ("r", (0, 6)) if what == "potential" else ("u", (-5, 5))
    ax.set(xlabel="x", ylabel=f"{what} {letter}(x)/{letter}(1)", ylim=limits)
    if len(mirror_maps) > 1:
        ax.legend(fontsize="x-small")
    return ax


def _whole(quarter: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A curve in the first quadrant, mirrored to the other three and closed."""
    x, y = quarter[:, 0], quarter[:, 1]
    back_x, back_y = x.flip(0), y.flip(0)
    return torch.cat([x, -back_x, -x, back_x]), torch.cat([y, back_y, -y, -back_y])
