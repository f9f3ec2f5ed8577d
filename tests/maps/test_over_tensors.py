"""The largest norm over tensors: by hand, the dual by a search, what it refuses."""

from __future__ import annotations

import math

import pytest
import torch

from mirrorflow.maps import LpHorizon, MaxOverTensors, SchattenHorizon

W = {"a": torch.diag(torch.tensor([3.0, 1.0])).double(), "b": torch.tensor([[3.0, 4.0]]).double()}


def test_by_hand() -> None:
    assert float(MaxOverTensors(LpHorizon(1)).gauge(W)) == 7
    assert float(MaxOverTensors(SchattenHorizon(math.inf)).gauge(W)) == 5
    assert float(MaxOverTensors(SchattenHorizon(math.inf)).dual_gauge(W)) == pytest.approx(4 + 5)
    mixed = MaxOverTensors({"a": LpHorizon(math.inf), "*": LpHorizon(2)})
    assert {k: float(v) for k, v in mixed.gauges(W).items()} == {"a": 3, "b": 5}


@pytest.mark.parametrize(
    "horizon",
    [LpHorizon(1), LpHorizon(2), LpHorizon(math.inf), SchattenHorizon(math.inf)],
    ids=repr,
)
def test_subgradient_and_dual_belong_together(horizon) -> None:
    norm = MaxOverTensors(horizon)
    s = norm.subgradient(W)
    assert sum(float((s[k] * W[k]).sum()) for k in W) == pytest.approx(float(norm.gauge(W)))
    assert float(norm.dual_gauge(s)) == pytest.approx(1.0)
    # No point of the unit ball has a larger product with g than the dual says, and one has it.
    generator = torch.Generator().manual_seed(0)
    g = {k: torch.randn(v.shape, generator=generator).double() for k, v in W.items()}
    bound = float(norm.dual_gauge(g))
    reached = []
    for _ in range(200):
        v = {k: torch.randn(t.shape, generator=generator).double() for k, t in W.items()}
        size = float(norm.gauge(v))
        reached.append(sum(float((v[k] * g[k]).sum()) for k in W) / size)
    assert max(reached) <= bound
    duals = {k: _dual(horizon).subgradient(t) for k, t in g.items()}  # of Q_b(·) = 1 each
    assert float(norm.gauge(duals)) == pytest.approx(1.0)
    assert sum(float((duals[k] * g[k]).sum()) for k in W) == pytest.approx(bound)


def _dual(horizon):
    order = {1: math.inf, 2: 2, math.inf: 1}[horizon.p]
    return type(horizon)(order)


def test_two_maximal_tensors_share() -> None:
    norm = MaxOverTensors(LpHorizon(2))
    s = norm.subgradient({"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([5.0]), "c": W["a"]})
    assert s["a"].tolist() == pytest.approx([0.3, 0.4])
    assert s["b"].tolist() == [0.5]
    assert not s["c"].any()


@pytest.mark.parametrize(
    ("horizon", "error", "words"),
    [
        (2.0, TypeError, "horizon = 2.0 is not a Horizon"),
        ({}, ValueError, "horizon is an empty mapping"),
        ({"a": None}, TypeError, r"horizon\['a'\] = None"),
        ({3: LpHorizon(2)}, TypeError, "horizon has the key 3"),
    ],
)
def test_bad_horizons(horizon, error, words) -> None:
    with pytest.raises(error, match=words):
        MaxOverTensors(horizon)


def test_bad_tensors() -> None:
    with pytest.raises(TypeError, match="tensors = a tensor of shape"):
        MaxOverTensors(LpHorizon(2)).gauge(W["a"])
    with pytest.raises(ValueError, match="none for the parameter 'b'"):
        MaxOverTensors({"a": LpHorizon(2)}).gauge(W)
    with pytest.raises(ValueError, match=r"horizon\['c'\] covers no parameter"):
        MaxOverTensors({"c": LpHorizon(2), "*": LpHorizon(1)}).gauge(W)
    with pytest.raises(ValueError, match="gradients is empty"):
        MaxOverTensors(LpHorizon(2)).dual_gauge({})
