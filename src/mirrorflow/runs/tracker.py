"""What a tracker of a run is: MLflow and TensorBoard are two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from mirrorflow.errors import MissingExtraError

__all__ = ["Maker", "Tracker", "missing_tracker"]


class Tracker(Protocol):
    """Takes one run down; after a kill another one of the same name goes on with the run."""

    def row(self, step: int, numbers: dict[str, float]) -> None:
        """The numbers of one row of the metrics."""

    def end(self, outcome: str) -> None:
        """How the run ended."""


Maker = Callable[[str, dict[str, Any]], Tracker]
"""`(name of the run, its settings)` to a tracker of that run."""


def missing_tracker(kind: str, library: str) -> MissingExtraError:
    """The error of a tracker whose library is not installed."""
    return MissingExtraError(f'--track {kind} needs {library}; pip install "mirrorflow[track]"')
