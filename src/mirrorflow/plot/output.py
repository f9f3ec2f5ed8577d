"""Figures as files and as data URIs, the same bytes every time."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mirrorflow.checks import as_path, shown
from mirrorflow.files import write_atomic
from mirrorflow.plot.theme import matplotlib, settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "as_format", "inline", "save", "svg"]

FORMATS = (".png", ".svg", ".pdf")

# Colours turn round in luminance and stay in hue, so that contrast on black is that on white.
_DARK = (
    b"<style>@media (prefers-color-scheme: dark) {"
    b" #figure_1 { filter: invert(0.92) hue-rotate(180deg); } }</style>"
)


def svg(figure: Figure) -> bytes:
    """The figure as SVG without background, dark where its reader's colours are dark."""
    buffer = io.BytesIO()
    with settings():
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return buffer.getvalue().replace(b"<defs>", _DARK + b"<defs>", 1)


def inline(figure: Figure, *, raster: bool = False) -> str:
    """The figure as a data URI, SVG or PNG."""
    if raster:
        buffer = io.BytesIO()
        with settings():
            figure.savefig(buffer, format="png", dpi=170)
        content, kind = buffer.getvalue(), "png"
    else:
        content, kind = svg(figure), "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def save(drawing: Axes | Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure, whole or not at all, the same bytes every time.

    An SVG has no background, and turns dark in a browser whose reader prefers dark colours.

    Args:
        drawing: a figure, or any of its Axes.
        path: ends in .svg, .png or .pdf.

    Returns:
        The path.

    Raises:
        TypeError: neither figure nor Axes, or no path.
        ValueError: another format.
        RunError: the file cannot be written; one that was there stays as it was.
        MissingExtraError: matplotlib is not installed.
    """
    matplotlib()
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    # The figure of a figure is itself, that of a subfigure the whole.
    figure = drawing.figure.figure if isinstance(drawing, Axes) else drawing
    if not isinstance(figure, Figure):
        raise TypeError(
            f"drawing = {shown(drawing)} is a {type(drawing).__name__}; pass a matplotlib Figure "
            "or Axes"
        )
    target = as_path(path, "path")
    kind = as_format(target, "path")
    if kind == "svg":
        content = svg(figure)
        write_atomic(target, lambda file: file.write(content))
    else:
        plain = {"CreationDate": None} if kind == "pdf" else {}
        with settings():
            write_atomic(target, lambda file: figure.savefig(file, format=kind, metadata=plain))
    return target


def as_format(path: Path, name: str) -> str:
    """The format that the path's suffix names.

    Raises:
        ValueError: another than SVG, PNG and PDF.
    """
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{name} = {str(path)!r} has no known format; end it in {FORMATS}")
    return path.suffix[1:].lower()
