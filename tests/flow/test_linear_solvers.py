"""Both linear solvers against the whole bordered matrix of a Newton iteration, solved directly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mirrorflow import maps
from mirrorflow.flow.logscale.build import scaled_map
from mirrorflow.flow.margins.build import flat_parameters, net_margins
from mirrorflow.flow.margins.loss import FlowLoss
from mirrorflow.flow.steppers import matrix_free
from mirrorflow.flow.steppers.clock import Clock
from mirrorflow.flow.steppers.dense import DenseSolver
from mirrorflow.flow.steppers.frame import Frame
from mirrorflow.flow.steppers.linear_solver import Iterate, LinearSolver
from mirrorflow.flow.steppers.matrix_free import MatrixFreeSolver
from mirrorflow.nets import HomogeneousNet, Linear, TwoLayer

TEMPERATURE = 0.3


def iterate(net: HomogeneousNet, n: int) -> tuple[Frame, Iterate]:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(n, 3, generator=g, dtype=torch.float64)
    own = net_margins(net, x, torch.sign(x[:, 0]), 1e-2)
    theta = flat_parameters(net)[own.order]
    frame = Frame(own, scaled_map(maps.Quadratic()), FlowLoss("exponential", own.point))
    mu = 0.1 * np.random.default_rng(0).random(n)
    slope = frame.map.slope(theta, theta)
    return frame, Iterate(theta, theta, slope, None, None, own.values(theta), mu)


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("solver", [DenseSolver(), MatrixFreeSolver()])
def test_direction(solver: LinearSolver, radial: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_free, "_FORCING", 1e-11)
    net = TwoLayer(3, 4, "smooth_relu", 0.1, generator=torch.Generator().manual_seed(0)).double()
    frame, at = iterate(net, 6)
    d, n = len(at.x), len(at.mu)
    rng = np.random.default_rng(2)
    r1, r2, base = rng.normal(size=d), rng.normal(size=n), 0.5 * at.u
    clock = Clock(0.7, at.x) if radial else Clock(0.7)
    solver.begin_step()
    solver.begin_stage(frame, base, TEMPERATURE, clock)
    assert solver.linearise(at.x) == pytest.approx(at.q)
    solver.response(at, r2)
    move = solver.direction(at, r1, r2)
    assert move is not None
    jac = frame.margins.jacobian(at.x)[1]
    blocks, hess = frame.margins.curvature(at.x, at.mu), np.zeros((d, d))
    k = blocks.shape[1]
    for i, block in enumerate(blocks):
        hess[i * k : (i + 1) * k, i * k : (i + 1) * k] = block
    matrix = np.zeros((d + n + 1, d + n + 1))
    matrix[:d, :d], matrix[:d, d:-1] = np.diag(at.slope) - hess, -jac.T
    matrix[d:-1, :d], matrix[d:-1, d:-1] = jac, np.diag(TEMPERATURE / at.mu)
    matrix[d:-1, -1] = -1.0
    right = np.concatenate([-r1, -r2, [0.0]])
    if radial:  # <x, u + du - base> = target, and du = -r1 + H dx + J' dmu
        matrix[-1, :d], matrix[-1, d:-1] = hess @ at.x, jac @ at.x
        right[-1] = 0.7 - at.x @ (at.u - base - r1)
    else:
        matrix[-1, d:-1] = 1.0
        right[-1] = 0.7 - at.mu.sum()
    expected = np.linalg.solve(matrix, right)
    assert move.x == pytest.approx(expected[:d], rel=1e-6, abs=1e-8)
    assert move.mu == pytest.approx(expected[d:-1], rel=1e-6, abs=1e-8)
    assert move.kappa == pytest.approx(expected[-1], rel=1e-6)
    assert move.u == pytest.approx(-r1 + hess @ move.x + jac.T @ move.mu, rel=1e-6, abs=1e-8)
    assert abs(move.kappa) > 0.1


def test_response_of_one_weight() -> None:
    """With one point and no curvature, `dlog mu / d(-r2 / T) = 1 / (1 + mu/T |x|^2)` exactly."""
    frame, at = iterate(Linear(3, generator=torch.Generator().manual_seed(0)).double(), 1)
    solver = MatrixFreeSolver()
    solver.begin_stage(frame, at.u, TEMPERATURE, Clock(0.7))
    solver.linearise(at.x)
    gram = float((frame.margins.jacobian(at.x)[1] ** 2).sum())
    expected = 1.0 / (1.0 + float(at.mu[0]) / TEMPERATURE * gram)
    assert solver.response(at, np.zeros(1)) == pytest.approx([expected], rel=1e-12)
    assert expected < 0.95
