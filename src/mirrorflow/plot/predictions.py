"""Growth as it was measured, beside what the theory predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mirrorflow.checks import shown
from mirrorflow.diagnostics import Growth
from mirrorflow.plot.theme import MARKERS, new_axes, paint, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["growth"]


@styled
def growth(fits: Growth | Mapping[str, Growth], *, ax: Axes | None = None) -> Axes:
    """The laws of `fit_growth`: measured values with 95 % intervals, and the predictions.

    A filled mark with its interval is measured. The bar `|` is the limit of the theory, the hollow
    circle what the theory says over the same window of time; where the two lie apart, the limit is
    not in sight yet.

    Args:
        fits: what `fit_growth` returned, or several by the name to show.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes, one row a law. Intervals that are wider than the measured and predicted values
        lie apart are cut at the edge.

    Raises:
        TypeError, ValueError: something else, or a fit that was refused; the message says why.
        MissingExtraError: matplotlib is not installed.
    """
    named = _named(fits)
    laws = list(dict.fromkeys(law.name for each in named.values() for law in each.laws))
    ax = new_axes(ax, height=0.4 + 0.12 * len(laws) * (1 + 0.3 * len(named)))
    ink = ax.xaxis.label.get_color()
    values = []
    for k, (name, each) in enumerate(named.items()):
        shift = 0.6 * ((k + 0.5) / len(named) - 0.5)
        label: str | None = name or "measured"
        for law in each.laws:
            at, here = laws.index(law.name) + shift, law.predicted + law.correction
            ax.plot(law.predicted, at, "|", color=ink, markersize=13, markeredgewidth=1.4)
            ax.plot(here, at, "o", color=ink, markersize=9, fillstyle="none", markeredgewidth=0.9)
            ax.errorbar(
                law.measured,
                at,
                xerr=[[law.measured - law.low], [law.high - law.measured]],
                fmt=MARKERS[k % len(MARKERS)],
                color=paint(ax, k),
                markersize=5,
                linewidth=1.6,
                label=label,
            )
            label = None
            values += [law.measured, law.predicted, here]
    for line, text in zip(ax.lines[:2], ("predicted, limit", "predicted, here"), strict=True):
        line.set_label(text)
    ax.set_yticks(np.arange(len(laws)), laws)
    ax.set_ylim(len(laws) - 0.5, -0.5)
    finite = [value for value in values if np.isfinite(value)]
    low, high = min([0.0, *finite]), max([1.0, *finite])
    ax.set_xlim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    ax.set_xlabel("value of the law")
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
    return ax


def _named(fits: Any) -> dict[str, Growth]:
    several = isinstance(fits, Mapping)
    named = dict(fits) if several else {"": fits}
    if not named:
        raise ValueError("fits is empty; pass what fit_growth returned")
    for name, each in named.items():
        where = f"fits[{name!r}]" if several else "fits"
        if not isinstance(each, Growth):
            raise TypeError(
                f"{where} = {shown(each)} is a {type(each).__name__}; pass what fit_growth returned"
            )
        if each.refused:
            raise ValueError(f"{where} has no laws to draw: {each.verdict}")
    return {str(name): each for name, each in named.items()}
