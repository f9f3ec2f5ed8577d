"""A table of text, as records print themselves."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["aligned"]


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """The rows below their header, columns aligned: the first `left` to the left, others right.

    Args:
        header: the names of the columns.
        rows: as many texts each.
        left: how many columns hold words.

    Returns:
        Lines joined by newlines, without blanks at their ends.
    """
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
