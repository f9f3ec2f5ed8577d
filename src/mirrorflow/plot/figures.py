"""Whole figures, composed of the plots: what the command line writes with --figure and --plot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.flow import Comparison, Trajectory
from mirrorflow.maps import MirrorMap, SeparableMap
from mirrorflow.plot.planes import snapshot
from mirrorflow.plot.potentials import dual, has_horizon, potential, several_maps, unit_ball
from mirrorflow.plot.theme import new_figure, styled, without_legend
from mirrorflow.plot.training import named_runs, runs
from mirrorflow.plot.trajectories import flow, named_flows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["flow_figure", "map_figure", "run_figure"]

_PANELS = {
    "margin": "margin",
    "gap": "Hölder gap",
    "log_gauge": "size of the weights",
    "balance": "balance",
    "loss": "decay of the loss",
}
_FRAMES = 5
_RUN_PANELS = ("test_accuracy", "weight_participation", "active_share")  # as far as all have them


@styled
def flow_figure(
    flows: Trajectory | Mapping[str, Trajectory] | Comparison,
    *,
    exact: float | Mapping[str, float] | None = None,
) -> Figure:
    """Margin, gap, log Q, balance and loss of all flows; below, the plane as each flow learns.

    Args:
        flows: as in `plot.flow`. The plane is drawn for flows of points in the plane that know
            their net (not those from a file), at five times: equal parts of the path that the
            direction takes.
        exact: the exact max margins, as in `plot.flow`.

    Returns:
        A matplotlib Figure.

    Raises:
        TypeError, ValueError, MissingExtraError: as `plot.flow`.
    """
    named = named_flows(flows)
    planar = {name: each for name, each in named.items() if _in_plane(each)}
    rows = 1 + len(planar)
    figure, axes = new_figure(rows, len(_PANELS), size=(15, 3.4 + 3.3 * (rows - 1)), squeeze=False)
    for ax, (show, title) in zip(axes[0], _PANELS.items(), strict=True):
        flow(named, show, exact=exact, ax=ax)
        ax.set_title(title)
        without_legend(ax)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    outcomes = [f"{k}: {f.outcome}" for k, f in zip(labels, named.values(), strict=True)]
    figure.legend(handles, outcomes, loc="outside upper center", ncols=3)
    for row, (name, each) in zip(axes[1:], planar.items(), strict=True):
        frames = _frames(each.direction)
        for at, ax in enumerate(row):
            if at >= len(frames):
                ax.set_axis_off()
                continue
            _frame(each, int(frames[at]), ax, last=at == len(frames) - 1)
        row[0].set_ylabel(name)
    return figure


def _frame(each: Trajectory, k: int, ax: Any, *, last: bool) -> None:
    log_t = float(each.log_t[k])
    if math.isinf(log_t) and log_t > 0:
        snapshot(each, log_log_t=float(each.log_log_t[k]), legend=last, ax=ax)
    else:
        snapshot(each, log_t, legend=last, ax=ax)
    if k == 0:
        ax.set_title("start")


def _in_plane(each: Trajectory) -> bool:
    return each.problem is not None and each.problem.x.shape[1:] == (2,)


def _frames(direction: Array) -> Any:
    """Rows at equal lengths of the path that `direction` (T, d) takes, first and last included."""
    moved = np.linalg.norm(np.diff(direction, axis=0), axis=1)
    path = np.concatenate([[0.0], np.cumsum(moved)])
    rows = np.searchsorted(path, np.linspace(0.0, path[-1], _FRAMES)[:-1])
    return np.unique([*rows, len(direction) - 1])


@styled
def map_figure(mirror_maps: Any) -> Figure:
    """Potentials and dual maps of the separable maps, and the unit balls of each with a horizon.

    Args:
        mirror_maps: a map, its text, or several in a list.

    Returns:
        A matplotlib Figure.

    Raises:
        TypeError, ValueError: not maps, or none at all.
        MissingExtraError: matplotlib is not installed.
    """
    drawn: list[MirrorMap] = several_maps(mirror_maps)
    balls = [each for each in drawn if has_horizon(each)]
    curves = [each for each in drawn if isinstance(each, SeparableMap) and each.even]
    columns = 4
    above = 1 if curves else 0
    rows = above + math.ceil(len(balls) / columns)
    if rows == 0:
        raise ValueError(
            "mirror_maps has neither a scalar potential nor a horizon to draw; add another map"
        )
    figure, axes = new_figure(
        rows, columns, size=(10, 3.4 * above + 2.6 * (rows - above)), squeeze=False
    )
    if curves:
        grid = axes[0, 0].get_gridspec()
        for ax in axes[0]:
            ax.remove()
        left, right = figure.add_subplot(grid[0, :2]), figure.add_subplot(grid[0, 2:])
        potential(curves, ax=left)
        dual(curves, ax=right)
        without_legend(left)
    for ax, each in zip(axes[above:].flat, balls, strict=False):
        unit_ball(each, ax=ax)
    for ax in list(axes[above:].flat)[len(balls) :]:
        ax.set_axis_off()
    return figure


@styled
def run_figure(trained: Any) -> Figure:
    """The loss against the step, and three metrics against the loss, of one run or several.

    Args:
        trained: as in `plot.runs`.

    Returns:
        A matplotlib Figure.

    Raises:
        TypeError, ValueError, RunError, MissingExtraError: as `plot.runs`.
    """
    tables = named_runs(trained)
    panels = [
        m for m in _RUN_PANELS if all(rows[-1].get(m) is not None for rows in tables.values())
    ]
    figure, axes = new_figure(
        1, 1 + len(panels), size=(3.6 * (1 + len(panels)), 3.6), squeeze=False
    )
    runs(tables, "log10_loss", against="step", ax=axes[0, 0])
    for ax, metric in zip(axes[0, 1:], panels, strict=True):
        runs(tables, metric, ax=ax)
    for ax in axes[0]:
        without_legend(ax)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure
