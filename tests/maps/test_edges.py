"""Zeros, infinities, denormals, short dtypes and answers next to overflow."""

from __future__ import annotations

import math

import pytest
import torch
from every_map import BLOCK, SEPARABLE

from mirrorflow import maps
from mirrorflow.maps import MirrorMap

INF = math.inf
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def bits(x: torch.Tensor) -> list[int]:
    return x.contiguous().view(torch.uint8).tolist()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mirror_map", SEPARABLE, ids=repr)
def test_zero_delta_returns_x_bit_for_bit(mirror_map: MirrorMap, dtype: torch.dtype) -> None:
    special = [0.0, -0.0, 1.0, -2.0, INF, -INF, 1e-40, -3e-6, 5e-324, 60000.0]
    x = torch.cat([torch.tensor(special), torch.randn(50)]).to(dtype)
    for zero in (0.0, -0.0):
        assert bits(mirror_map.step(x, torch.full_like(x, zero))) == bits(x)


@pytest.mark.parametrize("mirror_map", [*BLOCK, maps.SimplexEntropy()], ids=repr)
@pytest.mark.parametrize("dtype", DTYPES[2:], ids=str)
def test_zero_delta_of_a_block(mirror_map: MirrorMap, dtype: torch.dtype) -> None:
    x = torch.softmax(torch.randn(4, 5), -1).to(dtype)
    assert bits(mirror_map.step(x, torch.zeros_like(x))) == bits(x)


@pytest.mark.parametrize("mirror_map", SEPARABLE, ids=repr)
def test_zero_delta_keeps_bits_while_gradients_flow(mirror_map: MirrorMap) -> None:
    x = torch.tensor([0.5, -0.0, -1.2], requires_grad=True)
    delta = torch.tensor([0.0, 0.0, 0.1], requires_grad=True)
    moved = mirror_map.step(x, delta)
    assert bits(moved.detach()[:2]) == bits(x.detach()[:2])
    by_x, by_delta = torch.autograd.grad(moved[0], (x, delta))
    assert by_x[0].item() == pytest.approx(1)
    assert by_delta[0].item() == pytest.approx(-1 / mirror_map.hessian(x.detach())[0].item())


@pytest.mark.parametrize("mirror_map", SEPARABLE, ids=repr)
def test_infinite_entries_stay_and_infinite_steps_end_at_infinity(mirror_map: MirrorMap) -> None:
    x = torch.tensor([INF, -INF])
    assert torch.equal(mirror_map.step(x, torch.tensor([1.0, 1.0])), x)
    far = mirror_map.step(torch.tensor([0.5, -0.5]), torch.tensor([INF, -INF]))
    assert far.tolist() == [-INF, INF]
    assert mirror_map.to_dual(torch.tensor([INF, 0.0, -INF])).tolist() == [INF, 0.0, -INF]
    assert mirror_map.to_primal(torch.tensor([INF, 0.0, -INF])).tolist() == [INF, 0.0, -INF]
    assert mirror_map.step(torch.tensor([math.nan]), torch.tensor([1.0])).isnan().all()


@pytest.mark.parametrize("mirror_map", SEPARABLE, ids=repr)
def test_a_step_from_zero_is_the_inverse_of_minus_delta(mirror_map: MirrorMap) -> None:
    delta = torch.tensor([1e-3, -0.7, 2.0])
    for zero in (0.0, -0.0):
        moved = mirror_map.step(torch.full_like(delta, zero), delta)
        torch.testing.assert_close(moved, mirror_map.to_primal(-delta), rtol=1e-14, atol=0)


def test_documented_jumps_at_zero() -> None:
    zero, small = torch.zeros(1), torch.tensor([1e-9])
    assert maps.Power(3).step(zero, small).item() == pytest.approx(-math.sqrt(1e-9))
    assert maps.Power(1.1).step(zero, small).item() == pytest.approx(-1e-90)
    assert maps.Power(1.1).step(zero, torch.tensor([1e-40])).item() == 0
    assert maps.NegativeEntropy().step(zero, torch.tensor([-5.0])).item() == 0
    assert maps.HyperbolicEntropy(1e-8).step(zero, small).item() == pytest.approx(-1e-17)


def test_no_overflow_where_the_answer_is_representable() -> None:
    one = torch.ones(1, dtype=torch.float32)
    tiny = maps.HyperbolicEntropy(1e-6)
    assert tiny.to_dual(3e38 * one).item() == pytest.approx(math.asinh(3e44), rel=1e-6)
    assert tiny.to_primal(100 * one).item() == pytest.approx(1e-6 * math.sinh(100), rel=2e-6)
    assert tiny.step(0 * one, -100 * one).item() == pytest.approx(1e-6 * math.sinh(100), rel=2e-6)
    flat = maps.Logarithmic(1e-6)
    assert flat.to_primal(100 * one).item() == pytest.approx(1e-6 * math.expm1(100), rel=2e-6)
    assert flat.step(-1e-9 * one, -100 * one).item() == pytest.approx(
        1e-6 * math.expm1(100 - math.log1p(1e-3)), rel=2e-6
    )
    steep = maps.Cosh(1e-6)
    assert steep.to_primal(1e38 * one).item() == pytest.approx(1e-6 * math.asinh(1e44), rel=1e-6)
    assert maps.Power(10).step(1e8 * one, one).item() == 1e8
    assert maps.Power(10).step(1e-8 * one, one).item() == -1
    assert maps.Cosh().step(200 * one, one).item() == 200
    assert maps.Exponential().step(200 * one, 1e30 * one).item() == 200
    assert maps.DoubleExponential().step(30 * one, one).item() == 30
    huge = torch.tensor([1e300])
    assert maps.LpHorizon(3).gauge(huge.expand(8)).item() == pytest.approx(2e300)


@pytest.mark.parametrize("mirror_map", SEPARABLE, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_short_dtypes_are_rounded_once(mirror_map: MirrorMap, dtype: torch.dtype) -> None:
    x = torch.linspace(-2, 2, 41).to(dtype)
    delta = torch.linspace(-0.3, 0.4, 41).to(dtype)
    moved = mirror_map.step(x, delta)
    exact = mirror_map.step(x.double(), delta.double())
    assert moved.dtype == dtype
    assert torch.equal(moved, exact.float().to(dtype))


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 3, 2, 2)])
@pytest.mark.parametrize("mirror_map", [*SEPARABLE, *BLOCK], ids=repr)
def test_any_shape(mirror_map: MirrorMap, shape: tuple[int, ...]) -> None:
    if shape == (0,) and isinstance(mirror_map, maps.Spectral):
        pytest.skip("an empty matrix has no singular values")
    x = torch.randn(shape)
    assert mirror_map.step(x, 0.1 * torch.randn(shape)).shape == shape
    torch.testing.assert_close(mirror_map.to_primal(mirror_map.to_dual(x)), x)
    for scalar in (mirror_map.potential(x), mirror_map.dual_energy(x), mirror_map.bregman(x, x)):
        assert scalar.shape == ()
