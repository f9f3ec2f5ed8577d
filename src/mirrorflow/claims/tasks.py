"""Independent pieces of an experiment, over local processes, each kept when it is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirrorflow import __version__
from mirrorflow.checks import as_function, as_integer, as_path, shown
from mirrorflow.errors import MirrorFlowError, RunError
from mirrorflow.files import (
    is_temporary,
    make_folder,
    read_json,
    remove_temporaries,
    sha256,
    write_json,
)
from mirrorflow.processes import cores, local_processes, this_process
from mirrorflow.runs.folder import locked
from mirrorflow.runs.names import as_name
from mirrorflow.runs.tables import read_rows, write_rows

__all__ = ["Record", "Task", "read_records", "run_tasks"]


@dataclass(frozen=True)
class Record:
    """What a task found: a JSON summary, and rows for a table."""

    name: str
    summary: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Task:
    """A call `function(folder, **arguments) -> Record` that another process can make.

    Contract: `function` is importable, `arguments` are JSON values; both together decide whether
    a kept record is the answer to this task.
    """

    name: str
    function: Callable[..., Record]
    arguments: dict[str, Any]

    def __post_init__(self) -> None:
        as_name(self.name, "name")
        as_function(self.function, "function", "(folder, **arguments)")
        if not hasattr(self.function, "__qualname__"):
            raise TypeError(f"function = {shown(self.function)} has no name; pass a plain function")
        try:
            plain = isinstance(self.arguments, dict) and json.dumps(self.arguments) != ""
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"arguments are no JSON values ({error}); pass plain values") from error
        if not plain:
            raise TypeError(f"arguments = {shown(self.arguments)}; pass a dictionary")

    @property
    def key(self) -> dict[str, Any]:
        """What the record is the answer to."""
        function = f"{self.function.__module__}.{self.function.__qualname__}"
        return {
            "mirrorflow": __version__,
            "function": function,
            "arguments": self.arguments,
        }


def read_records(folder: Path) -> dict[str, Record]:
    """All kept records of `folder`, by name.

    Raises:
        RunError: a record of another layout, or a damaged one.
        TypeError, ValueError: `folder` is no path.
    """
    records = {}
    for path in sorted((as_path(folder, "folder") / "records").glob("*.json")):
        if is_temporary(path.name):
            continue
        found = _read(path)
        records[path.stem] = Record(path.stem, found["summary"], _rows(path, found))
    return records


def _read(path: Path) -> dict[str, Any]:
    found = read_json(path, "the record", _AGAIN)
    if not isinstance(found.get("key"), dict) or not isinstance(found.get("summary"), dict):
        raise RunError(f"the record {path} is not that of a task; {_AGAIN}")
    return found


_AGAIN = "remove it to make it again"


def _rows(path: Path, found: dict[str, Any]) -> list[dict[str, Any]]:
    table = path.with_suffix(".parquet")
    there = table.exists()
    if "rows" in found:
        try:
            same = (sha256(table) if there else None) == found["rows"]
        except OSError:
            same = False
        if not same:
            raise RunError(
                f"{table} is gone, changed or damaged: it is not the table that was written with "
                f"{path} (SHA-256); remove both to make them again"
            )
    return (
        read_rows(table, "the table", "remove it and its .json to make them again") if there else []
    )


def _keep(folder: Path, task: Task, record: Record) -> None:
    path = folder / "records" / f"{task.name}.json"
    digest = None
    if record.rows:
        digest = write_rows(path.with_suffix(".parquet"), record.rows)
    elif path.with_suffix(".parquet").exists():
        path.with_suffix(".parquet").unlink()
    write_json(path, {"key": task.key, "summary": record.summary, "rows": digest})


def _kept(folder: Path, task: Task) -> bool:
    path = folder / "records" / f"{task.name}.json"
    if not path.exists():
        return False
    found = _read(path)
    key = {k: v for k, v in found["key"].items() if k != "format"}
    same = bool(key == json.loads(json.dumps(task.key)))
    if same:
        _rows(path, found)
    return same


def _run(folder: Path, task: Task) -> str:
    _keep(folder, task, task.function(folder, **task.arguments))
    return task.name


def run_tasks(
    tasks: Sequence[Task],
    folder: Path,
    *,
    workers: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, str]:
    """Do what is not yet kept in `folder`, in `workers` processes, and keep each record.

    Args:
        tasks: with distinct names.
        folder: made if need be; records go to `folder/records`.
        workers: None is one a core; 1 runs in this process.
        progress: called with (done, total, name of a finished task).

    Returns:
        Error messages by name of the tasks that failed; the others are kept.

    Raises:
        RunError: the folder cannot be used, or a record in it was damaged.
        TypeError, ValueError: an argument of another kind.
    """
    folder = as_path(folder, "folder")
    if not isinstance(tasks, Sequence) or not all(isinstance(task, Task) for task in tasks):
        raise TypeError(f"tasks = {shown(tasks)}; pass a list of Task")
    if len({task.name for task in tasks}) < len(tasks):
        raise ValueError("tasks has two with one name; name each once")
    if workers is not None:
        workers = as_integer(workers, "workers", least=1)
    if progress is not None:
        as_function(progress, "progress", "(done, total, name)")
    with locked(folder):
        make_folder(folder / "records")
        remove_temporaries(folder / "records")
        return _run_all(tasks, folder, workers, progress)


def _run_all(
    tasks: Sequence[Task],
    folder: Path,
    workers: int | None,
    progress: Callable[[int, int, str], None] | None,
) -> dict[str, str]:
    todo = [task for task in tasks if not _kept(folder, task)]
    done = len(tasks) - len(todo)
    failed: dict[str, str] = {}

    def note(name: str) -> None:
        if progress is not None:
            progress(done, len(tasks), name)

    note("")
    workers = min(workers or cores(), max(len(todo), 1))
    run = this_process if workers == 1 else local_processes
    with closing(run([(_run, (folder, task)) for task in todo], workers)) as outcomes:
        for outcome in outcomes:
            task = todo[outcome.position]
            if outcome.error is not None:
                if not isinstance(outcome.error, MirrorFlowError) or isinstance(
                    outcome.error, RunError
                ):
                    raise outcome.error
                failed[task.name] = str(outcome.error)
            done += 1
            note(task.name)
    return failed
