"""`mirrorflow tune`: which map suits the data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mirrorflow.cli.options import set_field
from mirrorflow.cli.sweep import choose_engine

if TYPE_CHECKING:  # what a command needs is imported when it runs: --help needs none of it
    from rich.console import Console

    from mirrorflow.sweeps.tune import Tuned

__all__ = ["tune"]

_FAMILIES = "power, hyperbolic_entropy, cosh"


def tune(
    out: Annotated[Path, typer.Option(help="Folder of the search; one that holds it goes on.")],
    config: Annotated[
        Path | None,
        typer.Option(help="TOML of the run whose map is searched; default digits, to loss 1e-10."),
    ] = None,
    trials: Annotated[int, typer.Option(help="In all, earlier ones included.")] = 30,
    family: Annotated[
        list[str] | None, typer.Option(help=f"One of {_FAMILIES}; repeatable, all.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each trial.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    option: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any field of the run, as in mirrorflow train; repeatable."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Trials at a time.")] = 1,
    engine: Annotated[str, typer.Option(help="local (processes) or ray.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of an existing Ray cluster; default a local one.")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the vision sets; default $MIRRORFLOW_DATA, else the cache."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the front as JSON.")] = False,
) -> None:
    """Search the map for the front of test accuracy, sparsity and speed (needs Optuna).

    Speed is how many decades the loss falls in 1000 steps. Killed and run again it goes on. Every
    trial is a run folder under OUT/trials/members; OUT/tune.parquet has a row a trial.
    """
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    from mirrorflow.cli.progress import bar_columns
    from mirrorflow.runs import RunConfig
    from mirrorflow.sweeps.tune import FAMILIES
    from mirrorflow.sweeps.tune import tune as run_tune

    if data_dir is not None:
        os.environ["MIRRORFLOW_DATA"] = str(data_dir)
    default = RunConfig(until=(-2.0, -10.0), steps=30_000)
    values = (RunConfig.read(config) if config else default).to_dict()
    for text in option or []:
        set_field(values, text)
    base = RunConfig.from_dict(values)
    console = Console(stderr=as_json)
    chosen = None
    if engine != "local" or address is not None:
        chosen = choose_engine(engine, address, base.threads)
    with Progress(
        *bar_columns("trials"), console=console, speed_estimate_period=1e9, transient=True
    ) as bar:
        task = bar.add_task("trials", total=trials, note="")

        def show(done: int, total: int, row: dict[str, Any] | None) -> None:
            note = "" if row is None else row["mirror_map"]
            bar.update(task, completed=done, total=total, note=note)
            if row is not None and not console.is_terminal:
                console.print(Text(f"{done}/{total} {_line(row)}"), soft_wrap=True)

        found = run_tune(
            base,
            out,
            trials=trials,
            families=tuple(family or FAMILIES),
            seeds=seeds,
            seed=seed,
            workers=workers,
            engine=chosen,
            progress=show,
        )
    if as_json:
        failed = {row["trial"]: row["error"] for row in found.rows if row["error"]}
        told = {"table": str(found.table), "trials": len(found.rows), "failed": failed}
        print(json.dumps({**told, "front": found.front}))
        return
    _tell(found, console)


def _line(row: dict[str, Any]) -> str:
    from mirrorflow.claims.finding import plain
    from mirrorflow.sweeps.tune import OBJECTIVES

    if row["error"]:
        return f"{row['mirror_map']}: {row['error']}"
    shown = ", ".join(f"{name} {plain(row[name], 4)}" for name in OBJECTIVES)
    return f"{row['mirror_map']}: {shown}" + ("" if row["reached"] else " (not reached)")


def _tell(found: Tuned, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    from mirrorflow.claims.finding import plain
    from mirrorflow.sweeps.tune import OBJECTIVES

    table = Table("map", "test accuracy", "sparsity", "decades / 1000 steps", "trial")
    for row in found.front:
        cells = [plain(row[name], 4) for name in OBJECTIVES]
        table.add_row(row["mirror_map"], *cells, str(row["trial"]))
    console.print(table)
    left = [row for row in found.rows if not row["reached"]]
    console.print(
        f"the Pareto front of {len(found.rows) - len(left)} trials"
        + (f"; {len(left)} more failed or did not reach the last threshold" if left else "")
    )
    console.print(Text(f"table: {found.table}"), soft_wrap=True)
