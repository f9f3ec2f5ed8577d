"""Calls over local processes: one that dies takes nothing else with it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from typing import Any

from mirrorflow.errors import MirrorFlowError, portable

__all__ = [
    "Call",
    "CallResult",
    "WorkerDiedError",
    "cores",
    "death",
    "local_processes",
    "this_process",
]

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function that another process can import, and its arguments."""

_CONTEXT = get_context("spawn")  # a fork would inherit the threads of torch
_GRACE = 5.0  # seconds to leave a file that is being written


class WorkerDiedError(MirrorFlowError):
    """Contract: raised when the process at work on a call was killed or crashed."""


@dataclass(frozen=True)
class CallResult:
    """What became of the call at `position`: its value, or the exception that ended it."""

    position: int
    value: Any = None
    error: Exception | None = None


@dataclass
class _Worker:
    process: Any
    pipe: Any
    position: int | None = None


def local_processes(calls: Sequence[Call], workers: int) -> Generator[CallResult, None, None]:
    """Make every call in one of `workers` processes; outcomes come in the order they end.

    Contract: an exception, or the death of a process, ends its own call only. When the iteration
    is left early (an interrupt) the processes are ended; they also end when this one dies.

    Args:
        calls: functions importable by name, arguments and values that can be pickled.
        workers: at least 1; each imports its libraries once.
    """
    todo = list(enumerate(calls))[::-1]
    idle = [_start() for _ in range(min(workers, len(todo)))]
    busy: list[_Worker] = []
    try:
        while todo or busy:
            while todo and idle:
                worker = idle.pop()
                worker.position, call = todo.pop()
                worker.pipe.send(call)
                busy.append(worker)
            ready = connection.wait([worker.pipe for worker in busy])
            for worker in [worker for worker in busy if worker.pipe in ready]:
                busy.remove(worker)
                outcome = _receive(worker)
                if worker.process.is_alive():
                    idle.append(worker)
                elif todo:
                    idle.append(_start())
                yield outcome
    finally:
        _end([*idle, *busy])


def this_process(calls: Sequence[Call], workers: int) -> Generator[CallResult, None, None]:  # noqa: ARG001
    """Make every call here, one after another: nothing to start, and nothing that survives a crash.

    Args:
        calls: see `local_processes`.
        workers: of no meaning here.
    """
    for position, (function, arguments) in enumerate(calls):
        try:
            outcome = CallResult(position, function(*arguments))
        except Exception as error:
            outcome = CallResult(position, error=error)
        yield outcome


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start() -> _Worker:
    # One thread each, unless the call sets more; it must stand before torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_work, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _receive(worker: _Worker) -> CallResult:
    position, worker.position = worker.position, None
    assert position is not None
    try:
        value, error = worker.pipe.recv()
    except (EOFError, ConnectionError):
        worker.process.join()
        return CallResult(position, error=WorkerDiedError(death(worker.process.exitcode)))
    return CallResult(position, value, error)


def death(code: int) -> str:
    """How a process ended, in words, from its exit code."""
    if code < 0:
        name = signal.Signals(-code).name
        cure = "; is the memory full? Take fewer workers" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{cure}"
    return f"its process ended with exit code {code} before it had an answer"


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.pipe.close()
        if worker.position is not None and worker.process.is_alive():
            worker.process.terminate()
    for worker in workers:
        worker.process.join(_GRACE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _work(pipe: Any) -> None:
    # The parent ends its workers on an interrupt; SystemExit lets them remove temporary files.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, ConnectionError):
            return
        try:
            answer: tuple[Any, Exception | None] = (function(*arguments), None)
        except Exception as error:
            answer = (None, portable(error))
        pipe.send(answer)


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
