"""Ask: the questions of the paper, one per file, each with its prediction, rule and verdict."""

from mirrorflow.claims.finding import Finding
from mirrorflow.claims.reproduce import PRESETS, Reproduction, reproduce
from mirrorflow.claims.tasks import Record, Task, read_records, run_tasks

__all__ = [
    "PRESETS",
    "Finding",
    "Record",
    "Reproduction",
    "Task",
    "read_records",
    "reproduce",
    "run_tasks",
]
