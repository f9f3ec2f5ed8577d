"""What a page is made of."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

__all__ = ["Picture", "Section", "Table"]


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, with a file name, and what it says to who cannot and who can see it.

    Contract: `content` are the bytes of the image, `file` is the name with the fitting suffix.
    """

    name: str
    source: str
    alt: str
    caption: str

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


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, figures and tables."""

    title: str
    text: list[str]
    figures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
