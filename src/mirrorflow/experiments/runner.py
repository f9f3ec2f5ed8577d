"""One training run: it can be killed at any moment and ends where it would have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from mirrorflow.errors import DivergedError, NotSeparableError, RunError
from mirrorflow.experiments.build import build_data, build_map, build_net, build_optimizer
from mirrorflow.experiments.config import RunConfig
from mirrorflow.experiments.distributed import team
from mirrorflow.experiments.finish import Finish, FinishingLoop
from mirrorflow.experiments.folder import RunFolder
from mirrorflow.experiments.loop import Loop
from mirrorflow.experiments.state import LoadedRun, Parts, Progress
from mirrorflow.experiments.track import Told, Tracking
from mirrorflow.nets import check_degree

__all__ = ["LoadedRun", "Progress", "load_run", "train"]


def load_run(path: str | Path) -> LoadedRun:
    """The run in a folder, finished or not, at its last checkpoint.

    Raises:
        RunError: no run folder, another layout, no checkpoint yet, or a corrupt one.
    """
    folder = RunFolder(path)
    manifest = folder.manifest()
    saved = folder.load_checkpoint()
    if saved is None:
        raise RunError(f"{path} has no checkpoint yet; run it first (mirrorflow train)")
    config = folder.config()
    data = build_data(config)
    net = build_net(config, data)
    net.load_state_dict(saved["net"])
    rows = saved["state"]["rows"]
    return LoadedRun(config, manifest["outcome"], net, data, build_map(config), rows)


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
        RunError: the folder cannot be used.
        ValueError: data, net, map or finish that the configuration names are not to be had.
    """
    if config.finish_options:
        Finish.of(config)  # a bad option is told before a folder is made
    with team(config) as crew:
        data = build_data(config, crew.device)
        net = build_net(config, data).to(crew.device)
        mirror_map = build_map(config)
        check_degree(net, data.x[:64] if data.x.ndim == 2 else data.x[:8])
        model, trained = crew.spread(net)
        optimizer = build_optimizer(config, trained, mirror_map, len(data.x))
        folder = RunFolder(path, writes=crew.first)
        crew.agree(lambda: folder.open(config))
        threads = torch.get_num_threads()
        torch.set_num_threads(config.threads)
        try:
            with folder.lock():
                parts = Parts(net, model, trained, optimizer, data, mirror_map)
                kind = FinishingLoop if config.finish_options else Loop
                loop = kind(config, folder, parts, crew, progress)
                if track is not None and crew.first:
                    told = track.run(
                        folder.path.name, config.to_dict(), folder.path / "tracked.json"
                    )
                    return _told(loop, told, checkpoint_seconds)
                return loop.run(checkpoint_seconds)
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
