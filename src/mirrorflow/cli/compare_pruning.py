"""`mirrorflow compare-pruning`: does a sparse map pay after pruning?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from mirrorflow.cli.options import widths

__all__ = ["compare_pruning"]


def compare_pruning(
    out: Annotated[Path, typer.Option(help="Folder of the comparison; what it holds is kept.")],
    data: Annotated[str, typer.Option(help="mnist, fashion_mnist or cifar10.")] = "mnist",
    n: Annotated[int, typer.Option(help="Training points; 0 is all.")] = 0,
    epochs: Annotated[int, typer.Option(help="Of every run.")] = 4,
    hidden: Annotated[str, typer.Option(help="Widths of the hidden layers.")] = "256,128",
    seeds: Annotated[int, typer.Option(help="Runs at the tuned rate.")] = 3,
    workers: Annotated[int | None, typer.Option(help="Processes; default one a core.")] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the vision sets; default $MIRRORFLOW_DATA, else the cache."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Compare four optimizers after one-shot global magnitude pruning at 80 to 98 %.

    AdamW and SGD against the same with hyperbolic entropy (MirrorAdamW, MirrorDescent): nine
    learning rates each, tried on held-out training points, then so many seeds on all of them.
    Interrupted and run again, it goes on where it was. OUT/pruning.parquet has the rows.
    """
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table
    from rich.text import Text

    from mirrorflow.claims.pruning import compare, findings
    from mirrorflow.cli.progress import bar_columns
    from mirrorflow.runs.tables import write_rows

    if data_dir is not None:
        os.environ["MIRRORFLOW_DATA"] = str(data_dir)
    layers = tuple(widths([hidden]))
    console = Console(stderr=as_json)
    with Progress(*bar_columns("runs"), console=console, speed_estimate_period=1e9) as bar:
        task = bar.add_task("runs", total=None, note="")

        def show(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, note=name)

        rows = compare(
            out,
            data=data,
            epochs=epochs,
            hidden=layers,
            seeds=seeds,
            n=n,
            workers=workers,
            progress=show,
        )
    write_rows(out / "pruning.parquet", rows)
    found = findings(rows)
    if as_json:
        print(json.dumps([finding.to_dict() for finding in found]))
        return
    table = Table("question", "measured", "agrees")
    for finding in found:
        table.add_row(finding.question, finding.measured, finding.verdict)
    console.print(table)
    console.print(Text(f"table: {out / 'pruning.parquet'}"), soft_wrap=True)
