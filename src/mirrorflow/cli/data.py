"""`mirrorflow data`: which vision sets there are, fetch them, check them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mirrorflow.errors import DataError

if TYPE_CHECKING:  # what a command needs is imported when it runs: --help needs none of it
    from rich.progress import Progress, TaskID

__all__ = ["app"]

app = typer.Typer(
    name="data",
    help="List, fetch and verify MNIST, Fashion-MNIST and CIFAR-10.",
    no_args_is_help=True,
)

_Folder = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Data folder; default $MIRRORFLOW_DATA, else the user cache."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
_SETS = "mnist, fashion_mnist, cifar10"
_Names = Annotated[list[str] | None, typer.Argument(help=f"Of {_SETS}; default all.")]


@app.command("list")
def list_sets(data_dir: _Folder = None, as_json: _Json = False) -> None:
    """Which sets there are, their licence, and how many of their files are in the data folder."""
    from rich.console import Console
    from rich.table import Table

    from mirrorflow.data import VISION, cache_folder, locate

    rows: list[dict[str, Any]] = [
        {
            "name": chosen.name,
            "points": chosen.points,
            "licence": chosen.licence,
            "files": len(chosen.files),
            "present": sorted(locate(chosen, data_dir)),
        }
        for chosen in VISION.values()
    ]
    folder = cache_folder(data_dir)
    if as_json:
        print(json.dumps({"folder": str(folder), "sets": rows}))
        return
    table = Table("name", "points", "files here", "licence")
    for row in rows:
        table.add_row(
            row["name"], row["points"], f"{len(row['present'])} of {row['files']}", row["licence"]
        )
    console = Console()
    console.print(table)
    console.print(f"data folder: {folder}", soft_wrap=True)


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help=f"Of {_SETS}, or all.")],
    data_dir: _Folder = None,
    as_json: _Json = False,
) -> None:
    """Bring sets into the data folder; every file is compared with its published sha256."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from mirrorflow.data import VISION, find
    from mirrorflow.data import fetch as fetch_set

    wanted = list(VISION) if names == ["all"] else names
    for name in wanted:
        find(name)
    console = Console(stderr=as_json)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    paths: dict[str, list[str]] = {}
    for name in wanted:
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            paths[name] = [str(p) for p in fetch_set(name, data_dir, progress=_shown(bar))]
        if not as_json:
            console.print(f"{name}: {len(paths[name])} files, all as published", soft_wrap=True)
    if as_json:
        print(json.dumps(paths))


def _shown(bar: Progress) -> Callable[[str, int, int], None]:
    tasks: dict[str, TaskID] = {}

    def show(file: str, done: int, total: int) -> None:
        if file not in tasks:
            tasks[file] = bar.add_task(file)
        bar.update(tasks[file], completed=done, total=total or None)

    return show


@app.command()
def verify(names: _Names = None, data_dir: _Folder = None, as_json: _Json = False) -> None:
    """Compare the files that are there with their published sha256.

    Exit code 1 if a file is corrupt, or if a set that was asked for has no file at all.
    """
    from rich.console import Console

    from mirrorflow.data import VISION, check_file, find, locate

    found: dict[str, dict[str, str]] = {}
    for name in names or list(VISION):
        chosen = find(name)
        there = locate(chosen, data_dir)
        found[name] = {}
        for file in chosen.files:
            found[name][file.name] = "missing"
            if file.name in there:
                try:
                    check_file(there[file.name], file)
                    found[name][file.name] = "ok"
                except DataError as error:
                    found[name][file.name] = str(error)
    states = {name: set(reports.values()) for name, reports in found.items()}
    corrupt = any(state - {"ok", "missing"} for state in states.values())
    absent = any(states[name] == {"missing"} for name in names or [])
    if as_json:
        print(json.dumps({"ok": not (corrupt or absent), "files": found}))
    else:
        console = Console()
        for name, reports in found.items():
            for label, state in reports.items():
                colour = {"ok": "green", "missing": "yellow"}.get(state, "red")
                console.print(f"{name}/{label}: ", end="", highlight=False)
                console.print(state, style=colour, markup=False, highlight=False, soft_wrap=True)
    if corrupt or absent:
        raise typer.Exit(1)
