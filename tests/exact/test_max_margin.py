from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from mirrorflow.errors import NotSeparableError
from mirrorflow.exact import max_margin
from mirrorflow.maps import LpHorizon

ORDERS = [1, 1.1, 1.5, 2, 3, 10, math.inf]


def separable(seed: int, n: int = 20, d: int = 8):
    g = torch.Generator().manual_seed(seed)
    x, w = torch.randn(n, d, generator=g), torch.randn(d, generator=g)
    return x, torch.sign(x @ w)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (1, 2),
        (1.1, 2.000089),
        (1.5, 2.080084),
        (2, math.sqrt(5)),
        (3, 2.447261),
        (10, 2.816652),
        (math.inf, 3),
    ],
)
def test_one_point_known_answers(p, expected):
    found = max_margin(torch.tensor([[1.0, 2.0]]), torch.tensor([1.0]), LpHorizon(p))
    assert found.margin == pytest.approx(expected, abs=6e-7)
    assert found.multipliers.tolist() == pytest.approx([1 / found.margin])


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_strong_duality_and_complementarity(p, seed):
    x, y = separable(seed)
    found = max_margin(x, y, LpHorizon(p))
    q = y * (x @ found.weights)
    assert float(LpHorizon(p).gauge(found.weights)) == pytest.approx(1.0, rel=1e-12)
    assert found.margin == pytest.approx(float(q.min()), rel=1e-12)
    assert found.gap < 1e-10
    assert bool((found.multipliers >= 0).all())
    assert float(found.multipliers.sum()) == pytest.approx(1 / found.margin)
    assert float((found.multipliers * (q - found.margin)).sum()) < 1e-9


@pytest.mark.parametrize("p", [1, math.inf])
def test_the_linear_programs_against_highs(p):
    x, y = separable(3)
    z = (y[:, None] * x).numpy()
    n, d = z.shape
    if p == 1:  # w = a − b
        cost = np.ones(2 * d)
        a = np.hstack([-z, z])
        bounds = [(0, None)] * (2 * d)
    else:  # |w_k| <= s
        cost = np.append(np.zeros(d), 1.0)
        box = np.hstack([np.vstack([np.eye(d), -np.eye(d)]), -np.ones((2 * d, 1))])
        a = np.vstack([np.hstack([-z, np.zeros((n, 1))]), box])
        bounds = [(None, None)] * d + [(0, None)]
    rhs = np.append(-np.ones(n), np.zeros(len(a) - n))
    best = linprog(cost, A_ub=a, b_ub=rhs, bounds=bounds, method="highs")
    assert max_margin(x, y, LpHorizon(p)).margin == pytest.approx(1 / best.fun, rel=1e-9)


def test_multiclass_is_the_binary_problem_when_there_are_two_classes():
    """With C = 2 the ℓ2 optimum is w_1 = −w_0 = v/2, so the margin is √2 that of v."""
    x, y = separable(4)
    binary = max_margin(x, y, LpHorizon(2))
    both = max_margin(x, (y > 0).long(), LpHorizon(2), classes=2)
    assert both.margin == pytest.approx(math.sqrt(2) * binary.margin, rel=1e-9)
    assert both.weights.shape == (2, 8)
    torch.testing.assert_close(both.weights[1], binary.weights / math.sqrt(2), atol=1e-8, rtol=0)
    assert both.multipliers.shape == (20, 2)


def test_not_separable_returns_a_farkas_proof():
    x, y = separable(5, n=10, d=3)
    x = torch.cat([x, x[:1]])
    y = torch.cat([y, -y[:1]])
    for p in ORDERS:
        with pytest.raises(NotSeparableError, match="no weights separate") as caught:
            max_margin(x, y, LpHorizon(p))
        mu = caught.value.state
        assert bool((mu >= 0).all())
        assert float(mu.sum()) == pytest.approx(1.0)
        assert float((mu * y @ x).abs().max()) < 1e-7


def test_bad_input():
    x, y = separable(6)
    with pytest.raises(ValueError, match=r"labels -1 and \+1"):
        max_margin(x, (y > 0).to(x.dtype), LpHorizon(2))
    with pytest.raises(ValueError, match="holds NaN"):
        max_margin(x * math.nan, y, LpHorizon(2))
    with pytest.raises(ValueError, match="pass points"):
        max_margin(x[0], y, LpHorizon(2))
    with pytest.raises(ValueError, match="integer labels"):
        max_margin(x, y, LpHorizon(2), classes=2)


def test_huge_and_tiny_features():
    x, y = separable(7)
    here = max_margin(x, y, LpHorizon(1.5)).margin
    for c in (1e-12, 1e12):
        assert max_margin(c * x, y, LpHorizon(1.5)).margin == pytest.approx(c * here, rel=1e-9)
