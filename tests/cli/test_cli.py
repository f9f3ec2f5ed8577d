"""The program: exit codes, clear errors, JSON for programs, nothing lost."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mirrorflow.cli import main

SMALL = ["--data", "blobs", "--net", "two_layer", "--hidden", "8", "--steps", "300"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mirrorflow", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("MIRRORFLOW_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as info:
        main()
    return int(info.value.code or 0)


def test_help_names_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    for command in ("reproduce", "train", "flow", "certify", "maps", "report"):
        assert command in shown
    assert run(monkeypatch, "reproduce", "--help") == 0
    shown = capsys.readouterr().out
    assert "--preset" in shown
    assert "sparse to dense" in shown


def test_train_and_resume(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = str(tmp_path / "run")
    arguments = ["train", "--out", out, *SMALL, "--until=-1,-3", "--map", "power(1.5)", "--json"]
    assert run(monkeypatch, *arguments) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["outcome"] == "reached"
    assert first["log10_loss"] <= -3
    assert run(monkeypatch, *arguments) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert run(monkeypatch, *arguments[:-1]) == 0
    assert "outcome: reached" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--map", "cubic"], "cubic"),
        (["--map", "power(0.5)"], "p = 0.5"),
        (["--lr", "fast"], "lr = 'fast' is no number"),
        (["--lr", "-1"], "lr = -1.0"),
        (["--net", "transformer"], "net = 'transformer' is unknown"),
        (["--hidden", "8,x"], "--hidden '8,x' is no list of widths"),
        (["--until=-3,-1"], "falling thresholds"),
        (["--config", "nowhere.toml"], "nowhere.toml cannot be read"),
    ],
)
def test_bad_options_end_with_code_2_and_no_folder(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    text: str,
) -> None:
    out = tmp_path / "run"
    assert run(monkeypatch, "train", "--out", str(out), *SMALL, *arguments) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert text in shown
    assert "Traceback" not in shown
    assert not out.exists()


def test_bad_data_ends_with_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x=np.array([[1.0, np.nan], [0.0, 1.0]]), y=np.array([1, -1]))
    assert run(monkeypatch, "train", "--out", str(tmp_path / "r"), "--data", str(path)) == 2
    assert "NaN or infinity in 1 of 2 points" in " ".join(capsys.readouterr().err.split())


def test_labels_that_cannot_be_separated_end_with_code_2_and_keep_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "d.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.normal(size=(40, 2)), y=rng.choice([-1, 1], size=40))
    out = tmp_path / "r"
    arguments = ["--data", str(path), "--net", "linear", "--steps", "40", "--until=-5"]
    assert run(monkeypatch, "train", "--out", str(out), *arguments) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert "not separated after 40 steps: the best margin" in shown
    assert (out / "metrics.parquet").exists()


def test_reproduce_and_report_refuse_clearly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for arguments, text in (
        (["reproduce", "--preset", "huge"], "preset = 'huge' is unknown"),
        (["reproduce", "--out", str(file / "x")], "cannot be written"),
        (["reproduce", "--workers", "0"], "workers = 0"),
        (["report", str(tmp_path)], "no finished reproduction"),
    ):
        assert run(monkeypatch, *arguments) == 2
        assert text in " ".join(capsys.readouterr().err.split())


def test_a_traceback_is_there_for_who_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["mirrorflow", "report", str(tmp_path)])
    monkeypatch.setenv("MIRRORFLOW_TRACEBACK", "1")
    with pytest.raises(Exception, match="no finished reproduction"):
        main()
