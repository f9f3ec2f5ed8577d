"""One training run: it can be killed at any moment and ends where it would have."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch

from mirrorflow.checks import as_function, as_number, as_path, shown
from mirrorflow.errors import DivergedError, NotSeparableError, RunError
from mirrorflow.files import FORMAT
from mirrorflow.nets import check_degree
from mirrorflow.runs.build import build_data, build_map, build_net, build_optimizer
from mirrorflow.runs.config import RunConfig
from mirrorflow.runs.distributed import team
from mirrorflow.runs.finish import Finish, FinishingLoop
from mirrorflow.runs.folder import ENDED, RunFolder
from mirrorflow.runs.loop import Loop
from mirrorflow.runs.state import LoadedRun, Parts, Progress
from mirrorflow.runs.tracking import Told, Tracking

__all__ = ["LoadedRun", "Progress", "load_run", "train"]


_OLD = (
    "written by an earlier version, without a fingerprint of its data and without checksums: "
    "whether these are the points that it was trained on cannot be said"
)


def load_run(path: str | Path, *, data: str | None = None) -> LoadedRun:
    """The run in a folder, finished or not, at its last checkpoint.

    Args:
        path: the folder.
        data: a data set in place of the run's own, by name or as an .npz file, on purpose: that it
            differs is a note then, no refusal.

    Raises:
        RunError: no run folder, another layout, no checkpoint yet, a file of the run that was
            damaged, or data that have changed since.
        ValueError, TypeError, DataError: see `data.load`.
    """
    folder = RunFolder(path)
    manifest = folder.manifest()
    config = folder.config()
    points, seen = build_data(config, source=None if data is None else as_source(data))
    notes = []
    if manifest.get("format") != FORMAT:
        notes.append(f"{folder.path} was {_OLD}")
    if data is None:
        folder.check_data(seen, config.data)
    elif seen != manifest.get("data", {}).get("fingerprint", seen):
        notes.append(f"{data} has other points than the run was trained on")
    saved = folder.load_checkpoint()
    if saved is None:
        begun = manifest["outcome"] == "running"
        state = (
            "has no checkpoint yet; run"
            if begun
            else (
                f"has ended ({manifest['outcome']}), but its checkpoint.pt is gone; restore it, or "
                "start the run again from the beginning:"
            )
        )
        raise RunError(f"{folder.path} {state} {folder.cure}")
    folder.check_metrics(saved)
    net = build_net(config, points)
    shapes = {name: p.shape for name, p in net.state_dict().items()}
    if data is not None and shapes != {name: p.shape for name, p in saved["net"].items()}:
        raise ValueError(
            f"data = {data!r} does not fit the net of {folder.path}: it has {points.features} "
            f"features and {points.classes or 'two'} classes; pass points of the run's kind"
        )
    folder.fit(lambda: net.load_state_dict(saved["net"]))
    rows = saved["state"]["rows"]
    outcome = manifest["outcome"]
    if outcome in ENDED and saved["state"]["step"] < manifest.get("last_step", 0):
        outcome = "running"  # an earlier checkpoint was put back
    return LoadedRun(config, outcome, net, points, build_map(config), rows, tuple(notes))


def as_source(value: object) -> str:
    """The name of a data set, or the path of an .npz file.

    Raises:
        TypeError: not text.
    """
    if not isinstance(value, str):
        raise TypeError(f"data = {shown(value)} is a {type(value).__name__}; pass text")
    return value


def train(
    config: RunConfig,
    path: str | Path,
    *,
    progress: Callable[[Progress], None] | None = None,
    checkpoint_seconds: float = 20.0,
    track: Tracking | None = None,
) -> LoadedRun:
    """Train as `config` says, in the folder `path`; a folder that holds the run is resumed.

    The metrics are measured at geometric intervals of the step (ratio √2) and at the first state
    below each threshold of `config.until`; with minibatches, not before training has paid for it
    (rows take at most 6 % of its multiplications, the last one another 8 %). Everything random
    depends on the seed and the step alone, so that a run that was killed and resumed has the
    parameters and the metrics, bit for bit, of one that was not.

    Under `torchrun` (or in a running `torch.distributed`) with `config.parallel` every process
    takes its share of each minibatch, and the first one measures and writes. A run goes on under
    another number of processes, then up to rounding.

    Args:
        config: the run.
        path: its folder, made if need be.
        progress: called after steps, at most ten times a second.
        checkpoint_seconds: wall time between checkpoints; no influence on the result.
        track: trackers that get a copy of settings, rows and outcome (see `track.tracking`).

    Returns:
        The finished run; `outcome` is "reached" (all thresholds) or "steps" (the training set
        is separated, the budget of steps is spent).

    Raises:
        NotSeparableError: the budget is spent before the thresholds are reached and some point is
            still misclassified; the message has the best margin reached, `state` the run.
        DivergedError: the loss is not finite; the folder keeps the last checkpoint.
        RunError: the folder cannot be used, one of its files was damaged, or the data have changed
            since the run began.
        ValueError, TypeError: an argument of another kind; data, net, map or finish that the
            configuration names are not to be had.
    """
    if not isinstance(config, RunConfig):
        raise TypeError(f"config is a {type(config).__name__}; pass a RunConfig")
    path = as_path(path, "path")
    if progress is not None:
        as_function(progress, "progress", "a Progress")
    checkpoint_seconds = as_number(checkpoint_seconds, "checkpoint_seconds", least=0.0)
    if track is not None and not isinstance(track, Tracking):
        raise TypeError(f"track = {shown(track)} is a {type(track).__name__}; pass a Tracking")
    config = config.placed()
    if config.finish_options:
        Finish.of(config)  # a bad option is refused before a folder is made
    with team(config) as crew:
        data, seen = build_data(config, crew.device)
        net = build_net(config, data).to(crew.device)
        mirror_map = build_map(config)
        check_degree(net, data.x[:64] if data.x.ndim == 2 else data.x[:8])
        model, trained = crew.spread(net)
        optimizer = build_optimizer(config, trained, mirror_map, len(data.x))
        folder = RunFolder(path, writes=crew.first)
        crew.agree(lambda: folder.check(config, seen))  # before anything is written
        threads = torch.get_num_threads()
        torch.set_num_threads(config.threads)
        try:
            with folder.lock():
                crew.agree(lambda: folder.open(config, seen))
                parts = Parts(net, model, trained, optimizer, data, mirror_map)
                kind = FinishingLoop if config.finish_options else Loop
                loop = kind(config, folder, parts, crew, progress)
                if track is not None and crew.first:
                    told = track.run(
                        folder.path.name, config.to_dict(), folder.path / "tracked.json"
                    )
                    run = _told(loop, told, checkpoint_seconds)
                else:
                    run = loop.run(checkpoint_seconds)
                old = crew.agree(folder.manifest).get("format") != FORMAT
                notes = (f"{folder.path} was {_OLD}",) if old else ()
                return dataclasses.replace(run, notes=notes)
        finally:
            torch.set_num_threads(threads)


def _told(loop: Loop, told: Told, checkpoint_seconds: float) -> LoadedRun:
    loop.on_row = told.row
    try:
        run = loop.run(checkpoint_seconds)
    except NotSeparableError:
        told.end("not_separated")
        raise
    except DivergedError:
        told.end("diverged")
        raise
    told.end(run.outcome)
    return run
