"""A sweep at work: members over processes, each kept when it ends, one table."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from mirrorflow.checks import as_flag, as_function, as_integer, as_path, shown
from mirrorflow.data import load
from mirrorflow.data.fingerprint import fingerprint
from mirrorflow.errors import RunError
from mirrorflow.files import make_folder, remove_temporaries
from mirrorflow.processes import Call, CallResult, WorkerDiedError, cores, local_processes
from mirrorflow.runs.folder import check_claim, claim, locked
from mirrorflow.runs.tracking import Tracking
from mirrorflow.sweeps.members import Result, left_behind, run_member
from mirrorflow.sweeps.plan import Member
from mirrorflow.sweeps.records import (
    MemberRecord,
    keep,
    kept,
    record_of,
    reusable,
    write_table,
)

__all__ = ["Engine", "Sweep", "most_threads", "sweep"]

_TABLE_SECONDS = 10.0

NAMES = (
    *("members", "records", "results.parquet", "tracked"),
    *("mlflow.db", "mlflow-artifacts", "tensorboard"),
)
"""What stands in the folder of a sweep."""


class Engine(Protocol):
    """Makes calls in several processes and yields a `CallResult` each, in the order they end."""

    def __call__(
        self, calls: Sequence[Call], workers: int
    ) -> Generator[CallResult, None, None]: ...


@dataclass(frozen=True)
class Sweep:
    """A sweep that has ended.

    Attributes:
        folder: holds `results.parquet`, `records/` and a run folder for each member in `members/`.
        records: of all its members, in their order.
        ran: how many were run this time.
    """

    folder: Path
    records: list[MemberRecord]
    ran: int

    @property
    def table(self) -> Path:
        """The table of results."""
        return self.folder / "results.parquet"

    @property
    def failed(self) -> dict[str, str]:
        """The message of each member that failed."""
        return {r.name: f"{r.outcome}: {r.error}" for r in self.records if r.failed}


def sweep(
    members: Sequence[Member],
    folder: Path,
    *,
    workers: int | None = None,
    engine: Engine = local_processes,
    retry: bool = False,
    reuse: Sequence[Path] = (),
    track: Tracking | None = None,
    progress: Callable[[int, int, MemberRecord | None], None] | None = None,
) -> Sweep:
    """Run every member that `folder` does not hold yet, and write all of them into one table.

    Every member is a run in `folder/members/NAME`, which resumes bit for bit. One that fails, or
    whose process is killed, is recorded with its message, and the others go on.

    Args:
        members: see `plan`.
        folder: made if need be.
        workers: processes; None takes the cores over the largest number of threads of a member.
        engine: `local_processes`, or a `ray_engine` for a cluster.
        retry: run members that failed again.
        reuse: tables of earlier sweeps; members that they hold are taken from there.
        track: trackers that are told of every member when it ends (see `track.tracking`).
        progress: called with (done, total, record of the member that just ended or None).

    Returns:
        The `Sweep`; failures are in its records.

    Raises:
        ValueError: no members, or workers < 1.
        RunError: a folder or a table cannot be used, or another sweep works in the folder.
    """
    folder, members = as_path(folder, "folder"), as_members(members)
    if workers is not None:
        workers = as_integer(workers, "workers", least=1)
    as_function(engine, "engine", "calls and workers")
    retry = as_flag(retry, "retry")
    if isinstance(reuse, str) or not isinstance(reuse, Sequence):
        raise TypeError(f"reuse = {shown(reuse)}; pass a list of paths of tables")
    if track is not None and not isinstance(track, Tracking):
        raise TypeError(f"track = {shown(track)} is a {type(track).__name__}; pass a Tracking")
    if progress is not None:
        as_function(progress, "progress", "(done, total, record)")
    earlier: dict[str, MemberRecord] = {}
    for table in reuse:
        earlier |= reusable(as_path(table, "reuse"))
    check_claim(folder, "sweep", NAMES)
    with locked(folder):
        claim(folder, "sweep", NAMES)
        for name in ("records", "members"):
            make_folder(folder / name)
            remove_temporaries(folder / name)
        remove_temporaries(folder)
        known = {m.name: _known(folder, m, earlier, retry) for m in members}
        _require_same_data(folder, [record for record in known.values() if record is not None])
        for name, record in known.items():
            if record is not None and not (folder / "records" / f"{name}.json").exists():
                keep(folder, record)
        records = known
        todo = [m for m in members if records[m.name] is None]
        done = len(members) - len(todo)
        if progress is not None:
            progress(done, len(members), None)
        calls: list[Call] = [
            (run_member, (str((folder / "members" / m.name).absolute()), m.settings)) for m in todo
        ]
        written = time.monotonic()
        try:
            with closing(
                engine(calls, workers or max(1, cores() // most_threads(todo)))
            ) as outcomes:
                for outcome in outcomes:
                    member = todo[outcome.position]
                    result = _result(folder, member, outcome)
                    record = record_of(member, result)
                    keep(folder, record)
                    if track is not None:
                        _tell(track, folder, member, result)
                    records[member.name] = record
                    done += 1
                    if progress is not None:
                        progress(done, len(members), record)
                    if time.monotonic() - written > _TABLE_SECONDS:
                        _write(folder, records)
                        written = time.monotonic()
        finally:
            _write(folder, records)
    return Sweep(folder, [r for r in records.values() if r is not None], len(todo))


def _known(
    folder: Path, member: Member, earlier: dict[str, MemberRecord], retry: bool
) -> MemberRecord | None:
    found = kept(folder, member)
    if found is not None and (found.key != member.key or (retry and found.failed)):
        found = None
    if found is None and member.key in earlier:
        rows = [{**row, "member": member.name} for row in earlier[member.key].rows]
        found = replace(earlier[member.key], name=member.name, rows=rows)
    return found


def _require_same_data(folder: Path, records: Sequence[MemberRecord]) -> None:
    """Refuse records of runs on a file that has been replaced since.

    Raises:
        RunError: a file has other points now.
    """
    now: dict[str, str] = {}
    for record in records:
        row = record.rows[0]
        seen, source = row.get("data_fingerprint"), str(row.get("data", ""))
        path = os.path.abspath(os.path.expanduser(source))
        if not isinstance(seen, str) or not source.endswith(".npz") or not os.path.exists(path):
            continue
        if path not in now:
            now[path] = fingerprint(load(path))
        if now[path] != seen:
            raise RunError(
                f"the data of the sweep {folder} have changed: {path} now has fingerprint "
                f"{now[path][:12]}, {record.name} was trained on {seen[:12]}. Put back the data "
                "that it was trained on, or run the sweep in another folder without --reuse"
            )


def _result(folder: Path, member: Member, outcome: CallResult) -> Result:
    if outcome.error is None:
        found: Result = outcome.value
        return found
    died = isinstance(outcome.error, WorkerDiedError)
    about, rows = left_behind(folder / "members" / member.name)
    return Result("killed" if died else "failed", str(outcome.error), about, rows)


def _tell(track: Tracking, folder: Path, member: Member, result: Result) -> None:
    memory = folder / "tracked" / f"{member.name}.json"
    told = track.run(member.name, member.settings, memory)
    for row in result.rows:
        told.row(row)
    told.end(result.outcome)


def _write(folder: Path, records: dict[str, MemberRecord | None]) -> None:
    ended = [record for record in records.values() if record is not None]
    if ended:
        write_table(folder / "results.parquet", ended)


def as_members(members: Sequence[Member], *, empty: bool = False) -> list[Member]:
    """A list of members with distinct names.

    Raises:
        TypeError: something else.
        ValueError: it is empty, or two have one name.
    """
    if not isinstance(members, Sequence) or not all(isinstance(m, Member) for m in members):
        raise TypeError(f"members = {shown(members)}; pass a list of Member (see plan)")
    if not members and not empty:
        raise ValueError("members is empty; give at least one")
    if any(not m.name for m in members):
        raise ValueError("members has one with an empty name; name each")
    if len({m.name for m in members}) < len(members):
        raise ValueError("members has two with one name; name each once")
    return list(members)


def most_threads(members: Sequence[Member]) -> int:
    """The largest number of threads of a member."""
    threads = [m.settings.get("threads", 1) for m in as_members(members, empty=True)]
    return max([1, *(t for t in threads if isinstance(t, int))])
