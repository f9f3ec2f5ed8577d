"""Power maps above order 2, whose weights cross zero like `u^(1/(p-1))`: against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from mirrorflow import maps
from mirrorflow.flow import Implicit, Krylov, mirror_flow
from mirrorflow.flow.logscale.build import scaled_map
from mirrorflow.flow.margins.build import flat_parameters, net_margins
from mirrorflow.flow.margins.loss import FlowLoss
from mirrorflow.flow.steppers.dense import DenseSystem
from mirrorflow.flow.steppers.frame import Frame
from mirrorflow.nets import Linear, TwoLayer

TIMES = (2.0, 8.0, 20.0)


def draw(seed: int) -> tuple[Linear, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(20, 10, generator=g, dtype=torch.float64)
    y = torch.sign(x @ torch.randn(10, generator=g, dtype=torch.float64))
    return Linear(10, generator=g).double(), x, y


def reference(seed: int, p: float) -> list[float]:
    """`min q / |w|_p` at `TIMES`: `r''(w) dw/ds = sum_i e^(s - q_i) a_i`, s = log(1 + t), by Radau.

    Slopes r'' below 1e-10 are raised to it, where SciPy would not pass zero: that moves the dual by
    1e-10 at most.
    """
    net, x, y = draw(seed)
    a, start = (x * y[:, None]).numpy(), net.weight.detach().numpy()

    def parts(s: float, w: np.ndarray) -> tuple[np.ndarray, ...]:
        weights, slope = np.exp(s - a @ w), (p - 1.0) * np.abs(w) ** (p - 2.0)
        bend = (p - 1.0) * (p - 2.0) * np.abs(w) ** (p - 3.0) * np.sign(w)
        steep = slope > 1e-10
        return weights, a.T @ weights, np.where(steep, slope, 1e-10), np.where(steep, bend, 0.0)

    def rate(s: float, w: np.ndarray) -> np.ndarray:
        _, pull, slope, _ = parts(s, w)
        return pull / slope

    def jacobian(s: float, w: np.ndarray) -> np.ndarray:
        weights, pull, slope, bend = parts(s, w)
        return -((a.T * weights) @ a) / slope[:, None] - np.diag(pull * bend / slope**2)

    times = np.logaddexp(0.0, TIMES)
    out = solve_ivp(
        rate, (0.0, times[-1]), start, "Radau", rtol=1e-7, atol=1e-9, t_eval=times, jac=jacobian
    )
    w = out.y.T
    return list((w @ a.T).min(1) / (np.abs(w) ** p).sum(1) ** (1.0 / p))


@pytest.mark.slow
@pytest.mark.parametrize("p", [6.0, 8.0, 10.0, 12.0])
@pytest.mark.parametrize("method", ["implicit", "krylov"])
def test_linear_nets_against_scipy(p: float, method: str) -> None:
    """Draws 1 and 2 made no way at p = 8: Newton failed where the slope of the dual vanishes."""
    seed = 1 if method == "implicit" else 2
    net, x, y = draw(seed)
    stepper = Implicit() if method == "implicit" else Krylov()
    flow = mirror_flow(net, x, y, maps.Power(p), log_t_end=TIMES[-1], stepper=stepper)
    assert flow.stats.reason == "log_t_end was reached"
    assert flow.stats.method == method
    for log_t, margin in zip(TIMES, reference(seed, p), strict=True):
        assert flow.at(log_t).margin == pytest.approx(margin, rel=2e-5), log_t


@pytest.mark.slow
@pytest.mark.parametrize("p", [12.0])
def test_steps_beside_a_map_with_a_slope_at_zero(p: float) -> None:
    net, x, y = draw(2)
    power, mixed = (
        mirror_flow(net, x, y, m, log_t_end=1e10) for m in (maps.Power(p), maps.Mixed(p))
    )
    assert power.outcome == mixed.outcome == "converged"
    assert power.stats.steps < 2 * mixed.stats.steps
    # both tend to the max margin of the p norm
    assert power.margin[-1] == pytest.approx(mixed.margin[-1], rel=1e-5)


def test_a_user_s_own_power() -> None:
    net, x, y = draw(1)
    own, power = (
        mirror_flow(net, x, y, m, log_t_end=4.0)
        for m in (maps.Scaled(maps.Power(8.0), 1.0), maps.Power(8.0))
    )
    assert own.stats.reason == "log_t_end was reached"
    assert own.margin[-1] == pytest.approx(power.margin[-1], rel=1e-5)


@pytest.mark.parametrize("m", [maps.Power(8.0), maps.Scaled(maps.Power(8.0), 2.0)], ids=repr)
def test_an_entry_with_a_linear_right_side(m: maps.SeparableMap) -> None:
    """`r'(x) + c (x - line) = v` against SciPy's Brent; an own map halves its bracket."""
    form = scaled_map(m)
    form.at_level(0.0, np.ones(1), 0.0, 1e-7)
    line, v = np.array([0.3, -0.2, 0.5, 1e-3, 0.4]), np.array([0.02, 0.01, -1e-9, 1e-12, 0.3])
    c = np.array([1e-3, 10.0, 1e-7, 1e-5, 0.0])
    x = form.meet(line, v, c)
    for k in range(5):
        ends = sorted((float(line[k]), float(form.primal(v)[k])))

        def left(z: float, k: int = k) -> float:
            return float(form.dual(np.array([z]))[0] - v[k] + c[k] * (z - line[k]))

        root = brentq(left, ends[0] - 1e-12, ends[1] + 1e-12, xtol=1e-14)
        assert x[k] == pytest.approx(root, abs=2e-6 * (ends[1] - ends[0]) + 1e-10)


