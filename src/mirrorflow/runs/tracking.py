"""Trackers: a copy of settings, metrics and outcome for MLflow or TensorBoard, if asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mirrorflow.checks import as_path, shown
from mirrorflow.errors import RunError
from mirrorflow.files import make_folder, read_json, write_json
from mirrorflow.runs.config import flatten
from mirrorflow.runs.tracker import Maker, Tracker, missing_tracker

__all__ = ["Told", "Tracking", "tracking"]


class Told:
    """What of one run the trackers know; what they know is not told twice.

    Args:
        memory: a file that keeps it.
        trackers: by kind.
    """

    def __init__(self, memory: Path, trackers: Mapping[str, Tracker]) -> None:
        self.memory, self.trackers = memory, trackers
        self.told: dict[str, Any] = {}
        if memory.exists():
            cure = "remove it, and every row is told again"
            found = read_json(memory, "the memory of the trackers", cure)
            told = found.get("told", {k: v for k, v in found.items() if k != "format"})
            if not isinstance(told, dict) or not all(isinstance(v, dict) for v in told.values()):
                raise RunError(f"{memory} is not the memory of trackers; {cure}")
            self.told = told

    def row(self, row: dict[str, Any]) -> None:
        """Tell a row of the metrics: everything in it that is a finite number."""
        numbers = {
            name: float(value)
            for name, value in row.items()
            if name != "step" and isinstance(value, int | float) and math.isfinite(value)
        }
        for kind, tracker in self.trackers.items():
            if row["step"] > self.told.get(kind, {}).get("step", -1):
                tracker.row(row["step"], numbers)
                self._note(kind, step=row["step"])

    def end(self, outcome: str) -> None:
        """Tell how the run ended."""
        for kind, tracker in self.trackers.items():
            if self.told.get(kind, {}).get("outcome") != outcome:
                tracker.end(outcome)
                self._note(kind, outcome=outcome)

    def _note(self, kind: str, **values: Any) -> None:
        self.told[kind] = {**self.told.get(kind, {}), **values}
        write_json(self.memory, {"told": self.told})


class Tracking:
    """The trackers that were asked for; each run gets a `Told` from it."""

    def __init__(self, makers: Mapping[str, Maker]) -> None:
        self.makers = makers

    def run(self, name: str, settings: dict[str, Any], memory: Path) -> Told:
        """A run under that name, or the rest of it; `memory` is a file of its own."""
        make_folder(memory.parent)
        return Told(memory, {kind: make(name, settings) for kind, make in self.makers.items()})


def tracking(texts: Sequence[str], folder: Path) -> Tracking | None:
    """What `--track` asks for; None if nothing. Nothing is written before the first run is told.

    Args:
        texts: "mlflow", "mlflow:URI" or "tensorboard".
        folder: of the run or of the sweep; `mlflow.db` (SQLite) and `tensorboard/` go there.

    Raises:
        ValueError, TypeError: another tracker, or an address that none answers at.
        MissingExtraError: its library is not installed.
    """
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise TypeError(f"texts = {shown(texts)}; pass a list of texts such as 'mlflow'")
    folder = as_path(folder, "folder")
    makers = dict(_maker(text, folder) for text in texts)
    return Tracking(makers) if makers else None


def _maker(text: str, folder: Path) -> tuple[str, Maker]:
    if not isinstance(text, str):
        raise TypeError(f"track = {shown(text)} is a {type(text).__name__}; pass text")
    kind, colon, address = text.partition(":")
    if kind == "mlflow" and colon and not address:
        raise ValueError(f"track = {text!r} has no address behind the colon; pass mlflow or one")
    if kind == "mlflow":
        from mirrorflow.runs.tracking_mlflow import mlflow_tracker  # MLflow starts slowly

        return kind, mlflow_tracker(address, folder)
    if text == "tensorboard":
        return kind, _tensorboard(folder)
    raise ValueError(f"track = {text!r} is unknown; choose mlflow, mlflow:URI or tensorboard")


def _tensorboard(folder: Path) -> Maker:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise missing_tracker("tensorboard", "TensorBoard") from error

    def make(name: str, settings: dict[str, Any]) -> Tracker:
        return _TensorBoard(SummaryWriter(str(folder / "tensorboard" / name)), settings)

    return make


class _TensorBoard:
    def __init__(self, writer: Any, settings: dict[str, Any]) -> None:
        self.writer = writer
        lines = [f"| {k} | {v} |" for k, v in flatten(settings).items()]
        writer.add_text("settings", "\n".join(["| field | value |", "|---|---|", *lines]))

    def row(self, step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def end(self, outcome: str) -> None:
        self.writer.add_text("outcome", outcome)
        self.writer.close()
