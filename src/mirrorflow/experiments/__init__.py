"""Ask: runs that resume, tasks over processes, one question of the paper per file."""

from mirrorflow.experiments.config import RunConfig
from mirrorflow.experiments.finding import Finding
from mirrorflow.experiments.folder import RunFolder
from mirrorflow.experiments.reproduce import PRESETS, Reproduction, reproduce
from mirrorflow.experiments.runner import LoadedRun, Progress, load_run, train
from mirrorflow.experiments.tasks import Record, Task, read_records, run_tasks

__all__ = [
    "PRESETS",
    "Finding",
    "LoadedRun",
    "Progress",
    "Record",
    "Reproduction",
    "RunConfig",
    "RunFolder",
    "Task",
    "load_run",
    "read_records",
    "reproduce",
    "run_tasks",
    "train",
]
