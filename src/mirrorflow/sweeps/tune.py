"""Beyond the paper: which map suits the data? A search over families of maps and their parameter.

Three objectives, all to be large, measured at the end of a run, that is at the last threshold of
the loss: test accuracy, sparsity of the weights `1 − (Σ|w|)²/(N Σw²)`, and speed, the decades that
the loss fell in 1000 steps: `−log10 ℓ` is the smoothed margin before normalisation, up to `ln 10`.
None of them alone chooses a map, so the answer is a Pareto front.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirrorflow.checks import as_function, as_integer, as_path, shown
from mirrorflow.errors import MissingExtraError, RunError
from mirrorflow.files import remove_temporaries
from mirrorflow.processes import local_processes, this_process
from mirrorflow.runs.config import RunConfig
from mirrorflow.runs.folder import check_claim, claim, locked
from mirrorflow.runs.tables import write_rows
from mirrorflow.sweeps import Member, MemberRecord, sweep
from mirrorflow.sweeps.run import Engine

__all__ = ["FAMILIES", "NAMES", "OBJECTIVES", "Tuned", "front", "tune"]

FAMILIES: dict[str, tuple[str, float, float, bool]] = {
    "power": ("power(p={:.4g})", 1.1, 4.0, False),
    "hyperbolic_entropy": ("hyperbolic_entropy(beta={:.4g})", 1e-4, 1.0, True),
    "cosh": ("cosh(scale={:.4g})", 0.05, 1.0, True),
}
"""Map with a place for its parameter, the parameter's range, and whether it is searched in log."""

NAMES = ("study.db", "study.db-journal", "tune.parquet", "trials")
"""What stands in the folder of a search."""

OBJECTIVES = ("test_accuracy", "sparsity", "speed")


@dataclass(frozen=True)
class Tuned:
    """A search that has ended.

    Attributes:
        folder: holds `tune.parquet`, the study `study.db` and the runs.
        rows: a dictionary a trial: `trial`, `family`, `parameter`, `mirror_map`, the objectives
            (means over seeds), `reached` (the last threshold, with every seed), `front` (on the
            Pareto front of the trials that reached it), `error`, and steps, loss and seconds.
    """

    folder: Path
    rows: list[dict[str, Any]]

    @property
    def table(self) -> Path:
        """The table of trials."""
        return self.folder / "tune.parquet"

    @property
    def front(self) -> list[dict[str, Any]]:
        """The trials on the front, from the most accurate on."""
        chosen = [row for row in self.rows if row["front"]]
        return sorted(chosen, key=lambda row: [-row[name] for name in OBJECTIVES])


