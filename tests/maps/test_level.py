"""Gauges known by their values only: level sets of any map, and maps that are not separable."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mirrorflow import maps
from mirrorflow.errors import NoHorizonError
from mirrorflow.maps import BlockHorizon, LevelHorizon


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


def test_projection_of_joint_blocks_is_that_of_one_vector() -> None:
    params = {"a": torch.tensor([[2.0, 0.0], [-1.0, 2.0]]), "b": torch.tensor([0.0, -2.0, 0.0])}
    grads = {"a": torch.randn(2, 2), "b": 3 * torch.randn(3)}

    def flat(blocks: dict[str, Tensor]) -> Tensor:
        return torch.cat([block.flatten() for block in blocks.values()])

    for mirror_map in (maps.HyperbolicEntropy(), maps.Power(1.5), maps.Quadratic(), maps.Cosh()):
        joint = BlockHorizon(mirror_map, params)
        plain = mirror_map.horizon()
        nearest = joint.project_subgradient(params, grads)
        torch.testing.assert_close(
            flat(nearest), plain.project_subgradient(flat(params), flat(grads))
        )
        assert nearest["a"].shape == (2, 2)


@pytest.mark.parametrize(
    "mirror_map",
    [
        maps.Spectral(maps.HyperbolicEntropy()),
        maps.Spectral(maps.Power(3)),
        maps.Spectral(maps.Cosh()),
        maps.PNorm(1.5),
    ],
    ids=repr,
)
def test_projection_of_joint_blocks_obeys_the_definition(mirror_map: maps.MirrorMap) -> None:
    params = {"a": torch.diag(torch.tensor([3.0, 1.0, 0.0])), "b": torch.tensor([3.0, 0.0])}
    joint = BlockHorizon(mirror_map, params)
    grads = {name: torch.randn_like(value) for name, value in params.items()}
    s = joint.project_subgradient(params, grads)
    inner = sum((s[n] * params[n]).sum().item() for n in params)
    assert inner == pytest.approx(joint.gauge(params).item())
    assert joint.dual_gauge(s).item() <= 1 + 1e-9
    again = joint.project_subgradient(params, s)
    for name in params:
        torch.testing.assert_close(again[name], s[name])
    other = joint.project_subgradient(params, {n: torch.randn_like(v) for n, v in params.items()})
    # The variational inequality of a projection.
    assert sum(((grads[n] - s[n]) * (other[n] - s[n])).sum().item() for n in params) <= 1e-9


def test_a_zero_block_has_a_whole_ball_at_index_one() -> None:
    params = {"a": torch.ones(2), "b": torch.zeros(2, 2)}
    grads = {"a": torch.zeros(2), "b": 5 * torch.eye(2)}
    nuclear = BlockHorizon(maps.Spectral(maps.Logarithmic()), params)
    torch.testing.assert_close(nuclear.project_subgradient(params, grads)["b"], torch.eye(2))


def test_projection_for_a_product() -> None:
    params = {"a": torch.tensor([2.0, 0.0]), "b": torch.tensor([1.0, -1.0])}
    product = BlockHorizon(
        {"a": maps.HyperbolicEntropy(), "b": maps.Quadratic()}, params, {"a": 1, "b": 2}
    )
    gauge = product.gauge(params)
    grads = {"a": torch.tensor([9.0, 9.0]), "b": torch.tensor([3.0, 1.0])}
    s = product.project_subgradient(params, grads)
    torch.testing.assert_close(s["a"], gauge / 2 / 3 * torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(s["b"], product.subgradient(params)["b"])
    assert math.isclose(
        sum((s[n] * params[n]).sum().item() for n in params), gauge.item(), rel_tol=1e-12
    )
