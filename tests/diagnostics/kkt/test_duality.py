"""The duality gap: exact shortfalls of linear nets, a linear program, derivatives, bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn

from mirrorflow.data import random_labels
from mirrorflow.diagnostics import certify
from mirrorflow.diagnostics.kkt.dual_norm import DualNorm, Part
from mirrorflow.exact import max_margin
from mirrorflow.maps import Cosh, LpHorizon, MaxOverTensors, Power, SchattenHorizon, Spectral
from mirrorflow.nets import Linear, TwoLayer


class Bilinear(nn.Module):
    """`f(x) = ⟨W, x⟩` with a matrix W."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight).sum((1, 2))


@pytest.mark.parametrize("p", [1.0, 1.1, 1.5, 2.0, 3.0, 10.0, math.inf])
def test_a_linear_net_lacks_exactly_its_gap(p) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, 10, generator=generator).double()
    teacher = torch.randn(10, generator=generator).double()
    y = torch.sign(x @ teacher)
    net = Linear(10).double()
    with torch.no_grad():
        net.weight.copy_(teacher)
    found = certify(net, x, y, LpHorizon(p))
    exact = max_margin(x, y, LpHorizon(p)).margin
    assert found.duality_gap == pytest.approx(1 - found.margin / exact, abs=1e-7)
    assert found.duality_gap > 0.05
    assert found.fit.gap_at_best
    with torch.no_grad():
        net.weight.copy_(max_margin(x, y, LpHorizon(p)).weights)
    assert certify(net, x, y, LpHorizon(p)).duality_gap < 1e-6


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
@pytest.mark.parametrize("tall", [False, True])
def test_a_matrix_lacks_exactly_its_gap(p, tall) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(16, 4, 6, generator=generator).double()
    teacher = torch.randn(4, 6, generator=generator).double()
    y = torch.sign((x * teacher).sum((1, 2)))
    if tall:
        x, teacher = x.transpose(1, 2).contiguous(), teacher.T.contiguous()
    horizon = SchattenHorizon(p)
    found = certify(Bilinear(teacher), x, y, horizon)
    exact = max_margin(x, y, horizon).margin
    assert found.duality_gap == pytest.approx(1 - found.margin / exact, abs=1e-7)
    assert found.duality_gap > 0.05


def test_a_network_against_a_linear_program() -> None:
    """ℓ∞: the best first-order margin over the unit box, by SciPy's simplex method."""
    data = random_labels(10, 6, seed=4)
    net = _trained(data.x, data.y.double(), 16, 4)
    found = certify(net, data.x, data.y, LpHorizon(math.inf))
    size = max(float(p.detach().abs().max()) for p in net.parameters())
    with torch.no_grad():  # the log loss made them grow exponentially; the gap does not see it
        for p in net.parameters():
            p.div_(size)
    rows = []
    for x, y in zip(data.x, data.y, strict=True):
        q = y * net(x[None])[0]
        rows.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(q, net.parameters())]))
    g = torch.stack(rows).numpy()
    d = g.shape[1]
    program = linprog(
        np.append(np.zeros(d), -1.0),
        A_ub=np.hstack([-g, np.ones((len(g), 1))]),
        b_ub=np.zeros(len(g)),
        bounds=np.array([(-1.0, 1.0)] * d + [(-1e6, 1e6)]),
    )
    q_min = float((data.y * net(data.x)).detach().min())
    assert program.success, program.message
    assert found.duality_gap == pytest.approx(1 + 2 * q_min / program.fun, abs=1e-6)
    assert 0.05 < found.duality_gap < 0.95


def _trained(x: torch.Tensor, y: torch.Tensor, units: int, seed: int) -> TwoLayer:
    net = TwoLayer(x.shape[1], units, generator=torch.Generator().manual_seed(seed)).double()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(2000):
        optimizer.zero_grad()
        torch.logsumexp(-y * net(x), 0).backward()
        optimizer.step()
    assert float((y * net(x)).detach().min()) > 0
    return net


NORMS = [
    DualNorm((Part(1.0, (slice(0, 20),)),), 1.0),
    DualNorm((Part(11.0, (slice(0, 20),)),), 1.0),
    DualNorm((Part(math.inf, (slice(0, 12), slice(12, 20))),), 1.0),
    DualNorm((Part(1.0, (slice(0, 12), slice(12, 20)), ((3, 4), (4, 2))),), 1.0),
    DualNorm((Part(1.5, (slice(0, 20),), ((4, 5),)),), 1.0),
    DualNorm((Part(math.inf, (slice(0, 20),), ((10, 2),)),), 1.0),
    DualNorm((Part(2.0, (slice(0, 12),)), Part(1.0, (slice(12, 20),), ((4, 2),))), 1.0),
    DualNorm((Part(3.0, (slice(0, 12),)), Part(3.0, (slice(12, 20),))), 2.0),
]


