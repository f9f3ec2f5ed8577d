"""`mirrorflow flow`: follow the continuous flow to any time, with a figure."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mirrorflow.cli.figure import write_figure
from mirrorflow.cli.nets import random_net
from mirrorflow.cli.options import data_options, widths

if TYPE_CHECKING:  # what a command needs is imported when it runs: --help needs none of it
    from rich.table import Table

    from mirrorflow.flow import FlowPoint, Trajectory, Verification

__all__ = ["flow"]

_MANY = 2000
_LOG_SECONDS = 20.0  # between lines where there is no terminal to show the state on
_LEGEND = (
    "margin: Q-margin; gap: Hölder gap; KKT: the largest of ε, δ, κ (0 at a KKT point); balance: "
    "largest drift of the balance equation."
)
_NOT_SEPARABLE = (
    "not_separable: this net did not fit all points from these weights. No net fits equal points "
    "with different labels; else try a wider one (--hidden 20) or another --seed."
)


def flow(
    data: Annotated[
        str, typer.Argument(help="A data set by name, or an .npz file with x and y.")
    ] = "blobs",
    mirror_map: Annotated[
        list[str] | None,
        typer.Option("--map", help='Such as "power(1.5)"; repeat it to compare maps.'),
    ] = None,
    data_option: Annotated[
        list[str] | None, typer.Option(help="Option of the data set, such as n=20; repeatable.")
    ] = None,
    hidden: Annotated[
        list[str] | None,
        typer.Option(help="Widths of the hidden layers, such as 8,8; none is a linear net."),
    ] = None,
    bias: Annotated[bool, typer.Option(help="Append the constant input 1.")] = True,
    init_scale: Annotated[float, typer.Option(help="Factor on the initial weights.")] = 1.0,
    eps: Annotated[float, typer.Option(help="Smoothing of the ReLU.")] = 1e-2,
    seed: Annotated[int, typer.Option(help="Of the initial weights.")] = 0,
    loss: Annotated[str, typer.Option(help="exponential, logistic, cross_entropy or square.")] = (
        "exponential"
    ),
    log_t_end: Annotated[
        float | None,
        typer.Option(help="Natural logarithm of the last time; default 1e30, 100 for square."),
    ] = None,
    tol: Annotated[
        float | None, typer.Option(help="Error per step; default 1e-4, 1e-5 for p > 2.")
    ] = None,
    max_steps: Annotated[int, typer.Option(help="At most so many attempted steps a map.")] = 30_000,
    verify: Annotated[bool, typer.Option(help="Repeat at tol/10 and compare the ends.")] = False,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the flows to a .png, .svg or .pdf.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the trajectories, one .npz each; a killed command continues from it."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Follow mirror flow from random weights to t = exp(log_t_end), for one map or several.

    Exit code 1 if a flow stalled or the points are not separable.
    """
    from rich.console import Console

    from mirrorflow.data import load
    from mirrorflow.files import make_folder
    from mirrorflow.flow import mirror_flow
    from mirrorflow.flow import verify as verify_flow
    from mirrorflow.maps import parse_map
    from mirrorflow.plot.output import as_format

    if figure is not None:
        as_format(figure, "figure")
        make_folder(figure.parent)  # before hours of work that it would lose
    square = loss == "square"
    if square and figure is not None:
        raise ValueError(
            f'figure = {str(figure)!r} shows margins, which loss = "square" does not have; leave '
            "it out"
        )
    if log_t_end is None:
        log_t_end = 100.0 if square else 1e30
    console = Console(stderr=as_json)
    points = load(data, targets=square, **data_options(data_option or []))
    if len(points.x) > _MANY:
        Console(stderr=True).print(
            f"{points.name} has {len(points.x):,} points; a step of the late phase solves an "
            "equation for all of them at once, which takes long. --data-option n=200 takes fewer.",
            highlight=False,
        )
    net = random_net(points, widths(hidden or []), bias, init_scale, eps, seed)
    flows: dict[str, Trajectory] = {}
    again: dict[str, Verification] = {}
    told = time.monotonic()
    for text in mirror_map or ["quadratic"]:
        chosen = parse_map(text)
        with console.status(f"{text}: starting") as status:

            def show(point: FlowPoint, text: str = text) -> None:
                when = point.log_log_t / math.log(10) - math.log10(math.log(10))
                line = (
                    f"{text}: log10 log10 t = {when:.2f}, margin {point.margin:.4g}, "
                    f"gap {point.gap:.1e}"
                )
                status.update(line)
                nonlocal told
                if not console.is_terminal and time.monotonic() - told >= _LOG_SECONDS:
                    console.print(line, highlight=False, soft_wrap=True)
                    told = time.monotonic()

            if save is not None:
                save.mkdir(parents=True, exist_ok=True)
            name = text.replace("/", "_")
            flows[text] = mirror_flow(
                net,
                points.x,
                points.y,
                chosen,
                log_t_end=log_t_end,
                loss=loss,  # type: ignore[arg-type]
                tol=tol,
                max_steps=max_steps,
                checkpoint=None if save is None or square else save / f"{name}.checkpoint.npz",
                callback=show,
            )
            if verify and flows[text].outcome != "stalled":
                status.update(f"{text}: once more at tol/10")
                again[text] = verify_flow(flows[text])
            if save is not None:
                flows[text].save(save / f"{name}.npz")
    if as_json:
        rows = [{"map": text, **_record(each, again.get(text))} for text, each in flows.items()]
        print(json.dumps({"data": points.name, "flows": rows}))
    else:
        console.print(_table(flows))
        console.print(_LEGEND, highlight=False)
        for text, each in flows.items():
            if note := _note(each, again.get(text)):
                console.print(f"{text}: {note}", highlight=False)
        if any(each.outcome == "not_separable" for each in flows.values()):
            console.print(_NOT_SEPARABLE, highlight=False)
    if figure is not None:
        # Imported here: the table needs no matplotlib.
        from mirrorflow.plot import flow_figure

        write_figure(flow_figure(flows), figure)
    if any(each.outcome in ("stalled", "not_separable") for each in flows.values()):
        raise typer.Exit(1)


