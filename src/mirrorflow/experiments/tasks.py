"""Independent pieces of an experiment, over local processes, each kept when it is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirrorflow import __version__
from mirrorflow.errors import MirrorFlowError, RunError
from mirrorflow.files import make_folder, write_atomic, write_text
from mirrorflow.experiments.folder import FORMAT
from mirrorflow.experiments.pool import cores, local_processes, this_process

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

    @property
    def key(self) -> dict[str, Any]:
        """What the record is the answer to."""
        function = f"{self.function.__module__}.{self.function.__qualname__}"
        return {
            "format": FORMAT,
            "mirrorflow": __version__,
            "function": function,
            "arguments": self.arguments,
        }


def read_records(folder: Path) -> dict[str, Record]:
    """All kept records of `folder`, by name.

    Raises:
        RunError: a record of another version, or a corrupt one.
    """
    records = {}
    for path in sorted((folder / "records").glob("*.json")):
        found = _read(path)
        records[path.stem] = Record(
            path.stem, found["summary"], _rows(path.with_suffix(".parquet"))
        )
    return records


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        if found["key"]["format"] != FORMAT:
            raise RunError(
                f"{path} was written with layout {found['key']['format']!r}; this version reads "
                f"layout {FORMAT}. Choose another folder with --out"
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({error}); remove it to make it again") from error
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


def _keep(folder: Path, task: Task, record: Record) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "records" / f"{task.name}.json"
    if record.rows:
        table = pa.Table.from_pylist(record.rows)
        write_atomic(path.with_suffix(".parquet"), lambda file: pq.write_table(table, file))
    write_text(path, json.dumps({"key": task.key, "summary": record.summary}, indent=1) + "\n")


def _kept(folder: Path, task: Task) -> bool:
    path = folder / "records" / f"{task.name}.json"
    return path.exists() and _read(path)["key"] == json.loads(json.dumps(task.key))


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
        RunError: the folder cannot be used.
    """
    make_folder(folder / "records")
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
