"""`mirrorflow train`: one training run in a folder of its own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mirrorflow.experiments import LoadedRun, RunConfig
from mirrorflow.experiments import train as run_training
from mirrorflow.experiments.runner import Progress as At

__all__ = ["train"]


def train(
    out: Annotated[Path, typer.Option(help="Folder of the run; one that holds it is resumed.")],
    config: Annotated[
        Path | None, typer.Option(help="TOML file with the fields of RunConfig.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="digits, blobs, random_labels, teacher, or an .npz file.")
    ] = None,
    net: Annotated[str | None, typer.Option(help="linear, two_layer or mlp.")] = None,
    hidden: Annotated[
        str | None, typer.Option(help="Widths of the hidden layers, such as 64,64.")
    ] = None,
    mirror_map: Annotated[
        str | None,
        typer.Option("--map", help='Such as "power(3)"; see mirrorflow maps.'),
    ] = None,
    lr: Annotated[str | None, typer.Option(help='A number or "auto".')] = None,
    steps: Annotated[int | None, typer.Option(help="At most so many steps.")] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="Falling thresholds of log10 loss, such as -2,-10,-100; the run ends at the last."
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="0 is the full batch.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or float64.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights and minibatches.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the last measurement as JSON.")
    ] = False,
) -> None:
    """Train a homogeneous net with mirror descent; killed and run again, it goes on bit for bit.

    Options override the fields of --config. The folder holds config.toml, manifest.json,
    metrics.parquet, checkpoint.pt and log.txt.
    """
    chosen = RunConfig.read(config) if config else RunConfig()
    given: dict[str, Any] = {
        "data": data,
        "net": net,
        "mirror_map": mirror_map,
        "lr": _number(lr, "lr") if lr not in (None, "auto") else lr,
        "steps": steps,
        "batch_size": batch_size,
        "dtype": dtype,
        "seed": seed,
        "until": tuple(_numbers(until, "until")) if until is not None else None,
    }
    if hidden is not None:
        given["net_options"] = {
            **chosen.net_options,
            "hidden": [int(v) for v in _numbers(hidden, "hidden")],
        }
    chosen = dataclasses.replace(chosen, **{k: v for k, v in given.items() if v is not None})
    console = Console(stderr=as_json)
    run = _train(chosen, out, console)
    last = run.rows[-1]
    if as_json:
        print(json.dumps({"outcome": run.outcome, "folder": str(out), **last}))
        return
    console.print(_table(run))
    console.print(f"outcome: {run.outcome}; the run is in {out}")


def _number(text: str | None, name: str) -> float:
    try:
        return float(str(text))
    except ValueError as error:
        raise ValueError(f"{name} = {text!r} is no number") from error


def _numbers(text: str, name: str) -> list[float]:
    return [_number(part, name) for part in text.split(",") if part.strip()]


def _train(config: RunConfig, out: Path, console: Console) -> LoadedRun:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("log10 loss {task.fields[loss]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=config.steps, loss="-")

        def show(at: At) -> None:
            bar.update(task, completed=at.step, loss=f"{at.log10_loss:.4g}")

        return run_training(config, out, progress=show)


def _table(run: LoadedRun) -> Table:
    table = Table(
        "step", "log10 loss", "train accuracy", "test accuracy", "Q-margin", "weights used"
    )
    thresholds = [row for row in run.rows if row["threshold"] == row["threshold"]]
    for row in [*thresholds, run.rows[-1]] if run.rows[-1] not in thresholds else thresholds:
        table.add_row(
            str(row["step"]),
            f"{row['log10_loss']:.4g}",
            f"{row['train_accuracy']:.4f}",
            f"{row['test_accuracy']:.4f}",
            f"{row['q_margin']:.4g}",
            f"{row['weight_participation']:.3f}",
        )
    return table
