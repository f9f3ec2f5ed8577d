"""What a page is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Picture", "Section", "Table"]


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, with what it says to who cannot see it and to who can."""

    source: str
    alt: str
    caption: str


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
