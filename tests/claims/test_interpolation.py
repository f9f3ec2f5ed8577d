"""The claim on interpolation: its outside solver, its verdicts from tables, one map in full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mirrorflow.claims import Record
from mirrorflow.claims import interpolation as asked


def test_the_linear_program_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 4.0]]).double()
    assert asked.smallest_sum(x, torch.tensor([2.0, 2.0]).double()) == pytest.approx(1.5)


def records(worst: float, ends: tuple[float, float], apart: float) -> dict[str, Record]:
    found = {}
    for text in asked.MAPS:
        name = f"interpolation-{text}-0"
        found[name] = Record(name, {"flow": 1e-12, "descent": worst, "single": 1e-12})
    sums = np.linspace(*ends, len(asked.BETAS))
    rows = [{"l1": v, "from_shortest": 1e-3, "product_apart": apart} for v in sums]
    found["interpolation-beta-0"] = Record("interpolation-beta-0", {"l1": 1.0}, rows)
    return found


def test_verdicts_follow_the_rules() -> None:
    good = asked.findings(records(1e-9, (3.0, 1.01), 1e-9), 1, 0)
    assert {f.verdict for f in good} == {"yes"}
    assert len(good) == len(asked.MAPS) + 3
    bad = asked.findings(records(1e-7, (1.0, 1.01), 1e-3), 1, 0)
    assert [f.verdict for f in bad] == ["no"] * len(asked.MAPS) + ["yes", "no", "no"]
    few = asked.findings(records(1e-9, (3.0, 1.01), 1e-9), 2, 0)
    assert {f.verdict for f in few} == {"not yet reached"}


def test_one_map_ends_at_one_point_in_three_ways(tmp_path: Path) -> None:
    found = asked.train_map(tmp_path, mirror_map="cosh(0.4)", lr=0.5, seed=3, steps=4000).summary
    for how in ("flow", "descent", "single"):
        assert found[how] < 1e-8
        assert found[f"{how}_apart"] < 1e-8
