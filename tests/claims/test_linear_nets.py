"""Deep linear nets: oracles against each other, stationarity by hand, verdicts from tables."""

from __future__ import annotations

import math

import pytest
import torch

from mirrorflow.claims import Record
from mirrorflow.claims import linear_nets as asked
from mirrorflow.data import random_labels
from mirrorflow.exact import max_margin
from mirrorflow.maps import LpHorizon


def rows(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    data = random_labels(6, 10, seed=seed)
    return data.x * data.y[:, None].double(), data.x, data.y


def test_the_outside_solvers_agree_with_the_library() -> None:
    pytest.importorskip("cvxpy")
    z, x, y = rows()
    for kind, p in (("diagonal-2", 1), ("full-2", 2)):
        found = asked.oracle(kind, z)
        assert found == pytest.approx(max_margin(x, y, LpHorizon(p)).margin, rel=1e-7)
    assert asked.oracle("diagonal-3", z) is None
    # One point: the best predictor has its phases, on its largest frequency pair alone.
    point = torch.zeros(1, 10, dtype=torch.float64)
    point[0, 0] = 1.0
    # ⟨β, e_0⟩ = Σ β̂/d ≤ ‖β̂‖₁/d
    assert asked.oracle("circular-2", point) == pytest.approx(0.1, rel=1e-8)


def test_a_vertex_is_stationary_and_its_neighbour_is_not() -> None:
    z = torch.tensor([[1.0, 0.2], [0.9, 0.1]]).double()
    alone = torch.tensor([2.0, 0.0]).double()
    assert asked.stationarity("diagonal-3", z, alone) < 1e-12
    assert asked.stationarity("diagonal-3", z, torch.tensor([1.0, 1.0]).double()) > 0.1


def test_verdicts_follow_the_rules() -> None:
    def made(flow: float, residual: float) -> dict[str, Record]:
        found = {}
        for kind in asked.KINDS:
            convex = kind not in ("diagonal-3", "circular-3")
            about = {"exact": 1.0 if convex else None, "flow": flow, "descent": flow}
            more = {"flow_residual": residual, "descent_residual": residual}
            found[f"deep-{kind}-0"] = Record(f"deep-{kind}-0", about | more)
        return found

    assert {f.verdict for f in asked.findings(made(0.99999, 1e-4), 1, 0)} == {"yes"}
    assert {f.verdict for f in asked.findings(made(0.9, 0.5), 1, 0)} == {"no"}
    assert {f.verdict for f in asked.findings(made(0.99999, 1e-4), 2, 0)} == {"not yet reached"}
    assert {f.verdict for f in asked.findings({}, 1, 0)} == {"not yet reached"}
    near = {f.question: f.verdict for f in asked.findings(made(0.99, 1e-4), 1, 0)}
    assert [v for q, v in near.items() if "full" in q] == ["no", "yes"] * 2
    assert math.isclose(sum(f.claim for f in asked.findings({}, 1, 0)), 0)
