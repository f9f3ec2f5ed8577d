"""`mirrorflow maps`: the table of mirror maps, and their picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mirrorflow.cli.figure import write_figure

if TYPE_CHECKING:  # what a command needs is imported when it runs: --help needs none of it
    from rich.table import Table

    from mirrorflow.maps import Entry

__all__ = ["maps"]

# Each horizon twice where two potentials share it; none whose potential is slow to integrate.
_DRAWN = (
    "hyperbolic_entropy",
    "logarithmic",
    "power(1.5)",
    "quadratic",
    "mixed(4, 1, 1)",
    "power(4)",
    "cosh",
    "exponential",
)


def maps(
    names: Annotated[
        list[str] | None,
        typer.Argument(help='Maps to show, such as "power(1.2)" cosh; by default every kind.'),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
    long: Annotated[bool, typer.Option("--long", help="With the equations.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw potentials, dual maps and unit balls to a .png, .svg or .pdf."),
    ] = None,
) -> None:
    """List the mirror maps: index, horizon and what each is for.

    With --plot, also a figure: the potentials, the dual maps, and how the unit balls of finite
    levels Q_c become that of the horizon Q.
    """
    from rich.console import Console

    from mirrorflow.maps import catalog, describe, parse_map
    from mirrorflow.plot.output import as_format

    if plot is not None:
        as_format(plot, "plot")
    kinds = {entry.text.partition("(")[0]: entry for entry in catalog()}
    entries = [kinds.get(name) or describe(parse_map(name)) for name in names or kinds]
    if as_json:
        typer.echo(json.dumps([_record(entry) for entry in entries], ensure_ascii=False, indent=2))
    else:
        console = Console()
        console.print(_table(entries, long))
    if plot is not None:
        # Imported here: the table needs no matplotlib.
        from mirrorflow.plot import map_figure

        drawn = [parse_map(text) for text in _DRAWN]
        write_figure(map_figure([entry.example for entry in entries] if names else drawn), plot)


def _record(entry: Entry) -> dict[str, Any]:
    return {
        "map": entry.text,
        "dual": entry.dual,
        "inverse": entry.inverse,
        "index": entry.index,
        "horizon": entry.horizon,
        "homogeneous": entry.example.homogeneous,
        "separable": entry.example.separable,
        "purpose": entry.purpose,
    }


def _table(entries: list[Entry], long: bool) -> Table:
    """What each map is for; with `long` its equations below its name, the third if it holds."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_lines=long, pad_edge=False)
    for title in ("map", "index", "horizon", "what for"):
        table.add_column(title, no_wrap=title != "what for")
    for entry in entries:
        lines = [entry.text]
        if long:
            lines += [f"  u = {entry.dual}", f"  x = {entry.inverse}"]
            if entry.example.homogeneous and entry.index != "of map":
                lines.append("  R(cx) = c^index R(x)")
        table.add_row("\n".join(lines), entry.index, entry.horizon, entry.purpose)
    return table
