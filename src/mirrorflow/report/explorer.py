"""One HTML file in which a slider over time moves a flow in the plane."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mirrorflow import __version__
from mirrorflow.checks import as_path, shown
from mirrorflow.files import make_folder, write_text
from mirrorflow.flow import Trajectory
from mirrorflow.nets import MLP, Linear
from mirrorflow.report.assets import templates
from mirrorflow.report.plane import plane_data

__all__ = ["write_explorer"]


def write_explorer(
    path: Path,
    flows: Mapping[str, Trajectory],
    net: MLP | Linear,
    x: Tensor,
    y: Tensor,
    *,
    title: str = "Mirror flow in the plane",
) -> Path:
    """Write a page on which a slider over log log t moves the net, for each of the maps.

    You want it to see what a mirror map does to a classifier of points in the plane: its decision
    boundary, its neurons, the margins `q_i/Q^L` and multipliers of the points, and the unit ball of
    `Q_c` at the level `c = R(θ)`. One file, no network needed.

    Args:
        path: of the HTML file; its folder is made if need be.
        flows: trajectories by the text of their map, all of `net` on these points.
        net: `Linear`, `MLP` or `TwoLayer`; it is left as it is.
        x: (n, 2) points.
        y: (n,) labels, ±1 or class indices.
        title: of the page.

    Returns:
        The path.

    Raises:
        TypeError, ValueError: a net of another kind, points outside the plane, flows of another
            net.
        MirrorFlowError: no flow got anywhere, or the file cannot be written.
        MissingExtraError: jinja2 is not installed.
    """
    path = as_path(path)
    if not isinstance(title, str):
        raise TypeError(f"title = {shown(title)} is not text; pass a str")
    template = templates().get_template("explore.html")
    text = template.render(title=title, version=__version__, explorer=plane_data(flows, net, x, y))
    make_folder(path.parent)
    write_text(path, text)
    return path
