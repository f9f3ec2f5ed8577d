"""What a sweep keeps: a record a member, and all of them in one table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mirrorflow.errors import RunError
from mirrorflow.files import write_atomic, write_text
from mirrorflow.experiments.config import RunConfig, flatten
from mirrorflow.experiments.folder import FORMAT
from mirrorflow.experiments.sweep.member import FAILED, Result, at_thresholds
from mirrorflow.experiments.sweep.plan import Member

__all__ = [
    "Record",
    "keep",
    "kept",
    "read_rows",
    "read_table",
    "record_of",
    "reusable",
    "write_rows",
    "write_table",
]


@dataclasses.dataclass(frozen=True)
class Record:
    """The rows of one member in the table of results; all of them say how it ended."""

    name: str
    key: str
    rows: list[dict[str, Any]]

    @property
    def outcome(self) -> str:
        """How it ended."""
        return str(self.rows[0]["outcome"])

    @property
    def failed(self) -> bool:
        """Whether `retry` would run it again."""
        return self.outcome in FAILED

    @property
    def error(self) -> str:
        """The message of its failure."""
        return str(self.rows[0]["error"])


def record_of(member: Member, result: Result) -> Record:
    """The rows: settings (all fields, flattened), how it ended, and the metrics of each row."""
    settings = {**_DEFAULTS, **member.settings}
    head = {
        "member": member.name,
        "label": member.label,
        "key": member.key,
        **flatten(settings),
        "outcome": result.outcome,
        "error": result.error,
        **result.about,
    }
    until = settings["until"] if isinstance(settings["until"], list) else []
    found = at_thresholds(result.rows, until)
    return Record(member.name, member.key, [{**head, **row} for row in found])


_DEFAULTS = RunConfig().to_dict()


def keep(folder: Path, record: Record) -> None:
    """Write the record into `folder/records`."""
    content = {"format": FORMAT, "key": record.key, "rows": record.rows}
    write_text(folder / "records" / f"{record.name}.json", json.dumps(content) + "\n")


def kept(folder: Path, member: Member) -> Record | None:
    """The record of a member that has ended, or None.

    Raises:
        RunError: it is corrupt or of another layout.
    """
    path = folder / "records" / f"{member.name}.json"
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
        if found["format"] != FORMAT:
            raise RunError(
                f"{path} was written with layout {found['format']!r}; this version reads layout "
                f"{FORMAT}. Choose another folder with --out"
            )
        return Record(member.name, found["key"], found["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({error}); remove it to make it again") from error


def write_table(path: Path, records: Iterable[Record]) -> None:
    """All rows of all records as one Parquet file."""
    write_rows(path, [row for record in records for row in record.rows])


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows as one Parquet file; a column of numbers and text holds the numbers as text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    table = pa.table(columns)
    write_atomic(path, lambda file: pq.write_table(table, file))


def _column(values: list[Any]) -> list[Any]:
    told = [v for v in values if v is not None]
    if len({isinstance(v, str) for v in told}) > 1:
        return [v if v is None or isinstance(v, str) else str(v) for v in values]
    if any(isinstance(v, float) for v in told):
        return [None if v is None else float(v) for v in values]
    return values


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file.

    Raises:
        RunError: it is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise RunError(f"the table {path} cannot be read: {error}") from error
    return rows


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a table of results.

    Raises:
        RunError: it is no such table.
    """
    rows = read_rows(path)
    if rows and not {"key", "member", "outcome", "last"} <= set(rows[0]):
        raise RunError(f"{path} is no table of a sweep: it has no columns key, member, outcome")
    return rows


def reusable(path: Path) -> dict[str, Record]:
    """Members of an earlier table that did not fail, by key.

    Raises:
        RunError: see `read_table`.
    """
    found: dict[str, Record] = {}
    for row in read_table(path):
        told = {k: v for k, v in row.items() if v is not None}
        record = found.setdefault(row["key"], Record(row["member"], row["key"], []))
        record.rows.append(told)
    return {key: record for key, record in found.items() if not record.failed}
