"""The progress bar of every long command: how far, how fast, how long still."""

from __future__ import annotations

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

__all__ = ["bar_columns"]


class _Rate(ProgressColumn):
    def __init__(self, what: str, unit: str, seconds: float) -> None:
        super().__init__()
        self.unit, self.seconds = f"{what}/{unit}", seconds

    def render(self, task: Task) -> Text:
        told = f"{self.seconds * task.speed:.4g}" if task.speed else "-"
        return Text(f"{told} {self.unit}")


def bar_columns(what: str, *, unit: str = "min") -> tuple[ProgressColumn, ...]:
    """Progress with rate (`what` a minute, or a second: "s") and time left; a task has a field
    `note`."""
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(what, unit, 60.0 if unit == "min" else 1.0),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )
