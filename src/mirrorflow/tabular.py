"""Tables: as text, as records print themselves, and as data frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mirrorflow.errors import MissingExtraError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["aligned", "data_frame"]


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


def data_frame(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> pd.DataFrame:
    """A `pandas.DataFrame` from rows or from columns.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError(
            'to_pandas needs pandas; pip install "mirrorflow[experiments]"'
        ) from error
    return pd.DataFrame(rows)
