from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from mirrorflow.cli.certify import certify
from mirrorflow.errors import RunError
from mirrorflow.nets import Linear
from mirrorflow.runs import RunConfig, train

app = typer.Typer()
app.command()(certify)
SOURCE = """
import torch
from mirrorflow.nets import Linear

def trained():
    net = Linear(2).double()
    net.weight.data = torch.tensor([1.0, 2.0]).double()
    return net

def blank():
    return Linear(2).double()

class Box:
    net = trained()

number = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_models.py").write_text(SOURCE)
    np.savez(tmp_path / "points.npz", x=np.array([[1.0, 2.0], [-1.0, -2.5]]), y=np.array([1, -1]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_models", raising=False)
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_a_users_model_as_table_and_as_json(here):
    common = ("my_models:trained", "--data", "points.npz", "--map", "quadratic")
    shown = run(*common, "--exact")
    assert shown.exit_code == 0
    assert "fitting multipliers on 2 points" in shown.stderr  # not silent without a terminal
    for word in ("Q-margin", "epsilon", "support", "exact optimum", "share of it"):
        assert word in shown.stdout
    found = json.loads(run(*common, "--exact", "--json").stdout)
    assert found["epsilon"] < 1e-12
    assert found["separated"]
    assert found["margin"] == pytest.approx(found["exact"]["margin"], rel=1e-9)
    assert found["fit"]["cut"] is None  # infinity is no JSON
    assert json.loads(run("my_models:Box.net", *common[1:], "--json").stdout)["epsilon"] < 1e-12


def test_a_checkpoint_with_its_model_and_a_map_by_name(here):
    net = Linear(2).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([1.0, 1.0]))
    for name, saved in (("plain.pt", net.state_dict()), ("full.pt", {"net": net.state_dict()})):
        torch.save(saved, here / name)
        shown = run(
            name, "--model", "my_models:blank", "--data", "points.npz",
            "--map", "weight=cosh", "--json",
        )  # fmt: skip
        found = json.loads(shown.stdout)
        assert found["problem"].startswith("minimise Q(θ) = the ℓ∞ norm")
        assert found["epsilon"] < 1e-12


def test_a_checkpoint_of_a_wrapped_net(here):
    net = Linear(2).double()
    common = ("--model", "my_models:blank", "--data", "points.npz", "--map", "quadratic", "--json")
    torch.save(net.state_dict(), here / "plain.pt")
    want = json.loads(run("plain.pt", *common).stdout)["margin"]
    torch.save(torch.nn.DataParallel(net).state_dict(), here / "ddp.pt")
    torch.save({"model_state_dict": net.state_dict(), "epoch": 3}, here / "tutorial.pt")
    assert want != 0
    for name in ("ddp.pt", "tutorial.pt"):
        assert json.loads(run(name, *common).stdout)["margin"] == want


def test_labels_that_were_renumbered_are_said(here):
    np.savez(here / "named.npz", x=np.array([[1.0, 2.0], [-1.0, -2.5]]), y=np.array([7, 3]))
    (here / "two_outputs.py").write_text(
        "import torch\nfrom mirrorflow.nets import Linear\n"
        "net = Linear(2, classes=2).double()\n"
        "net.weight.data = torch.tensor([[-1.0, -2.0], [1.0, 2.0]]).double()\n"
    )
    shown = run("two_outputs:net", "--data", "named.npz", "--map", "quadratic", "--json")
    assert "note: y: the labels 3, 7 are the classes 0, 1 here" in shown.stderr
    assert json.loads(shown.stdout)["separated"]


def test_a_run_folder_brings_its_own_data_and_map(here):
    config = RunConfig(
        data="blobs", data_options={"n": 20, "d": 3, "seed": 0}, net="linear",
        mirror_map="power(3)", steps=200, dtype="float64",
    )  # fmt: skip
    train(config, here / "run")
    found = json.loads(run("run", "--json").stdout)
    assert "the ℓ3 norm" in found["problem"]
    assert found["points"] == len(found["multipliers"])
    other = json.loads(run("run", "--map", "quadratic", "--json").stdout)
    assert "the ℓ2 norm" in other["problem"]


def test_not_separated_is_said_and_is_exit_code_one(here):
    np.savez(here / "bad.npz", x=np.array([[1.0, 2.0], [-1.0, -2.5]]), y=np.array([-1, 1]))
    shown = run("my_models:trained", "--data", "bad.npz", "--map", "quadratic")
    assert shown.exit_code == 1
    assert "not separated" in shown.stdout
    assert "2 of 2 points" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nowhere",), "no run folder, no checkpoint and no module:factory"),
        (("my_models:trained", "--data", "points.npz"), "--map is missing"),
        (("my_models:trained", "--map", "quadratic"), "--data is missing"),
        (("my_models:nothing",), "has no 'nothing'"),
        (("no_such_module:net",), "cannot be imported"),
        (("points.npz", "--map", "quadratic"), "is a checkpoint; name its net"),
        (("my_models:trained", "--data", "blobs", "--data-option", "n", "--map", "quadratic"),
         "is no name=value"),
        (("my_models:trained", "--data", "points.npz", "--map", "quadratic", "--map", "cosh"),
         "stands beside others"),
    ],
)  # fmt: skip
def test_bad_arguments(here, arguments, text):
    with pytest.raises(ValueError, match=text):
        run(*arguments)


def test_wrong_files_and_types(here):
    data = ("--data", "points.npz", "--map", "quadratic")
    with pytest.raises(TypeError, match=r"has to give a torch\.nn\.Module"):
        run("my_models:number", *data)
    torch.save({"weight": torch.zeros(3)}, here / "other.pt")
    with pytest.raises(RunError, match="does not fit the net"):
        run("other.pt", "--model", "my_models:blank", *data)
    (here / "broken.pt").write_bytes(b"no checkpoint")
    with pytest.raises(RunError, match="does not fit the net"):
        run("broken.pt", "--model", "my_models:blank", *data)
    with pytest.raises(ValueError, match="--exact knows"):
        run("my_models:trained", "--data", "points.npz", "--map", "weight=cosh", "--exact")
