"""Sweeps: planned by name, resumed, nothing lost to a member that fails or is killed."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mirrorflow import processes as pool
from mirrorflow.errors import RunError
from mirrorflow.processes import (
    CallResult,
    WorkerDiedError,
    death,
    local_processes,
    this_process,
)
from mirrorflow.runs import RunConfig, RunFolder, load_run, train
from mirrorflow.sweeps import Member, plan, read_plan, sweep
from mirrorflow.sweeps.members import Result, at_thresholds
from mirrorflow.sweeps.records import record_of, write_table

BASE = {
    "data": "teacher",
    "data_options": {"n": 40, "d": 4, "n_test": 20},
    "net": "two_layer",
    "net_options": {"hidden": [8]},
    "loss": "logistic",
    "steps": 300,
    "until": [-1.0, -3.0],
}
GRID = {"mirror_map": ["quadratic", "power(3)"], "seed": [0, 1]}
TIMES = ["seconds", "evaluation_seconds", "started"]


def table(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "results.parquet")


def same(a: Path, b: Path) -> None:
    """Equal tables bit for bit, but for the times."""
    one, other = (table(p).drop(columns=TIMES) for p in (a, b))
    pd.testing.assert_frame_equal(one, other, check_exact=True)


SWEEP = """
import json, sys
from pathlib import Path
from mirrorflow.sweeps import plan, sweep

if __name__ == "__main__":
    sweep(plan(json.loads(sys.argv[1])), Path(sys.argv[2]), workers=1)
