"""The main job: the paper's three claims on synthetic data and on digits; two of them on images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirrorflow.checks import as_choice, as_function, as_integer, as_path
from mirrorflow.claims import (
    digits,
    images,
    interpolation,
    linear_nets,
    networks,
    one_limit,
    p_descent,
    slowness,
    whose_margin,
)
from mirrorflow.claims.finding import Finding
from mirrorflow.claims.tasks import Record, Task, read_records, run_tasks
from mirrorflow.files import write_json
from mirrorflow.runs.folder import claim, surroundings

__all__ = ["NAMES", "PRESETS", "Preset", "Reproduction", "reproduce", "tasks"]


NAMES = ("records", "runs", "flows", "findings.json", "report.html", "figures")
"""What stands in the folder of a reproduction."""


@dataclass(frozen=True)
class Preset:
    """How much of it: seeds for the flows and for digits, thresholds of log10 loss, sizes.

    With `images` there are only the linear nets on these data sets (see `images.SETS`), with
    `powers` only the table of p-descent on these (see `p_descent.SETS`), with `margins` only that
    of optimizers and norms (see `whose_margin.SETS`), with `other` only the experiments of that
    claim ("interpolation", "linear-nets").
    """

    seeds: int
    digit_seeds: int
    thresholds: tuple[float, ...]
    steps: int
    units: int
    points: int
    images: tuple[str, ...] = ()
    powers: tuple[str, ...] = ()
    margins: tuple[str, ...] = ()
    other: str = ""


_OTHERS: dict[str, Any] = {"interpolation": interpolation, "linear-nets": linear_nets}


PRESETS = {
    "quick": Preset(
        seeds=1, digit_seeds=1, thresholds=(-2, -10, -100), steps=30_000, units=20, points=8
    ),
    "full": Preset(
        seeds=3, digit_seeds=3, thresholds=(-2, -10, -100, -1000), steps=60_000, units=40, points=12
    ),
    "images": Preset(
        seeds=1,
        digit_seeds=0,
        thresholds=images.THRESHOLDS,
        steps=0,
        units=0,
        points=0,
        images=tuple(images.SETS),
    ),
    "powers": Preset(
        seeds=1,
        digit_seeds=0,
        thresholds=(),
        steps=0,
        units=0,
        points=0,
        powers=p_descent.SETS,
    ),
    **{
        name: Preset(seeds=1, digit_seeds=0, thresholds=(), steps=0, units=0, points=0, other=name)
        for name in _OTHERS
    },
    "whose-margin": Preset(
        seeds=3,
        digit_seeds=0,
        thresholds=(),
        steps=0,
        units=0,
        points=0,
        margins=whose_margin.SETS,
    ),
}


@dataclass(frozen=True)
class Reproduction:
    """What `reproduce` found: the findings, and the message of each task that failed."""

    folder: Path
    findings: list[Finding]
    failed: dict[str, str]


def reproduce(
    folder: Path,
    *,
    preset: str = "quick",
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Reproduction:
    """Run every experiment of the preset that `folder` does not hold yet, and judge the findings.

    Args:
        folder: made if need be; holds `records/`, `runs/`, `flows/` and `findings.json`.
        preset: a key of `PRESETS`.
        seed: the first seed; the presets use consecutive ones.
        workers: processes; None is one a core.
        progress: called with (done, total, name of a finished task).

    Raises:
        ValueError, TypeError: an unknown preset, a negative seed, an argument of another kind.
        RunError: the folder cannot be used, holds something else, or a record was damaged.
        DataError: the images of the preset are not there.
    """
    folder = as_path(folder, "folder")
    preset = as_choice(preset, "preset", list(PRESETS))
    seed = as_integer(seed, "seed", least=0, most=2**31 - 1)
    if workers is not None:
        workers = as_integer(workers, "workers", least=1)
    if progress is not None:
        as_function(progress, "progress", "(done, total, name)")
    chosen = PRESETS[preset]
    images.check(chosen.images)
    p_descent.check(chosen.powers)
    whose_margin.check(chosen.margins)
    claim(folder, "reproduce", NAMES)
    began = surroundings(seed)
    failed = run_tasks(tasks(chosen, seed), folder, workers=workers, progress=progress)
    records = read_records(folder)
    found = _findings(records, chosen, seed)
    found.sort(key=lambda finding: finding.claim)
    summary: dict[str, Any] = {
        "preset": preset,
        "failed": failed,
        "findings": [finding.to_dict() for finding in found],
        "surroundings": began,
    }
    write_json(folder / "findings.json", summary)
    return Reproduction(folder, found, failed)


def _findings(records: dict[str, Record], preset: Preset, seed: int) -> list[Finding]:
    if preset.images:
        return images.findings(records, preset.images, preset.seeds, seed)
    if preset.powers:
        return p_descent.findings(records, preset.powers, preset.seeds, seed)
    if preset.margins:
        return whose_margin.findings(records, preset.margins, preset.seeds, seed)
    if preset.other:
        judge: Callable[..., list[Finding]] = _OTHERS[preset.other].findings
        return judge(records, preset.seeds, seed)
    return [
        *one_limit.findings(records, preset.seeds, seed),
        *slowness.findings(records),
        *networks.findings(records, preset.seeds, seed),
        *digits.findings(records, list(preset.thresholds), preset.digit_seeds, seed),
    ]


def tasks(preset: Preset, seed: int) -> list[Task]:
    """Every piece of a preset, from the seed on."""
    if preset.images:
        return images.tasks(preset.images, preset.seeds, seed, preset.thresholds)
    if preset.powers:
        return p_descent.tasks(preset.powers, preset.seeds, seed)
    if preset.margins:
        return whose_margin.tasks(preset.margins, preset.seeds, seed)
    if preset.other:
        plan: Callable[..., list[Task]] = _OTHERS[preset.other].tasks
        return plan(preset.seeds, seed)
    # The long ones first, so that no core waits at the end.
    return [
        *digits.tasks(preset.digit_seeds, seed, list(preset.thresholds), preset.steps)[::-1],
        *networks.tasks(preset.seeds, seed, preset.units, preset.points),
        *one_limit.tasks(preset.seeds, seed),
        *slowness.tasks(),
    ]
