"""Trackers: every row once, also after a kill; off unless asked for; a missing library is named."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mirrorflow.errors import DivergedError, MissingExtraError
from mirrorflow.processes import this_process
from mirrorflow.runs import RunConfig, RunFolder, train
from mirrorflow.runs.tracking import Tracking, tracking
from mirrorflow.sweeps import plan, sweep

CONFIG = RunConfig(
    data="teacher",
    data_options={"n": 40, "d": 4, "n_test": 20},
    net="two_layer",
    net_options={"hidden": [8]},
    loss="logistic",
    steps=60,
    until=(),
)


class Note:
    """A tracker that remembers."""

    def __init__(self, name: str, settings: dict[str, Any], log: list[Any]) -> None:
        self.log = log
        log.append(("begin", name, settings["steps"]))

    def row(self, step: int, numbers: dict[str, float]) -> None:
        assert all(math.isfinite(v) for v in numbers.values())
        self.log.append((step, numbers["log10_loss"]))

    def end(self, outcome: str) -> None:
        self.log.append(("end", outcome))


def notes(log: list[Any]) -> Tracking:
    return Tracking({"note": lambda name, settings: Note(name, settings, log)})


def test_every_row_is_told_once_also_after_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[Any] = []
    original = torch.optim.Optimizer.zero_grad
    calls = 0

    def breaking(self: object, *args: object, **kwargs: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 30:
            raise KeyboardInterrupt
        original(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", breaking)
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, tmp_path / "run", track=notes(log), checkpoint_seconds=1e9)
    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", original)
    assert log[-1][0] == 25  # open: nothing says that it ended
    run = train(CONFIG, tmp_path / "run", track=notes(log))
    told = [entry for entry in log if isinstance(entry[0], int)]
    assert told == [(row["step"], row["log10_loss"]) for row in run.rows]
    assert log[0] == ("begin", "run", 60)
    assert log[-1] == ("end", "steps")
    count = len(log)
    train(CONFIG, tmp_path / "run", track=notes(log))
    assert len(log) == count + 1  # one more beginning, and nothing new to tell


def test_how_a_run_failed_is_told(tmp_path: Path) -> None:
    log: list[Any] = []
    with pytest.raises(DivergedError):
        train(dataclasses.replace(CONFIG, lr=1e30), tmp_path / "run", track=notes(log))
    assert log[-1] == ("end", "diverged")


def test_a_sweep_tells_of_every_member(tmp_path: Path) -> None:
    log: list[Any] = []
    members = plan({"base": {**CONFIG.to_dict()}, "grid": {"lr": ["auto", -1]}})
    sweep(members, tmp_path, engine=this_process, track=notes(log))
    assert [entry for entry in log if entry[0] == "end"] == [("end", "steps"), ("end", "failed")]
    assert sum(isinstance(entry[0], int) for entry in log) > 5


def test_nothing_is_tracked_unless_asked_for(tmp_path: Path) -> None:
    assert tracking([], tmp_path) is None
    train(dataclasses.replace(CONFIG, steps=3), tmp_path / "run")
    names = {p.name for p in (tmp_path / "run").iterdir() if not p.name.startswith(".")}
    assert names == {"config.toml", "manifest.json", "metrics.parquet", "checkpoint.pt", "log.txt"}
    with pytest.raises(ValueError, match="track = 'wandb' is unknown"):
        tracking(["wandb"], tmp_path)


@pytest.mark.parametrize(
    ("track", "module"), [("mlflow", "mlflow"), ("tensorboard", "torch.utils.tensorboard")]
)
def test_a_missing_library_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, track: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf'--track {track} .*"mirrorflow\[track\]"'):
        tracking([track], tmp_path)


def test_tensorboard_has_the_rows(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed (extra track)")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(CONFIG, tmp_path / "run", track=tracking(["tensorboard"], tmp_path / "run"))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard" / "run"))
    events.Reload()
    found = events.Scalars("log10_loss")
    assert [e.step for e in found] == [row["step"] for row in run.rows]
    assert found[-1].value == pytest.approx(run.rows[-1]["log10_loss"], rel=1e-6)
    assert {"settings/text_summary", "outcome/text_summary"} <= set(events.Tags()["tensors"])


@pytest.mark.slow
def test_mlflow_has_settings_rows_and_outcome(tmp_path: Path) -> None:
    for name in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(name, reason="MLflow is not installed (extra track)")
    members = plan({"base": CONFIG.to_dict(), "grid": {"lr": ["auto", 1e30]}})
    found = sweep(members, tmp_path, engine=this_process, track=tracking(["mlflow"], tmp_path))
    assert len(found.failed) == 1
    sweep(members, tmp_path, engine=this_process, retry=True, track=tracking(["mlflow"], tmp_path))
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mirrorflow")
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {m.name for m in members}  # the retried one went on in its run
    good, bad = (runs[m.name] for m in members)
    assert (good.info.status, good.data.tags["outcome"]) == ("FINISHED", "steps")
    assert (bad.info.status, bad.data.tags["outcome"]) == ("FAILED", "diverged")
    assert good.data.params["net_options.hidden"] == "[8]"
    history = client.get_metric_history(good.info.run_id, "q_margin")
    rows = RunFolder(tmp_path / "members" / members[0].name).metrics()
    assert [m.step for m in history] == [row["step"] for row in rows]
