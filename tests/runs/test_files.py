"""Runs know their data and files; folders belong to one command; bad input leaves no folder."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mirrorflow.claims import Task, reproduce, run_tasks
from mirrorflow.claims.pruning import compare
from mirrorflow.errors import DataError, RunError
from mirrorflow.files import check_seal, read_json, write_atomic, write_json
from mirrorflow.flow import Trajectory
from mirrorflow.processes import this_process
from mirrorflow.runs import RunConfig, RunFolder, load_run, train
from mirrorflow.runs.tracking import Told, tracking
from mirrorflow.sweeps import Member, plan, sweep
from mirrorflow.sweeps.tune import tune

TINY = RunConfig(
    data="teacher",
    data_options={"n": 30, "d": 3, "n_test": 6},
    net="two_layer",
    net_options={"hidden": [4]},
    loss="logistic",
    steps=5,
    until=(),
)


def points(path: Path, seed: int = 0) -> Path:
    r = np.random.default_rng(seed)
    x = r.normal(size=(30, 3))
    np.savez(path, x=x, y=np.where(x[:, 0] + 0.1 * seed * x[:, 1] > 0, 1, -1))
    return path


def content(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def cli(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mirrorflow", *words], cwd=cwd, capture_output=True, text=True
    )


def on_file(path: Path) -> RunConfig:
    return dataclasses.replace(TINY, data=str(path), data_options={})


def test_a_replaced_file_of_points_is_refused_by_name(tmp_path: Path) -> None:
    data = points(tmp_path / "points.npz")
    train(on_file(data), tmp_path / "run")
    seen = RunFolder(tmp_path / "run").manifest()["data"]["fingerprint"]
    assert len(seen) == 64
    before = content(tmp_path / "run")
    points(data, seed=1)
    for call in (
        lambda: train(on_file(data), tmp_path / "run"),
        lambda: load_run(tmp_path / "run"),
    ):
        with pytest.raises(RunError, match=rf"have changed: .*points\.npz now has.*{seen[:12]}"):
            call()
    assert content(tmp_path / "run") == before
    (note,) = load_run(tmp_path / "run", data=str(data)).notes
    assert "other points than the run was trained on" in note
    points(data)
    assert load_run(tmp_path / "run").notes == ()


def test_a_relative_path_of_points_works_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points(tmp_path / "points.npz")
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(TINY, data="points.npz", data_options={})
    train(config, "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_run("../run").data.x.shape == (30, 3)
    # the same points in another place are the same run
    moved = (tmp_path / "points.npz").rename(tmp_path / "elsewhere" / "moved.npz")
    assert train(on_file(moved), tmp_path / "run").outcome == "steps"
    with pytest.raises(DataError, match="points.npz"):
        load_run(tmp_path / "run")


def test_a_sweep_does_not_reuse_records_of_other_points(tmp_path: Path) -> None:
    data = points(tmp_path / "points.npz")
    members = plan({"base": {**on_file(data).to_dict(), "steps": 3}, "grid": {"seed": [0, 1]}})
    table = sweep(members, tmp_path / "one", engine=this_process).table
    assert sweep(members, tmp_path / "one", engine=this_process).ran == 0
    points(data, seed=1)
    with pytest.raises(RunError, match=r"data of the sweep .* have changed.*points\.npz"):
        sweep(members, tmp_path / "one", engine=this_process)
    with pytest.raises(RunError, match=r"data of the sweep .* have changed"):
        sweep(members, tmp_path / "two", engine=this_process, reuse=[table])


def test_an_ended_run_without_its_checkpoint_starts_again(tmp_path: Path) -> None:
    train(TINY, tmp_path / "run")
    truth = load_run(tmp_path / "run")
    (tmp_path / "run" / "checkpoint.pt").unlink()
    with pytest.raises(RunError, match=r"checkpoint\.pt is gone.*mirrorflow train --config"):
        load_run(tmp_path / "run")
    again = train(TINY, tmp_path / "run")
    assert len(again.rows) == len(truth.rows) > 3
    for p, q in zip(again.net.parameters(), truth.net.parameters(), strict=True):
        assert torch.equal(p, q)
    assert all(bool((p != 0).any()) for p in again.net.parameters())


def test_an_earlier_checkpoint_put_back_is_not_the_result(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, steps=50)
    train(config, tmp_path / "whole")
    early = None
    original = RunFolder.save_checkpoint

    def keep(self: RunFolder, state: dict[str, Any]) -> None:
        nonlocal early
        original(self, state)
        if early is None:
            early = self.checkpoint_path.read_bytes()

    RunFolder.save_checkpoint = keep  # type: ignore[method-assign]
    try:
        train(config, tmp_path / "run", checkpoint_seconds=0.0)
    finally:
        RunFolder.save_checkpoint = original  # type: ignore[method-assign]
    assert early is not None
    (tmp_path / "run" / "checkpoint.pt").write_bytes(early)
    (tmp_path / "run" / "metrics.parquet").unlink()
    assert load_run(tmp_path / "run").outcome == "running"
    again, truth = train(config, tmp_path / "run"), load_run(tmp_path / "whole")
    assert again.rows[-1]["step"] == 50
    for p, q in zip(again.net.parameters(), truth.net.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    train(TINY, tmp_path / "a")
    train(dataclasses.replace(TINY, seed=1), tmp_path / "b")
    (tmp_path / "a" / "checkpoint.pt").write_bytes((tmp_path / "b" / "checkpoint.pt").read_bytes())
    with pytest.raises(RunError, match="checkpoint of another run"):
        train(TINY, tmp_path / "a")


def test_every_bit_of_a_checkpoint_is_guarded(tmp_path: Path) -> None:
    train(TINY, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    whole = path.read_bytes()
    assert torch.load(path, weights_only=True)["net"]  # other programs read it as before
    missed = []
    for at in range(0, len(whole), max(1, len(whole) // 150)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            RunFolder(tmp_path / "run").load_checkpoint()
        except RunError as error:
            if "checkpoint.pt cannot be read" in str(error):
                continue
        missed.append(at)
    assert missed == []


def test_a_folder_of_layout_1_is_read_and_gets_its_checksums(tmp_path: Path) -> None:
    def old(folder: Path, outcome: str) -> None:
        run = RunFolder(folder)
        saved, manifest = run.load_checkpoint(), run.manifest()
        assert saved is not None
        kept = {k: saved[k] for k in ("net", "optimizer", "state")}
        torch.save(kept, run.checkpoint_path)
        for key in ("data", "config_sha256", "run", "kind", "last_step"):
            manifest.pop(key, None)
        text = json.dumps({**manifest, "format": 1, "outcome": outcome})
        run.manifest_path.write_text(text)

    for outcome in ("steps", "running"):
        folder = tmp_path / outcome
        train(TINY, folder)
        old(folder, outcome)
        assert "without a fingerprint" in load_run(folder).notes[0]
        train(TINY, folder)
        assert RunFolder(folder).manifest()["format"] == (1 if outcome == "steps" else 2)
        assert check_seal(folder / "checkpoint.pt") == (outcome == "running")


def test_what_killed_writes_have_left_is_removed(tmp_path: Path) -> None:
    train(TINY, tmp_path / "run")
    left = tmp_path / "run" / ".checkpoint.pt.abcd1234.tmp"
    old = tmp_path / "run" / ".metrics.parquet.x_1234ab"
    own = tmp_path / "run" / ".gitignore"
    for path in (left, old, own):
        path.write_text("half")
    train(TINY, tmp_path / "run")
    assert not left.exists()
    assert not old.exists()
    assert own.exists()


def test_a_lock_or_a_log_that_is_a_link_harms_nothing(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("years of work")
    train(TINY, tmp_path / "run")
    (tmp_path / "run" / "checkpoint.pt").unlink()
    for name in (".lock", "log.txt"):
        (tmp_path / "run" / name).unlink()
        (tmp_path / "run" / name).symlink_to(precious)
    with pytest.raises(RunError, match=r"\.lock cannot be opened"):
        train(TINY, tmp_path / "run")
    (tmp_path / "run" / ".lock").unlink()
    train(TINY, tmp_path / "run")
    assert precious.read_text() == "years of work"


def test_pipes_and_folders_in_place_of_files_are_refused(tmp_path: Path) -> None:
    for name in ("checkpoint.pt", "metrics.parquet", "config.toml", "manifest.json"):
        folder = tmp_path / name
        train(TINY, folder)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(RunError, match=name):
            train(TINY, folder)
        (folder / name).unlink()
        (folder / name).mkdir()
        with pytest.raises(RunError, match=name):
            train(TINY, folder)


def test_commands_refuse_folders_that_are_not_theirs(tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "thesis.tex").write_text("text")
    other = tmp_path / "other"
    other.mkdir()
    write_json(other / "manifest.json", {"kind": "sweep"})
    member = plan({"base": TINY.to_dict()})
    for folder, text in ((documents, "thesis.tex"), (other, "folder of mirrorflow sweep")):
        before = content(folder)
        for call in (
            lambda: reproduce(folder, workers=1),  # noqa: B023
            lambda: tune(TINY, folder, trials=1),  # noqa: B023
            lambda: train(TINY, folder),  # noqa: B023
            lambda: compare(folder, data="digits"),  # noqa: B023
        ):
            with pytest.raises(RunError, match=text):
                call()
        assert content(folder) == before
        assert not (folder / ".lock").exists()
    with pytest.raises(RunError, match=r"thesis\.tex"):
        sweep(member, documents, engine=this_process)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mirror_map", 3),
        ("mirror_map", {}),
        ("mirror_map", {"a": 3}),
        ("mirror_map", "cubic"),
        ("data", 3),
        ("data", ""),
        ("data_options", [1]),
        ("net_options", 3),
        ("net_options", {"a": object()}),
        ("optimizer_options", "momentum"),
        ("finish_options", None),
        ("net", 7),
        ("lr", "fast"),
        ("lr", True),
        ("lr", float("inf")),
        ("until", "abc"),
        ("until", [None]),
        ("until", None),
        ("steps", "10"),
        ("steps", 10**40),
        ("seed", 2**31),
        ("threads", 10**9),
        ("dtype", None),
        ("device", ["cpu"]),
    ],
)
def test_every_field_of_a_configuration_is_checked(field: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=field):
        RunConfig.from_dict({field: value})


def test_numpy_values_are_values() -> None:
    chosen = RunConfig(steps=np.int64(7), lr=np.float32(0.5), until=np.array([-1.0, -2.0]))  # type: ignore[arg-type]
    assert (chosen.steps, chosen.lr, chosen.until) == (7, 0.5, (-1.0, -2.0))
    assert type(chosen.steps) is int


def test_sizes_beyond_memory_are_refused_before_any_folder(tmp_path: Path) -> None:
    for changes, text in (
        ({"net_options": {"hidden": [10**9]}}, "net_options.*memory"),
        ({"net": "mlp", "net_options": {"hidden": [10**12, 10**12]}}, r"net_options.*sizes\[1\]"),
        ({"data_options": {"n": 10**13, "d": 3}}, "data_options.*bytes"),
    ):
        with pytest.raises(ValueError, match=text):
            train(dataclasses.replace(TINY, **changes), tmp_path / "never")
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--until=abc"], "until"),
        (["--set", "garbage"], "garbage"),
        (["--set", "stepz=3"], "steps"),
        (["--set", "mirror_map=3"], "mirror_map"),
        (["--track", "mlflow:nonsense://x"], "nonsense"),
        (["--track", "mlflow:http://127.0.0.1:9"], "127.0.0.1"),
        (["--track", "wandb"], "wandb"),
        (["--config", "latin.toml"], "UTF-8"),
        (["--config", "."], "folder"),
        (["--config", "missing.toml"], "missing.toml"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(
    tmp_path: Path, words: list[str], text: str
) -> None:
    from mirrorflow.cli import main

    (tmp_path / "latin.toml").write_bytes("data = 'caf\xe9'".encode("latin-1"))
    before = os.getcwd(), sys.argv
    try:
        os.chdir(tmp_path)
        sys.argv = ["mirrorflow", "train", "--out", "out", "--data", "digits", *words]
        with pytest.raises(SystemExit) as info:
            main()
    finally:
        os.chdir(before[0])
        sys.argv = before[1]
    assert info.value.code == 2
    assert not (tmp_path / "out").exists()


def test_records_and_memories_that_were_damaged_are_named(tmp_path: Path) -> None:
    members = plan({"base": TINY.to_dict()})
    sweep(members, tmp_path / "sweep", engine=this_process)
    record = tmp_path / "sweep" / "records" / f"{members[0].name}.json"
    whole = record.read_bytes()
    for damage in (b"", b"[]", b"{}", whole[:-20], whole.replace(b"0.", b"1.", 1)):
        record.write_bytes(damage)
        with pytest.raises(RunError, match=record.name):
            sweep(members, tmp_path / "sweep", engine=this_process)
    record.unlink()  # the cure
    assert sweep(members, tmp_path / "sweep", engine=this_process).ran == 1
    (tmp_path / "tracked.json").write_text("half")
    with pytest.raises(RunError, match=r"tracked\.json"):
        Told(tmp_path / "tracked.json", {})
    foreign = tmp_path / "foreign.parquet"
    foreign.write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(RunError, match=r"foreign\.parquet"):
        sweep(members, tmp_path / "new", engine=this_process, reuse=[foreign])
    assert not (tmp_path / "new").exists()


def test_names_do_not_leave_their_folder(tmp_path: Path) -> None:
    for name in ("../evil", "/etc/passwd", ".hidden", "a\0b", 3):
        with pytest.raises((ValueError, TypeError), match="name"):
            Member(name, "", {})  # type: ignore[arg-type]
        with pytest.raises((ValueError, TypeError), match="name"):
            Task(name, test_names_do_not_leave_their_folder, {})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tasks"):
        run_tasks([None], tmp_path)  # type: ignore[list-item]
    with pytest.raises((TypeError, ValueError), match="texts"):
        tracking("mlflow", tmp_path)


def test_a_changed_bit_of_json_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    write_json(path, {"a": 1.5, "rows": [{"x": None, "y": "ü"}]})
    whole = path.read_bytes()
    assert read_json(path, "the file", "restore it")["a"] == 1.5
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"values\.json"):
            read_json(path, "the file", "restore it")


def test_seals(tmp_path: Path) -> None:
    path = tmp_path / "sealed"
    write_atomic(path, lambda file: file.write(b"content"), seal=True)
    assert check_seal(path)
    path.write_bytes(b"content")
    assert not check_seal(path)


def test_trajectories_of_other_programs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    for data in (b"", b"PK", b"text"):
        path.write_bytes(data)
        with pytest.raises(RunError, match=r"t\.npz does not hold a trajectory"):
            Trajectory.load(path)
    np.savez(path, head=np.array("{}"), log_t=np.zeros(3))
    with pytest.raises(RunError, match="it has no"):
        Trajectory.load(path)
    with pytest.raises(RunError, match="cannot be read"):
        Trajectory.load(tmp_path)
