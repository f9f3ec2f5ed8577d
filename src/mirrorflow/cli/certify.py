"""`mirrorflow certify`: which max-margin problem a trained net solves, and how well."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mirrorflow.cli.nets import factory
from mirrorflow.cli.options import data_options

if TYPE_CHECKING:  # what a command needs is imported when it runs: --help needs none of it
    from rich.console import Console
    from rich.table import Table
    from torch import nn

    from mirrorflow.data import Dataset
    from mirrorflow.diagnostics import Certificate
    from mirrorflow.maps import MapLike, MirrorMap

__all__ = ["certify"]


def certify(
    target: Annotated[
        str,
        typer.Argument(
            help="A run folder, module:factory (a function that returns the trained net), or a "
            "checkpoint with --model module:factory."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(help="A data set by name, or an .npz file with x and y; default: the run's."),
    ] = None,
    data_option: Annotated[
        list[str] | None, typer.Option(help="Option of the data set, such as n=100; repeatable.")
    ] = None,
    mirror_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help='Such as "power(3)"; once per parameter as "name=power(3)" where they differ. '
            "Default: the run's.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="module:factory of the net that a checkpoint belongs to.")
    ] = None,
    band: Annotated[
        float | None, typer.Option(help="Multipliers on q <= (1 + band) min q only.")
    ] = None,
    max_margins: Annotated[int, typer.Option(help="At most so many margins in the fit.")] = 2000,
    exact: Annotated[
        bool,
        typer.Option(
            help="Solve the max-margin problem exactly beside it: linear nets, and two-layer ReLU "
            "nets with one output under the quadratic map."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Certify a trained net as a KKT point of the max-margin problem of its mirror map.

    Exit code 1 if the net does not separate its training points.
    """
    from rich.console import Console

    from mirrorflow.diagnostics import certify as certify_net

    console = Console(stderr=as_json)
    with _status(console, "reading the net and its data"):
        net, points, chosen = _resolve(target, model, data, data_option or [], mirror_map or [])
    for note in points.notes:
        print(f"note: {note}", file=sys.stderr)
    with _status(console, f"fitting multipliers on {len(points.x)} points"):
        found = certify_net(
            net.eval(), points.x, points.y, chosen, band=band, max_margins=max_margins
        )
    best: dict[str, Any] | None = None
    if exact:
        with _status(console, "solving the problem exactly"):
            best = _exact(net, points, chosen)
    if as_json:
        report = found.as_dict() | ({"exact": best} if best else {})
        # NaN and infinity are no JSON.
        print(json.dumps({"target": target, "data": points.name, **_plain(report)}))
    else:
        console.print(_table(found, points, best))
    if not found.separated:
        raise typer.Exit(1)


def _resolve(
    target: str, model: str | None, data: str | None, options: list[str], texts: list[str]
) -> tuple[nn.Module, Dataset, MapLike]:
    """Net, data and map: the run's own where the command line does not say otherwise."""
    from mirrorflow.data import load
    from mirrorflow.nets import load_weights
    from mirrorflow.runs import load_run

    path = Path(target)
    run = None
    if path.is_dir():
        # A file of the user's may have other points than the run has seen; that is a note then.
        own = data if data is not None and not options else None
        run = load_run(path, data=own)
        for note in run.notes:
            print(f"note: {note}", file=sys.stderr)
    if run is not None:
        net: nn.Module = run.net
    elif path.is_file():
        if model is None:
            raise ValueError(
                f"{target} is a checkpoint; name its net with --model module:factory, or pass the "
                "run folder that holds it"
            )
        net = factory(model)
        load_weights(net, path)
    elif ":" in target:
        net = factory(target)
    else:
        raise ValueError(
            f"{target!r} is no run folder, no checkpoint and no module:factory; pass one of them"
        )
    if data is None:
        if run is None:
            raise ValueError("--data is missing: name a data set, or an .npz file with x and y")
        points = run.data
    elif run is not None and not options:
        points = run.data
    else:
        points = load(data, **data_options(options))
    if texts:
        return net, points, _map(texts)
    if run is None:
        raise ValueError('--map is missing: the mirror map, such as --map "power(3)"')
    return net, points, run.mirror_map


def _map(texts: list[str]) -> MapLike:
    from mirrorflow.maps import parse_map

    named: dict[str, MirrorMap] = {}
    for text in texts:
        head = text.split("(", 1)[0]
        if "=" not in head:
            if len(texts) > 1:
                raise ValueError(
                    f"--map {text!r} stands beside others; name the parameters: name=map"
                )
            return parse_map(text)
        name, _, value = text.partition("=")
        named[name.strip()] = parse_map(value)
    return named


def _exact(net: nn.Module, points: Dataset, mirror_map: MapLike) -> dict[str, Any]:
    import torch

    from mirrorflow.exact import max_margin, two_layer_max_margin
    from mirrorflow.maps import MirrorMap, parse_map
    from mirrorflow.nets import Linear, TwoLayer

    if isinstance(net, Linear) and isinstance(mirror_map, MirrorMap):
        x = points.x.flatten(1)
        if net.bias:
            x = torch.cat([x, x.new_ones(len(x), 1)], 1)
        found = max_margin(x, points.y, mirror_map.horizon(), classes=points.classes)
        return {"margin": found.margin, "upper_bound": found.margin + found.gap, "kind": "global"}
    quadratic = isinstance(mirror_map, MirrorMap) and mirror_map == parse_map("quadratic")
    if isinstance(net, TwoLayer) and net.binary and net.activation == "relu" and quadratic:
        two = two_layer_max_margin(points.x.flatten(1), points.y, bias=net.bias)
        return {"margin": two.margin, "upper_bound": two.upper_bound, "kind": two.kind}
    raise ValueError(
        "--exact knows linear nets, and two-layer ReLU nets with one output under the quadratic "
        f"map; this is {type(net).__name__} under {mirror_map!r}"
    )


def _table(found: Certificate, points: Dataset, exact: dict[str, Any] | None) -> Table:
    from rich.table import Table

    table = Table(show_header=False, title=f"certificate on {points.name}", title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for line in str(found).splitlines():
        table.add_row(line[:14].strip(), line[14:].strip())
    if exact:
        value = f"{exact['margin']:.8g} ({exact['kind']})"
        if exact["upper_bound"] - exact["margin"] > 1e-6 * exact["margin"]:
            value += f", at most {exact['upper_bound']:.6g}"
        table.add_row("exact optimum", value)
        table.add_row("share of it", f"{found.margin / exact['margin']:.6f}")
    return table


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if dataclasses.is_dataclass(value):
        return str(value)
    return value


@contextlib.contextmanager
def _status(console: Console, text: str) -> Iterator[None]:
    if not console.is_terminal:
        print(text, file=sys.stderr, flush=True)
    with console.status(text):
        yield
