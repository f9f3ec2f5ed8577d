"""`mirrorflow compare`: runs side by side, at equal loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mirrorflow.cli.figure import write_figure

if TYPE_CHECKING:  # what a command needs is imported when it runs: --help needs none of it
    from rich.table import Table

    from mirrorflow.runs import RunComparison

__all__ = ["compare"]

_NAMES = 54  # columns of 80 that the names of runs may take


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, two or more.")],
    at: Annotated[
        str | None,
        typer.Option(
            help="log10 losses to compare at, such as --at=-2,-10; default: the thresholds that "
            "all runs have reached."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Column of the metrics; repeat it for several."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the runs to a .png, .svg or .pdf.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Compare training runs: settings that differ, metrics at equal loss, one figure."""
    from rich.console import Console
    from rich.text import Text

    from mirrorflow.plot.output import as_format
    from mirrorflow.runs import compare_runs

    if figure is not None:
        as_format(figure, "figure")
    comparison = compare_runs(runs, levels=None if at is None else _levels(at), metrics=metric)
    if as_json:
        print(json.dumps(comparison.to_dict()))
    else:
        console = Console()
        for k, (name, outcome) in enumerate(
            zip(comparison.names, comparison.outcomes, strict=True), 1
        ):
            console.print(Text(f"{k}  {name}: {outcome}"), soft_wrap=True)
        if comparison.settings:
            console.print(_settings(comparison))
        else:
            console.print("the settings are the same")
        console.print(_metrics(comparison))
        for note in comparison.notes:
            console.print(Text(f"note: {note}", style="yellow"), soft_wrap=True)
    if figure is not None:
        # Imported here: the tables need no matplotlib.
        from mirrorflow.plot import run_figure

        write_figure(run_figure(comparison.metric_rows), figure)


def _levels(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"--at {text!r} is not a list of log10 losses, such as -2,-10") from error


def _heads(comparison: RunComparison) -> list[str]:
    """The names of the runs, or their numbers where the names take too much of a line."""
    names = list(comparison.names)
    fits = sum(len(name) + 3 for name in names) <= _NAMES
    return names if fits else [str(k + 1) for k in range(len(names))]


def _settings(comparison: RunComparison) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("setting", title="settings that differ", title_justify="left")
    for head in _heads(comparison):
        table.add_column(head, overflow="fold")
    for key, values in comparison.settings.items():
        table.add_row(key, *(Text(_setting(value)) for value in values))
    return table


def _setting(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value)


def _metrics(comparison: RunComparison) -> Table:
    from rich.table import Table

    table = Table("loss", "metric", title="at equal loss", title_justify="left")
    for head in _heads(comparison):
        table.add_column(head, justify="right", overflow="fold")
    for level in comparison.levels:
        rows = [row for row in comparison.rows if row["level"] == level]
        for name in ("step", *comparison.metrics):
            first, last = name == "step", name == comparison.metrics[-1]
            cells = [_number(row[name]) for row in rows]
            text = name.replace("_", " ")
            table.add_row(f"1e{level:.4g}" if first else "", text, *cells, end_section=last)
    return table


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
