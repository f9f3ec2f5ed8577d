"""A certificate: which points carry the solution, and how close it is to a KKT point."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mirrorflow.checks import as_choice, as_integer, shown
from mirrorflow.diagnostics import Certificate
from mirrorflow.plot.theme import new_axes, paint, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["certificate"]

_LEAST = 1e-16
_LARGEST = 1600.0  # area of the disc of a multiplier that carries all


@styled
def certificate(
    certified: Certificate,
    show: str = "multipliers",
    *,
    count: int = 20,
    ax: Axes | None = None,
) -> Axes:
    """The multipliers of a certificate as areas, or its trade-off.

    "multipliers": the points that carry the solution, the largest first. The area of a disc is the
    share of the point in `Σ λ`, and so is its height; the number is the index of the point.

    "tradeoff": every restriction that was fitted, δ (complementary slackness) against ε
    (stationarity). Both are 0 at a KKT point, so the lower left is best. The filled mark is the
    certificate.

    Args:
        certified: what `certify` returned.
        show: "multipliers" or "tradeoff".
        count: at most so many points.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes.

    Raises:
        TypeError, ValueError: not a certificate, one of a net that does not separate its points,
            or an unknown picture.
        MissingExtraError: matplotlib is not installed.
    """
    if not isinstance(certified, Certificate):
        raise TypeError(
            f"certified = {shown(certified)} is a {type(certified).__name__}; pass what certify "
            "returned"
        )
    show = as_choice(show, "show", ("multipliers", "tradeoff"))
    count = as_integer(count, "count", least=1)
    if not certified.separated:
        raise ValueError(
            f"certified has no multipliers: {certified.misclassified} of {certified.points} points "
            "are not separated; train on until all margins are positive"
        )
    ax = new_axes(ax)
    return _multipliers(ax, certified, count) if show == "multipliers" else _tradeoff(ax, certified)


def _multipliers(ax: Axes, certified: Certificate, count: int) -> Axes:
    values = certified.multipliers
    per_point = values if values.ndim == 1 else values.sum(1)
    shares = (per_point / per_point.sum()).detach().cpu().numpy()
    order = np.argsort(-shares, kind="stable")
    order = order[shares[order] > 1e-6][:count]
    x = np.arange(1, len(order) + 1)
    ax.vlines(x, 0, shares[order], color=paint(ax, 5), linewidth=1)
    ax.scatter(x, shares[order], s=_LARGEST * shares[order], color=paint(ax, 0), zorder=3)
    for at, point in zip(x, order, strict=True):
        above = math.sqrt(_LARGEST * shares[point] / math.pi) + 2
        ax.annotate(
            str(point),
            (at, shares[point]),
            (0, above),
            textcoords="offset points",
            ha="center",
            fontsize="x-small",
        )
    top = float(shares[order[0]])
    ax.set(xlim=(0.2, len(order) + 0.8), ylim=(0, 1.3 * top))
    ax.set_xticks([])
    carried = int((shares > 1e-6).sum())
    ax.set_xlabel(f"points by their multiplier ({carried} of {certified.points} carry one)")
    ax.set_ylabel("share of Σ λ")
    return ax


def _tradeoff(ax: Axes, certified: Certificate) -> Axes:
    rungs = certified.fit.tradeoff
    delta = _shown([rung.delta for rung in rungs])
    epsilon = _shown([rung.epsilon for rung in rungs])
    kinds: Any = {"linestyle": "none", "markersize": 7}
    ax.plot(delta, epsilon, "o", color=paint(ax, 0), fillstyle="none", label="fitted", **kinds)
    ax.plot(
        _shown([certified.delta]),
        _shown([certified.epsilon]),
        "D",
        color=paint(ax, 1),
        label="the certificate",
        **kinds,
    )
    ax.set(xscale="log", yscale="log", xlabel="δ, complementary slackness")
    ax.set_ylabel("ε, stationarity")
    ax.legend()
    return ax


def _shown(values: list[float]) -> Any:
    """Zeros at the edge of a logarithmic axis."""
    return np.maximum(np.array(values, dtype=np.float64), _LEAST)
