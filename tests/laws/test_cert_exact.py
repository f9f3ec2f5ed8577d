"""Certificates against exact answers: linear for every p, two layers at p = 2, and Schatten."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mirrorflow.diagnostics import certify, margin
from mirrorflow.exact import local_two_layer_max_margin, max_margin, two_layer_max_margin
from mirrorflow.losses import log_loss
from mirrorflow.maps import (
    Cosh,
    HyperbolicEntropy,
    LpHorizon,
    Power,
    Quadratic,
    SchattenHorizon,
    Spectral,
)
from mirrorflow.nets import Linear, TwoLayer

MAPS = {
    1: HyperbolicEntropy(1.0),
    1.1: Power(1.1),
    1.5: Power(1.5),
    2: Quadratic(),
    3: Power(3),
    10: Power(10),
    math.inf: Cosh(),
}


def linear_data(seed: int, n: int = 12, d: int = 30):
    g = torch.Generator().manual_seed(seed)
    x, w = torch.randn(n, d, generator=g), torch.randn(d, generator=g)
    return x, torch.sign(x @ w)


def linear(weights):
    net = Linear(weights.numel())
    with torch.no_grad():
        net.weight.copy_(weights)
    return net


@pytest.mark.parametrize("p", MAPS)
@pytest.mark.parametrize(("seed", "n", "d"), [(0, 12, 30), (1, 40, 5), (2, 8, 8)])
def test_exact_solutions_are_certified_with_the_solvers_multipliers(p, seed, n, d):
    x, y = linear_data(seed, n, d)
    truth = max_margin(x, y, LpHorizon(p))
    found = certify(linear(5 * truth.weights), x, y, MAPS[p])
    assert found.epsilon < 1e-6
    assert found.delta < 1e-6
    assert found.gap < 1e-6
    assert found.margin == pytest.approx(truth.margin, rel=1e-9)
    torch.testing.assert_close(found.multipliers, truth.multipliers, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("p", MAPS)
def test_the_wrong_map_is_far_from_zero(p):
    x, y = linear_data(0)
    net = linear(max_margin(x, y, LpHorizon(p)).weights)
    for other, mirror_map in MAPS.items():
        if {p, other} in ({1, 1.1}, {10, math.inf}) or other == p:
            continue  # neighbours whose solutions nearly agree
        found = certify(net, x, y, mirror_map)
        assert max(found.epsilon, found.delta) > 0.02, other


@pytest.mark.parametrize("p", [1.5, 2, 3])
@pytest.mark.parametrize("eta", [1e-2, 1e-4])
def test_perturbations_of_size_eta_give_residuals_of_order_eta(p, eta):
    x, y = linear_data(0)
    truth = max_margin(x, y, LpHorizon(p))
    g = torch.Generator().manual_seed(9)
    size = truth.weights.abs()
    for _ in range(3):
        noise = torch.randn(30, generator=g) * size
        found = certify(linear(truth.weights + eta * noise), x, y, MAPS[p])
        assert 0.02 * eta < max(found.epsilon, found.delta) < 20 * eta


@pytest.mark.parametrize("p", [1, math.inf])
def test_at_l1_and_linf_perturbations_that_keep_the_face(p):
    """Zeros stay zero (maximal entries maximal): the subdifferential is the same set."""
    x, y = linear_data(0)
    w = max_margin(x, y, LpHorizon(p)).weights
    free = (w.abs() > 1e-6 * w.abs().max()) if p == 1 else (w.abs() < (1 - 1e-6) * w.abs().max())
    g = torch.Generator().manual_seed(9)
    for eta in (1e-2, 1e-4):
        noise = torch.randn(30, generator=g) * free
        found = certify(linear(w + eta * w.abs().mean() * noise), x, y, MAPS[p])
        assert 1e-3 * eta < max(found.epsilon, found.delta) < 20 * eta


class MatrixModel(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.w = nn.Parameter(weights.clone())

    def forward(self, x):
        return (x * self.w).sum((1, 2))


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, math.inf])
def test_schatten(p):
    g = torch.Generator().manual_seed(0)
    x, w = torch.randn(12, 4, 5, generator=g), torch.randn(4, 5, generator=g)
    y = torch.sign((x * w).sum((1, 2)))
    truth = max_margin(x, y, SchattenHorizon(p))
    assert truth.gap < 1e-9
    found = certify(MatrixModel(truth.weights), x, y, Spectral(MAPS[p]))
    assert found.epsilon < 1e-6
    assert found.delta < 1e-6
    wrong = certify(MatrixModel(truth.weights), x, y, Spectral(MAPS[3 if p < 3 else 1.5]))
    assert wrong.epsilon > 0.02


def two_layer_data(seed: int, n: int, d: int):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g), torch.sign(torch.randn(n, generator=g))


@pytest.mark.parametrize(("seed", "n", "d"), [(0, 6, 2), (1, 8, 3), (2, 10, 3)])
def test_the_global_two_layer_optimum_is_a_kkt_point_on_kinks(seed, n, d):
    x, y = two_layer_data(seed, n, d)
    truth = two_layer_max_margin(x, y)
    assert truth.kind == "global"
    assert truth.gap < 1e-8
    found = certify(truth.net, x, y, Quadratic())
    assert found.margin == pytest.approx(truth.margin, rel=1e-9)
    assert found.fit.kinks > 0
    assert found.epsilon < 1e-6
    assert found.delta < 1e-6
    assert found.gap < 1e-6
    torch.testing.assert_close(found.multipliers, truth.multipliers, rtol=1e-5, atol=1e-6)
    # With the ordinary derivative of relu alone the point is not recognised.
    assert certify(truth.net, x, y, Quadratic(), max_kinks=0).epsilon > 1e-2


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_no_training_run_beats_the_global_optimum(seed):
    x, y = two_layer_data(seed, 5, 2)
    truth = two_layer_max_margin(x, y)
    best = 0.0
    for start in range(2):
        g = torch.Generator().manual_seed(start)
        net = TwoLayer(2, 30, generator=g)
        for _ in range(2000):
            loss = log_loss(net(x), y, "exponential")
            grads = torch.autograd.grad(loss, list(net.parameters()))
            with torch.no_grad():
                for p, gradient in zip(net.parameters(), grads, strict=True):
                    p.sub_(0.02 * gradient)
        reached = margin(net, x, y, Quadratic()).margin
        assert reached <= truth.margin * (1 + 1e-9)
        best = max(best, reached)
    assert best > 0.8 * truth.margin  # the runs were no strawmen


def test_local_solver_agrees_at_p_two_and_is_labelled():
    x, y = two_layer_data(0, 6, 2)
    truth = two_layer_max_margin(x, y)
    found = local_two_layer_max_margin(x, y, LpHorizon(2), 8, starts=6)
    assert found.kind == "local"
    assert math.isnan(found.upper_bound)
    assert found.margin <= truth.margin * (1 + 1e-9)
    assert found.margin == pytest.approx(truth.margin, rel=1e-5)


@pytest.mark.parametrize("p", [1, 1.5, 3, math.inf])
def test_local_solutions_are_kkt_points(p):
    x, y = two_layer_data(3, 10, 3)
    found = local_two_layer_max_margin(x, y, LpHorizon(p), 6, starts=5)
    check = certify(found.net, x, y, MAPS[p])
    assert check.margin == pytest.approx(found.margin, rel=1e-9)
    assert check.epsilon < 1e-3
    assert check.delta < 1e-6
