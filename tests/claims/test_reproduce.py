"""The main job in small: tasks are kept, findings follow from records, the page stands alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mirrorflow.claims import (
    PRESETS,
    Record,
    Task,
    digits,
    networks,
    one_limit,
    read_records,
    reproduce,
    run_tasks,
    slowness,
)
from mirrorflow.claims.finding import map_label, plain
from mirrorflow.claims.reproduce import Preset
from mirrorflow.errors import RunError
from mirrorflow.report import write_page


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        PRESETS,
        "tiny",
        Preset(seeds=1, digit_seeds=1, thresholds=(-0.5,), steps=120, units=4, points=4),
    )
    monkeypatch.setattr(one_limit, "PAIRS", {"ℓ2": ("quadratic", "mixed(p=1.5, a=1, b=1)")})
    monkeypatch.setattr(slowness, "MAPS", ("quadratic", "hyperbolic_entropy(beta=1)"))
    monkeypatch.setattr(networks, "LADDER", ("hyperbolic_entropy(beta=0.01)", "quadratic"))
    monkeypatch.setattr(digits, "LADDER", ("power(p=1.5)", "power(p=4)"))


@pytest.mark.slow
def test_reproduce_keeps_judges_and_tells(tmp_path: Path, small: None) -> None:
    calls: list[tuple[int, int, str]] = []
    found = reproduce(tmp_path, preset="tiny", workers=1, progress=lambda *a: calls.append(a))
    assert found.failed == {}
    assert calls[-1][:2] == (9, 9)
    assert {finding.claim for finding in found.findings} == {1, 2, 3}
    assert found.findings[0].verdict == "yes"
    page = write_page(tmp_path).read_text()
    assert page.count('<img src="data:image/') == 6
    # Nothing is fetched: no address but those in the text.
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    for finding in found.findings:
        assert finding.verdict in page
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "records").iterdir()}
    calls.clear()
    reproduce(tmp_path, preset="tiny", workers=1, progress=lambda *a: calls.append(a))
    assert calls == [(9, 9, "")]
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "records").iterdir()} == before


def test_a_page_needs_a_finished_reproduction_of_this_version(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no finished reproduction"):
        write_page(tmp_path)
    (tmp_path / "findings.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(RunError, match="layout 99"):
        write_page(tmp_path)


def test_unknown_preset_and_seed_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"preset = 'huge' is unknown; choose one of 'quick'"):
        reproduce(tmp_path / "out", preset="huge")
    with pytest.raises(ValueError, match="seed = -1"):
        reproduce(tmp_path / "out", seed=-1)
    assert not (tmp_path / "out").exists()


def answer(folder: Path, *, value: int) -> Record:
    if value < 0:
        raise RunError("broken folder")
    return Record(f"answer-{value}", {"value": value}, [{"value": value}])


def unlucky(folder: Path, *, value: int) -> Record:
    from mirrorflow.errors import DivergedError

    raise DivergedError(f"value {value} diverged")


def test_tasks_are_kept_by_what_they_ask_and_failures_are_reported(tmp_path: Path) -> None:
    tasks = [Task(f"answer-{v}", answer, {"value": v}) for v in (1, 2)]
    assert run_tasks([*tasks, Task("bad", unlucky, {"value": 3})], tmp_path, workers=1) == {
        "bad": "value 3 diverged"
    }
    records = read_records(tmp_path)
    assert [records[f"answer-{v}"].rows for v in (1, 2)] == [[{"value": 1}], [{"value": 2}]]
    # Another question under the same name is asked again.
    run_tasks([Task("answer-1", answer, {"value": 5})], tmp_path, workers=1)
    assert read_records(tmp_path)["answer-1"].summary == {"value": 5}
    with pytest.raises(RunError, match="broken folder"):
        run_tasks([Task("worst", answer, {"value": -1})], tmp_path, workers=1)
    (tmp_path / "records" / "answer-2.json").write_text("{")
    with pytest.raises(RunError, match="remove it to make it again"):
        read_records(tmp_path)


def record(name: str, **summary: object) -> Record:
    return Record(name, dict(summary))


def limits(shortfall: float, gap: float) -> dict[str, Record]:
    names = [task.name for task in one_limit.tasks(1, 0)]
    values = {"shortfall": shortfall, "gap": gap, "margin": 1.0, "exact_margin": 1.0}
    return {name: record(name, **values) for name in names}


@pytest.mark.parametrize(
    ("shortfall", "gap", "verdict"),
    [(1e-5, 0.0, "yes"), (0.1, 0.1, "not yet reached"), (0.1, 0.0, "no")],
)
def test_the_verdict_on_the_limit_can_be_each_of_three(
    shortfall: float, gap: float, verdict: str
) -> None:
    found = one_limit.findings(limits(shortfall, gap), 1, 0)
    assert {finding.verdict for finding in found} == {verdict}
    assert {f.verdict for f in one_limit.findings({}, 1, 0)} == {"not yet reached"}


def test_the_verdict_on_digits_follows_the_order() -> None:
    def judge(by_seed: list[list[float]], accuracy: float = 1.0) -> str:
        seeds = len(by_seed)
        made = {}
        for k, task in enumerate(digits.tasks(seeds, 0, [-2.0], 10)):
            seed, place = divmod(k, 5)
            value = by_seed[seed][place]
            row = {
                "threshold": -2.0,
                "seed": seed,
                "train_accuracy": accuracy if place else 1.0,
                "weight_participation": value,
                "active_share": value,
            }
            made[task.name] = Record(task.name, {}, [row])
        found = digits.findings(made, [-2.0], seeds, 0)
        assert ("strictly ordered in every seed" in found[0].measured) == (
            seeds > 1 and all(sorted(row) == row for row in by_seed)
        )
        return found[0].verdict

    rising = [[0.1 + e, 0.2 - e, 0.3 + e, 0.4, 0.5 - e] for e in (0.0, 0.001, -0.001)]
    assert judge(rising) == "yes"
    assert judge(rising, accuracy=0.9) == "no"
    assert judge([[*row[:3], row[4], row[3]] for row in rising]) == "no"
    # The last step flips with the seed: neither yes nor no.
    assert judge([*rising[:2], [0.1, 0.2, 0.3, 0.5, 0.4]]) == "noise"
    # Rising in every seed, by amounts that scatter too much for an interval.
    scattered = [[0.1, 0.2, 0.3, 0.4, 0.4 + rise] for rise in (0.001, 0.02, 0.003)]
    assert judge(scattered) == "noise"
    # One seed decides what is larger than the scatter of seeds.
    assert judge([[0.1, 0.2, 0.3, 0.4, 0.5]]) == "yes"
    assert judge([[0.1, 0.2, 0.3, 0.5, 0.4]]) == "no"
    assert judge([[0.489, 0.547, 0.597, 0.643, 0.624]]) == "noise"
    assert judge([[0.557, 0.579, 0.607, 0.635, 0.639]]) == "noise"
    assert digits.findings({}, [-2.0], 3, 0)[0].verdict == "not yet reached"


def test_labels() -> None:
    assert map_label("power(p=1.5)") == "power 1.5"
    assert map_label("hyperbolic_entropy(beta=0.01)") == "hyperbolic entropy β=0.01"
    assert map_label("mixed(p=3, a=1, b=1)") == "mixed 3"
    assert map_label("quadratic") == "quadratic"
    assert plain(float("nan")) == "–"
