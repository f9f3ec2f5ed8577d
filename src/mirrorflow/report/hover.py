"""The values behind a figure's lines, so that the page can show them under the pointer."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

__all__ = ["hover_values"]

_POINTS = 60  # of a line


def hover_values(figure: Figure) -> list[dict[str, Any]]:
    """The lines of a figure that was drawn, with their names and values.

    A line without a name takes that of a line of its look, in any of the figure's axes; where
    there is none it is left out.

    Returns:
        For each line `name`, the labels `x` and `y` of its axes, and `points`: rows of the place
        in the figure from its left and from its top, in shares of its size, and the value x, y.
    """
    lines = [(ax, line) for ax in figure.axes for line in ax.get_lines()]
    names = {_look(line): _label(line) for _, line in lines if _label(line)}
    made = []
    for ax, line in lines:
        name = _label(line) or names.get(_look(line), "")
        points = _places(figure, ax, line) if name else []
        if len(points) > 1:
            what = ax.get_ylabel() or ax.get_title()
            made.append({"name": name, "x": ax.get_xlabel(), "y": what, "points": points})
    return made


def _label(line: Line2D) -> str:
    text = str(line.get_label())
    return "" if text.startswith("_") else text


def _look(line: Line2D) -> tuple[str, str]:
    return to_hex(line.get_color()), str(line.get_linestyle())


def _places(figure: Figure, ax: Axes, line: Line2D) -> list[list[float]]:
    values = np.column_stack(line.get_data()).astype(np.float64)
    (low, high), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    x, y = values.T
    with np.errstate(invalid="ignore"):
        inside = (low <= x) & (x <= high) & (bottom <= y) & (y <= top)
    values = values[inside]
    if len(values) < 2:
        return []
    places = figure.transFigure.inverted().transform(ax.transData.transform(values))
    # Evenly along the axis, not along the rows, which crowd where a curve bends.
    at = np.linspace(places[:, 0].min(), places[:, 0].max(), _POINTS)
    chosen = sorted({int(np.abs(places[:, 0] - each).argmin()) for each in at})
    return [
        [
            round(float(places[k, 0]), 4),
            round(float(1 - places[k, 1]), 4),
            *(float(f"{v:.4g}") for v in values[k]),
        ]
        for k in chosen
    ]
