"""One member at work, in whatever process: an ordinary run, and what it leaves in the table."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirrorflow.errors import DivergedError, NotSeparableError
from mirrorflow.runs.config import RunConfig
from mirrorflow.runs.folder import RunFolder, surroundings
from mirrorflow.runs.train import train

__all__ = ["FAILED", "Result", "at_thresholds", "left_behind", "run_member"]

FAILED = ("not_separated", "diverged", "failed", "killed")
"""Outcomes of members that `--retry` runs again."""


@dataclass(frozen=True)
class Result:
    """How a member ended: `outcome` is that of the run ("reached", "steps", "not_separated"), or
    "diverged", "failed" (an error, such as a setting that is not allowed) or "killed"."""

    outcome: str
    error: str = ""
    about: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)


def run_member(folder: str, settings: dict[str, Any]) -> Result:
    """Train, or go on, in `folder`; whatever goes wrong is a result too."""
    begun = time.monotonic()
    outcome, error = "failed", ""
    try:
        outcome = train(RunConfig.from_dict(settings), folder).outcome
    except NotSeparableError as caught:
        outcome, error = "not_separated", str(caught)
    except DivergedError as caught:
        outcome, error = "diverged", str(caught)
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}"
    about, rows = left_behind(Path(folder))
    about.setdefault("seconds", round(time.monotonic() - begun, 3))
    return Result(outcome, error, about, rows)


def left_behind(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the folder says of machine, versions and time, and its metrics."""
    folder = RunFolder(path)
    try:
        manifest = folder.manifest()
        rows = folder.metrics() if folder.metrics_path.exists() else []
    except Exception:  # of a member that failed; its error says why
        manifest, rows = surroundings(0), []
    host = manifest["host"]
    about = {k: manifest[k] for k in ("mirrorflow", "torch", "python", "git", "started")}
    about["host"] = f"{host['system']} {host['machine']}, {host['cores']} cores"
    for name in ("seconds", "evaluation_seconds"):
        if name in manifest:
            about[name] = manifest[name]
    fingerprint = manifest.get("data", {}).get("fingerprint")
    if fingerprint is not None:
        about["data_fingerprint"] = fingerprint
    return about, rows


def at_thresholds(rows: list[dict[str, Any]], until: list[float]) -> list[dict[str, Any]]:
    """The first row below each threshold, then the last row (`threshold` NaN, `last` true)."""
    found = []
    for level in until:
        # A step can pass several thresholds at once: the row carries the lowest.
        row = next((r for r in rows if r["threshold"] <= level), None)
        if row is not None:
            found.append({**row, "threshold": level, "last": False})
    return [*found, {**(rows[-1] if rows else {}), "threshold": math.nan, "last": True}]
