"""Runs: killed and resumed they end bit for bit where they would have; nothing saved is lost."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mirrorflow.errors import DivergedError, NotHomogeneousError, NotSeparableError, RunError
from mirrorflow.runs import RunConfig, RunFolder, load_run, train

SMALL = RunConfig(
    data="teacher",
    data_options={"n": 60, "d": 4, "n_test": 20},
    net="two_layer",
    net_options={"hidden": [16]},
    mirror_map="hyperbolic_entropy(beta=0.1)",
    loss="logistic",
    steps=400,
    until=(-1.0, -5.0, -1e5),
)

SHORT = dataclasses.replace(SMALL, steps=3, until=())


def same(a: Path, b: Path) -> bool:
    """Equal parameters and equal metrics, bit for bit."""
    one, other = load_run(a), load_run(b)
    parameters = all(
        torch.equal(p, q) for p, q in zip(one.net.parameters(), other.net.parameters(), strict=True)
    )
    first, second = (RunFolder(p).metrics() for p in (a, b))
    return parameters and json.dumps(first) == json.dumps(second)


def test_a_run_is_a_folder_that_says_what_it_is(tmp_path: Path) -> None:
    run = train(SMALL, tmp_path / "run")
    assert run.outcome == "steps"
    names = {p.name for p in (tmp_path / "run").iterdir() if not p.name.startswith(".")}
    assert names == {"config.toml", "manifest.json", "metrics.parquet", "checkpoint.pt", "log.txt"}
    manifest = RunFolder(tmp_path / "run").manifest()
    assert manifest["outcome"] == "steps"
    assert {"mirrorflow", "python", "torch", "seed", "git", "host", "started"} <= set(manifest)
    rows = RunFolder(tmp_path / "run").metrics()
    steps = [row["step"] for row in rows]
    assert steps[:6] == [0, 1, 2, 3, 5, 8]
    assert steps[-1] == 400
    crossed = [row for row in rows if not np.isnan(row["threshold"])]
    assert [row["threshold"] for row in crossed] == [-1.0, -5.0]
    assert all(row["log10_loss"] <= row["threshold"] for row in crossed)


@pytest.mark.parametrize("batch_size", [0, 16])
def test_two_runs_of_one_seed_are_equal_and_another_seed_differs(
    tmp_path: Path, batch_size: int
) -> None:
    config = dataclasses.replace(SMALL, batch_size=batch_size, steps=60, until=())
    train(config, tmp_path / "a")
    train(config, tmp_path / "b")
    train(dataclasses.replace(config, seed=1), tmp_path / "c")
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize("batch_size", [0, 16])
def test_interrupted_at_any_step_it_ends_where_it_would_have(
    tmp_path: Path, batch_size: int
) -> None:
    config = dataclasses.replace(SMALL, batch_size=batch_size, steps=90, until=(-200.0,))
    train(config, tmp_path / "whole")

    class StopError(Exception):
        pass

    for stop in (1, 17, 55):
        # An exception out of the step is as abrupt as a kill: nothing is saved on the way out.
        original = torch.optim.Optimizer.zero_grad
        count = 0

        def breaking(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal count
            count += 1
            if count > stop:  # noqa: B023
                raise StopError
            return original(self, *args, **kwargs)  # noqa: B023

        torch.optim.Optimizer.zero_grad = breaking  # type: ignore[method-assign]
        try:
            with pytest.raises(StopError):
                train(config, tmp_path / "cut", checkpoint_seconds=0.0)
        finally:
            torch.optim.Optimizer.zero_grad = original  # type: ignore[method-assign]
    train(config, tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_sigkill_and_resume(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, steps=1500, until=(-100000.0,))
    train(config, tmp_path / "whole")
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from mirrorflow.runs import RunConfig, train\n"
        "train(RunConfig.read(Path(sys.argv[1])), sys.argv[2], checkpoint_seconds=0.02)"
    )
    (tmp_path / "config.toml").write_text(config.to_toml())
    command = [sys.executable, "-c", code, str(tmp_path / "config.toml"), str(tmp_path / "cut")]
    checkpoint = tmp_path / "cut" / "checkpoint.pt"
    kills = 0
    for _ in range(2):
        before = _stamp(checkpoint)
        child = subprocess.Popen(command)
        while child.poll() is None and _stamp(checkpoint) == before:
            time.sleep(0.01)
        time.sleep(0.2)  # somewhere in the middle of a step or of a write
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
            kills += 1
        child.wait()
    assert kills >= 1, "the run ended before it could be killed"
    subprocess.run(command, check=True)
    assert same(tmp_path / "whole", tmp_path / "cut")


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    train(SMALL, tmp_path / "run")
    stamp = (tmp_path / "run" / "checkpoint.pt").stat().st_mtime_ns
    again = train(SMALL, tmp_path / "run")
    assert again.outcome == "steps"
    assert (tmp_path / "run" / "checkpoint.pt").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_goes_through_loss_1e_minus_1000(tmp_path: Path, dtype: str) -> None:
    config = dataclasses.replace(SMALL, dtype=dtype, steps=20_000, until=(-100.0, -1100.0))
    run = train(config, tmp_path / "run")
    assert run.outcome == "reached"
    last = run.rows[-1]
    assert last["log10_loss"] <= -1100
    assert last["train_accuracy"] == 1.0
    assert last["q_margin"] > 0


def test_labels_that_cannot_be_separated_are_told_with_the_best_margin(tmp_path: Path) -> None:
    config = RunConfig(
        data="random_labels",
        data_options={"n": 40, "d": 2},
        net="linear",
        loss="logistic",
        steps=50,
        until=(-3.0,),
    )
    with pytest.raises(
        NotSeparableError, match=r"after 50 steps: the best margin .* was -"
    ) as info:
        train(config, tmp_path / "run")
    assert info.value.state.rows[-1]["min_margin"] < 0
    assert RunFolder(tmp_path / "run").manifest()["outcome"] == "not_separated"
    with pytest.raises(NotSeparableError):
        train(config, tmp_path / "run")


def test_a_diverging_learning_rate_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, mirror_map="quadratic", lr=1e30)
    with pytest.raises(DivergedError, match="smaller lr"):
        train(config, tmp_path / "run")
    assert (tmp_path / "run" / "manifest.json").exists()


def test_a_folder_of_another_configuration_or_version_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(SHORT, folder)
    content = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(RunError, match="steps: 3 there, 4 now"):
        train(dataclasses.replace(SHORT, steps=4), folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == content
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(RunError, match="layout 99 by mirrorflow"):
        train(SHORT, folder)
    with pytest.raises(RunError, match="layout 99"):
        load_run(folder)


def test_foreign_broken_or_unwritable_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("text")
    with pytest.raises(RunError, match=r"no run folder.*chapter\.tex"):
        train(SMALL, tmp_path / "thesis")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        train(SMALL, tmp_path / "file" / "run")
    folder = tmp_path / "run"
    train(SHORT, folder)
    (folder / "checkpoint.pt").write_bytes(b"garbage")
    with pytest.raises(RunError, match="cannot be read"):
        train(SHORT, folder)
    with pytest.raises(RunError, match="no run folder"):
        load_run(tmp_path)


def test_a_full_disk_leaves_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    config = dataclasses.replace(SMALL, steps=30, until=())
    original = os.fsync

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    def stop_late(descriptor: int) -> None:
        if (folder / "checkpoint.pt").exists():
            full(descriptor)
        original(descriptor)

    monkeypatch.setattr(os, "fsync", stop_late)
    with pytest.raises(RunError, match=r"disk is full.*untouched"):
        train(config, folder, checkpoint_seconds=0.0)
    monkeypatch.setattr(os, "fsync", original)
    assert not [p for p in folder.iterdir() if p.name.startswith(".checkpoint")]
    train(config, folder)
    train(config, tmp_path / "whole")
    assert same(folder, tmp_path / "whole")


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open(SMALL)
    with folder.lock(), pytest.raises(RunError, match="another process works in"):
        train(SMALL, tmp_path / "run")


def test_configuration_round_trips_and_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(SMALL.to_toml())
    assert RunConfig.read(path) == SMALL
    path.write_text("netz = 'mlp'")
    with pytest.raises(ValueError, match=r"no key \['netz'\]; it takes"):
        RunConfig.read(path)
    path.write_text("net = ")
    with pytest.raises(RunError, match="is no TOML"):
        RunConfig.read(path)
    for changes, text in (
        ({"net": "cnm"}, "net = 'cnm' is unknown"),
        ({"steps": 0}, "steps = 0"),
        ({"lr": -1.0}, r"lr = -1\.0"),
        ({"lr": float("nan")}, "lr = nan"),
        ({"until": (-2.0, -1.0)}, "falling thresholds"),
        ({"net_options": {"width": 3}}, r"no key \['width'\]"),
        ({"mirror_map": "cubic"}, "cubic"),
        ({"data": "mnits"}, "'mnits' is unknown"),
    ):
        with pytest.raises(ValueError, match=text):
            train(dataclasses.replace(SMALL, **changes), tmp_path / "never")
    assert not (tmp_path / "never").exists()
    with pytest.raises(TypeError, match=r"steps = 2\.0"):
        dataclasses.replace(SMALL, steps=2.0)  # type: ignore[arg-type]


def test_a_map_a_layer(tmp_path: Path) -> None:
    config = dataclasses.replace(
        SMALL, mirror_map={"weights.0": "power(p=3)", "*": "quadratic"}, steps=20, until=()
    )
    assert train(config, tmp_path / "run").outcome == "steps"


def test_a_net_of_degree_zero_is_refused_before_any_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "zero.npz", x=np.zeros((4, 2)), y=np.array([1, -1, 1, -1]))
    config = dataclasses.replace(SMALL, data=str(tmp_path / "zero.npz"), data_options={})
    with pytest.raises(NotHomogeneousError, match="zero on every point"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
