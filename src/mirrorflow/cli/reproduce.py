"""`mirrorflow reproduce`: the three findings, to one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # what a command needs is imported when it runs: --help needs none of it
    from rich.console import Console
    from rich.table import Table

    from mirrorflow.claims import Reproduction

__all__ = ["reproduce"]

_COLOUR = {"yes": "green", "no": "red", "noise": "yellow", "not yet reached": "yellow"}


def reproduce(
    preset: Annotated[
        str,
        typer.Option(
            help="quick (under 4 minutes on two cores), full (three seeds), images (claims 1 and 2 "
            "on MNIST, Fashion-MNIST and CIFAR-10, which have to be there), powers (each "
            "potential in its own norm, on Gaussian points and MNIST), interpolation (the solution "
            "that the square loss ends at), linear-nets (the norm that each prefers), or "
            "whose-margin (ten optimizers in six norms, on Gaussian matrices and MNIST)."
        ),
    ] = "quick",
    out: Annotated[
        Path, typer.Option(help="Folder for records, runs and the page; what it holds is kept.")
    ] = Path("reproduce-out"),
    seed: Annotated[int, typer.Option(help="First seed of everything random.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; default one a core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Measure the paper's three claims on synthetic data and on digits; ends with one HTML page.

    1. Distinct mirror maps with one horizon function share one max-margin solution.
    2. Convergence can be extremely, even exponentially, slow.
    3. Features range from sparse to dense with the map.

    Interrupted and run again, it goes on where it was. Exit code 0 if every piece ran, whether
    or not the measurements agree with the predictions; 1 if a piece failed.
    """
    from rich.console import Console
    from rich.text import Text

    from mirrorflow.report import write_page

    console = Console(stderr=as_json)
    found = _run(out, preset, seed, workers, console)
    page = write_page(out)
    if as_json:
        findings = [finding.to_dict() for finding in found.findings]
        print(json.dumps({"page": str(page), "findings": findings, "failed": found.failed}))
    else:
        console.print(_table(found))
        for name, message in found.failed.items():
            console.print(Text(f"failed: {name}: {message}", style="red"))
        console.print(Text(f"page: {page.resolve()}"), soft_wrap=True)
    if found.failed:
        raise typer.Exit(1)


def _run(out: Path, preset: str, seed: int, workers: int | None, console: Console) -> Reproduction:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    from mirrorflow.claims import reproduce as run_reproduction

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[last]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("experiments", total=None, last="")

        def show(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, last=name)
            if not console.is_terminal:  # a log shows no bar: a line a piece
                console.print(Text(f"{done}/{total} {name}"))

        return run_reproduction(out, preset=preset, seed=seed, workers=workers, progress=show)


def _table(found: Reproduction) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("claim", "question", "prediction", "measured", "agrees", show_lines=True)
    for finding in found.findings:
        verdict = Text(finding.verdict, style=f"bold {_COLOUR[finding.verdict]}")
        table.add_row(
            str(finding.claim), finding.question, finding.prediction, finding.measured, verdict
        )
    return table
