"""Two small runs side by side, at equal loss."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mirrorflow.cli.app import app
from mirrorflow.errors import RunError
from mirrorflow.runs import RunConfig, compare_runs, train

MAPS = {"sparse": "hyperbolic_entropy(0.1)", "dense": "power(3)"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("runs")
    for name, text in MAPS.items():
        config = RunConfig(
            data="blobs", data_options={"n": 20, "n_test": 20, "gap": 1.0}, net="mlp",
            net_options={"hidden": [4 if name == "sparse" else 6]}, mirror_map=text,
            until=(-1.0, -2.0, -3.0) if name == "sparse" else (-1.0, -2.0), steps=4000,
            loss="logistic", dtype="float64",
        )  # fmt: skip
        train(config, home / name)
    return {name: home / name for name in MAPS}


def test_settings_that_differ_and_metrics_at_equal_loss(folders) -> None:
    comparison = compare_runs(list(folders.values()))
    assert comparison.names == ("sparse", "dense")
    assert comparison.outcomes == ("reached", "reached")
    assert comparison.settings["mirror_map"] == tuple(MAPS.values())
    assert comparison.settings["net_options.hidden"] == ([4], [6])
    assert set(comparison.settings) == {"mirror_map", "net_options.hidden", "until"}
    assert comparison.levels == (-1.0, -2.0)  # thresholds of both
    assert comparison.notes == ()
    for row in comparison.rows:
        rows = comparison.metric_rows[row["run"]]
        first = next(r for r in rows if r["log10_loss"] <= row["level"])
        assert first["threshold"] == row["level"]
        assert row["step"] == first["step"] > 0
        assert row["weight_participation"] == first["weight_participation"]
        assert 0 < row["weight_participation"] < 1
    frame = comparison.to_pandas()
    assert frame["run"].tolist() == ["sparse", "dense", "sparse", "dense"]
    text = str(comparison)
    assert "net_options.hidden" in text
    assert text.count("1e-2") == 2


def test_own_levels_and_metrics(folders) -> None:
    comparison = compare_runs(
        [str(folders["sparse"]), folders["dense"]], levels=[-3, -1], metrics=["q_margin"]
    )
    assert comparison.levels == (-1.0, -3.0)
    assert comparison.metrics == ("q_margin",)
    deep = {row["run"]: row for row in comparison.rows if row["level"] == -3.0}
    assert deep["sparse"]["log10_loss"] <= -3.0
    assert deep["dense"]["step"] is None  # it ended at 1e-2
    assert deep["dense"]["q_margin"] is None
    assert "–" in str(comparison)


def test_runs_of_one_name_are_called_by_their_paths(folders, tmp_path) -> None:
    twin = tmp_path / "sparse"
    shutil.copytree(folders["sparse"], twin)
    comparison = compare_runs([folders["sparse"], twin])
    assert comparison.names == (str(folders["sparse"]), str(twin))
    assert comparison.settings == {}
    assert "the settings are the same" in str(comparison)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"runs": "sparse"}, TypeError, "runs = 'sparse' is a str; pass a list of folders"),
        ({"runs": []}, ValueError, "runs has 0 folder; pass at least two"),
        ({"levels": [1.0]}, ValueError, "levels = 1.0"),
        ({"levels": -2}, TypeError, "levels = -2 is not a list"),
        ({"metrics": ["acuracy"]}, ValueError, "metrics: no key \\['acuracy'\\]"),
        ({"metrics": []}, TypeError, "metrics = \\[\\] is not a list of names"),
    ],
)
def test_bad_input(folders, change, error, message) -> None:
    with pytest.raises(error, match=message):
        compare_runs(**{"runs": list(folders.values()), **change})


def test_folders_that_are_no_runs(folders, tmp_path) -> None:
    with pytest.raises(RunError, match="is no run folder"):
        compare_runs([folders["sparse"], tmp_path])
    with pytest.raises(ValueError, match="twice; pass each folder once"):
        compare_runs([folders["sparse"], folders["sparse"]])


def run(*arguments: object):
    return CliRunner().invoke(
        app, ["compare", *map(str, arguments)], env={"COLUMNS": "80"}, catch_exceptions=True
    )


def test_the_command_fits_80_columns(folders, tmp_path) -> None:
    figure = tmp_path / "runs.svg"
    done = run(*folders.values(), "--figure", figure)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    text = done.stdout
    for words in ("hyperbolic_entropy(0.1)", "power(3)", "weight participation", "1e-2", "[4]"):
        assert words in text
    assert figure.read_bytes().startswith(b"<?xml")


def test_the_command_as_json_and_at_own_levels(folders) -> None:
    done = run(*folders.values(), "--json", "--at=-2,-3", "--metric", "test_accuracy")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["runs"] == ["sparse", "dense"]
    assert told["levels"] == [-2.0, -3.0]
    assert [row["test_accuracy"] is None for row in told["at_equal_loss"]] == [
        False, False, False, True,
    ]  # fmt: skip
    assert "metric_rows" not in told


def test_the_command_refuses(folders, tmp_path) -> None:
    for arguments, message in (
        ((*folders.values(), "--figure", tmp_path / "a.gif"), "has no known format"),
        ((*folders.values(), "--at=low"), "is not a list of log10 losses"),
        ((folders["sparse"],), "pass at least two"),
    ):
        assert message in str(run(*arguments).exception)
