"""`mirrorflow results`: the page of results again, from its tables alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mirrorflow.errors import RunError

__all__ = ["results"]


def results(
    page: Annotated[Path, typer.Option(help="Markdown page with marked tables.")] = Path(
        "docs/results.md"
    ),
    tables: Annotated[Path, typer.Option(help="Folder of the Parquet tables.")] = Path("results"),
    figures: Annotated[Path, typer.Option(help="Folder of the figures.")] = Path("docs/figures"),
    reproduction: Annotated[
        Path | None,
        typer.Option(help="Folder of mirrorflow reproduce, to take its findings into the tables."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 if the page differs.")
    ] = False,
) -> None:
    """Make the tables and figures of docs/results.md again from results/; nothing is trained."""
    from rich.console import Console
    from rich.text import Text

    from mirrorflow.report.results import rebuild, render, take_reproduction

    console = Console()
    if reproduction is not None:
        take_reproduction(reproduction, tables)
    for path in (page, tables):
        if not path.exists():
            raise RunError(f"{path} does not exist; run this in the root of a checkout")
    if check:
        same = rebuild(page, tables) == page.read_text(encoding="utf-8")
        console.print(Text(f"{page} {'is' if same else 'is not'} what {tables} gives"))
        raise typer.Exit(0 if same else 1)
    for path in render(page, tables, figures):
        console.print(Text(f"written: {path}"), soft_wrap=True)
