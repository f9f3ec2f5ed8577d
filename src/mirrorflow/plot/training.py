"""Training runs: a metric against the step, or against the loss, where runs can be compared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mirrorflow.arrays import Array
from mirrorflow.checks import as_choice, as_path, shown
from mirrorflow.plot.theme import DASHES, new_axes, paint, styled
from mirrorflow.runs import LoadedRun, RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["against_loss", "mark_loss", "named_runs", "runs"]

_LABELS = {
    "log10_loss": "log₁₀ loss",
    "train_accuracy": "training accuracy",
    "test_accuracy": "test accuracy",
    "q_margin": "Q-margin",
    "weight_participation": "participation ratio of the weights",
    "active_share": "share of active units a point",
    "weights_above": "share of weights above 1e-2 of the largest",
}
_HIGH = 0.1  # of −log10 loss: runs are compared below this
_DEEP = 10.0  # from there on the axis of the loss is logarithmic


@styled
def runs(
    trained: Any,
    metric: str = "test_accuracy",
    *,
    against: str = "loss",
    ax: Axes | None = None,
) -> Axes:
    """One metric of training runs against the step, or against the loss.

    Maps train at different speeds, so runs are compared at equal loss. There only new lows of the
    loss are drawn, since it may oscillate, and losses below 0.8.

    Args:
        trained: the folder of a run (path or `RunFolder`), a `LoadedRun`, its rows, or several by
            the name to show.
        metric: a column of the metrics, such as "test_accuracy" or "weight_participation".
        against: "loss" or "step".
        ax: where to draw; None makes a figure.

    Returns:
        The Axes.

    Raises:
        TypeError, ValueError: something else than runs, or a metric that a run does not have; the
            message names those it has.
        RunError: a folder that is no run, or damaged.
        MissingExtraError: matplotlib is not installed.
    """
    tables = named_runs(trained)
    against = as_choice(against, "against", ("loss", "step"))
    columns = {name: _column(rows, metric, name) for name, rows in tables.items()}
    ax = new_axes(ax)
    deepest = 0.0
    for k, (name, rows) in enumerate(tables.items()):
        x, drawn = against_loss(rows) if against == "loss" else _steps(rows)
        deepest = max(deepest, float(x[drawn].max(initial=0.0)))
        ax.plot(
            x[drawn],
            columns[name][drawn],
            DASHES[k % len(DASHES)],
            color=paint(ax, k),
            marker="." if drawn.sum() < 30 else None,
            label=name,
        )
    if against == "step":
        ax.set_xscale("symlog", linthresh=1.0)
        ax.set_xlim(0, None)
        ax.set_xlabel("step")
    else:
        mark_loss(ax, deepest)
    ax.set_ylabel(_LABELS.get(metric, metric))
    if len(tables) > 1:
        ax.legend()
    return ax


def mark_loss(ax: Axes, deepest: float) -> None:
    """Name the axis of `−log₁₀ loss`; it is logarithmic where some loss is below 1e-10."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if deepest > _DEEP:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if deepest < 1000 else (1.0,)))
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _loss(value)))
    ax.set_xlabel("loss")


def _loss(digits: float) -> str:
    return f"{10.0**-digits:.1g}" if digits < 1 else f"$10^{{{-digits:g}}}$"


def against_loss(rows: Sequence[Mapping[str, Any]]) -> tuple[Array, Any]:
    """`−log₁₀ loss` of the rows, and which of them are new lows."""
    digits = np.array([-float(row["log10_loss"]) for row in rows])
    before = np.concatenate([[_HIGH], np.maximum.accumulate(np.maximum(digits, _HIGH))[:-1]])
    return digits, digits > before


def _steps(rows: Sequence[Mapping[str, Any]]) -> tuple[Array, Any]:
    steps = np.array([float(row["step"]) for row in rows])
    return steps, np.isfinite(steps)


def _column(rows: Sequence[Mapping[str, Any]], metric: Any, name: str) -> Array:
    known = [key for key, value in rows[-1].items() if isinstance(value, int | float)]
    if not isinstance(metric, str) or metric not in known:
        raise ValueError(f"metric = {shown(metric)} is not a column of {name!r}; it has {known}")
    values = [row.get(metric) for row in rows]
    return np.array([np.nan if v is None else float(v) for v in values])


def named_runs(trained: Any) -> dict[str, list[dict[str, Any]]]:
    """The rows of runs by the name to show.

    Raises:
        TypeError: something else than runs.
        ValueError: none at all, or rows without step and loss.
        RunError: a folder that is no run, or damaged.
    """
    if not isinstance(trained, Mapping):
        name = str(getattr(trained, "path", trained)) if not _is_rows(trained) else "the run"
        trained = {"the run" if isinstance(trained, LoadedRun) else name: trained}
    if not trained:
        raise ValueError("trained is empty; pass at least one run")
    return {str(name): _rows(each, str(name)) for name, each in trained.items()}


def _is_rows(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _rows(each: Any, name: str) -> list[dict[str, Any]]:
    if isinstance(each, LoadedRun):
        rows: Any = each.rows
    elif isinstance(each, RunFolder):
        rows = each.metrics()
    elif isinstance(each, str | os.PathLike):
        folder = RunFolder(as_path(each, "trained"), writes=False)
        folder.manifest()  # says what the folder is if it is no run
        rows = folder.metrics()
    elif _is_rows(each):
        rows = list(each)
    else:
        raise TypeError(
            f"trained: {name!r} is a {type(each).__name__}; pass the folder of a run, a LoadedRun "
            "or its rows"
        )
    good = all(isinstance(row, Mapping) and {"step", "log10_loss"} <= set(row) for row in rows)
    if not rows or not good:
        raise ValueError(
            f"trained: {name!r} has no rows with step and log10_loss; pass the metrics of a run"
        )
    return [dict(row) for row in rows]
