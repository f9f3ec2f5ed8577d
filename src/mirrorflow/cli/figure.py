"""A figure as a file, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:  # commands that draw nothing need no matplotlib
    from matplotlib.figure import Figure

__all__ = ["write_figure"]


def write_figure(figure: Figure, path: Path) -> None:
    """Write `figure` in the format of the path's suffix, and say so.

    Raises:
        RunError: the file cannot be written; one that was there stays as it was.
    """
    from mirrorflow.plot import save

    save(figure, path)
    typer.echo(f"wrote {path}", err=True)