@pytest.mark.parametrize("norm", NORMS, ids=range(len(NORMS)))
def test_derivatives_of_the_smoothed_dual_norm(norm) -> None:
    rng = np.random.default_rng(0)
    columns, y, sigma, h = rng.normal(size=(5, 20)), rng.random(5) + 0.1, 0.3, 1e-5
    value, first, second = norm.expand(y @ columns, columns, sigma)
    assert value == pytest.approx(norm.value(y @ columns, sigma), rel=1e-12)
    for k in range(5):
        ahead, behind = (y + s * h * np.eye(5)[k] for s in (1, -1))
        up, down = (norm.expand(at @ columns, columns, sigma) for at in (ahead, behind))
        assert first[k] == pytest.approx((up[0] - down[0]) / (2 * h), rel=1e-6)
        assert second[k] == pytest.approx((up[1] - down[1]) / (2 * h), rel=1e-5, abs=1e-6)


def test_the_gap_bounds_the_other_conditions() -> None:
    """`1 − gap` is the Hölder quotient times `Σ λ/Σ λ q`: a small gap makes both small."""
    data = random_labels(12, 4, seed=0)
    net = _trained(data.x, data.y.double(), 10, 0)
    for horizon in (
        LpHorizon(2),
        LpHorizon(math.inf),
        SchattenHorizon(math.inf),
        MaxOverTensors(LpHorizon(2)),
        MaxOverTensors({"weights.0": SchattenHorizon(math.inf), "*": LpHorizon(1)}),
    ):
        found = certify(net, data.x, data.y, horizon)
        assert 0 < found.duality_gap <= found.gap + 2 * found.delta * len(data.x)
        assert found.fit.gap_at_best


@pytest.mark.parametrize(
    ("mirror_map", "horizon"),
    [
        (Power(3), LpHorizon(3)),
        (Cosh(), LpHorizon(math.inf)),
        (Cosh(), MaxOverTensors(LpHorizon(math.inf))),
        (Spectral(Cosh()), SchattenHorizon(math.inf)),
        (Spectral(Cosh()), MaxOverTensors(SchattenHorizon(math.inf))),
        (Spectral(Power(3)), SchattenHorizon(3)),
    ],
    ids=repr,
)
def test_a_map_and_its_horizon_have_one_certificate(mirror_map, horizon) -> None:
    data = random_labels(10, 4, seed=2)
    net = _trained(data.x, data.y.double(), 6, 2)
    by_map, by_norm = (certify(net, data.x, data.y, q) for q in (mirror_map, horizon))
    for name in ("margin", "epsilon", "delta", "slack", "gap", "duality_gap", "product_margin"):
        assert getattr(by_norm, name) == getattr(by_map, name), name
    assert by_norm.problem == by_map.problem
    assert math.isnan(by_norm.expected)


def test_a_bias_takes_its_share_of_the_largest_norm() -> None:
    """Layer and bias have one degree together; their weights in the subgradient follow from g."""
    data = random_labels(10, 3, seed=5)
    torch.manual_seed(5)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1, bias=False)).double()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(3000):
        optimizer.zero_grad()
        torch.logsumexp(-data.y * net(data.x)[:, 0], 0).backward()
        optimizer.step()
    found = certify(net, data.x, data.y, MaxOverTensors(SchattenHorizon(math.inf)))
    assert 0.05 < found.epsilon < 1.5
    assert 0 < found.duality_gap < 1


def test_a_horizon_that_does_not_fit() -> None:
    data = random_labels(6, 3, seed=0)

    class OnMatrices(LpHorizon):
        def gauge(self, x):
            return torch.linalg.matrix_norm(x)

    net = TwoLayer(3, 4).double()
    with pytest.raises(ValueError, match=r"does not fit the net: it fails on weights.0 \(4, 3\)"):
        certify(net, data.x, data.y, OnMatrices(2))
    with pytest.raises(ValueError, match="horizon names none for the parameter 'weights.1'"):
        certify(net, data.x, data.y, MaxOverTensors({"weights.0": LpHorizon(2)}))
    with pytest.raises(TypeError, match="is a horizon, and a mapping is one of maps"):
        certify(net, data.x, data.y, {"*": LpHorizon(2)})

    class Squared(LpHorizon):
        def gauge(self, x):
            return (x * x).sum()

    with pytest.raises(ValueError, match="is no norm"):
        certify(net, data.x, data.y, Squared(2))
