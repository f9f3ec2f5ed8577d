"""Flows against log log t, several on axes that can be compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.checks import as_choice, as_number, shown
from mirrorflow.flow import Comparison, Trajectory
from mirrorflow.plot.theme import DASHES, new_axes, paint, styled
from mirrorflow.plot.time_axis import loglog10, mark_times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["flow", "named_flows"]

_LOG10_E = math.log10(math.e)
_OF_MARGINS = ("margin", "missing", "gap", "kkt")
_LEAST = 1e-16  # of what is drawn on a logarithmic axis


@dataclass(frozen=True)
class _Quantity:
    label: str
    logarithmic: bool = False


_QUANTITIES = {
    "margin": _Quantity("margin / {}"),
    "missing": _Quantity("1 − margin / {}", logarithmic=True),
    "gap": _Quantity("Hölder gap", logarithmic=True),
    "kkt": _Quantity("KKT residual", logarithmic=True),
    "log_gauge": _Quantity("log₁₀ Q"),
    "balance": _Quantity("drift of the balance, relative", logarithmic=True),
    "loss": _Quantity("−log loss / log t  (1: like 1/t)"),
}


@styled
def flow(
    flows: Trajectory | Mapping[str, Trajectory] | Comparison,
    show: str = "margin",
    *,
    exact: float | Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One quantity of a flow, or of several, against log log t.

    The axis of time carries `log₁₀ log₁₀ t` and below it t. Margins of different maps are measured
    in different norms, so each is divided by its own limit: the exact max margin, or its own last
    value. Times up to t = 1 have no place on the axis.

    Args:
        flows: a trajectory, several by the name to show, or what `compare_maps` returned.
        show: "margin" (over its limit), "missing" (1 less that), "gap" (Hölder gap), "kkt" (the
            largest of the three residuals), "log_gauge" (log₁₀ Q), "balance" (drift of the
            balance) or "loss" (`−log ℓ/log t`, its decay exponent).
        exact: the exact max margins, one for all or one a name (see `max_margin`); None takes the
            last margin of each flow.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes. A flow that ends without a positive margin has no line for "margin" and
        "missing"; its name says so.

    Raises:
        TypeError, ValueError: something else than flows, an unknown quantity, exact margins that
            do not belong to the flows or are not positive, a flow that ends before t = 1, or the
            margin of a flow of the square loss.
        MissingExtraError: matplotlib is not installed.
    """
    chosen = named_flows(flows)
    show = as_choice(show, "show", tuple(_QUANTITIES))
    for name, each in chosen.items():
        if each.degree == 0 and show in _OF_MARGINS:
            raise ValueError(
                f"show = {show!r} with flows[{name!r}], a flow of the square loss, which has no "
                "margin; draw 'log_gauge' or 'loss', or its column mean_excess of to_pandas()"
            )
    limits = _limits(chosen, exact)
    ax = new_axes(ax)
    quantity = _QUANTITIES[show]
    first = math.inf
    for k, (name, each) in enumerate(chosen.items()):
        x, y = loglog10(each.log_log_t), _values(each, show, limits[name])
        drawn = np.isfinite(x)
        if quantity.logarithmic:
            y = np.maximum(y, _LEAST)
        if show == "missing" and exact is None:
            y = np.where(np.arange(len(y)) < len(y) - 1, y, np.nan)  # 0 by definition
        late = limits[name] > 0 or show not in ("margin", "missing")
        label = name if late else f"{name} (not separated)"
        ax.plot(x[drawn], y[drawn], DASHES[k % len(DASHES)], color=paint(ax, k), label=label)
        first = min(first, float(x[drawn][0]))
    if quantity.logarithmic:
        ax.set_yscale("log")
    if show == "margin":
        ax.axhline(1.0, color=ax.xaxis.label.get_color(), linewidth=0.8, alpha=0.6, zorder=1)
        ax.set_ylim(max(ax.get_ylim()[0], -0.1), max(1.04, min(ax.get_ylim()[1], 1.2)))
    if show == "loss":
        ax.set_ylim(-0.05, 1.15)  # no loss falls faster than 1/t in the end
    last = max(float(loglog10(each.log_log_t[-1])) for each in chosen.values())
    ax.set_xlim(max(first, 0.0 if last > 1 else -1.0), last)
    mark_times(ax)
    ax.set_ylabel(quantity.label.format("last margin" if exact is None else "exact max margin"))
    if len(chosen) > 1:
        ax.legend()
    return ax


def named_flows(flows: Any) -> dict[str, Trajectory]:
    """The trajectories by the name to show.

    Raises:
        TypeError: something else than a trajectory, a mapping of them, or a comparison.
        ValueError: none at all, or one that ends before t = 1.
    """
    if isinstance(flows, Trajectory):
        flows = {flows.stats.map: flows}
    elif isinstance(flows, Comparison):
        flows = _of_comparison(flows)
    if not isinstance(flows, Mapping):
        raise TypeError(
            f"flows = {shown(flows)} is a {type(flows).__name__}; pass a Trajectory, a mapping "
            "from names to trajectories, or what compare_maps returned"
        )
    if not flows:
        raise ValueError("flows is empty; pass at least one Trajectory")
    for name, each in flows.items():
        if not isinstance(each, Trajectory):
            raise TypeError(
                f"flows[{name!r}] = {shown(each)} is a {type(each).__name__}; pass a Trajectory"
            )
        if not each.log_log_t[-1] > -math.inf:
            raise ValueError(
                f"flows[{name!r}] ends at log t = {each.log_t[-1]:g}, where log log t has no "
                "value; follow it beyond t = 1 with log_t_end"
            )
    return {str(name): each for name, each in flows.items()}


def _of_comparison(comparison: Comparison) -> dict[str, Trajectory]:
    named = {}
    for mirror_map, row in zip(comparison.mirror_maps, comparison.flows, strict=True):
        for start, each in enumerate(row):
            if isinstance(each, Trajectory):
                name = repr(mirror_map)
                named[f"{name}, start {start}" if len(row) > 1 else name] = each
    return named


def _limits(flows: dict[str, Trajectory], exact: Any) -> dict[str, float]:
    """What each margin is divided by."""
    if exact is None:
        return {name: float(each.margin[-1]) for name, each in flows.items()}
    if not isinstance(exact, Mapping):
        return dict.fromkeys(flows, as_number(exact, "exact", above=0))
    missing = sorted(set(flows) - set(map(str, exact)))
    if missing:
        raise ValueError(
            f"exact = {shown(exact)} has no margin for {missing}; give one a flow, or None for "
            "their own last margins"
        )
    return {name: as_number(exact[name], f"exact[{name!r}]", above=0) for name in flows}


def _values(each: Trajectory, show: str, limit: float) -> Array:
    if show in ("margin", "missing"):
        share = each.margin / limit if limit > 0 else np.full(len(each), np.nan)
        value: Array = share if show == "margin" else 1.0 - share
        return value
    if show == "kkt":
        largest: Array = np.maximum(each.natural_epsilon, each.mean_excess)
        return np.maximum(largest, each.natural_slack)
    if show == "log_gauge":
        return each.log_gauge * _LOG10_E
    if show == "loss":
        with np.errstate(invalid="ignore", divide="ignore"):
            exponent: Array = -each.log_loss / each.log_t
        return exponent
    return each.gap if show == "gap" else each.balance_drift
