"""The commands under one roof."""

from __future__ import annotations

import typer

from mirrorflow.cli.certify import certify
from mirrorflow.cli.data import app as data
from mirrorflow.cli.flow import flow
from mirrorflow.cli.maps import maps
from mirrorflow.cli.report import report
from mirrorflow.cli.reproduce import reproduce
from mirrorflow.cli.train import train

__all__ = ["app"]

app = typer.Typer(
    name="mirrorflow",
    help="Mirror flow and mirror descent in homogeneous neural networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (reproduce, train, flow, certify, maps, report):
    app.command()(command)
app.add_typer(data, name="data")
