"""Maps with a floor under their curvature, by hand; descent at p = 10 beside an implicit solver."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from mirrorflow import maps
from mirrorflow.optim import MirrorDescent, RelativeStep
from mirrorflow.optim.floored import Floored, can_floor, find_knee


def _vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_knee_is_where_the_curvature_reaches_the_floor():
    assert find_knee(maps.Power(3), 1.0, 4.0) == 0.5  # r'' = 2x
    wanted = math.acosh(2)
    assert wanted / 2 ** (1 / 16) < find_knee(maps.Cosh(1), 2.0, 8.0) <= wanted
    assert find_knee(maps.Cosh(1), 0.9, 8.0) == 0  # r'' ≥ 1 everywhere
    assert find_knee(maps.Power(3), 100.0, 4.0) == 4.0


def test_the_floored_step_by_hand():
    """Power(3) with r'' ≥ 1: the dual is x up to 1/2, sgn x (x² + 1/4) beyond."""
    floored = Floored(maps.Power(3), 0.5, 1.0)
    x = _vector(1.0, 1.0, 1.0, 0.25, -0.25, -1.0, 0.25)
    delta = _vector(1.0, 2.0, 0.5, 0.1, -1.0, -1.5, 0.0)
    root = math.sqrt(0.5)
    wanted = _vector(0.25, -root, root, 0.15, root, 0.25, 0.25)
    torch.testing.assert_close(floored.step(x, delta), wanted, rtol=1e-15, atol=0)
    torch.testing.assert_close(floored.to_dual(_vector(0.25, -2.0)), _vector(0.25, -4.25))


def test_an_entry_that_stays_beyond_the_knee_moves_as_under_the_map():
    g = torch.Generator().manual_seed(0)
    x = 1 + torch.rand(100, generator=g, dtype=torch.float64)
    delta = 1e-13 * torch.randn(100, generator=g, dtype=torch.float64)
    moved = Floored(maps.Power(10), 0.5, float(maps.Power(10).hessian(_vector(0.5)))).step(x, delta)
    assert torch.equal(moved, maps.Power(10).step(x, delta))
    assert not torch.equal(moved, x)


def test_only_maps_that_are_flat_at_zero_get_a_floor():
    x = torch.ones(2)
    flat = (maps.Power(3), maps.Mixed(4), maps.Cosh(1))
    others = (maps.Power(1.5), maps.Quadratic(), maps.HyperbolicEntropy(0.1), maps.PNorm(3))
    assert all(can_floor(m, x) for m in flat)
    assert not any(can_floor(m, x) for m in others)


def _implicit_margin(z, start, p, log_loss, ratio):
    """The ℓp margin of the flow where its log loss is reached, by implicit Euler and Newton.

    Each step minimises `s log ℓ(x) + R(x) − ⟨u, x⟩`; s grows such that ⟨u, θ⟩ gains about `ratio`.
    """
    e, x, before = p - 1, start.copy(), None
    s = 1e-3 * np.abs(x**e).sum()

    def softmax(y):
        weights = np.exp(-(z @ y) - np.max(-(z @ y)))
        return weights / weights.sum(), np.log(weights.sum()) + np.max(-(z @ y))

    while True:
        u, y = np.sign(x) * np.abs(x) ** e, x.copy()

        def value(y, s=s, u=u):
            return s * softmax(y)[1] + np.sum(np.abs(y) ** p) / p - u @ y

        for _ in range(100):
            q, _ = softmax(y)
            gradient = -s * (q @ z) + np.sign(y) * np.abs(y) ** e - u
            if np.abs(gradient).max() < 1e-11 * np.abs(u).max():
                break
            curvature = s * ((z.T * q) @ z - np.outer(q @ z, q @ z))
            hessian = curvature + np.diag(e * np.abs(y) ** (e - 1) + 1e-300)
            d = np.linalg.lstsq(hessian, -gradient, rcond=1e-15)[0]
            a, here, slope = 1.0, value(y), gradient @ d
            while a > 1e-9 and value(y + a * d) > here + 1e-4 * a * slope + 1e-15 * abs(here):
                a *= 0.5
            y = y + a * d
        q, level = softmax(y)
        margin = (z @ y).min() / np.sum(np.abs(y) ** p) ** (1 / p)
        if level <= log_loss:
            share = (log_loss - before[0]) / (level - before[0])
            return before[1] + share * (margin - before[1])
        before, x = (level, margin), y
        s = ratio * np.sum(np.abs(x) ** p) / max(1e-9, q @ z @ x)


@pytest.mark.slow
def test_at_p_10_floors_let_descent_follow_the_flow():
    g = torch.Generator().manual_seed(0)
    z = torch.randn(8, 12, generator=g, dtype=torch.float64)
    start = torch.randn(12, generator=g, dtype=torch.float64)
    level = -2 * math.log(10)
    coarse, fine = (
        _implicit_margin(z.numpy(), start.numpy(), 10.0, level, ratio) for ratio in (0.04, 0.02)
    )
    wanted = 2 * fine - coarse  # implicit Euler is of first order
    assert wanted == pytest.approx(1.9344, abs=2e-4)  # the same at a quarter of the step

    def descend(curvature):
        w = nn.Parameter(start.clone())
        opt = MirrorDescent([w], RelativeStep(curvature=curvature), mirror_map=maps.Power(10))

        def closure():
            opt.zero_grad()
            loss = torch.logsumexp(-(z @ w), 0)
            loss.backward()
            return loss

        for _ in range(600):
            if float(opt.step(closure).detach()) < level:
                break
        at = opt.state[w]["previous_value"]  # where the loss was evaluated
        return float((z @ at).min() / torch.linalg.vector_norm(at, 10))

    assert descend(0.02) == pytest.approx(wanted, rel=0.01)
    assert descend(0.1) == pytest.approx(wanted, rel=0.05)
    assert descend(None) < 0.8 * wanted
