"""`mirrorflow report`: the page again, from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished mirrorflow reproduce.")],
) -> None:
    """Write the HTML page of a reproduction again from its records; nothing is computed."""
    from rich.console import Console
    from rich.text import Text

    from mirrorflow.report import write_page

    page = write_page(folder)
    Console().print(Text(f"page: {page.resolve()}"), soft_wrap=True)
