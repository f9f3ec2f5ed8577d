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
_FORMATS = (".png", ".svg", ".pdf")


def maps(
    names: Annotated[
        list[str] | None,
        typer.Argument(help='Maps to show, such as "power(1.2)" cosh; by default every kind.'),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw potentials, dual maps and unit balls to a .png, .svg or .pdf."),
    ] = None,
) -> None:
    """List the mirror maps: dual map, inverse, index, horizon and what each is for.

    With --plot, also a figure: the potentials, the dual maps, and how the unit balls of finite
    levels Q_c become that of the horizon Q.
    """
    from rich.console import Console

    from mirrorflow.maps import catalog, describe, parse_map

    if plot is not None and plot.suffix.lower() not in _FORMATS:
        raise ValueError(f"plot = {str(plot)!r} has no known format; end it in {_FORMATS}")
    chosen = [parse_map(name) for name in names or []]
    entries = [describe(each) for each in chosen] or list(catalog())
    if as_json:
        typer.echo(json.dumps([_record(entry) for entry in entries], ensure_ascii=False, indent=2))
    else:
        console = Console()
        console.print(_table(entries, console.width))
    if plot is not None:
        # Imported here: the table needs no matplotlib.
        from mirrorflow.plot import map_figure

        write_figure(map_figure(chosen or [parse_map(text) for text in _DRAWN]), plot)


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


def _table(entries: list[Entry], width: int) -> Table:
    """All columns on a wide terminal; on a narrow one the equations go below the name."""
    from rich.table import Table

    wide = width >= 140
    table = Table(show_lines=not wide, pad_edge=False)
    equations = ("u = ∇R(x)", "x = ∇R*(u)") if wide else ()
    for title in ("map", *equations, "index", "horizon", "hom.", "what for"):
        table.add_column(title, overflow="fold", no_wrap=title == "map")
    for entry in entries:
        yes = "yes" if entry.example.homogeneous else "no"
        if entry.index == "of map":
            yes = entry.index
        first: tuple[str, ...] = (entry.text, entry.dual, entry.inverse)
        if not wide:
            first = (f"{entry.text}\n  u = {entry.dual}\n  x = {entry.inverse}",)
        table.add_row(*first, entry.index, entry.horizon, yes, entry.purpose)
    return table
