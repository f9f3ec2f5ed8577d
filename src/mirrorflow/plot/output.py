"""Figures as files and as data URIs, the same bytes every time."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from mirrorflow.files import write_atomic
from mirrorflow.plot.theme import settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inline", "save", "svg"]

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


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as SVG; returns the path."""
    content = svg(figure)
    write_atomic(path, lambda file: file.write(content))
    return path
