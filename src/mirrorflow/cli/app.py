"""The commands under one roof."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from mirrorflow import __version__
from mirrorflow.cli.certify import certify
from mirrorflow.cli.compare import compare
from mirrorflow.cli.compare_pruning import compare_pruning
from mirrorflow.cli.data import app as data
from mirrorflow.cli.explore import explore
from mirrorflow.cli.flow import flow
from mirrorflow.cli.maps import maps
from mirrorflow.cli.prune import prune
from mirrorflow.cli.report import report
from mirrorflow.cli.reproduce import reproduce
from mirrorflow.cli.sweep import sweep
from mirrorflow.cli.train import train
from mirrorflow.cli.tune import tune

__all__ = ["app"]

app = typer.Typer(
    name="mirrorflow",
    help="Mirror flow and mirror descent in homogeneous neural networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"mirrorflow {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version."),
    ] = False,
) -> None:
    """Mirror flow and mirror descent in homogeneous neural networks."""


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """Say what an interrupt means; the framework would end without a word."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt:
            print("interrupted; run the same command again to go on from there", file=sys.stderr)
            raise typer.Exit(130) from None

    return run


for command in (
    reproduce,
    train,
    sweep,
    tune,
    prune,
    compare,
    compare_pruning,
    flow,
    explore,
    certify,
    maps,
    report,
):
    app.command()(_interruptible(command))
app.add_typer(data, name="data")
