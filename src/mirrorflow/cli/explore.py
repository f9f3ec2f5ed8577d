"""`mirrorflow explore`: flows of your own points in the plane, with a slider over time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mirrorflow.cli.nets import random_net
from mirrorflow.cli.options import data_options, widths

if TYPE_CHECKING:  # what a command needs is imported when it runs: --help needs none of it
    from mirrorflow.flow import FlowPoint, Trajectory

__all__ = ["explore"]


def explore(
    data: Annotated[
        str, typer.Argument(help="An .npz file with x (n, 2) and y, or a data set by name.")
    ],
    mirror_map: Annotated[
        list[str] | None,
        typer.Option("--map", help='Such as "power(1.5)"; repeat it to compare maps.'),
    ] = None,
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("explorer.html"),
    data_option: Annotated[
        list[str] | None, typer.Option(help="Option of the data set, such as n=20; repeatable.")
    ] = None,
    hidden: Annotated[
        list[str] | None,
        typer.Option(help="Widths of the hidden layers, such as 8,8; default 10."),
    ] = None,
    linear: Annotated[bool, typer.Option("--linear", help="A linear net instead.")] = False,
    bias: Annotated[bool, typer.Option(help="Append the constant input 1.")] = True,
    init_scale: Annotated[float, typer.Option(help="Factor on the initial weights.")] = 1.0,
    eps: Annotated[float, typer.Option(help="Smoothing of the ReLU.")] = 1e-2,
    seed: Annotated[int, typer.Option(help="Of the initial weights.")] = 0,
    log_t_end: Annotated[float, typer.Option(help="Natural logarithm of the last time.")] = 1e30,
    tol: Annotated[
        float | None, typer.Option(help="Error per step; default 1e-4, 1e-5 for p > 2.")
    ] = None,
    max_steps: Annotated[int, typer.Option(help="At most so many attempted steps a map.")] = 30_000,
) -> None:
    """Follow two-dimensional data under one map or several; write one HTML page to explore them.

    On the page a slider over log log t moves the decision boundary, the neurons, the margins and
    the multipliers. Beside them the unit ball of the map becomes that of its horizon. The page
    needs no network. Exit code 1 if a flow stalled or the points are not separable; the page is
    written all the same.
    """
    from rich.console import Console
    from rich.text import Text

    from mirrorflow.data import load
    from mirrorflow.flow import mirror_flow
    from mirrorflow.maps import parse_map
    from mirrorflow.report.explorer import write_explorer

    texts = list(dict.fromkeys(mirror_map or ["hyperbolic_entropy(0.01)", "quadratic", "power(3)"]))
    maps = [parse_map(text) for text in texts]
    points = load(data, **data_options(data_option or []))
    if points.features != 2:
        raise ValueError(
            f"{points.name} has {points.features} features a point; explore draws points in the "
            "plane, x of shape (n, 2)"
        )
    if linear and hidden:
        raise ValueError("--linear and --hidden contradict each other; choose one")
    shape = [] if linear else widths(hidden or ["10"])
    net = random_net(points, shape, bias, init_scale, eps, seed)
    console = Console()
    flows: dict[str, Trajectory] = {}
    for text, chosen in zip(texts, maps, strict=True):
        with console.status(f"{text}: following the flow") as status:

            def show(point: FlowPoint, text: str = text) -> None:
                when = point.log_log_t / math.log(10) - math.log10(math.log(10))
                line = f"{text}: log10 log10 t = {when:.2f}, margin {point.margin:.4g}"
                status.update(line)

            flows[text] = mirror_flow(
                net, points.x, points.y, chosen,
                log_t_end=log_t_end, tol=tol, max_steps=max_steps, callback=show,
            )  # fmt: skip
        end = flows[text]
        reason = f", since {end.stats.reason}" if end.outcome == "stalled" else ""
        line = f"{text}: {end.outcome}, margin {end.margin[-1]:.6g}{reason}"
        console.print(Text(line), soft_wrap=True)
    write_explorer(out, flows, net, points.x, points.y, title=f"Mirror flow on {points.name}")
    console.print(Text(f"page: {out.resolve()}"), soft_wrap=True)
    if any(each.outcome in ("stalled", "not_separable") for each in flows.values()):
        raise typer.Exit(1)