"""
LONG = {"base": {**BASE, "steps": 4000, "until": [-1e6]}}


def answer_or_die(value: Any) -> Any:
    """What the processes of the tests do."""
    if value == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if value == "raise":
        raise RunError("on purpose", state=lambda: None)
    return value


def test_a_plan_is_members_times_grid_over_base() -> None:
    found = plan(
        {
            "base": BASE,
            "grid": {"seed": [0, 1], "net_options": {"hidden": [[8], [16]]}},
            "members": [
                {"label": "a b", "mirror_map": "power(3)", "net_options": {"bias": True}},
                {"optimizer": "sgd", "grid": {"lr": [0.1, 0.2], "optimizer_options.momentum": [0]}},
            ],
        }
    )
    assert len(found) == 2 * 2 + 2 * 2 * 2
    first, last = found[0].settings, found[-1].settings
    assert first == {
        **BASE,
        "mirror_map": "power(3)",
        "seed": 0,
        "net_options": {"hidden": [8], "bias": True},
    }
    assert (last["lr"], last["optimizer_options"], last["seed"]) == (0.2, {"momentum": 0}, 1)
    assert last["net_options"] == {"hidden": [16]}
    assert [m.name.rsplit("-", 1)[0] for m in found[:4]] == ["a-b-s0"] * 2 + ["a-b-s1"] * 2
    assert BASE["net_options"] == {"hidden": [8]}


def test_names_follow_from_the_settings_alone() -> None:
    small = plan({"base": BASE, "grid": {"seed": [3]}})[0]
    large = plan({"base": BASE, "grid": {"steps": [300, 400], "seed": [1, 3]}})
    assert small.name in [m.name for m in large]
    assert len({m.name for m in large}) == 4
    told = {**BASE, "seed": 3, "batch_size": 0, "mirror_map": "quadratic"}
    assert Member("", "", told).key == small.key  # defaults do not count
    assert small.name.startswith("quadratic-s3-")
    assert len(plan({"base": BASE, "members": [{}, {}]})) == 1


@pytest.mark.parametrize(
    ("tables", "text"),
    [
        ({"bas": {}}, r"no table \['bas'\]"),
        ({"grid": {"seed": 3}}, r"grid\.seed = 3; pass a list"),
        ({"grid": {"seed": []}}, "no member"),
        ({"members": {}}, r"\[\[members\]\]"),
        ({"members": [{"grid": 1}]}, "no table of lists"),
    ],
)
def test_a_plan_names_what_it_does_not_take(tables: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        plan(tables)


def test_a_file_that_is_no_plan(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read"):
        read_plan(tmp_path / "nowhere.toml")
    (tmp_path / "bad.toml").write_text("base = ")
    with pytest.raises(RunError, match="is no TOML"):
        read_plan(tmp_path / "bad.toml")


def test_a_row_for_each_threshold_and_the_last() -> None:
    nan = math.nan
    rows: list[dict[str, Any]] = [
        {"step": 0, "threshold": nan},
        {"step": 5, "threshold": -2.0},  # passed -1 and -2 at once
        {"step": 7, "threshold": nan},
    ]
    found = at_thresholds(rows, [-1.0, -2.0, -9.0])
    assert [(r["step"], r["threshold"], r["last"]) for r in found[:2]] == [
        (5, -1.0, False),
        (5, -2.0, False),
    ]
    assert found[2]["step"] == 7
    assert found[2]["last"]
    assert len(found) == 3
    assert [r["last"] for r in at_thresholds([], [-1.0])] == [True]


def test_members_are_runs_and_the_table_says_what_they_found(tmp_path: Path) -> None:
    members = plan({"base": BASE, "grid": GRID})
    found = sweep(members, tmp_path / "a", engine=this_process)
    assert (found.ran, found.failed) == (4, {})
    sweep(members, tmp_path / "b", engine=this_process)
    same(tmp_path / "a", tmp_path / "b")
    frame = table(tmp_path / "a")
    assert len(frame) == 4 * 3
    for member in members:
        alone = train(RunConfig.from_dict(member.settings), tmp_path / "alone" / member.name)
        kept = load_run(tmp_path / "a" / "members" / member.name)
        assert json.dumps(alone.rows) == json.dumps(kept.rows)
        rows = frame[frame["member"] == member.name]
        assert rows["threshold"].tolist()[:2] == [-1.0, -3.0]
        last = rows[rows["last"]].iloc[0]
        assert last["q_margin"] == alone.rows[-1]["q_margin"]
        assert (last["net_options.hidden"], last["steps"]) == ("[8]", 300)
        assert last["outcome"] == "reached"
        assert last["seconds"] > 0
        assert "cores" in last["host"]
        assert last["mirrorflow"]


def test_what_has_ended_is_not_run_again_and_failures_only_if_asked(tmp_path: Path) -> None:
    grid = {**GRID, "mirror_map": ["quadratic", "cubic"], "lr": ["auto", 1e30]}
    members = plan({"base": BASE, "grid": grid})
    found = sweep(members, tmp_path, engine=this_process)
    assert len(found.failed) == 6
    assert sum("diverged: " in text for text in found.failed.values()) == 2
    assert sum("ValueError: mirror_map = 'cubic'" in text for text in found.failed.values()) == 4
    frame = table(tmp_path)
    assert len(frame) == 2 * 3 + 6
    assert set(frame["lr"]) == {"auto", "1e+30"}
    assert sweep(members, tmp_path, engine=this_process).ran == 0
    assert sweep(members, tmp_path, engine=this_process, retry=True).ran == 6
    (tmp_path / "records" / f"{members[0].name}.json").write_text("{")
    with pytest.raises(RunError, match="remove it to make it again"):
        sweep(members, tmp_path, engine=this_process)


def test_a_point_set_that_is_not_separated_is_a_result(tmp_path: Path) -> None:
    base = {"data": "random_labels", "data_options": {"n": 40, "d": 2}, "net": "linear"}
    settings = {**base, "loss": "logistic", "steps": 20, "until": [-3.0]}
    found = sweep(plan({"base": settings}), tmp_path, engine=this_process)
    assert "not_separated: the training set is not separated" in next(iter(found.failed.values()))
    assert table(tmp_path)["min_margin"].item() < 0


def test_a_table_grows_over_sessions(tmp_path: Path) -> None:
    small = plan({"base": BASE, "grid": {"seed": [0, 1]}})
    sweep(small, tmp_path / "a", engine=this_process)
    more = plan({"base": BASE, "grid": {"seed": [1, 2, 0], "mirror_map": ["quadratic"]}})
    earlier = tmp_path / "a" / "results.parquet"
    found = sweep(more, tmp_path / "b", engine=this_process, reuse=[earlier])
    assert found.ran == 1
    sweep(more, tmp_path / "whole", engine=this_process)
    same(tmp_path / "b", tmp_path / "whole")
    (tmp_path / "x.parquet").write_text("")
    with pytest.raises(RunError, match="cannot be read"):
        sweep(more, tmp_path / "c", engine=this_process, reuse=[tmp_path / "x.parquet"])


def test_two_sweeps_do_not_share_a_folder(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    with RunFolder(tmp_path).lock(), pytest.raises(RunError, match="another process works in"):
        sweep(plan({"base": BASE}), tmp_path, engine=this_process)
    with pytest.raises(ValueError, match="workers = 0"):
        sweep(plan({"base": BASE}), tmp_path, workers=0)
    with pytest.raises(ValueError, match="members is empty"):
        sweep([], tmp_path)


def test_a_column_of_numbers_and_text_is_text(tmp_path: Path) -> None:
    member = Member("m", "", {"lr": 0.5})
    other = Member("n", "", {"optimizer_options": {"eta": 1}, "mirror_map": {"*": "quadratic"}})
    records = [record_of(m, Result("failed", "why")) for m in (member, other)]
    write_table(tmp_path / "t.parquet", records)
    frame = pd.read_parquet(tmp_path / "t.parquet")
    assert frame["lr"].tolist() == ["0.5", "auto"]
    assert frame["mirror_map"].tolist() == ["quadratic", '{"*": "quadratic"}']
    assert frame["optimizer_options.eta"].isna().tolist() == [True, False]


def test_processes_that_die_take_nothing_with_them() -> None:
    values = [1, "kill", "raise", 3]
    found = {o.position: o for o in local_processes([(answer_or_die, (v,)) for v in values], 2)}
    assert [found[i].value for i in (0, 3)] == [1, 3]
    assert isinstance(found[1].error, WorkerDiedError)
    assert "SIGKILL" in str(found[1].error)
    assert isinstance(found[2].error, RunError)
    assert str(found[2].error) == "on purpose"
    assert "exit code 3" in death(3)


def wait_for(found: Callable[[], object]) -> None:
    """Until it is there; the test's own time limit ends the wait."""
    while not found():
        time.sleep(0.01)
    time.sleep(0.3)  # somewhere in the middle of a step


