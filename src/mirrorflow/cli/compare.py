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

_FORMATS = (".png", ".svg", ".pdf")
_SHORT = {
    "test_accuracy": "test acc.",
    "train_accuracy": "train acc.",
    "q_margin": "Q-margin",
    "weight_participation": "particip.",
    "weights_above": "> 1e-2 max",
    "active_share": "active",
}


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

    from mirrorflow.runs import compare_runs

    if figure is not None and figure.suffix.lower() not in _FORMATS:
        raise ValueError(f"figure = {str(figure)!r} has no known format; end it in {_FORMATS}")
    found = compare_runs(runs, levels=None if at is None else _levels(at), metrics=metric)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        console = Console()
        if found.settings:
            console.print(_settings(found))
        else:
            console.print("the settings are the same")
        console.print(_metrics(found))
        for note in found.notes:
            console.print(Text(f"note: {note}", style="yellow"), soft_wrap=True)
    if figure is not None:
        # Imported here: the tables need no matplotlib.
        from mirrorflow.plot import run_figure

        write_figure(run_figure(found.metric_rows), figure)


def _levels(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"--at {text!r} is not a list of log10 losses, such as -2,-10") from error


def _settings(found: RunComparison) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("setting", *found.names, title="settings that differ", title_justify="left")
    for key, values in found.settings.items():
        table.add_row(key, *(Text(_setting(value)) for value in values))
    return table


def _setting(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value)


def _metrics(found: RunComparison) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="first measured state at or below each loss", title_justify="left")
    for name in ("loss", "run", "step", *(_SHORT.get(name, name) for name in found.metrics)):
        left = name == "run"
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    last = len(found.names) - 1
    for k, row in enumerate(found.rows):
        cells = [_number(row[name]) for name in ("step", *found.metrics)]
        level = f"1e{row['level']:.4g}" if k % len(found.names) == 0 else ""
        end = k % len(found.names) == last
        table.add_row(level, Text(row["run"]), *cells, end_section=end)
    return table


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