def tune(
    base: RunConfig,
    folder: Path,
    *,
    trials: int = 30,
    families: Sequence[str] = tuple(FAMILIES),
    seeds: int = 1,
    seed: int = 0,
    workers: int = 1,
    engine: Engine | None = None,
    progress: Callable[[int, int, dict[str, Any] | None], None] | None = None,
) -> Tuned:
    """Search the map of `base` for the front of accuracy, sparsity and speed (Optuna, TPE).

    Killed and run again it goes on; what is suggested depends on the seed and on the trials that
    ended before, so that a resumed search is the one that was never interrupted. `trials` may grow.

    Args:
        base: the run; its map is replaced. With `until` trials are compared at equal loss.
        folder: made if need be.
        trials: in all, those of earlier calls included.
        families: keys of `FAMILIES`.
        seeds: runs of each trial, with consecutive seeds from that of `base` on.
        seed: of the search.
        workers: trials at a time; they are suggested and judged in batches of so many.
        engine: see `sweep`; None is this process for one worker, else local processes.
        progress: called with (done, trials, row of the trial that just ended or None).

    Returns:
        The `Tuned`, with the front marked.

    Raises:
        MissingExtraError: Optuna is not installed.
        ValueError: an unknown family, or numbers below 1.
        RunError: the folder holds another search or cannot be used.
    """
    folder = as_path(folder, "folder")
    if not isinstance(base, RunConfig):
        raise TypeError(f"base is a {type(base).__name__}; pass a RunConfig")
    trials, seeds, workers = (
        as_integer(value, name, least=1)
        for name, value in (("trials", trials), ("seeds", seeds), ("workers", workers))
    )
    seed = as_integer(seed, "seed", least=0, most=2**31 - 1)
    families = _families(base, families)
    if engine is not None:
        as_function(engine, "engine", "calls and workers")
    if progress is not None:
        as_function(progress, "progress", "(done, trials, row)")
    base = base.placed()
    optuna = _optuna()
    check_claim(folder, "tune", NAMES)
    runner = engine or (this_process if workers == 1 else local_processes)
    with locked(folder):
        claim(folder, "tune", NAMES)
        remove_temporaries(folder)
        study = _study(optuna, folder, base, families, seeds, seed)
        rows = _rows(study, folder, base, seeds, runner, workers)
        while True:
            ended = len(rows)
            for row in rows:
                _tell(study, row)
            write_rows(folder / "tune.parquet", rows)
            if progress is not None:
                progress(ended, trials, rows[-1] if rows else None)
            count = min(workers, trials - ended)
            if count <= 0:
                break
            # A search that was killed left trials that are open: they come first again.
            started = len(study.get_trials(deepcopy=False))
            for _ in range(started, ended + count):
                study.ask()
            for number in range(ended, ended + count):
                _suggest(optuna, study, number, families, seed)
            rows = _rows(study, folder, base, seeds, runner, workers)
    return Tuned(folder, rows)


def front(points: Sequence[Sequence[float]]) -> list[bool]:
    """Which points no other point dominates: is at least as large everywhere and larger somewhere.

    Args:
        points: of equal length; all coordinates are to be large.
    """
    return [
        not any(
            all(b >= a for a, b in zip(point, other, strict=True)) and tuple(other) != tuple(point)
            for other in points
        )
        for point in points
    ]


def _families(base: RunConfig, families: Sequence[str]) -> tuple[str, ...]:
    if isinstance(families, str) or not isinstance(families, Sequence):
        raise TypeError(f"families = {shown(families)}; pass a list of some of {list(FAMILIES)}")
    unknown = [name for name in families if not isinstance(name, str) or name not in FAMILIES]
    if unknown or not families:
        raise ValueError(f"families = {shown(list(families))}; choose some of {list(FAMILIES)}")
    if base.optimizer in ("sgd", "adamw"):
        raise ValueError(
            f"optimizer = {base.optimizer!r} does not use the map; choose mirror_descent or "
            "mirror_adamw"
        )
    return tuple(families)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError(
            'the search needs Optuna; pip install "mirrorflow[sweep]"'
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _study(
    optuna: Any, folder: Path, base: RunConfig, families: Sequence[str], seeds: int, seed: int
) -> Any:
    """The study in `folder/study.db`, made for exactly this search."""
    path = folder / "study.db"
    try:
        study = optuna.create_study(
            study_name="tune",
            storage=f"sqlite:///{path.absolute()}",
            directions=["maximize"] * len(OBJECTIVES),
            load_if_exists=True,
        )
        attributes = study.user_attrs
        study.get_trials(deepcopy=False)
    except Exception as error:  # whatever the database makes of a file that is not its own
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RunError(
            f"{path} cannot be read ({type(error).__name__}: {first}); restore it, or choose "
            "another folder"
        ) from error
    fields = {**base.to_dict(), "mirror_map": None}
    wanted = {"base": fields, "families": list(families), "seeds": seeds, "seed": seed}
    told = json.dumps(wanted, sort_keys=True)
    if attributes.get("search", told) != told:
        raise RunError(
            f"{folder} holds a search of another run, other families or another seed; choose "
            "another folder, or the same search to go on"
        )
    study.set_user_attr("search", told)
    return study


def _suggest(optuna: Any, study: Any, number: int, families: Sequence[str], seed: int) -> None:
    """Give a trial its map; a trial that has one keeps it."""
    # Its draws depend on the number of the trial, not on how many this process has made.
    study.sampler = optuna.samplers.TPESampler(seed=(seed << 20) % 2**31 + number)
    trial = optuna.trial.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)
    family = trial.suggest_categorical("family", list(families))
    _, low, high, log = FAMILIES[family]
    trial.suggest_float(family, low, high, log=log)


