"""Calls over a Ray cluster: an existing one, or one of this machine for as long as it lasts."""

from __future__ import annotations

import functools
import logging
import os
import socket
from collections.abc import Generator, Sequence
from typing import Any

from mirrorflow.errors import MissingExtraError, RunError, portable
from mirrorflow.processes import Call, CallResult, WorkerDiedError
from mirrorflow.sweeps.run import Engine

__all__ = ["ray_engine"]

_OBJECT_STORE = 80 * 2**20  # bytes; members return a few rows
_ANSWER = 10.0  # seconds in which a head node has to answer; Ray itself waits for minutes


def ray_engine(address: str | None = None, *, cpus: int = 1) -> Engine:
    """An engine of `sweep` that makes its calls as Ray tasks.

    Every node needs mirrorflow and the data; the folder of the sweep must be on a file system that
    all nodes share, or members that are interrupted start anew. Nothing is retried by Ray itself.

    Args:
        address: of an existing cluster ("auto", "host:6379", "ray://host:10001"); None starts one
            on this machine, with as many CPUs as the sweep has workers, without a dashboard.
        cpus: of the cluster, that each call occupies: the threads of a member.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    _ray()
    return functools.partial(_over_ray, address=address, cpus=cpus)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            'engine "ray" needs Ray; pip install "mirrorflow[sweep]", or take --engine local'
        ) from error
    return ray


def _over_ray(
    calls: Sequence[Call], workers: int, *, address: str | None, cpus: int
) -> Generator[CallResult, None, None]:
    if not calls:
        return
    ray = _ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    own = not ray.is_initialized()
    if own:
        _connect(ray, workers * cpus, address)
    try:
        remote = ray.remote(num_cpus=cpus, max_retries=0)(_call)
        running = {remote.remote(*call): position for position, call in enumerate(calls)}
        while running:
            (ended,), _ = ray.wait(list(running), num_returns=1)
            yield _outcome(ray, ended, running.pop(ended))
    finally:
        if own:
            ray.shutdown()


def _connect(ray: Any, cpus: int, address: str | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is not None:
            _require_answer(address)
            ray.init(address, **quiet)
            return
        ray.init(
            "local",
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE,
            **quiet,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise RunError(
            f"no Ray cluster at address {address!r}: {error}; start one there (ray start --head), "
            "with the same RAY_AUTH_MODE as here, or leave the address out"
            if address is not None
            else f"Ray could not be started on this machine: {error}"
        ) from error


def _require_answer(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_ANSWER).close()


def _call(function: Any, arguments: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    try:
        return function(*arguments), None
    except Exception as error:
        return None, portable(error)


def _outcome(ray: Any, ended: Any, position: int) -> CallResult:
    try:
        value, error = ray.get(ended)
    except ray.exceptions.RayTaskError as caught:  # before the call: what it needs is not there
        return CallResult(position, error=RunError(str(caught.cause or caught)))
    except ray.exceptions.RayError as caught:
        text = " ".join(str(caught).split())
        return CallResult(position, error=WorkerDiedError(f"its Ray worker died: {text}"))
    return CallResult(position, value, error)
