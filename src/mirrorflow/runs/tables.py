"""Parquet files of rows, with a checksum of the rows among their metadata."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mirrorflow.errors import RunError
from mirrorflow.files import open_file, write_atomic

__all__ = ["read_rows", "write_rows"]

_KEY = b"mirrorflow.sha256"


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    """Rows as one Parquet file; a column of numbers and text holds the numbers as text.

    Returns:
        The SHA-256 of the file.

    Raises:
        RunError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: _column([row.get(name) for row in rows]) for name in names})
    marked = table.replace_schema_metadata({_KEY: _digest(table.to_pylist())})

    def write(file: BinaryIO) -> None:
        # Through memory: the writer closes what it is given, and the checksum needs the file.
        buffer = io.BytesIO()
        pq.write_table(marked, buffer, write_page_checksum=True)
        file.write(buffer.getbuffer())

    return write_atomic(path, write)


def _column(values: list[Any]) -> list[Any]:
    given = [v for v in values if v is not None]
    if len({isinstance(v, str) for v in given}) > 1:
        return [v if v is None or isinstance(v, str) else str(v) for v in values]
    if any(isinstance(v, float) for v in given):
        return [None if v is None else float(v) for v in values]
    return values


def _digest(rows: list[dict[str, Any]]) -> bytes:
    return hashlib.sha256(json.dumps(rows, default=str).encode()).hexdigest().encode()


def read_rows(
    path: Path, what: str = "the table", cure: str = "restore it"
) -> list[dict[str, Any]]:
    """The rows of a Parquet file; those that were written with a checksum are compared with it.

    Args:
        path: the file.
        what: how an error calls it.
        cure: what an error says to do.

    Raises:
        RunError: it is missing, damaged, or no Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_file(path) as file:
            table = pq.read_table(file, page_checksum_verification=True)
        rows: list[dict[str, Any]] = table.to_pylist()
        marked = (table.schema.metadata or {}).get(_KEY)
    except (OSError, pa.ArrowException, ValueError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(f"{what} {path} cannot be read ({reason}); {cure}") from error
    if marked is not None and marked != _digest(rows):
        raise RunError(
            f"{what} {path} was changed or damaged: its rows are not those that were written "
            f"(SHA-256); {cure}"
        )
    return rows
