"""Figure of docs/certificates.md: one data set, three mirror maps, three max-margin problems.

Follows the mirror flow of one small ReLU net under three mirror maps, certifies where it
ends and draws the decision boundary with the support points, their multipliers as areas.

    python examples/certificates.py docs/images/certificates.png
"""

from __future__ import annotations

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch.nn.utils import vector_to_parameters

from mirrorflow.diagnostics import Certificate, certify
from mirrorflow.flow import mirror_flow
from mirrorflow.maps import Cosh, HyperbolicEntropy, MirrorMap, Quadratic
from mirrorflow.nets import TwoLayer

# The map, and the logarithm of the time up to which its flow is followed.
MAPS: dict[str, tuple[MirrorMap, float]] = {
    "hyperbolic entropy: ℓ1": (HyperbolicEntropy(0.01), 1e20),
    "quadratic: ℓ2": (Quadratic(), 1e8),
    "cosh: ℓ∞": (Cosh(), 1e4),
}


def points() -> tuple[torch.Tensor, torch.Tensor]:
    """Thirty points of two classes that no line separates."""
    g = torch.Generator().manual_seed(4)
    x = 2 * torch.rand(200, 2, generator=g, dtype=torch.float64) - 1
    bend = x[:, 1] - 0.8 * x[:, 0].abs() + 0.35
    kept = bend.abs() > 0.15
    return x[kept][:30], torch.sign(bend[kept][:30])


def flowed(mirror_map: MirrorMap, log_t: float) -> TwoLayer:
    """A two-layer ReLU net (smoothed by 1 %) in the direction that its flow has at exp(log_t)."""
    x, y = points()
    generator = torch.Generator().manual_seed(0)
    net = TwoLayer(2, 12, "smooth_relu", bias=True, generator=generator).double()
    end = mirror_flow(net, x, y, mirror_map, log_t_end=log_t).direction[-1]
    with torch.no_grad():
        vector_to_parameters(torch.from_numpy(end), net.parameters())
    return net


def draw(ax: plt.Axes, title: str, net: TwoLayer, found: Certificate) -> None:
    """Decision boundary, margins, points, and multipliers as areas."""
    x, y = points()
    grid = torch.linspace(-1.15, 1.15, 300, dtype=torch.float64)
    plane = torch.cartesian_prod(grid, grid)
    with torch.no_grad():
        values = net(plane).reshape(300, 300).T.numpy()
        least = float((y * net(x)).min())
    ax.contourf(grid, grid, values, levels=[-1e300, 0, 1e300], colors=["#f6e3d7", "#dce8f3"])
    ax.contour(
        grid,
        grid,
        values,
        levels=[-least, 0, least],
        colors="0.35",
        linestyles=["dotted", "solid", "dotted"],
        linewidths=[0.8, 1.4, 0.8],
    )
    share = found.multipliers / found.multipliers.sum()
    ax.scatter(
        *x[found.support].T,
        s=1500 * share[found.support],
        facecolor="none",
        edgecolor="0.2",
        linewidth=1.1,
    )
    for label, colour in ((1, "#2c6fad"), (-1, "#c4622d")):
        ax.scatter(*x[y == label].T, s=16, color=colour, zorder=3)
    ax.set(
        title=title, xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal", xticks=[], yticks=[]
    )
    ax.set_xlabel(
        f"ε {found.epsilon:.2g}   δ {found.delta:.2g}   κ {found.slack:.2g}\n"
        f"{len(found.support)} support points, Q-margin {found.margin:.3g}"
    )


def main(path: str = "certificates.png") -> None:
    """Follow, certify, draw, print."""
    x, y = points()
    figure, axes = plt.subplots(
        1, len(MAPS), figsize=(10.5, 4.1), squeeze=False, layout="constrained"
    )
    for ax, (title, (mirror_map, log_t)) in zip(axes[0], MAPS.items(), strict=True):
        net = flowed(mirror_map, log_t)
        found = certify(net, x, y, mirror_map)
        print(f"\n{title}\n{found}")
        draw(ax, title, net, found)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:2])
