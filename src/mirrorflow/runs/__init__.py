"""Train: one run in a folder of its own, from a configuration, resumable bit for bit."""

from mirrorflow.runs.comparison import RunComparison, compare_runs
from mirrorflow.runs.config import RunConfig
from mirrorflow.runs.folder import RunFolder
from mirrorflow.runs.state import LoadedRun, Progress
from mirrorflow.runs.train import load_run, train

__all__ = [
    "LoadedRun",
    "Progress",
    "RunComparison",
    "RunConfig",
    "RunFolder",
    "compare_runs",
    "load_run",
    "train",
]
