"""The search over maps: resumed it is the one that was never interrupted; the front is a front."""

from __future__ import annotations

import dataclasses
import itertools
import random
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mirrorflow.errors import MissingExtraError, RunError
from mirrorflow.maps import parse_map
from mirrorflow.runs import RunConfig, load_run
from mirrorflow.sweeps.tune import FAMILIES, OBJECTIVES, front, tune

BASE = RunConfig(
    data="teacher",
    data_options={"n": 40, "d": 4, "n_test": 20},
    net="two_layer",
    net_options={"hidden": [8]},
    loss="logistic",
    steps=120,
    until=(-0.5, -1.0),
    certify_margins=0,
)


def test_the_front_is_what_nothing_dominates() -> None:
    draw = random.Random(0)
    points = [tuple(draw.randint(0, 4) for _ in range(3)) for _ in range(60)]
    found = front(points)
    for point, chosen in zip(points, found, strict=True):
        better = any(
            all(b >= a for a, b in zip(point, other, strict=True))
            and any(b > a for a, b in zip(point, other, strict=True))
            for other in points
        )
        assert chosen != better
    assert any(found)
    assert front([(1.0, 2.0), (1.0, 2.0)]) == [True, True]
    assert front([]) == []


@pytest.mark.parametrize("name", FAMILIES)
def test_every_end_of_every_family_is_a_map(name: str) -> None:
    text, low, high, _ = FAMILIES[name]
    for value in (low, high):
        assert parse_map(text.format(value)) == parse_map(repr(parse_map(text.format(value))))


def optuna() -> Any:
    return pytest.importorskip("optuna", reason="Optuna is not installed (extra sweep)")


@pytest.mark.slow
def test_killed_and_resumed_it_is_the_same_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna()
    calls: list[tuple[int, int]] = []
    whole = tune(
        BASE, tmp_path / "whole", trials=12, progress=lambda d, t, row: calls.append((d, t))
    )
    assert calls == [(n, 12) for n in range(13)]
    # Killed between a suggestion and its run, then resumed with fewer trials, then with all.
    from mirrorflow.sweeps import tune as module

    ran = module._rows  # type: ignore[attr-defined]
    count = itertools.count()

    def breaking(*arguments: Any) -> Any:
        if next(count) == 6:
            raise KeyboardInterrupt
        return ran(*arguments)

    monkeypatch.setattr(module, "_rows", breaking)
    with pytest.raises(KeyboardInterrupt):
        tune(BASE, tmp_path / "cut", trials=12)
    monkeypatch.setattr(module, "_rows", ran)
    assert len(tune(BASE, tmp_path / "cut", trials=8).rows) == 8
    cut = tune(BASE, tmp_path / "cut", trials=12)
    tables = [pd.read_parquet(found.table).drop(columns="seconds") for found in (whole, cut)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)

    frame = tables[0]
    assert len(frame) == 12
    assert set(frame["family"]) == set(FAMILIES)
    reached = frame[frame["reached"]]
    assert reached["front"].tolist() == front(reached[list(OBJECTIVES)].values.tolist())
    assert not frame[~frame["reached"]]["front"].any()
    first = frame.iloc[0]
    run = load_run(tmp_path / "whole" / "trials" / "members" / "trial-0000-s0")
    assert run.config == dataclasses.replace(BASE, mirror_map=first["mirror_map"])
    last = run.rows[-1]
    assert first["sparsity"] == 1 - last["weight_participation"]
    assert first["speed"] == -1000 * last["log10_loss"] / last["step"]
    with pytest.raises(RunError, match="search of another run"):
        tune(dataclasses.replace(BASE, steps=9), tmp_path / "cut", trials=2)


def test_trials_that_fail_or_do_not_arrive_are_no_part_of_the_front(tmp_path: Path) -> None:
    optuna()
    short = dataclasses.replace(BASE, steps=20, until=(-1e5,))
    found = tune(short, tmp_path / "short", trials=2, seeds=2)
    assert [row["reached"] for row in found.rows] == [False, False]
    assert found.front == []
    assert found.rows[0]["seeds"] == 2
    bad = dataclasses.replace(BASE, net_options={"depth": 3})
    rows = tune(bad, tmp_path / "bad", trials=2).rows
    assert all("no key ['depth']" in row["error"] for row in rows)


def test_the_search_leaves_a_region_where_trials_do_not_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna()
    from mirrorflow.sweeps import tune as module

    def rows(study: Any, *_: Any) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for trial in study.get_trials(deepcopy=False):
            if "family" not in trial.params:
                continue
            family = trial.params["family"]
            parameter = trial.params[family]
            values = (0.9 + 0.01 * (family == "power"), 0.8 - parameter / 5, 7 - parameter)
            row = {"trial": len(made), "reached": not (family == "power" and parameter > 3)}
            made.append({**row, **dict(zip(OBJECTIVES, values, strict=True))})
        return made

    monkeypatch.setattr(module, "_rows", rows)
    late = tune(BASE, tmp_path, trials=26).rows[12:]
    # A third of the interval, so a ninth of blind draws; told as failed it was nearly every one.
    assert sum(not row["reached"] for row in late) <= 4


def test_what_it_does_not_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for changes, text in (
        ({"trials": 0}, "trials = 0"),
        ({"families": ("powers",)}, r"families = \['powers'\]; choose some of"),
    ):
        with pytest.raises(ValueError, match=text):
            tune(BASE, tmp_path / "never", **changes)  # type: ignore[arg-type]
    sgd = dataclasses.replace(BASE, optimizer="sgd", lr=0.1)
    with pytest.raises(ValueError, match="'sgd' does not use the map"):
        tune(sgd, tmp_path / "never")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r'"mirrorflow\[sweep\]"'):
        tune(BASE, tmp_path / "never")
    assert not (tmp_path / "never").exists()
