"""One style for every figure: colours that colour-blind readers can tell apart, on light and dark.

matplotlib is imported when something is drawn, not before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from mirrorflow.checks import as_choice, shown
from mirrorflow.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "DASHES",
    "MARKERS",
    "is_dark",
    "matplotlib",
    "new_axes",
    "new_figure",
    "paint",
    "paint_of_order",
    "settings",
    "signs",
    "style",
    "styled",
    "without_legend",
]

P = ParamSpec("P")
R = TypeVar("R")

# Blue, orange, green, violet, yellow, grey: at least 3:1 against their own background, and apart in
# hue or in lightness for colour-blind readers too (a search for the largest least distance).
_ON_LIGHT = ("#1465d1", "#e36b0c", "#0ea77f", "#411250", "#5b420e", "#584f57")
_ON_DARK = ("#4c94ff", "#de931b", "#4fa475", "#e6d6ff", "#f1fb6d", "#7e8da1")
DASHES = ("-", "--", "-.", ":")
"""Line styles, so that a figure can be read without colour, and equal curves can be seen."""
MARKERS = ("o", "s", "^", "D", "v", "P")

_SHAPES: dict[str, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": "medium",
    "grid.alpha": 0.3,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": "small",
    "lines.linewidth": 1.8,
    "svg.hashsalt": "mirrorflow",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "savefig.dpi": 150,
}


def _colours(paper: str, ink: str, grid: str) -> dict[str, Any]:
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    papered = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
    return {**dict.fromkeys(inked, ink), **dict.fromkeys(papered, paper), "grid.color": grid}


_STYLES: dict[str, dict[str, Any]] = {
    "light": {**_colours("#ffffff", "#1b1f24", "#b0b0b0"), "font.size": 10},
    "dark": {**_colours("#0f1419", "#e6e6e6", "#6b7280"), "font.size": 10},
    "print": {
        **_colours("#ffffff", "#000000", "#b0b0b0"),
        "font.size": 8,
        "lines.linewidth": 1.3,
        "figure.figsize": (3.4, 2.4),
        "savefig.dpi": 300,
    },
}


def matplotlib() -> Any:
    """The module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError(
            'plots need matplotlib; pip install "mirrorflow[report]"'
        ) from error
    return matplotlib


def style(name: str = "light") -> AbstractContextManager[None]:
    """Figures figure inside `with mirrorflow.plot.style("dark"):` have that look.

    Without it a plot follows the settings that matplotlib has, and on any dark background, yours
    too, takes its lighter colours.

    Args:
        name: "light"; "dark"; or "print", which is one column wide (3.4 inches) in 8 point.

    Raises:
        TypeError, ValueError: another name.
        MissingExtraError: matplotlib is not installed.
    """
    chosen = as_choice(name, "name", tuple(_STYLES))
    context: AbstractContextManager[None] = matplotlib().rc_context({**_SHAPES, **_STYLES[chosen]})
    return context


def settings() -> AbstractContextManager[None]:
    """Shapes and sizes alone, for what is saved within."""
    context: AbstractContextManager[None] = matplotlib().rc_context(_shapes())
    return context


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Draw in the shared shapes and sizes; what the user has set in matplotlib stays.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """

    @wraps(function)
    def draw(*args: P.args, **kwargs: P.kwargs) -> R:
        with settings():
            return function(*args, **kwargs)

    return draw


def _shapes() -> dict[str, Any]:
    """The shared shapes, less what a `style` around has set otherwise."""
    current, default = matplotlib().rcParams, matplotlib().rcParamsDefault
    return {key: value for key, value in _SHAPES.items() if current[key] == default[key]}


def new_axes(ax: Any, *, square: bool = False, height: float = 1.0) -> Axes:
    """The user's Axes, or those of a new pyplot figure in the shared style.

    Args:
        ax: None or Axes.
        square: a new figure is as high as wide.
        height: factor on the height of a new figure.

    Raises:
        TypeError: something else.
    """
    mpl = matplotlib()
    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(
            f"ax = {shown(ax)} is a {type(ax).__name__}; pass matplotlib Axes "
            "(figure, ax = plt.subplots()), or None for a new figure"
        )
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    width, usual = mpl.rcParams["figure.figsize"]
    size = (width, width) if square else (width, usual * height)
    axes: Axes = plt.subplots(figsize=size, layout="constrained")[1]
    return axes


def new_figure(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float], **options: Any
) -> tuple[Figure, Any]:
    """A figure beside pyplot and its axes, as `Figure.subplots` gives them, in the shared style."""
    matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def without_legend(ax: Axes) -> None:
    """Take the legend away, where one for the whole figure stands elsewhere."""
    legend = ax.get_legend()
    if legend is not None:
        legend.remove()


def is_dark(ax: Axes) -> bool:
    """True if light lines are to be drawn on these axes."""
    from matplotlib.colors import to_rgba

    red, green, blue, alpha = to_rgba(ax.get_facecolor())
    if alpha < 0.5:
        figure = ax.get_figure()
        red, green, blue, alpha = to_rgba("w" if figure is None else figure.get_facecolor())
    # An invisible background is that of a page, which is white unless somebody says so.
    return alpha >= 0.5 and 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.4


def paint(ax: Axes, k: int) -> str:
    """The colour of the k-th thing on these axes."""
    palette = _ON_DARK if is_dark(ax) else _ON_LIGHT
    return palette[k % len(palette)]


def signs(ax: Axes) -> tuple[str, str]:
    """The colours of positive and negative: orange and blue."""
    return paint(ax, 1), paint(ax, 0)


def paint_of_order(ax: Axes, order: float) -> Any:
    """Colour of a horizon of that order, from blue at ℓ1 over purple at ℓ2 to orange at ℓ∞."""
    from matplotlib.colors import LinearSegmentedColormap

    dark = is_dark(ax)
    middle = "#b9a3e3" if dark else "#6a2c78"
    stops = [paint(ax, 0), middle, paint(ax, 1)]
    ramp = LinearSegmentedColormap.from_list("order", stops)
    return ramp(1.0 - (1.0 / max(order, 1.0) if order < math.inf else 0.0))
