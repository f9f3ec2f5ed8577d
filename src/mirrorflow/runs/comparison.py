"""Runs side by side: what differs in their settings, and their metrics at equal loss."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrorflow.checks import as_number, as_path, shown
from mirrorflow.errors import RunError
from mirrorflow.runs.config import unknown_keys
from mirrorflow.runs.folder import RunFolder
from mirrorflow.tabular import aligned, data_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RunComparison", "compare_runs"]

# No margins: those of different maps are measured in different norms.
_METRICS = ("test_accuracy", "weight_participation", "weights_above", "active_share")


@dataclass(frozen=True)
class RunComparison:
    """Runs side by side; printed, two tables.

    Attributes:
        names: of the runs.
        outcomes: how each ended, or "running".
        settings: every setting in which they differ, with its value in each run (None where a run
            does not have it); options by their full name, such as "net_options.hidden".
        metrics: names of the metrics that are compared.
        levels: of log10 loss, falling.
        rows: one for each run and level: `run`, `level`, `step`, `log10_loss` and the metrics at
            the first measured state with a loss at or below the level; None where the run has not
            come so far, or has no such metric.
        metric_rows: all rows of the metrics of each run, by its name.
        notes: what to know before comparing, such as data that differ.
    """

    names: tuple[str, ...]
    outcomes: tuple[str, ...]
    settings: dict[str, tuple[Any, ...]]
    metrics: tuple[str, ...]
    levels: tuple[float, ...]
    rows: tuple[dict[str, Any], ...]
    metric_rows: dict[str, list[dict[str, Any]]]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows of the metrics, as JSON can hold it."""
        return {
            "runs": list(self.names),
            "outcomes": list(self.outcomes),
            "settings": {key: list(values) for key, values in self.settings.items()},
            "levels": list(self.levels),
            "at_equal_loss": [dict(row) for row in self.rows],
            "notes": list(self.notes),
        }

    def to_pandas(self) -> pd.DataFrame:
        """The metrics at equal loss, one row for each run and level.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return data_frame(self.rows)

    def __str__(self) -> str:
        lines = [[key, *(shown(v, limit=24) for v in vs)] for key, vs in self.settings.items()]
        table = aligned(["setting", *self.names], lines) if lines else "the settings are the same"
        header = ["loss", "run", "step", *self.metrics]
        cells = [
            [f"1e{row['level']:g}", row["run"], _cell(row["step"])]
            + [_cell(row[name]) for name in self.metrics]
            for row in self.rows
        ]
        parts = [table, aligned(header, cells, left=2), *(f"note: {n}" for n in self.notes)]
        return "\n\n".join(parts)


def compare_runs(
    runs: Sequence[str | os.PathLike[str]],
    *,
    levels: Sequence[float] | None = None,
    metrics: Sequence[str] | None = None,
) -> RunComparison:
    """Read the folders of several runs and put them side by side, at equal loss.

    Maps train at different speeds, so that equal steps compare nothing. A run is read at the first
    measured state whose loss is at or below a level.

    Args:
        runs: folders of `train`, at least two.
        levels: of log10 loss; by default the thresholds that all runs have reached, or else the
            lowest loss that all have reached.
        metrics: columns of the metrics; by default test accuracy and sparsity, as far as the runs
            have them. Margins of different maps are measured in different norms.

    Returns:
        A `RunComparison`; print it.

    Raises:
        TypeError, ValueError: fewer than two folders, one twice, levels that are no numbers below
            0, or a metric that no run has; the message names those there are.
        RunError: a folder that is no run, or damaged.
    """
    paths, asked, names = _paths(runs), _as_levels(levels), _as_names(metrics)
    folders = {name: RunFolder(path, writes=False) for name, path in _names(paths).items()}
    manifests = [folder.manifest() for folder in folders.values()]
    configs = [folder.config().to_dict() for folder in folders.values()]
    tables = {name: folder.metrics() for name, folder in folders.items()}
    empty = [name for name, table in tables.items() if not table]
    if empty:
        raise RunError(
            f"the run {empty[0]} has no measurement yet; let it train on, or leave it out"
        )
    chosen = asked or _common_levels(list(tables.values()))
    known = list(dict.fromkeys(key for rows in tables.values() for row in rows for key in row))
    if names is not None and (problem := unknown_keys(names, known)):
        raise ValueError(f"metrics: {problem}")
    measured = names or [name for name in _METRICS if name in known]
    rows = [_at(name, table, level, measured) for level in chosen for name, table in tables.items()]
    prints = {str((m.get("data") or {}).get("fingerprint")) for m in manifests}
    return RunComparison(
        names=tuple(folders),
        outcomes=tuple(str(manifest["outcome"]) for manifest in manifests),
        settings=_differing(configs),
        metrics=tuple(measured),
        levels=tuple(chosen),
        rows=tuple(rows),
        metric_rows=tables,
        notes=("the runs saw different data",) if len(prints) > 1 else (),
    )


def _paths(runs: Any) -> list[Path]:
    if not isinstance(runs, Sequence) or isinstance(runs, str | bytes):
        raise TypeError(f"runs = {shown(runs)} is a {type(runs).__name__}; pass a list of folders")
    paths = [as_path(run, "runs") for run in runs]
    if len(paths) < 2:
        raise ValueError(f"runs has {len(paths)} folder; pass at least two to compare")
    whole = [os.path.abspath(path) for path in paths]
    twice = [str(path) for k, path in enumerate(paths) if whole[k] in whole[:k]]
    if twice:
        raise ValueError(f"runs names {twice[0]!r} twice; pass each folder once")
    return paths


def _names(paths: list[Path]) -> dict[str, Path]:
    """The last part of each path as its name, or all of it where two are equal."""
    short = [Path(os.path.abspath(path)).name for path in paths]
    names = short if len(set(short)) == len(short) else [str(path) for path in paths]
    return dict(zip(names, paths, strict=True))


def _differing(configs: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    flat = [_flat(config) for config in configs]
    keys = list(dict.fromkeys(key for each in flat for key in each))
    values = {key: tuple(each.get(key) for each in flat) for key in keys}
    return {key: each for key, each in values.items() if any(v != each[0] for v in each)}


def _flat(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{before}{key}.")
        else:
            out[before + key] = list(value) if isinstance(value, tuple) else value
    return out


def _as_levels(levels: Any) -> list[float] | None:
    if levels is None:
        return None
    if not isinstance(levels, Sequence) or isinstance(levels, str | bytes) or not levels:
        raise TypeError(
            f"levels = {shown(levels)} is not a list of log10 losses; pass such as [-2, -10]"
        )
    return sorted((as_number(v, "levels", most=0) for v in levels), reverse=True)


def _as_names(metrics: Any) -> list[str] | None:
    if metrics is None:
        return None
    if not isinstance(metrics, Sequence) or isinstance(metrics, str | bytes) or not metrics:
        raise TypeError(f"metrics = {shown(metrics)} is not a list of names of columns")
    return list(metrics)


def _common_levels(tables: list[list[dict[str, Any]]]) -> list[float]:
    common = set.intersection(*(_thresholds(rows) for rows in tables))
    return sorted(common, reverse=True) or [max(_lowest(rows) for rows in tables)]


def _lowest(rows: list[dict[str, Any]]) -> float:
    return min((float(row["log10_loss"]) for row in rows), default=math.inf)


def _thresholds(rows: list[dict[str, Any]]) -> set[float]:
    values = [row.get("threshold") for row in rows]
    return {float(v) for v in values if v is not None and not math.isnan(v)}


def _at(name: str, rows: list[dict[str, Any]], level: float, metrics: list[str]) -> dict[str, Any]:
    row = next((row for row in rows if row["log10_loss"] <= level), {})
    values = {key: _value(row.get(key)) for key in ("step", "log10_loss", *metrics)}
    return {"run": name, "level": level, **values}


def _value(value: Any) -> Any:
    """NaN is what was not measured."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
