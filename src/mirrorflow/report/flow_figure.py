"""A picture of flows: margin, gap and balance against log log t, and the plane as it is learnt."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from mirrorflow.flow import Trajectory
from mirrorflow.nets import MLP, HomogeneousNet
from mirrorflow.report.style import figure, log_log_axis

__all__ = ["flow_figure"]

_FRAMES = 4


def flow_figure(
    flows: Mapping[str, Trajectory], net: HomogeneousNet, x: Tensor, y: Tensor
) -> Figure:
    """Curves of all flows, and for points in the plane a row of snapshots of each.

    Args:
        flows: trajectories by the name to show.
        net: the net they belong to; it is left as it is.
        x: (n, …) points; snapshots are drawn if they have two features.
        y: (n,) labels.
    """
    plane = x.ndim == 2 and x.shape[1] == 2
    rows = 1 + (len(flows) if plane else 0)
    made, axes = figure(rows, _FRAMES, size=(12, 3.2 + 2.9 * (rows - 1)), squeeze=False)
    titles = ("margin", "Hölder gap", "balance drift", "−log ℓ / log t")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title)
        log_log_axis(ax)
    for name, flow in flows.items():
        late = flow.log_log_t > 0
        z = flow.log_log_t[late] / np.log(10) - np.log10(np.log(10))
        axes[0, 0].plot(z, flow.margin[late], label=f"{name}: {flow.outcome}")
        axes[0, 1].semilogy(z, np.maximum(flow.gap[late], 1e-16))
        if np.isfinite(flow.balance_drift).any():
            axes[0, 2].semilogy(z, np.maximum(flow.balance_drift[late], 1e-18))
        with np.errstate(invalid="ignore"):
            axes[0, 3].plot(z, -flow.log_loss[late] / flow.log_t[late])
    made.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    if plane:
        for row, (name, flow) in zip(axes[1:], flows.items(), strict=True):
            for ax, k in zip(row, _frames(flow.direction), strict=False):
                _snapshot(ax, flow.direction[k], net, x, y)
                when = flow.log_log_t[k] / np.log(10) - np.log10(np.log(10))
                early = "early" if k else "start"
                label = f"log₁₀ log₁₀ t = {when:.1f}" if np.isfinite(when) and when > 0 else early
                ax.set_title(f"{name}\n{label}", fontsize=9)
    return made


def _frames(direction: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows at equal lengths of the path that `direction` (T, d) takes, first and last included."""
    moved = np.linalg.norm(np.diff(direction, axis=0), axis=1)
    path = np.concatenate([[0.0], np.cumsum(moved)])
    rows = np.searchsorted(path, np.linspace(0.0, path[-1], _FRAMES)[:-1])
    return np.unique([*rows, len(direction) - 1])


def _snapshot(
    ax: Axes, direction: NDArray[np.float64], net: HomogeneousNet, x: Tensor, y: Tensor
) -> None:
    saved = [p.detach().clone() for p in net.parameters()]
    reach = 1.25 * float(x.abs().max())
    side = torch.linspace(-reach, reach, 121, dtype=x.dtype)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        try:
            start = 0
            for p in net.parameters():
                part = torch.from_numpy(direction[start : start + p.numel()])
                p.copy_(part.reshape(p.shape))
                start += p.numel()
            out = net(grid)
            values = out if net.binary else out.argmax(1).to(x.dtype)
            units = (
                net.weights[0][:, :2].detach().clone()
                if isinstance(net, MLP) and len(net.weights) > 1
                else None
            )
        finally:
            for p, old in zip(net.parameters(), saved, strict=True):
                p.copy_(old)
    image = values.reshape(121, 121).T.numpy()
    top = float(np.abs(image).max()) or 1.0
    box = (-reach, reach, -reach, reach)
    ax.imshow(image, origin="lower", extent=box, cmap="RdBu_r", vmin=-top, vmax=top, alpha=0.5)
    if net.binary:
        ax.contour(side.numpy(), side.numpy(), image, levels=[0.0], colors="k", linewidths=1.2)
    px, py = x.T.numpy()
    ax.scatter(px, py, c=y.numpy(), cmap="RdBu_r", s=14, edgecolors="k", linewidths=0.4)
    if units is not None:
        length = units.norm(dim=1)
        for w in (units * (0.9 * reach / length.max())).numpy():
            ax.plot([0, w[0]], [0, w[1]], color="#333333", linewidth=0.8, alpha=0.7)
    ax.set_axis_off()
