"""What a page is made of."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the page says by itself that matplotlib is missing
    from matplotlib.figure import Figure

__all__ = ["Picture", "Section", "Table"]


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, with a file name, and what it says to who cannot and who can see it.

    Contract: `content` are the bytes of the image, `file` is the name with the fitting suffix,
    `values` what `hover_values` gives. `alt` states the finding.
    """

    name: str
    source: str
    alt: str
    caption: str
    values: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(
        cls, name: str, figure: Figure, alt: str, caption: str, *, raster: bool = False
    ) -> Picture:
        """From a figure; `raster` for one that is made of pixels, which has no values to show."""
        from mirrorflow.plot.output import inline
        from mirrorflow.report.hover import hover_values

        source = inline(figure, raster=raster)  # first: it is what lays the figure out
        return cls(name, source, alt, caption, [] if raster else hover_values(figure))

    @property
    def content(self) -> bytes:
        """The bytes of the image."""
        return base64.b64decode(self.source.partition(",")[2])

    @property
    def file(self) -> str:
        """`name` with the suffix of the image's kind."""
        return self.name + (".svg" if self.source.startswith("data:image/svg") else ".png")


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column is left-aligned, the others are numbers."""

    caption: str
    header: list[str]
    rows: list[list[str]]

    @property
    def title(self) -> str:
        """The caption's first words, up to its first stop, colon or bracket."""
        return re.split(r"[.:] | \(|\.$", self.caption, maxsplit=1)[0]


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, figures and tables; `claims` are those that it answers."""

    title: str
    claims: tuple[int, ...]
    text: list[str]
    figures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