def _note(flow: Trajectory, found: Verification | None) -> str:
    """Why a flow ended early, or what the repetition at a tenth of the tolerance found."""
    if flow.outcome == "stalled":
        return f"stalled, since {flow.stats.reason}"
    if found is None:
        return ""
    where = "the same point" if found.same else "ANOTHER point"
    return (
        f"repeated at tol/10, it ends at {where}: margins apart by {found.margins:.1e}, the "
        f"smallest by {found.margin:.1e}"
    )


def _record(flow: Trajectory, found: Verification | None) -> dict[str, Any]:
    import numpy as np

    last = flow[-1]
    names = (
        *("log_t", "log_loss", "log_gauge", "margin", "gap"),
        *("natural_epsilon", "mean_excess", "natural_slack"),
    )
    values = {name: getattr(last, name) for name in names}
    drift = float(np.nanmax(flow.balance_drift, initial=0.0))
    plain = {k: float(v) if math.isfinite(v) else None for k, v in values.items()}
    record = {"outcome": flow.outcome, **plain, "balance_drift": drift, "stats": asdict(flow.stats)}
    if found is not None:
        numbers = {"margin": found.margin, "margins": found.margins}
        record["verify"] = {"same": found.same, **numbers}
    return record


def _table(flows: dict[str, Trajectory]) -> Table:
    """Two lines a map, so that no number is cut in a terminal of 80 columns; KKT is the largest
    of the three residuals, which has to be small for an end to count as converged."""
    import numpy as np
    from rich.table import Table

    table = Table(pad_edge=False, show_lines=True)
    table.add_column("map, outcome", overflow="fold")
    for title in ("margin", "log₁₀ t, steps", "gap, KKT", "balance, seconds"):
        table.add_column(title, justify="right", no_wrap=True)
    for text, each in flows.items():
        last = each[-1]
        drift = float(np.nanmax(each.balance_drift, initial=0.0))
        table.add_row(
            f"{text}\n{each.outcome}",
            f"{last.margin:.6g}",
            f"{last.log_t / math.log(10):.3g}\n{each.stats.steps}",
            f"{last.gap:.1e}\n{last.residual:.1e}",
            f"{drift:.1e}\n{each.stats.seconds:.1f}",
        )
    return table
