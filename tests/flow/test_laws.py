"""Conservation, monotonicity, order, and the limit against convex programs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.func import functional_call, jacrev

from mirrorflow import maps
from mirrorflow.exact import max_margin
from mirrorflow.flow import Explicit, LogLog, mirror_flow
from mirrorflow.flow.follow import start
from mirrorflow.flow.integrate import integrate
from mirrorflow.flow.logscale.build import scaled_map
from mirrorflow.flow.margins.build import flat_parameters, net_margins
from mirrorflow.flow.margins.loss import FlowLoss
from mirrorflow.flow.record.recorder import Recorder
from mirrorflow.flow.steppers.base import Stepper
from mirrorflow.flow.steppers.explicit import ExplicitStepper
from mirrorflow.flow.steppers.frame import Frame
from mirrorflow.flow.steppers.implicit import ImplicitStepper
from mirrorflow.losses import pairwise_margins
from mirrorflow.nets import MLP, HomogeneousNet, Linear, TwoLayer


def separable(n: int = 12, d: int = 4, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g)
    return x, torch.sign(x @ torch.randn(d, generator=g))


def net_of(kind: str, seed: int = 0) -> HomogeneousNet:
    g = torch.Generator().manual_seed(seed)
    if kind == "two":
        return TwoLayer(4, 5, "smooth_relu", 0.05, generator=g)
    return MLP((4, 4, 3, 1), "smooth_relu", eps=0.05, generator=g)


@pytest.mark.parametrize(
    "mirror_map",
    [
        maps.Quadratic(),
        maps.Power(1.5),
        maps.Power(3.0),
        maps.Power(4.0),
        maps.HyperbolicEntropy(0.1),
        maps.Logarithmic(0.1),
        maps.Mixed(3.0),
        maps.Cosh(1.0),
        maps.Exponential(),
    ],
    ids=repr,
)
def test_limit_of_a_linear_net(mirror_map: maps.MirrorMap) -> None:
    """At t = exp(1e100) the margin is that of the convex program, for every map."""
    x, y = separable()
    t = mirror_flow(Linear(4), x, y, mirror_map, log_t_end=1e100)
    solution = max_margin(x, y, mirror_map.horizon())
    assert t.stats.reason == "log_t_end was reached"
    assert t.margin[-1] == pytest.approx(solution.margin, rel=2e-6)


def test_two_maps_with_one_horizon_meet() -> None:
    x, y = separable()
    pairs = [
        (maps.HyperbolicEntropy(1.0), maps.Logarithmic(0.2)),
        (maps.Quadratic(), maps.Mixed(1.5)),
    ]
    for pair in pairs:
        net = Linear(4)
        torch.nn.init.zeros_(net.weight)
        a, b = (mirror_flow(net, x, y, m, log_t_end=LogLog(700.0)) for m in pair)
        assert np.abs(a.direction[-1] - b.direction[-1]).max() < 4e-3
        # and they were apart on the way
        assert np.abs(a.at(0.0).direction - b.at(0.0).direction).max() > 5e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mirror_map"),
    [
        ("two", maps.Quadratic()),
        ("two", maps.Power(1.2)),
        ("two", maps.Power(1.5)),
        ("two", maps.Power(3.0)),
        ("two", maps.Power(4.0)),
        ("two", maps.HyperbolicEntropy(0.1)),
        ("two", maps.Logarithmic(0.1)),
        ("two", maps.Mixed(3.0)),
        ("two", maps.Cosh(1.0)),
        ("two", maps.Exponential()),
        ("three", maps.Quadratic()),
        ("three", maps.HyperbolicEntropy(0.1)),
    ],
    ids=str,
)
def test_balance_is_conserved(kind: str, mirror_map: maps.MirrorMap) -> None:
    """To 1e-5 of the energy, unit by unit, from t = 0 to exp(1e100) at the default tolerance."""
    x, y = separable(6, 2)
    g = torch.Generator().manual_seed(0)
    net: HomogeneousNet = TwoLayer(2, 3, "smooth_relu", 0.05, generator=g)
    if kind == "three":
        net = MLP((2, 3, 2, 1), "smooth_relu", eps=0.05, generator=g)
    flow = mirror_flow(net, x, y, mirror_map, log_t_end=1e100)
    assert flow.stats.reason == "log_t_end was reached"
    drift = flow.balance_drift
    assert 1e-12 < drift.max() < 1e-5


@pytest.mark.parametrize("p", [1.5, 2.0, 3.0])
def test_smoothed_margin_never_decreases(p: float) -> None:
    """`log(1/ℓ)/E^{L/p}`, exponential loss below 1, p-homogeneous map."""
    x, y = separable()
    t = mirror_flow(net_of("two"), x, y, maps.Power(p), log_t_end=1e3, tol=3e-5)
    late = t.log_loss < 0
    smoothed = np.log(-t.log_loss[late]) - t.degree * t.log_gauge[late]
    assert late.sum() > 20
    assert np.diff(smoothed).min() > -1e-5


def run_fixed(stepper: Stepper, steps: int, h: float) -> tuple[np.ndarray, float]:
    """Weights and log time after some steps of one relative size."""
    x, y = separable(5)
    net = Linear(4, generator=torch.Generator().manual_seed(0))
    margins = net_margins(net, x, y, 1e-2)
    frame = Frame(
        margins, scaled_map(maps.HyperbolicEntropy(0.1)), FlowLoss("exponential", margins.point)
    )
    position = start(frame, flat_parameters(net), 1e-7)
    position.h = h
    recorder = Recorder(frame)
    integrate(
        frame, stepper, position, recorder,
        log_t_end=math.inf, log_log_t_end=math.inf, max_steps=steps, delta=1e-7,
    )  # fmt: skip
    return position.x * math.exp(position.rho), position.log_t


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_observed_order(order: int) -> None:
    """Steps of a fixed size; weights are compared at the time that each run has reached.

    With beta = 0.1 the fourth-order method shows its leading term: at 0.5 the coefficient is so
    small that the slope falls from 4.7 to 4.1 only at errors near that of the reference.
    """
    x, y = separable(5)
    net = Linear(4, generator=torch.Generator().manual_seed(0))
    m = maps.HyperbolicEntropy(0.1)
    fine = mirror_flow(net, x, y, m, log_t_end=3.0, tol=1e-12, stepper=Explicit(max_step=0.01))
    errors = []
    sizes = (0.08, 0.04) if order == 5 else (0.04, 0.02)  # both divide 0.8
    for h in sizes:
        # a tolerance that never binds leaves the largest step as the step
        stepper: Stepper = (
            ExplicitStepper(1e3, 1e-7, h)
            if order == 5
            else ImplicitStepper(order, 1e3, 1e-7, h, h, newton_tol=1e-13)
        )
        assert stepper.order == order
        theta, log_t = run_fixed(stepper, round(0.8 / h), h)
        expected = fine.at(log_t)
        truth = expected.direction * math.exp(expected.log_gauge)
        errors.append(float(np.abs(theta - truth).max()))
    observed = math.log(errors[0] / errors[1]) / math.log(sizes[0] / sizes[1])
    assert abs(observed - order) <= 0.2


@pytest.mark.parametrize(
    ("sizes", "activation"),
    [
        ((2, 5, 1), "smooth_relu"),
        ((2, 4, 3, 1), "smooth_relu"),
        ((2, 4, 3, 3), "smooth_relu"),
        ((2, 3, 4, 2, 1), "smooth_relu"),
        ((2, 4, 3, 1), "relu2"),
        ((2, 4, 3, 1), "linear"),
    ],
)
def test_analytic_derivatives(sizes: tuple[int, ...], activation: str) -> None:
    """Margins, Jacobian and weighted Hessian against torch.func."""
    net = MLP(sizes, activation, eps=0.1, bias=True)  # type: ignore[arg-type]
    x = torch.randn(6, 2)
    y = torch.sign(torch.randn(6)) if net.binary else torch.randint(0, sizes[-1], (6,))
    own = net_margins(net, x, y, 1e-2)
    names = [name for name, _ in net.named_parameters()]
    shapes = [p.shape for p in net.parameters()]
    counts = [p.numel() for p in net.parameters()]

    def q(theta: torch.Tensor) -> torch.Tensor:
        parts = torch.split(theta, counts)
        values = {n: p.reshape(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        return pairwise_margins(functional_call(net, values, (x,)), y).flatten()

    theta = torch.from_numpy(flat_parameters(net))
    inner = flat_parameters(net)[own.order]
    mu = np.random.default_rng(0).random(len(own.point))
    values, jac = own.jacobian(inner)
    np.testing.assert_allclose(values, q(theta).numpy(), atol=1e-13)
    np.testing.assert_allclose(own.values(inner), values, atol=1e-15)
    np.testing.assert_allclose(jac, jacrev(q)(theta).numpy()[:, own.order], atol=1e-12)
    direction = np.random.default_rng(1).normal(size=own.size)
    np.testing.assert_allclose(own.pull(inner, mu), jac.T @ mu, atol=1e-12)
    np.testing.assert_allclose(own.push(inner, direction), jac @ direction, atol=1e-12)
    full = jacrev(jacrev(lambda t: torch.from_numpy(mu) @ q(t)))(theta).numpy()
    full = full[np.ix_(own.order, own.order)]
    blocks, k = own.curvature(inner, mu), own.blocks[1]
    dense = np.zeros_like(full)
    for b, block in enumerate(blocks):
        dense[b * k : (b + 1) * k, b * k : (b + 1) * k] = block
    np.testing.assert_allclose(dense, full, atol=1e-12)
