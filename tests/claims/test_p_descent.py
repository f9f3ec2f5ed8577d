"""The table of p-descent: margins by hand, verdicts from tables, a row beside the exact margin."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mirrorflow.claims import Record
from mirrorflow.claims import p_descent as asked
from mirrorflow.data import random_labels
from mirrorflow.report.p_descent_section import of_powers

GOOD = {1.1: [4.0, 1, 1, 1], 2.0: [3, 4.0, 1, 1], 3.0: [3, 3, 4.0, 1], 10.0: [3, 3, 3, 4.0]}


def _records(table: dict[float, list[float] | None]) -> dict[str, Record]:
    made = {}
    for p, row in table.items():
        name = f"power-mnist-p{p:g}-0"
        about = {"data": "mnist", "p": p, "seed": 0, "exact": 4.0, "flow_log_t": None}
        end = {"flow": row, "descent": row, "steps": 7, "log10_loss": -3.0}
        made[name] = Record(name, {**about, **end})
    return made


def test_margins_in_every_norm_by_hand() -> None:
    rows = torch.tensor([[1.0, 1.0], [2.0, 0.0]]).double()
    weights = torch.tensor([3.0, 4.0]).double()
    found = asked.margins(rows, weights, [1.0, 2.0, float("inf")])
    assert found == pytest.approx([6 / 7, 6 / 5, 6 / 4])
    with pytest.raises(ValueError, match="weights"):
        asked.margins(rows, torch.zeros(2).double())


def test_a_column_is_won_by_its_own_row() -> None:
    verdicts = [f.verdict for f in asked.findings(_records(GOOD), ["mnist"], 1, 0)]
    assert verdicts == ["yes"] * 8


def test_a_column_that_another_row_wins_is_a_no_and_a_missing_row_leaves_it_open() -> None:
    worse = {**GOOD, 3.0: [3, 5.0, 4.0, 1]}
    verdicts = [f.verdict for f in asked.findings(_records(worse), ["mnist"], 1, 0)]
    assert verdicts == ["yes", "no", "yes", "yes"] * 2
    missing = {**GOOD, 10.0: None}
    verdicts = [f.verdict for f in asked.findings(_records(missing), ["mnist"], 1, 0)]
    assert verdicts == ["not yet reached"] * 8
    cells = of_powers(list(_records(missing).values())).tables[1].rows
    assert cells[0] == ["power 1.1, seed 0", "4", "1", "1", "1", "4", "1e-3 in 7"]
    assert cells[3][1:5] == ["–"] * 4


def test_a_row_reaches_the_exact_margin_in_its_own_norm(tmp_path: Path) -> None:
    options = {"data": "random_labels", "p": 2.0, "seed": 1, "log_t_end": 1e6}
    record = asked.train_power(tmp_path, **options, loss=-4.0, steps=400)
    s = record.summary
    assert s["flow"][1] == pytest.approx(s["exact"], rel=1e-5)
    # Outside of the library: the hard-margin machine of scikit-learn.
    svm = pytest.importorskip("sklearn.svm")
    data = random_labels(15, 100, seed=1)
    machine = svm.SVC(kernel="linear", C=1e9, tol=1e-8).fit(data.x.numpy(), data.y.numpy())
    w = torch.tensor(machine.coef_[0].copy())
    # Its intercept is free, which ours is not: it can only have a larger distance.
    assert s["exact"] <= 1.0 / float(w.norm()) * (1 + 1e-6)
    assert 0.9 * s["exact"] < s["descent"][1] < s["exact"]
    assert s["log10_loss"] <= -4
    assert s["steps"] < 400
