"""Gauges, dual gauges, subgradient sets and projections, against NumPy, SciPy and definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import torch

from mirrorflow import maps
from mirrorflow.maps import LpHorizon, SchattenHorizon
from mirrorflow.maps.projection import project_ball, project_simplex

INF = math.inf
ORDERS = [1, 1.1, 1.5, 2, 3, 10, INF]


@pytest.mark.parametrize("p", ORDERS)
def test_gauge_is_the_norm_and_the_dual_gauge_its_dual(p: float) -> None:
    x = torch.randn(3, 4)
    q = INF if p == 1 else 1.0 if math.isinf(p) else p / (p - 1)
    horizon = LpHorizon(p)
    flat = x.flatten().numpy()
    assert horizon.gauge(x).item() == pytest.approx(np.linalg.norm(flat, p), rel=1e-14)
    assert horizon.dual_gauge(x).item() == pytest.approx(np.linalg.norm(flat, q), rel=1e-14)
    assert horizon.order == p
    singular = np.linalg.svd(x.numpy(), compute_uv=False)
    spectral = SchattenHorizon(p)
    assert spectral.gauge(x).item() == pytest.approx(np.linalg.norm(singular, p), rel=1e-13)
    assert spectral.dual_gauge(x).item() == pytest.approx(np.linalg.norm(singular, q), rel=1e-13)
    # A kernel is the matrix (out, in·k·k); a vector has one singular value.
    assert torch.equal(spectral.gauge(x.reshape(3, 2, 1, 2)), spectral.gauge(x))
    assert spectral.gauge(x[0]).item() == pytest.approx(x[0].norm().item())


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
@pytest.mark.parametrize("p", ORDERS)
def test_no_overflow_and_no_underflow(p: float, scale: float) -> None:
    x = torch.tensor([1.0, -2.0, 0.5])
    horizon = LpHorizon(p)
    assert (horizon.gauge(scale * x) / scale).item() == pytest.approx(horizon.gauge(x).item())
    torch.testing.assert_close(horizon.subgradient(scale * x), horizon.subgradient(x))


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("kind", [LpHorizon, SchattenHorizon])
def test_subgradient_supports_the_gauge(kind: type, p: float) -> None:
    horizon = kind(p)
    x = torch.randn(4, 3)
    s = horizon.subgradient(x)
    assert (s * x).sum().item() == pytest.approx(horizon.gauge(x).item(), rel=1e-13)
    assert horizon.dual_gauge(s).item() == pytest.approx(1, rel=1e-12)
    assert horizon.is_subgradient(x, s)
    assert not horizon.is_subgradient(x, s * 1.001)
    for _ in range(20):
        y = torch.randn(4, 3)
        assert horizon.gauge(y) >= (s * y).sum() - 1e-12
    assert torch.equal(horizon.subgradient(torch.zeros(4, 3)), torch.zeros(4, 3))


@pytest.mark.parametrize("p", [1, 2, 3, INF])
@pytest.mark.parametrize("kind", [LpHorizon, SchattenHorizon])
def test_autograd_of_the_gauge_is_the_subgradient(kind: type, p: float) -> None:
    x = torch.randn(4, 3, requires_grad=True)
    horizon = kind(p)
    (gradient,) = torch.autograd.grad(horizon.gauge(x), x)
    torch.testing.assert_close(gradient, horizon.subgradient(x.detach()))


def test_subgradient_sets() -> None:
    x = torch.tensor([2.0, 0.0, -2.0, 1e-12])
    g = torch.tensor([0.3, -1.7, 5.0, 0.4])
    nearest = LpHorizon(1).project_subgradient(x, g)
    assert nearest.tolist() == [1.0, -1.0, -1.0, pytest.approx(0.4)]
    assert LpHorizon(1).project_subgradient(x, g, rtol=1e-14)[3] == 1
    top = LpHorizon(INF).project_subgradient(x, torch.tensor([0.6, 9.0, -0.6, 9.0]))
    assert top.tolist() == pytest.approx([0.5, 0, -0.5, 0])
    assert LpHorizon(INF).is_subgradient(x, torch.tensor([0.3, 0.0, -0.7, 0.0]))
    assert not LpHorizon(INF).is_subgradient(x, torch.tensor([0.3, 0.0, 0.7, 0.0]))
    assert torch.equal(LpHorizon(3).project_subgradient(x, g), LpHorizon(3).subgradient(x))


@pytest.mark.parametrize("p", ORDERS)
def test_at_zero_it_is_the_dual_ball(p: float) -> None:
    """Against SLSQP on the projection problem itself."""
    g = torch.tensor([1.5, -0.4, 0.1, 2.0])
    horizon = LpHorizon(p)
    nearest = horizon.project_subgradient(torch.zeros(4), g)
    assert horizon.dual_gauge(nearest).item() == pytest.approx(1, abs=1e-12)
    assert torch.equal(horizon.project_subgradient(torch.zeros(4), 0.1 * g), 0.1 * g)
    distance = (nearest - g).norm().item()
    # Optimality by the variational inequality: g − w supports the ball at w.
    normal = g - nearest
    assert (normal * nearest).sum().item() == pytest.approx(
        LpHorizon(p).gauge(normal).item(), rel=1e-9
    )
    for _ in range(200):
        w = torch.randn(4)
        w = w / horizon.dual_gauge(w)
        assert (w - g).norm().item() >= distance - 1e-12


def test_projections_against_a_solver() -> None:
    v = torch.tensor([0.9, 0.8, -0.3, 0.1])
    found = scipy.optimize.minimize(
        lambda w: ((w - v.numpy()) ** 2).sum(),
        np.full(4, 0.25),
        bounds=[(0, None)] * 4,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-15},
    )
    assert project_simplex(v).tolist() == pytest.approx(found.x.tolist(), abs=1e-7)
    for q in (1, 1.5, 2, 4, INF):
        assert LpHorizon(q).gauge(project_ball(3 * v, q)).item() == pytest.approx(1)


@pytest.mark.parametrize("p", [1, INF])
def test_spectral_subgradient_sets(p: float) -> None:
    left = torch.linalg.qr(torch.randn(5, 5)).Q
    right = torch.linalg.qr(torch.randn(4, 4)).Q
    values = torch.zeros(5, 4)
    values[0, 0], values[1, 1], values[2, 2] = 3, 3, 1
    x = left @ values @ right.T
    horizon = SchattenHorizon(p)
    g = 5 * torch.randn(5, 4)
    s = horizon.project_subgradient(x, g)
    assert (s * x).sum().item() == pytest.approx(horizon.gauge(x).item())
    assert horizon.dual_gauge(s).item() == pytest.approx(1)
    torch.testing.assert_close(horizon.project_subgradient(x, s), s)
    # Nearest: nothing of the set lies on the side of g.
    for _ in range(100):
        other = horizon.project_subgradient(x, 5 * torch.randn(5, 4))
        assert ((g - s) * (other - s)).sum() <= 1e-10
    zero = torch.zeros(5, 4)
    assert horizon.dual_gauge(horizon.project_subgradient(zero, 9 * g)).item() == pytest.approx(1)


@pytest.mark.parametrize(
    "mirror_map", [maps.Power(1.5), maps.Power(4), maps.PNorm(3), maps.Spectral(maps.Power(3))]
)
def test_finite_gauge_of_a_homogeneous_map_is_the_gauge(mirror_map: maps.MirrorMap) -> None:
    x = torch.randn(3, 4)
    for level in (1e-3, 1.0, 1e6):
        found = maps.finite_gauge(mirror_map, x, level).item()
        assert found == pytest.approx(mirror_map.horizon().gauge(x).item(), rel=1e-12)


@pytest.mark.parametrize(
    "mirror_map",
    [
        maps.HyperbolicEntropy(0.01),
        maps.Logarithmic(),
        maps.Mixed(4.0, 1.0, 1.0),
        maps.Cosh(),
        maps.Exponential(),
        maps.Spectral(maps.Cosh()),
    ],
    ids=repr,
)
def test_finite_gauge_tends_to_the_gauge(mirror_map: maps.MirrorMap) -> None:
    x = torch.tensor([[1.0, -0.6], [0.2, 0.9]])
    limit = mirror_map.horizon().gauge(x).item()
    levels = (1e-6, 1.0, 1e3, 1e10, 1e30, 1e100)
    misses = [abs(maps.finite_gauge(mirror_map, x, c).item() - limit) for c in levels]
    assert all(b < a or b < 1e-12 for a, b in zip(misses, misses[1:], strict=False))
    assert misses[-1] < 0.02 * limit
    # Near 0 every one of these is quadratic.
    norm = torch.linalg.vector_norm(x).item()
    if not isinstance(mirror_map, maps.HyperbolicEntropy):
        assert maps.finite_gauge(mirror_map, x, 1e-9).item() == pytest.approx(norm, rel=1e-4)
    assert maps.finite_gauge(mirror_map, torch.zeros(3), 1.0) == 0
    assert maps.finite_gauge(mirror_map, x.float(), 1e30).dtype == torch.float32
