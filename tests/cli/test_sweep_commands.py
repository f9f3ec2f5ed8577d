"""`mirrorflow sweep` and `tune`: exit codes, clear errors, JSON; the examples in small."""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from typer.testing import CliRunner, Result

from mirrorflow import processes as pool
from mirrorflow.cli import main
from mirrorflow.cli.app import app
from mirrorflow.cli.options import layer_maps
from mirrorflow.data import find, locate
from mirrorflow.processes import this_process
from mirrorflow.runs import RunConfig, RunFolder
from mirrorflow.sweeps import Member, read_plan, sweep

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "sweeps").glob("*.toml"))
SMALL = """
[base]
data = "teacher"
data_options = { n = 40, d = 4, n_test = 20 }
net = "two_layer"
net_options.hidden = [4]
steps = 30
until = []
[grid]
mirror_map = ["quadratic", "power(3)"]
"""


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "local_processes", this_process, raising=True)
    monkeypatch.setenv("COLUMNS", "200")


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


SMALL_NETS = {
    "mlp": {"hidden": [8]},
    "cnn": {"channels": [2, 4]},
    "vgg": {"depth": 11, "width": 0.05},
}


def _in_small(member: Member) -> Member:
    """The same run on a few points, with a narrow net, for a step or an epoch."""
    told = member.settings
    small = {"test_share": 0.9} if told["data"] == "digits" else {"n": 60, "n_test": 20}
    over = {"data_options": small, "until": [], "net_options": SMALL_NETS[told.get("net", "mlp")]}
    over |= {"epochs": 1} if "epochs" in told else {"steps": 3}
    kept = {k: v for k, v in told.items() if k != "finish_options"}  # a long end
    return replace(member, settings={**kept, **over, "device": "cpu"})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_the_examples_run_in_small(tmp_path: Path, path: Path) -> None:
    written = read_plan(path)
    for member in written:
        RunConfig.from_dict(member.settings)
    one_each = {m.label or m.name: m for m in written if m.settings.get("seed", 0) == 0}
    members = [_in_small(m) for m in one_each.values()]
    assert len(members) >= 4
    for name in {m.settings["data"] for m in members} - {"digits"}:
        if not locate(find(name)):
            pytest.skip(f"{name} is not in MIRRORFLOW_DATA")
    found = sweep(members, tmp_path, engine=this_process)
    assert found.failed == {}


def test_a_sweep_runs_once_and_tells(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SMALL)
    words = ["sweep", str(tmp_path / "s.toml"), "--out", str(tmp_path / "out")]
    listed = json.loads(call(*words, "--dry-run", "--json").stdout)
    assert [m["mirror_map"] for m in listed.values()] == ["quadratic", "power(3)"]
    assert "2 members" in call(*words, "--dry-run").stdout
    assert not (tmp_path / "out").exists()
    done = call(*words, "--workers", "2")
    assert done.exit_code == 0, done.output
    assert "2 members (2 steps), 2 of them run now" in done.stdout
    again = json.loads(call(*words, "--json").stdout)
    assert again["ran"] == 0
    assert set(again["members"]) == set(listed)
    assert Path(again["table"]).exists()


def test_a_dry_run_finds_a_key_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('[grid]\nmirrormap = ["quadratic"]\n')
    dry = call("sweep", str(tmp_path / "s.toml"), "--dry-run")
    assert dry.exit_code == 1
    assert "no key ['mirrormap']" in dry.output


def test_a_member_that_fails_is_told_and_ends_with_code_1(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SMALL.replace("power(3)", "cubic"))
    words = ["sweep", str(tmp_path / "s.toml"), "--out", str(tmp_path / "out")]
    done = call(*words)
    assert done.exit_code == 1
    assert "failed: ValueError: mirror_map = 'cubic': 'cubic'" in done.stdout
    assert "2 members (1 steps, 1 failed)" in done.stdout
    assert "--retry" in done.stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--engine", "dask"], "engine = 'dask' is unknown"),
        (["--address", "auto"], "add --engine ray"),
        (["--track", "wandb"], "track = 'wandb' is unknown"),
        (["--workers", "0"], "workers = 0"),
        (["--reuse", "nowhere.parquet"], "nowhere.parquet cannot be read"),
    ],
)
def test_bad_options_end_with_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: list[str],
    text: str,
) -> None:
    (tmp_path / "s.toml").write_text(SMALL)
    arguments = ["sweep", str(tmp_path / "s.toml"), "--out", str(tmp_path / "out"), *words]
    monkeypatch.setattr(sys, "argv", ["mirrorflow", *arguments])
    with pytest.raises(SystemExit) as info:
        main()
    assert info.value.code == 2
    assert text in " ".join(capsys.readouterr().err.split())


def test_tune_prints_the_front(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="Optuna is not installed (extra sweep)")
    fields: dict[str, Any] = tomllib.loads(SMALL)["base"]
    (tmp_path / "run.toml").write_text(tomli_w.dumps(fields))
    words = ["tune", "--out", str(tmp_path / "out"), "--config", str(tmp_path / "run.toml")]
    words += ["--trials", "3", "--family", "power", "--set", "steps=20"]
    done = call(*words)
    assert done.exit_code == 0, done.output
    assert "the Pareto front of 3 trials" in done.stdout
    told = json.loads(call(*words, "--json").stdout)
    assert told["trials"] == 3
    assert all(row["family"] == "power" and row["front"] for row in told["front"])


def test_one_map_a_layer_on_the_command_line(tmp_path: Path) -> None:
    assert layer_maps(["power(p=3)"]) == "power(p=3)"
    assert layer_maps(["weights.0=power(p=3)", "quadratic"]) == {
        "weights.0": "power(p=3)",
        "*": "quadratic",
    }
    with pytest.raises(ValueError, match="'weights.0' two maps"):
        layer_maps(["weights.0=quadratic", "weights.0 = cosh(1)"])
    words = ["train", "--out", str(tmp_path / "run"), "--data", "blobs", "--net", "two_layer"]
    words += ["--steps", "5", "--until=-9", "--map", "weights.0=quadratic", "--map", "power(p=3)"]
    assert call(*words).exit_code == 0
    config = RunFolder(tmp_path / "run").config()
    assert config.mirror_map == {"weights.0": "quadratic", "*": "power(p=3)"}
    wrong = call(*words[:3], *words[3:-4], "--map", "hidden=quadratic", "--map", "power(3)")
    assert "covers no parameter; there are ['weights.0', 'weights.1']" in str(wrong.exception)
