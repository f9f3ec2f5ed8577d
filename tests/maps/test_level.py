"""Gauges known by their values only: level sets of any map, and maps that are not separable."""

from __future__ import annotations

import pytest
import torch

from mirrorflow import maps
from mirrorflow.errors import NoHorizonError
from mirrorflow.maps import LevelHorizon


@pytest.mark.parametrize(
    "mirror_map",
    [maps.Power(1.5), maps.Power(4), maps.PNorm(3), maps.Spectral(maps.Power(1.5))],
    ids=repr,
)
def test_of_a_homogeneous_map_it_is_the_horizon(mirror_map: maps.MirrorMap) -> None:
    x, g = torch.randn(3, 2), torch.randn(3, 2)
    exact = mirror_map.horizon()
    for level in (1e-3, 1e50):
        found = LevelHorizon(mirror_map, level)
        torch.testing.assert_close(found.gauge(x), exact.gauge(x))
        torch.testing.assert_close(found.dual_gauge(g), exact.dual_gauge(g))
        torch.testing.assert_close(found.subgradient(x), exact.subgradient(x))
        assert found.order is None


@pytest.mark.parametrize(
    "mirror_map",
    [
        maps.HyperbolicEntropy(0.1),
        maps.Cosh(),
        maps.Mixed(4.0, 1.0, 1.0),
        maps.Spectral(maps.Cosh()),
    ],
    ids=repr,
)
@pytest.mark.parametrize("level", [0.1, 3.0, 1e6])
def test_laws_of_a_gauge_at_finite_level(mirror_map: maps.MirrorMap, level: float) -> None:
    found = LevelHorizon(mirror_map, level)
    x = torch.randn(2, 3)
    s = found.subgradient(x)
    assert (s * x).sum().item() == pytest.approx(found.gauge(x).item())
    assert found.dual_gauge(s).item() == pytest.approx(1)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(found.gauge(leaf), leaf)
    torch.testing.assert_close(gradient, s)
    h = 1e-5 * torch.randn(2, 3)
    slope = (found.gauge(x + h) - found.gauge(x - h)) / 2
    assert slope.item() == pytest.approx((s * h).sum().item(), rel=1e-4)
    for _ in range(10):
        y = torch.randn(2, 3)
        assert (s * y).sum() <= found.gauge(y) + 1e-10
        assert (x * y).sum() <= found.gauge(x) * found.dual_gauge(y) + 1e-10


def test_level_doors() -> None:
    with pytest.raises(ValueError, match="level = 0 is not a scale"):
        LevelHorizon(maps.Cosh(), 0)
    found = LevelHorizon(maps.Cosh(), 1.0)
    assert found.gauge(torch.zeros(2)) == found.dual_gauge(torch.zeros(2)) == 0
    assert torch.equal(found.subgradient(torch.zeros(2)), torch.zeros(2))
    x = torch.ones(2)
    assert torch.equal(found.project_subgradient(x, -x), found.subgradient(x))
    with pytest.raises(ValueError, match="x is 0"):
        found.project_subgradient(torch.zeros(2), x)
    with pytest.raises(ValueError, match=r"g has shape \(3,\)"):
        found.project_subgradient(x, torch.ones(3))


@pytest.mark.parametrize(
    "mirror_map",
    [
        maps.PNorm(1.5),
        maps.PNorm(3),
        maps.Spectral(maps.Power(3)),
        maps.Spectral(maps.HyperbolicEntropy(0.1)),
        maps.Spectral(maps.Mixed(4.0, 1.0, 1.0)),
        maps.Spectral(maps.Cosh()),
    ],
    ids=repr,
)
def test_estimate_of_maps_that_are_not_separable(mirror_map: maps.MirrorMap) -> None:
    found = maps.estimate_horizon(mirror_map)
    assert found.order == mirror_map.index
    x = torch.randn(3, 4)
    exact = mirror_map.horizon().gauge(x).item()
    assert found.horizon.gauge(x).item() == pytest.approx(exact, rel=1e-2)


def test_estimate_without_a_domain() -> None:
    with pytest.raises(NoHorizonError, match="simplex"):
        maps.estimate_horizon(maps.SimplexEntropy())
