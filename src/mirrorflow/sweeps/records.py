"""What a sweep keeps: a record a member, and all of them in one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mirrorflow.errors import RunError
from mirrorflow.files import read_json, write_json
from mirrorflow.runs.config import RunConfig, flatten
from mirrorflow.runs.tables import read_rows, write_rows
from mirrorflow.sweeps.members import FAILED, Result, at_thresholds
from mirrorflow.sweeps.plan import Member

__all__ = [
    "MemberRecord",
    "keep",
    "kept",
    "read_table",
    "record_of",
    "reusable",
    "write_table",
]


@dataclasses.dataclass(frozen=True)
class MemberRecord:
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


def record_of(member: Member, result: Result) -> MemberRecord:
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
    return MemberRecord(member.name, member.key, [{**head, **row} for row in found])


_DEFAULTS = RunConfig().to_dict()


def keep(folder: Path, record: MemberRecord) -> None:
    """Write the record into `folder/records`."""
    content = {"key": record.key, "rows": record.rows}
    write_json(folder / "records" / f"{record.name}.json", content)


def kept(folder: Path, member: Member) -> MemberRecord | None:
    """The record of a member that has ended, or None.

    Raises:
        RunError: it is damaged, something else, or of another layout.
    """
    path = folder / "records" / f"{member.name}.json"
    if not path.exists():
        return None
    cure = "remove it to make it again"
    found = read_json(path, "the record", cure)
    rows = found.get("rows")
    if (
        not isinstance(rows, list)
        or not rows
        or not all(isinstance(row, dict) and set(row) >= _ENDS for row in rows)
        or not isinstance(found.get("key"), str)
    ):
        raise RunError(f"the record {path} is not that of a member of a sweep; {cure}")
    return MemberRecord(member.name, found["key"], rows)


_ENDS = {"outcome", "error"}


def write_table(path: Path, records: Iterable[MemberRecord]) -> None:
    """All rows of all records as one Parquet file."""
    write_rows(path, [row for record in records for row in record.rows])


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a table of results.

    Raises:
        RunError: it is no such table.
    """
    rows = read_rows(path)
    if rows and not {"key", "member", "outcome", "last"} <= set(rows[0]):
        raise RunError(f"{path} is no table of a sweep: it has no columns key, member, outcome")
    return rows


def reusable(path: Path) -> dict[str, MemberRecord]:
    """Members of an earlier table that did not fail, by key.

    Raises:
        RunError: see `read_table`.
    """
    found: dict[str, MemberRecord] = {}
    for row in read_table(path):
        told = {k: v for k, v in row.items() if v is not None}
        record = found.setdefault(row["key"], MemberRecord(row["member"], row["key"], []))
        record.rows.append(told)
    return {key: record for key, record in found.items() if not record.failed}
