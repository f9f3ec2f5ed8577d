from __future__ import annotations

import math

import mpmath
import pytest
import torch
from torch import nn

from mirrorflow.diagnostics import balance, certify, features, margin
from mirrorflow.maps import HyperbolicEntropy, Power, Quadratic
from mirrorflow.nets import Linear, TwoLayer


def linear(*weights: float) -> Linear:
    net = Linear(len(weights))
    with torch.no_grad():
        net.weight.copy_(torch.tensor(weights))
    return net


X = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=torch.float64)
Y = torch.tensor([1.0, -1.0], dtype=torch.float64)


def test_by_hand():
    found = margin(linear(3.0, 4.0), X, Y, Quadratic())
    assert found.q_min == pytest.approx(1.0)
    assert found.margin == pytest.approx(1.0 / 5)
    assert found.log_scale == pytest.approx(math.log(5))
    assert found.log_loss == pytest.approx(math.log(math.exp(-11) + math.exp(-1)))
    assert found.smoothed == pytest.approx(-found.log_loss / 5)
    assert margin(linear(3.0, 4.0), X, Y, HyperbolicEntropy(0.1)).margin == pytest.approx(1 / 7)


def test_a_product_of_horizons_where_maps_differ():
    net = TwoLayer(2, 3)
    a, b = (p.detach() for p in net.parameters())
    q = (Y * net(X).detach()).min()
    found = margin(net, X, Y, {"weights.0": Power(3), "weights.1": HyperbolicEntropy(1.0)})
    expected = q / ((a.abs() ** 3).sum() ** (1 / 3) * b.abs().sum())
    assert found.margin == pytest.approx(float(expected))
    assert not found.joint


@pytest.mark.parametrize("c", [1e-150, 1e-3, 1e5, 1e150])
def test_nothing_overflows_and_the_margin_has_degree_zero(c):
    net = TwoLayer(2, 3, generator=torch.Generator().manual_seed(5))
    y = torch.sign(net(X)).detach()
    here = margin(net, X, y, Quadratic())
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(c)
    there = margin(net, X, y, Quadratic())
    assert there.margin == pytest.approx(here.margin, rel=1e-12)
    assert there.log_scale == pytest.approx(here.log_scale + 2 * math.log(c), rel=1e-12)
    assert there.log_q_min == pytest.approx(here.log_q_min + 2 * math.log(c), rel=1e-12)
    assert there.smoothed <= there.margin


def test_the_smoothed_margin_against_mpmath():
    net = linear(30.0, 40.0)
    with mpmath.workdps(60):
        loss = mpmath.exp(-110) + mpmath.exp(-10)
        expected = float(-mpmath.log(loss) / 50)
    assert margin(net, X, Y, Quadratic()).smoothed == pytest.approx(expected, rel=1e-15)


def test_not_separated_is_measured_not_refused():
    found = margin(linear(3.0, 4.0), X, -Y, Quadratic())
    assert not found.separated
    assert found.misclassified == 2
    assert found.margin == pytest.approx(-11 / 5)
    assert math.isnan(found.log_q_min)


def test_bad_input():
    with pytest.raises(ValueError, match=r"takes labels -1 and \+1"):
        margin(linear(1.0, 1.0), X, torch.tensor([0.0, 1.0]), Quadratic())
    with pytest.raises(ValueError, match="are zero"):
        margin(linear(0.0, 0.0), X, Y, Quadratic())
    with pytest.raises(ValueError, match="'weight' holds NaN"):
        margin(linear(math.nan, 1.0), X, Y, Quadratic())
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"train mode.*call net\.eval"):
        margin(net, X, torch.tensor([0, 1]), Quadratic())
    with pytest.raises(ValueError, match="no points"):
        margin(linear(1.0, 1.0), X[:0], Y[:0], Quadratic())


@pytest.mark.parametrize("measure", [balance, lambda net, m: features(net, torch.randn(3, 2))])
def test_what_cannot_be_measured_is_named(measure) -> None:  # type: ignore[no-untyped-def]
    net = TwoLayer(2, 3)
    with torch.no_grad():
        net.weights[0][0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"'weights\.0' holds NaN"):
        measure(net, Quadratic())


@pytest.mark.parametrize(
    ("net", "x", "y", "error", "text"),
    [
        (Linear(2), torch.zeros(0, 2), torch.zeros(0), ValueError, "there are no points"),
        (Linear(2), [[1.0, 2.0]], torch.ones(1), TypeError, "x is a list"),
        (Linear(2), torch.ones(1, 2), [1], TypeError, "y is a list"),
        (nn.ReLU(), torch.ones(1, 2), torch.ones(1), ValueError, "no parameters"),
        (abs, torch.ones(1, 2), torch.ones(1), TypeError, "pass a torch.nn.Module"),
    ],
)
def test_certify_names_bad_arguments(net, x, y, error, text) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=text):
        certify(net, x, y, Quadratic())
