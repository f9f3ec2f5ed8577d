"""Runs on real targets: they end at the interpolant, and their rows say no more than they know."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mirrorflow import data
from mirrorflow.cli.app import app
from mirrorflow.exact import min_bregman
from mirrorflow.runs import RunConfig, load_run, train
from mirrorflow.runs.build import build_net

SETTINGS = {
    "data": "sparse_targets",
    "data_options": {"n": 6, "d": 12, "active": 2, "n_test": 5, "seed": 1},
    "net": "linear",
    "mirror_map": "hyperbolic_entropy(beta=0.1)",
    "loss": "square",
    "lr": 0.2,
    "dtype": "float64",
    "steps": 20_000,
    "until": [-5.0, -18.0],
}


def test_a_run_ends_at_the_interpolant(tmp_path: Path) -> None:
    config = RunConfig.from_dict(SETTINGS)
    run = train(config, tmp_path / "run")
    assert run.outcome == "reached"
    first = build_net(config, run.data).weight.detach()
    want = min_bregman(run.data.x, run.data.y, config.mirror_map, first)  # type: ignore[arg-type]
    torch.testing.assert_close(run.net.weight.detach(), want.weights, rtol=0, atol=1e-7)
    row = run.rows[-1]
    assert row["log10_loss"] <= -18
    assert row["certificate"] == "real targets"
    assert math.isnan(row["min_margin"])
    with torch.no_grad():
        left = run.net(run.data.x_test) - run.data.y_test
    assert row["log10_test_loss"] == pytest.approx(math.log10(float(left.square().mean()) / 2))
    again = load_run(tmp_path / "run")
    assert torch.equal(again.net.weight, run.net.weight)


def test_single_samples_end_there_too(tmp_path: Path) -> None:
    config = RunConfig.from_dict({**SETTINGS, "batch_size": 1, "lr": 0.05, "until": [-18.0]})
    run = train(config, tmp_path / "run")
    first = build_net(config, run.data).weight.detach()
    want = min_bregman(run.data.x, run.data.y, config.mirror_map, first)  # type: ignore[arg-type]
    torch.testing.assert_close(run.net.weight.detach(), want.weights, rtol=0, atol=1e-7)


def test_commands_on_a_file_of_targets(tmp_path: Path) -> None:
    g = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x=g.normal(size=(4, 8)), y=g.normal(size=4))
    own = str(tmp_path / "own.npz")
    call = ["flow", own, "--loss", "square", "--map", "cosh(0.5)", "--json"]
    found = CliRunner().invoke(app, call)
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["flows"][0]["outcome"] == "interpolates"
    folder = str(tmp_path / "run")
    options = ["--net", "linear", "--loss", "square", "--lr", "0.05", "--steps", "50", "--json"]
    found = CliRunner().invoke(app, ["train", "--out", folder, "--data", own, *options])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["outcome"] == "steps"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"data": "blobs", "data_options": {}}, "fits real targets: targets = True, but 'blobs'"),
        ({"loss": "logistic"}, "has real targets, but loss = 'logistic' is for classes"),
        ({"lr": "auto"}, "never come to rest"),
        ({"objective": "log_loss"}, "never come to rest"),
    ],
)
def test_what_does_not_fit_together_is_named(
    changes: dict[str, object], match: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=match):
        train(RunConfig.from_dict({**SETTINGS, **changes}), tmp_path / "run")


def test_labels_in_a_file_are_no_targets(tmp_path: Path) -> None:
    np.savez(tmp_path / "labels.npz", x=np.eye(4), y=np.array([1, -1, 1, 1]))
    with pytest.raises(TypeError, match=r"y has dtype torch.int64, as class labels have"):
        data.load(tmp_path / "labels.npz", targets=True)
    np.savez(tmp_path / "real.npz", x=np.eye(4), y=np.array([0.5, -1, 1, 1]))
    with pytest.raises(ValueError, match="fractions"):
        data.load(tmp_path / "real.npz")
    read = data.load(tmp_path / "real.npz", targets=True)
    assert read.targets
    assert read.y.tolist() == [0.5, -1, 1, 1]
    assert data.fingerprint(read) != data.fingerprint(data.sparse_targets(4, 4))
