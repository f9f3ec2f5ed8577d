"""How figures look: one colour a map, from sparse (blue) to dense (red), and inline images."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mirrorflow.files import write_atomic

__all__ = ["colour", "figure", "inline", "log_log_axis", "save"]

_SETTINGS: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "mirrorflow",
    "svg.fonttype": "path",
}


def figure(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float], **options: Any
) -> tuple[Figure, Any]:
    """A figure and its axes (as `Figure.subplots` gives them) in the style of the report."""
    with mpl.rc_context(_SETTINGS):
        made = Figure(figsize=size, layout="constrained")
        return made, made.subplots(rows, columns, **options)


def inline(made: Figure, *, raster: bool = False) -> str:
    """The figure as a data URI, SVG or (for pictures made of pixels) PNG."""
    buffer = io.BytesIO()
    with mpl.rc_context(_SETTINGS):
        if raster:
            made.savefig(buffer, format="png", dpi=170)
        else:
            made.savefig(buffer, format="svg", metadata={"Date": None})
    kind = "png" if raster else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def save(made: Figure, path: Path) -> Path:
    """Write the figure as SVG, the same bytes every time; returns the path."""
    with mpl.rc_context(_SETTINGS):
        write_atomic(path, lambda file: made.savefig(file, format="svg", metadata={"Date": None}))
    return path


def colour(order: float, low: float = 1.0, high: float = 4.0) -> Any:
    """Colour of a horizon of that order: blue at ℓ1, red at ℓ4 and beyond."""
    position = (1 / low - 1 / max(order, 1.0)) / (1 / low - 1 / high) if order < math.inf else 1.0
    return mpl.colormaps["turbo"](0.08 + 0.84 * min(max(position, 0.0), 1.0))


def log_log_axis(axes: Axes) -> None:
    """Name the axis that every flow is drawn against."""
    axes.set_xlabel("log₁₀ log₁₀ t")
