"""Whose margin: verdicts from tables by hand, one row trained beside the exact margin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mirrorflow.claims import Record
from mirrorflow.claims import whose_margin as asked
from mirrorflow.report.margin_section import of_margins

NAMES = list(asked.NORMS)


def _records(change: dict[str, Any] | None = None, method: str = "SGD") -> dict[str, Record]:
    """Every optimizer at margin 2 in its own norm and 1 elsewhere, of 2.05."""
    made = {}
    for name, about in asked.METHODS.items():
        record = asked._name("linear", name, 0)
        summary = {
            "data": "linear", "method": name, "norm": about.norm, "seed": 0, "steps": 9,
            "margins": [2.0 if norm == about.norm else 1.0 for norm in NAMES],
            "exact": 2.05, "log10_loss": -100.4, "weights": [0.6, 0.8], "flow": None,
            "flow_margin": None, "gap_first": 0.5, "gap_last": 0.1, "residual_first": 0.5,
            "residual_last": 0.2,
        }  # fmt: skip
        made[record] = Record(record, summary | (change or {} if name == method else {}))
    return made


def _verdicts(records: dict[str, Record]) -> list[str]:
    return [finding.verdict for finding in asked.findings(records, ["linear"], 1, 0)]


def test_each_best_in_its_own_norm() -> None:
    assert _verdicts(_records()) == ["yes"] * 9


def test_what_makes_a_no() -> None:
    spoiled = _records({"margins": [1.0, 2.0, 1.0, 2.04, 1.0, 1.0]})  # SGD wins ℓ10
    assert _verdicts(spoiled) == ["yes"] * 3 + ["no"] + ["yes"] * 5
    late = _records({"margins": [1.0, 1.9, 1.0, 1.0, 1.0, 1.0]})  # 0.927 of the exact margin
    assert _verdicts(late)[6] == "no"
    assert _verdicts(_records({"gap_last": 0.6}))[7] == "no"
    assert _verdicts(_records({"weights": [1.0, 0.0]}, "sign descent"))[8] == "no"
    assert _verdicts(_records({"flow": [1.0, 0.0], "flow_margin": 2.0}, "cosh"))[8] == "no"


def test_a_missing_row_leaves_it_open() -> None:
    records = _records()
    del records[asked._name("linear", "cosh", 0)]
    assert _verdicts(records) == ["not yet reached"] * 9


def test_the_section_is_relative_to_the_exact_margin() -> None:
    table = of_margins(list(_records().values())).tables[0]
    assert table.header == ["trained by", *NAMES, "duality gap in its own", "loss at the end"]
    own = ["0.488", "0.976", "0.488", "0.488", "0.488", "0.488"]
    assert table.rows[0] == ["SGD (ℓ2)", *own, "0.1", "1e-100"]


def test_sign_descent_reaches_the_exact_margin_of_its_own_norm(tmp_path: Path) -> None:
    pytest.importorskip("cvxpy")
    found = asked.train_method(
        tmp_path, data="linear", method="sign descent", seed=3, steps=600
    ).summary
    share = found["margins"][NAMES.index("ℓ∞")] / found["exact"]
    assert 0.95 < share < 1
    # For a linear net the duality gap is what is missing to the exact margin.
    assert found["gap_last"] == pytest.approx(1 - share, abs=1e-6)
    assert found["gap_last"] < 0.5 * found["gap_first"]
    assert found["log10_loss"] < -30