@pytest.mark.parametrize("radial", [False, True])
def test_stiffness_of_an_entry(radial: bool) -> None:
    """Against the whole bordered matrix, inverted."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, generator=g)
    net = TwoLayer(3, 4, "smooth_relu", 0.1, generator=g)
    own = net_margins(net, x, torch.sign(x[:, 0]), 1e-2)
    theta = flat_parameters(net)[own.order]
    frame = Frame(own, scaled_map(maps.Power(5.0)), FlowLoss("exponential", own.point))
    mu, temperature = np.random.default_rng(0).random(6), 0.3
    slope = frame.map.slope(theta, theta)
    jac, d, n = own.jacobian(theta)[1], own.size, 6
    system = DenseSystem(frame, theta, slope, mu, temperature, jac, None, None, None)
    clock = theta if radial else None
    x1, m1, u1 = (system.solve(np.zeros(d), np.zeros(n))[k] for k in (1, 3, 5))
    blocks = own.curvature(theta, mu)
    hess, k = np.zeros((d, d)), blocks.shape[1]
    for i, block in enumerate(blocks):
        hess[i * k : (i + 1) * k, i * k : (i + 1) * k] = block
    matrix = np.zeros((d + n + 1, d + n + 1))
    matrix[:d, :d], matrix[:d, d:-1] = np.diag(slope) - hess, -jac.T
    matrix[d:-1, :d], matrix[d:-1, d:-1] = jac, np.diag(temperature / mu)
    matrix[d:-1, -1] = -1.0
    if radial:  # the clock sees the right side: J' mu + H x, less the perturbation
        matrix[-1, :d], matrix[-1, d:-1] = hess @ theta, jac @ theta
    else:
        matrix[-1, d:-1] = 1.0
    for i in (0, 5, 11):
        unit = np.zeros(d + n + 1)
        unit[i] = 1.0
        unit[-1] = -theta[i] if radial else 0.0
        expected = abs(1.0 / np.linalg.solve(matrix, unit)[i] - slope[i])
        found = system.stiffness(np.array([i]), clock, x1, m1, u1)[0]
        assert found == pytest.approx(expected, rel=1e-8)


def test_two_layers_at_high_order() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(8, 2, generator=g)
    y = torch.sign(x[:, 0])
    net = TwoLayer(2, 6, "smooth_relu", bias=True, generator=g)
    flow = mirror_flow(net, x, y, maps.Power(10.0), log_t_end=100.0, tol=1e-4)
    assert flow.stats.reason == "log_t_end was reached"
    assert math.isfinite(flow.log_loss[-1])
    assert flow.margin[-1] > 0
    assert np.nanmax(flow.balance_drift) < 1e-5
