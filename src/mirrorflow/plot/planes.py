"""A net with two inputs: its decision boundary, points with multipliers, neurons as arrows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mirrorflow.arrays import Array
from mirrorflow.checks import as_flag, as_net, as_points, as_tensor, shown
from mirrorflow.diagnostics.structure import hidden_units
from mirrorflow.flow import Trajectory
from mirrorflow.flow.record.problem import SmoothedNet
from mirrorflow.labels import as_labels
from mirrorflow.losses import output_classes
from mirrorflow.nets import HomogeneousNet
from mirrorflow.nets.evaluate import copied, evaluate, undisturbed
from mirrorflow.plot.theme import MARKERS, new_axes, paint, signs, styled
from mirrorflow.plot.time_axis import loglog10

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PlaneView", "draw_plane", "plane", "snapshot"]

_SIDE = 201
_WEAK = 1e-3  # share of the strongest neuron below which there is no arrow
_LARGEST = 900.0  # area of the circle of a multiplier that carries all


@dataclass(frozen=True)
class PlaneView:
    """What a picture of the plane shows, as arrays.

    Attributes:
        reach: the picture covers `[−reach, reach]²`.
        field: (s, s) output of a binary net, or class indices; rows from below.
        x: (n, 2) points.
        y: (n,) labels, ±1 or class indices.
        multipliers: (n,) shares, summing to 1, or None.
        arrows: (m, 2) neurons: directions of their incoming weights, as long as they are strong,
            the longest of length 1; None where there are none to show.
        output: (m,) signs of their outgoing weights; 0 where there are several.
    """

    reach: float
    field: Array
    x: Array
    y: Array
    multipliers: Array | None = None
    arrows: Array | None = None
    output: Array | None = None

    @property
    def binary(self) -> bool:
        """True if the labels are ±1."""
        return bool(np.isin(self.y, (-1, 1)).all())


@styled
def plane(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    multipliers: Tensor | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """A net with two inputs: decision boundary, points with their multipliers, neurons.

    An arrow points along the incoming weights of a neuron of the first hidden layer (inputs only,
    without the bias) and is as long as the neuron is strong, `‖in‖ ‖out‖`; its colour is the sign
    of its outgoing weight. The circle around a point has the area of its multiplier.

    Args:
        net: any module with one output a point, or C.
        x: (n, 2) points.
        y: (n,) labels, ±1 or class indices.
        multipliers: (n,) or (n, C), nonnegative, such as `certificate.multipliers`.
        legend: say below the picture what is what.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes.

    Raises:
        TypeError, ValueError: not a net, points that are not in the plane, labels that do not fit,
            multipliers of another shape, negative or all 0.
        MissingExtraError: matplotlib is not installed.
    """
    as_net(net)
    x = as_points(x)
    legend = as_flag(legend, "legend")
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"x has shape {tuple(x.shape)}; the plane needs points of shape (n, 2)")
    shares = _shares(multipliers, len(x))
    view = _view(net, x, y, shares)
    ax = new_axes(ax, square=True)
    return draw_plane(ax, view, legend=legend)


@styled
def snapshot(
    flow: Trajectory,
    log_t: float | None = None,
    *,
    log_log_t: float | None = None,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """`plane` of a flow at a time, on its own points, with the multipliers that it has then.

    Args:
        flow: a trajectory of points in the plane, from `mirror_flow` (one from a file keeps no
            net: pass your own to `plane`).
        log_t: natural logarithm of the time; the end by default.
        log_log_t: instead, its logarithm.
        legend: say below the picture what is what.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes, whose title is the time.

    Raises:
        TypeError, ValueError: not a trajectory, no net, points that are not in the plane, or a
            time outside the flow.
        MissingExtraError: matplotlib is not installed.
    """
    if not isinstance(flow, Trajectory):
        raise TypeError(
            f"flow = {shown(flow)} is a {type(flow).__name__}; pass a Trajectory of mirror_flow"
        )
    late = log_t is None and log_log_t is None
    point = flow[-1] if late else flow.at(log_t, log_log_t=log_log_t)
    net = flow.net(log_t, log_log_t=log_log_t)
    assert flow.problem is not None  # `net` has refused it
    x, y = flow.problem.x, flow.problem.y
    multipliers = torch.from_numpy(point.multipliers.reshape(len(x), -1))
    ax = plane(net, x, y, multipliers=multipliers, legend=legend, ax=ax)
    ax.set_title(_when(point.log_log_t))
    return ax


def _when(log_log_t: float) -> str:
    z = float(loglog10(log_log_t))
    return f"log₁₀ log₁₀ t = {z:.1f}".replace("-", "−") if math.isfinite(z) else "t ≤ 1"


def _shares(multipliers: Any, n: int) -> Array | None:
    if multipliers is None:
        return None
    values = as_tensor(multipliers, "multipliers").detach().to("cpu", torch.float64)
    if values.ndim not in (1, 2) or len(values) != n:
        raise ValueError(
            f"multipliers has shape {tuple(values.shape)} beside {n} points; pass ({n},) or "
            f"({n}, C)"
        )
    if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
        raise ValueError("multipliers holds negative numbers, NaN or infinity; pass λ >= 0")
    if not bool(values.any()):
        raise ValueError("multipliers are all 0; pass those of a certificate, or None")
    values = values / values.max()
    per_point = values.reshape(n, -1).sum(1)
    shares: Array = (per_point / per_point.sum()).numpy()
    return shares


@undisturbed
def _view(net: nn.Module, x: Tensor, y: Any, shares: Array | None) -> PlaneView:
    net = copied(net, torch.float64)
    x = x.detach().to("cpu", torch.float64)
    net = net.to("cpu")
    reach = 1.25 * float(x.abs().max()) or 1.0
    line = torch.linspace(-reach, reach, _SIDE, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    parameters = {name: p.detach() for name, p in net.named_parameters()}
    outputs = evaluate(net, parameters, torch.cat([x, grid]))
    classes = output_classes(outputs)
    labels = as_labels(y, classes, points=len(x))
    if not bool(torch.isfinite(outputs).all()):
        raise ValueError("net returns NaN or infinity on the plane around x; check its parameters")
    values = outputs.reshape(len(outputs)) if classes is None else outputs.argmax(1).double()
    field = values[len(x) :].reshape(_SIDE, _SIDE).T.numpy()
    arrows, output = _neurons(net, parameters)
    return PlaneView(
        reach, field, x.numpy(), labels.cpu().numpy().astype(np.float64), shares, arrows, output
    )


def _neurons(net: nn.Module, parameters: dict[str, Tensor]) -> tuple[Array | None, Array | None]:
    """Arrows and signs of the first hidden layer; None where the net does not show it."""
    prefix = ""
    if isinstance(net, SmoothedNet):
        net, prefix = net.net, "net."
    if not isinstance(net, HomogeneousNet | nn.Sequential):
        return None, None
    try:
        layers = hidden_units(net)
    except TypeError:
        return None, None
    own = {name.removeprefix(prefix): p for name, p in parameters.items()}
    if not layers or own[layers[0].incoming[0]].ndim != 2:
        return None, None
    units = layers[0]
    peak = max(float(p.abs().max()) for p in own.values()) or 1.0
    squares = {name: (p / peak).square() for name, p in own.items()}
    strength = (units.fan_in(squares) * units.fan_out(squares)).sqrt()
    strength = strength / (float(strength.max()) or 1.0)
    ways = own[units.incoming[0]][:, :2]
    ways = ways / ways.norm(dim=1, keepdim=True).clamp(min=torch.finfo(ways.dtype).tiny)
    out = own[units.outgoing]
    single = out.ndim == 2 and out.shape[0] == 1 and len(layers) == 1
    output = out[0].sign() if single else torch.zeros(units.units)
    return (ways * strength[:, None]).numpy(), output.double().numpy()


def draw_plane(ax: Axes, view: PlaneView, *, legend: bool = True) -> Axes:
    """Draw arrays: regions, boundary, points, circles of multipliers, arrows."""
    from matplotlib.collections import PathCollection

    positive, negative = signs(ax)
    ink = ax.xaxis.label.get_color()
    line = np.linspace(-view.reach, view.reach, len(view.field))
    if view.binary:
        tints, levels = [negative, positive], [-math.inf, 0.0, math.inf]
        classes: list[tuple[float, str, str]] = [(1, "+1", positive), (-1, "−1", negative)]
    else:
        count = int(max(view.field.max(), view.y.max())) + 1
        tints = [paint(ax, k) for k in range(count)]
        levels = [k - 0.5 for k in range(count + 1)]
        classes = [(k, str(k), tints[k]) for k in range(count)]
    ax.contourf(line, line, view.field, levels=_finite(levels, view.field), colors=tints, alpha=0.2)
    if float(view.field.min()) < levels[1] < float(view.field.max()) or len(levels) > 3:
        ax.contour(line, line, view.field, levels=levels[1:-1], colors=[ink], linewidths=1.3)
    if view.arrows is not None and view.output is not None:
        _draw_arrows(ax, view, view.arrows, view.output)
    if view.multipliers is not None:
        carried = view.multipliers > 1e-6
        ax.scatter(
            view.x[carried, 0],
            view.x[carried, 1],
            s=_LARGEST * view.multipliers[carried],
            facecolors="none",
            edgecolors=ink,
            linewidths=1.4,
            zorder=4,
            label="multiplier (area)",
        )
    for k, (value, name, colour) in enumerate(classes):
        ax.scatter(
            view.x[view.y == value, 0],
            view.x[view.y == value, 1],
            s=24,
            marker=MARKERS[k % len(MARKERS)],
            color=colour,
            edgecolors=ax.get_facecolor(),
            linewidths=0.6,
            zorder=5,
            label=f"label {name}",
        )
    ax.set(xlim=(-view.reach, view.reach), ylim=(-view.reach, view.reach), aspect="equal")
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    if legend:
        below = ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2)
        for handle in below.legend_handles:
            if isinstance(handle, PathCollection):  # as large as their text, whatever is drawn
                handle.set_sizes([45.0])
    return ax


def _finite(levels: list[float], field: Array) -> list[float]:
    top = float(np.abs(field).max()) + 1.0
    return [min(max(level, -top), top) for level in levels]


def _draw_arrows(ax: Axes, view: PlaneView, arrows: Array, output: Array) -> None:
    positive, negative = signs(ax)
    kinds = ((1.0, positive, "output > 0"), (-1.0, negative, "output < 0"))
    for sign, colour, name in (*kinds, (0.0, ax.xaxis.label.get_color(), "")):
        chosen = arrows[(output == sign) & (np.linalg.norm(arrows, axis=1) > _WEAK)]
        if not len(chosen):
            continue
        count = f"{len(chosen)} neuron{'s' if len(chosen) > 1 else ''}"
        tips = 0.9 * view.reach * chosen
        ax.quiver(
            np.zeros(len(chosen)),
            np.zeros(len(chosen)),
            *tips.T,
            angles="xy",
            scale_units="xy",
            scale=1.0,
            color=colour,
            units="inches",
            width=0.025,
            zorder=3,
            label=f"{count}, {name}" if name else count,
        )
