"""MLflow as a tracker: an SQLite file beside the run, or any tracking server."""

from __future__ import annotations

import logging
import os
import time
import warnings
from pathlib import Path
from typing import Any

from mirrorflow.experiments.config import flatten
from mirrorflow.experiments.track import Maker, Tracker, missing_tracker

__all__ = ["mlflow_tracker"]

_EXPERIMENT = "mirrorflow"
_MOST = 500  # metrics a call; servers take 1000
_ENDS_WELL = ("reached", "steps")


def mlflow_tracker(uri: str, folder: Path) -> Maker:
    """Runs of the experiment "mirrorflow" at `uri`; "" is the SQLite file `folder/mlflow.db`.

    Every run has a tag with the absolute folder and its name, by which a resumed one is found.

    Raises:
        MissingExtraError: MLflow, or what it needs for SQLite, is not installed.
    """
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

    def make(name: str, settings: dict[str, Any]) -> Tracker:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client = MlflowClient(tracking_uri=uri or f"sqlite:///{base / 'mlflow.db'}")
            return _MLflow(client, name, settings, base)

    return make


class _MLflow:
    def __init__(self, client: Any, name: str, settings: dict[str, Any], base: Path) -> None:
        self.client = client
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
        for start in range(0, len(metrics), _MOST):
            self.client.log_batch(self.identity, metrics=metrics[start : start + _MOST])

    def end(self, outcome: str) -> None:
        self.client.set_tag(self.identity, "outcome", outcome)
        status = "FINISHED" if outcome in _ENDS_WELL else "FAILED"
        self.client.set_terminated(self.identity, status)
