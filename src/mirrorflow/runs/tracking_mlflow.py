"""MLflow as a tracker: an SQLite file beside the run, or any tracking server."""

from __future__ import annotations

import logging
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mirrorflow.errors import RunError
from mirrorflow.runs.config import flatten
from mirrorflow.runs.tracker import Maker, Tracker, missing_tracker

__all__ = ["mlflow_tracker"]

_EXPERIMENT = "mirrorflow"
_MOST = 500  # metrics a call; servers take 1000
_ANSWER = 5.0  # seconds in which a server has to answer
_SCHEMES = (
    *("http", "https", "file", "sqlite", "postgresql", "mysql", "mssql"),
    *("databricks", "databricks-uc", "postgresql+psycopg2", "mysql+pymysql", "mssql+pyodbc"),
)
_ENDS_WELL = ("reached", "steps")


def mlflow_tracker(uri: str, folder: Path) -> Maker:
    """Runs of the experiment "mirrorflow" at `uri`; "" is the SQLite file `folder/mlflow.db`.

    Every run has a tag with the absolute folder and its name, by which a resumed one is found.

    Raises:
        ValueError: an address of another kind than MLflow knows, or a server that does not answer.
        MissingExtraError: MLflow, or what it needs for SQLite, is not installed.
    """
    _require_answer(uri)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports use what its dependencies deprecate
        try:
            from mlflow import MlflowClient

            if not uri or uri.startswith("sqlite"):
                import alembic  # noqa: F401
                import sqlalchemy  # noqa: F401
        except ImportError as error:
            raise missing_tracker("mlflow", f"MLflow ({error.name})") from error
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    base = folder.absolute()

    address = uri or f"sqlite:///{base / 'mlflow.db'}"

    def make(name: str, settings: dict[str, Any]) -> Tracker:
        with warnings.catch_warnings(), _named(address):
            warnings.simplefilter("ignore")
            client = MlflowClient(tracking_uri=address)
            return _MLflow(client, name, settings, base, address)

    return make


def _require_answer(uri: str) -> None:
    """Refuse an address before a run begins: MLflow itself would try for minutes."""
    if not uri:
        return
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError(
            f"track = {'mlflow:' + uri!r}: {uri!r} is no address that MLflow knows; pass "
            "mlflow:sqlite:///FILE.db, mlflow:http://HOST:PORT, or mlflow alone"
        )
    if scheme in ("http", "https"):
        try:
            parts = urlsplit(uri)
            port = parts.port or (443 if scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), timeout=_ANSWER).close()
        except (OSError, ValueError) as error:
            raise ValueError(
                f"track = {'mlflow:' + uri!r}: no server answers there ({error}); start it, or "
                "pass mlflow alone for a file beside the run"
            ) from error


@contextmanager
def _named(address: str) -> Iterator[None]:
    """Whatever MLflow raises, with the address.

    Raises:
        RunError: it raised something.
    """
    try:
        yield
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RunError(
            f"the tracker mlflow at {address} failed ({type(error).__name__}: {first}); the run "
            "keeps what it has saved: mend the tracker, or leave --track out, and run it again"
        ) from error


class _MLflow:
    def __init__(
        self, client: Any, name: str, settings: dict[str, Any], base: Path, address: str
    ) -> None:
        self.client, self.address = client, address
        found = client.get_experiment_by_name(_EXPERIMENT)
        place = (base / "mlflow-artifacts").as_uri()
        experiment = (
            found.experiment_id
            if found
            else client.create_experiment(_EXPERIMENT, artifact_location=place)
        )
        tag = f"{base}:{name}"
        runs = client.search_runs([experiment], f"tags.`mirrorflow.run` = '{tag}'")
        if runs:
            self.identity = runs[0].info.run_id
            return
        run = client.create_run(experiment, run_name=name, tags={"mirrorflow.run": tag})
        self.identity = run.info.run_id
        for field, value in flatten(settings).items():
            client.log_param(self.identity, field, value)

    def row(self, step: int, numbers: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, value in numbers.items()]
        with _named(self.address):
            for start in range(0, len(metrics), _MOST):
                self.client.log_batch(self.identity, metrics=metrics[start : start + _MOST])

    def end(self, outcome: str) -> None:
        status = "FINISHED" if outcome in _ENDS_WELL else "FAILED"
        with _named(self.address):
            self.client.set_tag(self.identity, "outcome", outcome)
            self.client.set_terminated(self.identity, status)
