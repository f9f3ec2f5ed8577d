"""`mirrorflow prune`: a run of one's own, a checkpoint of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mirrorflow.cli.app import app
from mirrorflow.runs import RunConfig, train

SOURCE = """
import torch
from torch import nn

def blank():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
"""


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["prune", *arguments])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_nets.py").write_text(SOURCE)
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    np.savez(tmp_path / "points.npz", x=x, y=(x[:, 0] > 0).astype(int))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "own_nets", raising=False)
    return tmp_path


def test_a_checkpoint_of_ones_own(here: Path) -> None:
    names: dict[str, Any] = {}
    exec(SOURCE, names)
    net = names["blank"]()
    torch.save(net.state_dict(), here / "net.pt")
    options = ["net.pt", "--model", "own_nets:blank", "--share", "0.75", "--out", "sparse.pt"]
    done = run(*options, "--data", "points.npz", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["zeros"] == 48  # three quarters of 32 + 32
    assert found["share"] == 0.75
    again = names["blank"]()
    again.load_state_dict(torch.load("sparse.pt", weights_only=True))
    assert sum(int((again[k].weight == 0).sum()) for k in (0, 3)) == 48
    assert torch.equal(again[1].weight, net[1].weight)
    x, y = (torch.tensor(np.load("points.npz")[key]) for key in "xy")
    for state, key in ((net, "accuracy"), (again, "accuracy_pruned")):
        right = (state.eval()(x.double()).argmax(1) == y).double().mean()
        assert found[key] == pytest.approx(float(right))
    assert "is there already" in str(run(*options).exception)
    shown = run(*options[:3], "--skip", "0", "--scope", "layer", "--share", "0.5")
    assert "dense, asked for: 0.weight" in shown.stdout
    assert "nothing was saved" in shown.stdout


def test_a_run_of_ones_own(tmp_path: Path) -> None:
    config = RunConfig(data="digits", net_options={"hidden": [8]}, steps=20, until=())
    train(config, tmp_path / "run")
    done = run(str(tmp_path / "run"), "--share", "0.5")
    assert done.exit_code == 0, done.output
    assert "50.0% of all parameters are zero" in done.stdout
    assert "accuracy" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nothing"], "no run folder, no checkpoint"),
        (["net.pt"], "--model module:factory"),
        (["own_nets:blank", "--share", "2"], "share = 2"),
        (["own_nets:blank", "--scope", "all"], "scope = 'all'"),
        (["own_nets:blank", "--skip", "fc"], "covers no parameter"),
    ],
)
def test_what_cannot_be_pruned(here: Path, arguments: list[str], text: str) -> None:
    (here / "net.pt").touch()
    assert text in str(run(*arguments).exception)
