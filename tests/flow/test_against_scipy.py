"""The early phase against SciPy's DOP853: the dual variable against physical time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch.func import functional_call

from mirrorflow import maps
from mirrorflow.flow import Explicit, Implicit, mirror_flow
from mirrorflow.losses import Loss, log_loss
from mirrorflow.nets import MLP, HomogeneousNet, Linear, TwoLayer

ORDER_4 = Implicit(order=4)


def reference(
    net: HomogeneousNet, x: torch.Tensor, y: torch.Tensor, m: maps.MirrorMap, loss: Loss, t: float
) -> np.ndarray:
    """`du/dt = −∇ℓ(∇R*(u))` by autograd and an explicit method of order 8."""
    names = [name for name, _ in net.named_parameters()]
    shapes = [p.shape for p in net.parameters()]
    sizes = [p.numel() for p in net.parameters()]
    start = torch.cat([p.detach().flatten() for p in net.parameters()])

    def summed(theta: torch.Tensor) -> torch.Tensor:
        parts = torch.split(theta, sizes)
        values = {n: p.reshape(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        return log_loss(functional_call(net, values, (x,)), y, loss, reduction="sum").exp()

    grad = torch.func.grad(summed)

    def rhs(_: float, u: np.ndarray) -> np.ndarray:
        return -grad(m.to_primal(torch.from_numpy(u))).numpy()

    out = solve_ivp(rhs, (0, t), m.to_dual(start).numpy(), "DOP853", rtol=1e-9, atol=1e-11)
    return m.to_primal(torch.from_numpy(out.y[:, -1])).numpy()


def case(name: str) -> tuple[HomogeneousNet, torch.Tensor, torch.Tensor, Loss]:
    g = torch.Generator().manual_seed(3)
    x = torch.randn(6, 3, generator=g)
    y = torch.sign(torch.randn(6, generator=g))
    classes = torch.randint(0, 3, (6,), generator=g)
    match name:
        case "linear, logistic":
            return Linear(3, generator=g), x, y, "logistic"
        case "linear, three classes":
            return Linear(3, 3, generator=g), x, classes, "cross_entropy"
        case "two layers":
            net: HomogeneousNet = TwoLayer(3, 5, "smooth_relu", 0.1, bias=True, generator=g)
            return net, x, y, "exponential"
        case "three layers":
            return MLP((3, 4, 4, 1), "smooth_relu", eps=0.1, generator=g), x, y, "logistic"
        case "three layers, three classes":
            net = MLP((3, 4, 4, 3), "smooth_relu", eps=0.1, generator=g)
            return net, x, classes, "cross_entropy"
    raise ValueError(name)


@pytest.mark.parametrize(
    "name",
    [
        "linear, logistic",
        "linear, three classes",
        "two layers",
        "three layers",
        "three layers, three classes",
    ],
)
def test_early_phase(name: str) -> None:
    mirror_map = maps.HyperbolicEntropy(0.3)
    net, x, y, loss = case(name)
    t = 3.0
    flow = mirror_flow(
        net, x, y, mirror_map, log_t_end=math.log(t), loss=loss, tol=2e-7, stepper=ORDER_4
    )
    expected = reference(net, x, y, mirror_map, loss, t)
    theta = flow.direction[-1] * math.exp(flow.log_gauge[-1])
    assert np.linalg.norm(theta - expected) <= 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    "mirror_map", [maps.Quadratic(), maps.Cosh(1.0), maps.Mixed(3.0)], ids=repr
)
def test_early_phase_of_flat_and_steep_maps(mirror_map: maps.MirrorMap) -> None:
    net, x, y, loss = case("two layers")
    flow = mirror_flow(
        net, x, y, mirror_map, log_t_end=math.log(2.0), loss=loss, tol=2e-7, stepper=ORDER_4
    )
    expected = reference(net, x, y, mirror_map, loss, 2.0)
    theta = flow.direction[-1] * math.exp(flow.log_gauge[-1])
    assert np.linalg.norm(theta - expected) <= 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("tol", [1e-6, 1e-8])
@pytest.mark.parametrize("mirror_map", [maps.Quadratic(), maps.HyperbolicEntropy(0.1)], ids=repr)
def test_between_the_long_steps_of_the_explicit_method(
    mirror_map: maps.MirrorMap, tol: float
) -> None:
    """A cubic between its steps would be off by up to 200 tolerances; some rows lie in them."""
    net, x, y, loss = case("two layers")
    flow = mirror_flow(net, x, y, mirror_map, log_t_end=1.0, loss=loss, tol=tol, stepper=Explicit())
    assert len(flow) > flow.stats.steps + 1
    for log_t in np.linspace(-2.0, 1.0, 7):
        point = flow.at(log_t)
        theta = point.direction * math.exp(point.log_gauge)
        expected = reference(net, x, y, mirror_map, loss, math.exp(log_t))
        assert np.linalg.norm(theta - expected) <= 10 * tol * np.linalg.norm(expected), log_t
