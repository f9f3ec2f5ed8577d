"""`log_to_dual` and `log_to_primal`: the maps where x or u itself is no float any more."""

from __future__ import annotations

import math

import mpmath as mp
import pytest
import torch
from every_map import SEPARABLE, plain

from mirrorflow import maps

MAPS = [*plain(SEPARABLE, maps.Custom), maps.Mixed(3, 0, 2.0), maps.Mixed(3, 2.0, 0)]


@pytest.mark.parametrize("mirror_map", MAPS, ids=repr)
def test_agrees_with_the_plain_form(mirror_map: maps.SeparableMap) -> None:
    log_x = torch.cat([torch.linspace(-30, 1, 200), torch.tensor([-150.0, math.log(1e-3)])])
    u = mirror_map.to_dual(log_x.exp())
    log_u = mirror_map.log_to_dual(log_x)
    torch.testing.assert_close(log_u, u.log(), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(mirror_map.log_to_primal(log_u), log_x, rtol=1e-13, atol=2e-13)


@pytest.mark.parametrize("mirror_map", MAPS, ids=repr)
def test_float32_and_derivatives(mirror_map: maps.SeparableMap) -> None:
    log_x = torch.linspace(-20, 1, 50, dtype=torch.float32)
    exact = mirror_map.log_to_dual(log_x.double())
    got = mirror_map.log_to_dual(log_x)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), exact, rtol=1e-6, atol=2e-6)
    points = torch.linspace(-8, 1, 10, requires_grad=True)
    assert torch.autograd.gradcheck(mirror_map.log_to_dual, (points,))


@pytest.mark.parametrize(
    ("mirror_map", "log_u", "log_x"),
    [
        (maps.Cosh(), 1e300, lambda v: mp.log(v + mp.log(2))),
        (maps.Cosh(2.0), 1e6, lambda v: mp.log(2) + mp.log(v - mp.log(2) + mp.log(2))),
        (maps.Exponential(), 1e300, lambda v: mp.log(v)),
        (maps.DoubleExponential(), 1e300, lambda v: mp.log(mp.log(2 * (v + mp.log(2))))),
        (maps.Power(3), 1e300, lambda v: v / 2),
        (maps.Mixed(4.0, 1.0, 1.0), 3e299, lambda v: v / 3),
    ],
    ids=lambda value: None if callable(value) else repr(value),
)
def test_duals_beyond_every_float(
    mirror_map: maps.SeparableMap, log_u: float, log_x: object
) -> None:
    u = torch.tensor([log_u])
    x = mirror_map.log_to_primal(u)
    assert x.item() == pytest.approx(float(log_x(mp.mpf(log_u))), rel=1e-14)
    torch.testing.assert_close(
        mirror_map.log_to_dual(x), u, rtol=1e-11 if log_u > 1e9 else 1e-9, atol=0
    )


@pytest.mark.parametrize("mirror_map", [maps.HyperbolicEntropy(0.01), maps.Logarithmic(0.01)])
def test_primals_beyond_every_float(mirror_map: maps.SeparableMap) -> None:
    log_x = torch.tensor([1e3, 1e15, 1e300])
    log_u = mirror_map.log_to_dual(log_x)
    shift = math.log(2 / 0.01) if isinstance(mirror_map, maps.HyperbolicEntropy) else math.log(100)
    torch.testing.assert_close(log_u, (log_x + shift).log(), rtol=1e-15, atol=0)
    torch.testing.assert_close(mirror_map.log_to_primal(log_u)[:2], log_x[:2], rtol=2e-14, atol=0)