def _rows(
    study: Any, folder: Path, base: RunConfig, seeds: int, engine: Engine, workers: int
) -> list[dict[str, Any]]:
    """Run what is not run yet of the trials that have a map; a row for each of them."""
    chosen = [t.params for t in study.get_trials(deepcopy=False) if _complete(t.params)]
    members = [_member(base, n, p, s) for n, p in enumerate(chosen) for s in range(seeds)]
    if not members:
        return []
    records = sweep(members, folder / "trials", workers=workers, engine=engine).records
    rows = [
        _row(number, params, records[number * seeds : (number + 1) * seeds])
        for number, params in enumerate(chosen)
    ]
    reached = [row for row in rows if row["reached"]]
    best = front([[row[name] for name in OBJECTIVES] for row in reached])
    for row, on_front in zip(reached, best, strict=True):
        row["front"] = on_front
    return rows


def _complete(params: dict[str, Any]) -> bool:
    return "family" in params and params["family"] in params


def _member(base: RunConfig, number: int, params: dict[str, Any], offset: int) -> Member:
    text = FAMILIES[params["family"]][0].format(params[params["family"]])  # four digits are plenty
    settings = {**base.to_dict(), "mirror_map": text, "seed": base.seed + offset}
    return Member(f"trial-{number:04d}-s{settings['seed']}", f"trial {number}", settings)


def _row(number: int, params: dict[str, Any], records: Sequence[MemberRecord]) -> dict[str, Any]:
    ends = [record.rows[-1] for record in records]
    failed = [record for record in records if record.failed]
    row = {
        "trial": number,
        "family": params["family"],
        "parameter": params[params["family"]],
        "mirror_map": ends[0]["mirror_map"],
        **dict.fromkeys((*OBJECTIVES, "log10_loss", "steps"), math.nan),
        "seconds": sum(end["seconds"] for end in ends),
        "seeds": len(ends),
        "reached": False,
        "front": False,
        "error": failed[0].error if failed else "",
    }
    if failed:
        return row
    found = [_objectives(end) for end in ends]
    for name, values in zip(OBJECTIVES, zip(*found, strict=True), strict=True):
        row[name] = sum(values) / len(values)
    row["log10_loss"] = sum(end["log10_loss"] for end in ends) / len(ends)
    row["steps"] = sum(end["step"] for end in ends) / len(ends)
    asked = "reached" if json.loads(ends[0]["until"]) else "steps"
    row["reached"] = all(record.outcome == asked for record in records)
    return row


def _objectives(end: dict[str, Any]) -> tuple[float, float, float]:
    if math.isnan(end["test_accuracy"]):
        raise ValueError(f"{end['data']} has no test set; the search needs one")
    speed = -1000 * end["log10_loss"] / end["step"]
    return end["test_accuracy"], 1 - end["weight_participation"], speed


def _tell(study: Any, row: dict[str, Any]) -> None:
    trial = study.get_trials(deepcopy=False)[row["trial"]]
    if trial.state.is_finished():
        return
    # One that did not get there counts as the worst there is, so that the search leaves its
    # neighbourhood: told as failed, it would be forgotten, and suggested again and again.
    values = [row[name] if row["reached"] else 0.0 for name in OBJECTIVES]
    study.tell(row["trial"], values)
