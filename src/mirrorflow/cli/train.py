"""`mirrorflow train`: one training run in a folder of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mirrorflow.cli.options import layer_maps, set_field, widths

if TYPE_CHECKING:  # what a command needs is imported when it runs: --help needs none of it
    from rich.console import Console
    from rich.table import Table

    from mirrorflow.runs import LoadedRun, RunConfig
    from mirrorflow.runs.tracking import Tracking
    from mirrorflow.runs.train import Progress as At

__all__ = ["train"]


def train(
    out: Annotated[Path, typer.Option(help="Folder of the run; one that holds it is resumed.")],
    config: Annotated[
        Path | None, typer.Option(help="TOML file with the fields of RunConfig.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="digits, mnist, fashion_mnist, cifar10, blobs, random_labels, teacher, "
            "sparse_targets, or an .npz file."
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the vision sets; default $MIRRORFLOW_DATA, else the cache."),
    ] = None,
    net: Annotated[
        str | None, typer.Option(help="linear, two_layer, mlp, cnn, vgg or residual.")
    ] = None,
    hidden: Annotated[
        str | None, typer.Option(help="Widths of the hidden layers, such as 64,64.")
    ] = None,
    mirror_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help='Such as "power(3)", see mirrorflow maps; or LAYER=MAP for one layer, such as '
            "weights.0=quadratic (* is all others), repeatable.",
        ),
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="mirror_descent, mirror_adamw, sgd or adamw.")
    ] = None,
    lr: Annotated[
        str | None, typer.Option(help='A number or, for the mirror optimizers, "auto".')
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="cross_entropy, logistic, exponential, or square with real targets."),
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Of a numeric lr: constant, linear or cosine.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="At most so many steps.")] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="At most so many passes over the training set, in place of --steps; without "
            "--until, exactly so many.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="Falling thresholds of log10 loss, such as -2,-10,-100; the run ends at the last."
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="0 is the full batch.")] = None,
    augment: Annotated[str | None, typer.Option(help="none or crop_flip.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any other field as in TOML, such as net_options.depth=16, "
            "data_options.classes=[3,5] or optimizer_options.eta=0.003; may be repeated.",
        ),
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or float64.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights and minibatches.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or auto.")] = None,
    parallel: Annotated[
        str | None, typer.Option(help="Of several processes (torchrun): ddp or fsdp.")
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(help="mlflow (SQLite beside the run), mlflow:URI or tensorboard; repeatable."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the last measurement as JSON.")
    ] = False,
) -> None:
    """Train a homogeneous net; killed and run again, it goes on bit for bit.

    Options override the fields of --config. The folder holds config.toml, manifest.json,
    metrics.parquet, checkpoint.pt and log.txt.
    """
    from rich.console import Console

    from mirrorflow.runs import RunConfig, RunFolder
    from mirrorflow.runs.distributed import is_first
    from mirrorflow.runs.tracking import tracking

    if data_dir is not None:
        # Where the files lie is no part of the run: its folder can move to another machine.
        os.environ["MIRRORFLOW_DATA"] = str(data_dir)
    chosen = RunConfig.read(config) if config else RunConfig()
    given: dict[str, Any] = {
        "data": data,
        "net": net,
        "mirror_map": layer_maps(mirror_map) if mirror_map else None,
        "optimizer": optimizer,
        "lr": _number(lr, "lr") if lr not in (None, "auto") else lr,
        "loss": loss,
        "schedule": schedule,
        "steps": steps,
        "epochs": epochs,
        "augment": augment,
        "batch_size": batch_size,
        "dtype": dtype,
        "seed": seed,
        "device": device,
        "parallel": parallel,
        "until": tuple(_numbers(until, "until")) if until is not None else None,
    }
    if epochs and until is None and config is None:
        given["until"] = ()
    values = {**chosen.to_dict(), **{k: v for k, v in given.items() if v is not None}}
    if hidden is not None:
        layers = widths([hidden]) if hidden.strip() else []
        values["net_options"] = {**values["net_options"], "hidden": layers}
    for text in option or []:
        set_field(values, text)
    chosen = RunConfig.from_dict(values).placed()
    console = Console(stderr=as_json, quiet=not is_first())
    run = _train(chosen, out, console, tracking(track or [], out))
    if not is_first():
        return
    for note in (*run.notes, *run.data.notes):
        console.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    last = run.rows[-1]
    if as_json:
        print(json.dumps({"outcome": run.outcome, "folder": str(out), **last}))
        return
    console.print(_table(run))
    spent = RunFolder(out).manifest()
    share = spent["evaluation_seconds"] / max(spent["seconds"], 1e-9)
    console.print(
        f"outcome: {run.outcome}, {run.rows[-1]['step']} steps in {spent['seconds']:.0f} s, "
        f"{share:.0%} of it for measuring; the run is in {out}"
    )


def _number(text: str | None, name: str) -> float:
    try:
        return float(str(text))
    except ValueError as error:
        raise ValueError(f"{name} = {text!r} is no number") from error


def _numbers(text: str, name: str) -> list[float]:
    return [_number(part, name) for part in text.split(",") if part.strip()]


def _train(config: RunConfig, out: Path, console: Console, track: Tracking | None) -> LoadedRun:
    from rich.progress import Progress

    from mirrorflow.cli.progress import bar_columns
    from mirrorflow.runs import train as run_training

    with Progress(*bar_columns("steps", unit="s"), console=console, transient=True) as bar:
        task = bar.add_task("training", total=config.steps, note="")

        def show(at: At) -> None:
            bar.update(
                task, completed=at.step, total=at.steps, note=f"log10 loss {at.log10_loss:.4g}"
            )

        return run_training(config, out, progress=show, track=track)


def _table(run: LoadedRun) -> Table:
    from rich.table import Table

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
