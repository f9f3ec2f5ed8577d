"""The matrix-free method against the dense one, against SciPy, and its products against arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import nn
from torch.func import functional_call

from mirrorflow import maps
from mirrorflow.flow import Implicit, Krylov, mirror_flow
from mirrorflow.flow.margins import module
from mirrorflow.flow.margins.base import DenseProducts, Margins
from mirrorflow.flow.margins.build import flat_parameters, net_margins
from mirrorflow.flow.steppers.krylov import gmres
from mirrorflow.losses import Loss, log_loss
from mirrorflow.nets import MLP, TwoLayer


def problem(classes: int | None) -> tuple[MLP, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    net = MLP((3, 6, 5, classes or 1), "smooth_relu", eps=0.05, bias=True, generator=g)
    x, w = torch.randn(10, 3, generator=g), torch.randn(3, 3, generator=g)
    return net, x, torch.sign(x @ w[:, 0]) if classes is None else (x @ w).argmax(1)


class Square(nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.relu(z) ** 2


def margins_of(name: str) -> tuple[Margins, np.ndarray]:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(6, 2, generator=g), torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    nets: dict[str, tuple[nn.Module, torch.Tensor]] = {
        "three layers": (MLP((2, 4, 3, 1), "smooth_relu", eps=0.1, bias=True, generator=g), y),
        "four layers": (MLP((2, 3, 4, 2, 3), "smooth_relu", eps=0.1, generator=g), labels),
        "squared": (MLP((2, 4, 3, 3), "relu2", generator=g), labels),
        "two classes by a module": (
            nn.Sequential(nn.Linear(2, 4, bias=False), Square(), nn.Linear(4, 1, bias=False)), y),
        "three by a module": (
            nn.Sequential(nn.Linear(2, 4, bias=False), Square(), nn.Linear(4, 3, bias=False)),
            labels),
    }  # fmt: skip
    net, target = nets[name]
    own = net_margins(net, x, target, 1e-2)
    return own, flat_parameters(net)[own.order]


@pytest.mark.parametrize(
    "name",
    ["three layers", "four layers", "squared", "two classes by a module", "three by a module"],
)
def test_products(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every product equals the one with the Jacobian and the Hessian, which are formed apart."""
    monkeypatch.setattr(module, "_NUMBERS", 40)  # several strips
    own, theta = margins_of(name)
    dense, free = DenseProducts(own, theta), own.linearise(theta)
    assert type(free) is not DenseProducts
    rng = np.random.default_rng(0)
    n, d = len(own.point), own.size
    mu, v, c, weight = rng.random(n), rng.normal(size=d), rng.normal(size=n), rng.random(d)
    rows = np.array([0, 2, 5])
    for each in (dense, free):
        each.weigh(mu)
    np.testing.assert_allclose(free.q, dense.q, atol=1e-14)
    np.testing.assert_allclose(free.push(v), dense.push(v), atol=1e-12)
    np.testing.assert_allclose(free.pull(c), dense.pull(c), atol=1e-12)
    for a, b in zip(free.tangent(v, c), dense.tangent(v, c), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    np.testing.assert_allclose(free.diagonal(weight), dense.diagonal(weight), atol=1e-12)
    np.testing.assert_allclose(free.squares(c * c), dense.squares(c * c), atol=1e-12)
    for w in (weight, np.full(d, 0.7)):
        np.testing.assert_allclose(free.gram(w, rows), dense.gram(w, rows), atol=1e-12)


def test_gmres_solves_and_counts() -> None:
    rng = np.random.default_rng(0)
    a = np.eye(30) + 0.1 * rng.normal(size=(30, 30))
    b = rng.normal(size=30)
    x, left, count = gmres(lambda v: a @ v, lambda v: v / np.diag(a), b, 1e-10, 30)
    np.testing.assert_allclose(a @ x, b, atol=1e-8)
    assert left <= 1e-10
    assert 3 < count <= 30
    _, left, count = gmres(lambda v: a @ v, lambda v: v, b, 1e-10, 4)
    assert count == 4
    assert left > 1e-10


@pytest.mark.parametrize(
    "mirror_map",
    [maps.Quadratic(), maps.Power(1.5), maps.HyperbolicEntropy(0.1), maps.Power(3.0)],
    ids=repr,
)
def test_agrees_with_the_dense_method(mirror_map: maps.MirrorMap) -> None:
    """Both solve the same stage equations, so they differ by what Newton leaves."""
    net, x, y = problem(None)
    dense, free = (
        mirror_flow(net, x, y, mirror_map, log_t_end=math.log(20.0), tol=1e-5, stepper=stepper)
        for stepper in (Implicit(), Krylov())
    )
    assert [f.stats.method for f in (dense, free)] == ["implicit", "krylov"]
    assert free.stats.reason == "log_t_end was reached"
    # where weights cross zero, the last digits of an error decide whether a step is rejected
    share = 0.1 if mirror_map == maps.Power(3.0) else 0.02
    assert abs(len(free) - len(dense)) <= share * len(dense) + 1
    np.testing.assert_allclose(free.direction[-1], dense.direction[-1], atol=3e-5)
    assert free.log_loss[-1] == pytest.approx(dense.log_loss[-1], abs=3e-5)


@pytest.mark.parametrize("loss", ["exponential", "logistic"])
def test_to_the_end_of_the_flow(loss: Loss) -> None:
    """t = exp(1e50): the same KKT point, with two layers (whose Hessian has blocks) and three."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(8, 2, generator=g)
    y = torch.where(x[:, 0] > 0, 1.0, -1.0)
    nets = (
        TwoLayer(2, 6, "smooth_relu", bias=True, generator=g),
        MLP((2, 5, 4, 1), "smooth_relu", bias=True, generator=g),
    )
    for net in nets[: 1 if loss == "logistic" else 2]:
        dense, free = (
            mirror_flow(net, x, y, maps.Quadratic(), log_t_end=1e50, loss=loss, stepper=stepper)
            for stepper in (Implicit(), Krylov())
        )
        assert free.outcome == dense.outcome == "converged"
        assert free.margin[-1] == pytest.approx(dense.margin[-1], rel=1e-4)


def test_early_phase_against_scipy() -> None:
    net, x, y = problem(3)
    m = maps.HyperbolicEntropy(0.3)
    names, shapes = [n for n, _ in net.named_parameters()], [p.shape for p in net.parameters()]
    sizes = [p.numel() for p in net.parameters()]

    def summed(theta: torch.Tensor) -> torch.Tensor:
        parts = torch.split(theta, sizes)
        values = {n: p.reshape(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        out = functional_call(net, values, (x,))
        return log_loss(out, y, "cross_entropy", reduction="sum").exp()

    grad = torch.func.grad(summed)

    def rhs(_: float, u: np.ndarray) -> np.ndarray:
        return -grad(m.to_primal(torch.from_numpy(u))).numpy()

    start = torch.cat([p.detach().flatten() for p in net.parameters()])
    out = solve_ivp(rhs, (0, 3.0), m.to_dual(start).numpy(), "DOP853", rtol=1e-9, atol=1e-11)
    expected = m.to_primal(torch.from_numpy(out.y[:, -1])).numpy()
    flow = mirror_flow(
        net, x, y, m, log_t_end=math.log(3.0), loss="cross_entropy", tol=2e-7,
        stepper=Krylov(order=4),
    )  # fmt: skip
    theta = flow.direction[-1] * math.exp(flow.log_gauge[-1])
    assert np.linalg.norm(theta - expected) <= 1e-6 * np.linalg.norm(expected)


def test_large_nets_take_it_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Jacobian and no Hessian is asked for, on the way or in the record."""
    g = torch.Generator().manual_seed(0)
    net = MLP((5, 40, 40, 1), "smooth_relu", generator=g)
    x = torch.randn(8, 5, generator=g)
    y = torch.where(x[:, 0] > 0, 1.0, -1.0)
    kind = type(net_margins(net, x, y, 1e-2))

    def refuse(*_: object) -> None:
        raise RuntimeError("a dense array was formed")

    monkeypatch.setattr(kind, "jacobian", refuse)
    monkeypatch.setattr(kind, "curvature", refuse)
    flow = mirror_flow(net, x, y, maps.Quadratic(), log_t_end=1e3, tol=1e-3)
    assert flow.stats.method == "krylov"
    assert flow.stats.reason == "log_t_end was reached"
    assert flow.margin[-1] > 0
    short = mirror_flow(net, x, y, maps.Quadratic(), log_t_end=-1.0, tol=1e-3)
    assert short.stats.method == "explicit"