@pytest.mark.slow
def test_a_member_that_is_killed_is_recorded_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members, out = plan(LONG), tmp_path / "cut"
    start, workers = pool._start, []

    def watched() -> Any:
        workers.append(start())
        return workers[-1]

    def kill() -> None:
        wait_for(lambda: list(out.glob("members/*/log.txt")))
        os.kill(workers[0].process.pid, signal.SIGKILL)

    monkeypatch.setattr(pool, "_start", watched)
    threading.Thread(target=kill, daemon=True).start()
    (message,) = sweep(members, out, workers=1).failed.values()
    assert message.startswith("killed: its process was ended by SIGKILL")
    assert table(out)["outcome"].item() == "killed"
    found = sweep(members, out, engine=this_process, retry=True)
    assert (found.ran, found.failed) == (1, {})
    sweep(members, tmp_path / "whole", engine=this_process)
    same(out, tmp_path / "whole")


@pytest.mark.slow
def test_a_sweep_that_is_killed_takes_its_processes_with_it_and_resumes(tmp_path: Path) -> None:
    (tmp_path / "go.py").write_text(SWEEP)
    out = tmp_path / "cut"
    child = subprocess.Popen([sys.executable, str(tmp_path / "go.py"), json.dumps(LONG), str(out)])
    wait_for(lambda: list(out.glob("members/*/log.txt")))
    assert child.poll() is None, "the sweep ended before it could be killed"
    child.kill()
    child.wait()
    (member,) = (out / "members").iterdir()
    wait_for(lambda: is_free(member))
    assert not (out / "results.parquet").exists()
    assert sweep(plan(LONG), out, engine=this_process).failed == {}
    sweep(plan(LONG), tmp_path / "whole", engine=this_process)
    same(out, tmp_path / "whole")


def is_free(folder: Path) -> bool:
    """Whether no process works in the folder."""
    try:
        with RunFolder(folder).lock():
            return True
    except RunError:
        return False


def test_interrupted_the_sweep_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = plan({"base": BASE, "grid": GRID})

    def interrupted(calls: Any, workers: int) -> Any:
        for position, (function, arguments) in enumerate(calls):
            if position == 2:
                raise KeyboardInterrupt
            yield CallResult(position, function(*arguments))

    with pytest.raises(KeyboardInterrupt):
        sweep(members, tmp_path / "cut", engine=interrupted)
    assert len(table(tmp_path / "cut")) == 2 * 3  # the table is there all the same
    assert sweep(members, tmp_path / "cut", engine=this_process).ran == 2
    sweep(members, tmp_path / "whole", engine=this_process)
    same(tmp_path / "cut", tmp_path / "whole")
