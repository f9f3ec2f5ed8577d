"""The maps that act on a whole tensor: p-norm, spectral, simplex."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mirrorflow import maps


@pytest.mark.parametrize("p", [1.1, 1.5, 2, 3, 10])
def test_pnorm_against_autograd_and_numpy(p: float) -> None:
    mirror_map = maps.PNorm(p)
    x = torch.randn(3, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(mirror_map.potential(x), x)
    u = mirror_map.to_dual(x.detach())
    torch.testing.assert_close(u, gradient, rtol=1e-12, atol=1e-14)
    assert mirror_map.potential(x).item() == pytest.approx(
        0.5 * np.linalg.norm(x.detach().numpy().ravel(), p) ** 2
    )
    q = p / (p - 1)
    assert mirror_map.conjugate(u).item() == pytest.approx(
        0.5 * np.linalg.norm(u.numpy().ravel(), q) ** 2, rel=1e-11
    )
    torch.testing.assert_close(mirror_map.to_primal(u), x.detach(), rtol=1e-12, atol=1e-14)
    assert mirror_map.dual_energy(x).item() == pytest.approx(mirror_map.conjugate(u).item())


def test_pnorm_two_is_quadratic() -> None:
    x, delta = torch.randn(5), torch.randn(5)
    torch.testing.assert_close(maps.PNorm(2).step(x, delta), x - delta)
    torch.testing.assert_close(maps.PNorm(2).to_dual(x), x)


@pytest.mark.parametrize("p", [1.1, 1.5, 3, 8])
def test_pnorm_keeps_small_steps(p: float) -> None:
    """float32 step against the float64 dual, for steps far below the last digit of u."""
    mirror_map = maps.PNorm(p)
    x = torch.randn(200, dtype=torch.float32)
    for size in (1e-6, 1e-3, 0.3, 3.0):
        delta = size * mirror_map.to_dual(x) * torch.randn(200, dtype=torch.float32)
        exact = mirror_map.to_primal(mirror_map.to_dual(x.double()) - delta.double())
        change = (exact - x).abs().max()
        miss = (mirror_map.step(x, delta).double() - exact).abs() / (exact.abs() + change)
        assert miss.max() < 5e-6
    small = 1e-5 * mirror_map.to_dual(x) * torch.rand(200, dtype=torch.float32)
    exact = mirror_map.to_primal(mirror_map.to_dual(x.double()) - small.double())
    assert ((mirror_map.step(x, small) - exact) / exact).abs().max() < 1e-7


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_pnorm_is_homogeneous_at_any_scale(scale: float) -> None:
    x, delta = torch.randn(6), torch.randn(6)
    for p in (1.2, 3):
        mirror_map = maps.PNorm(p)
        for f in (mirror_map.to_dual, mirror_map.to_primal):
            torch.testing.assert_close(f(scale * x) / scale, f(x), rtol=1e-12, atol=0)
        torch.testing.assert_close(
            mirror_map.step(scale * x, scale * delta) / scale, mirror_map.step(x, delta)
        )


SPECTRAL = [
    maps.Spectral(maps.Power(1.5)),
    maps.Spectral(maps.Power(3)),
    maps.Spectral(maps.HyperbolicEntropy(0.1)),
    maps.Spectral(maps.Cosh()),
    maps.Spectral(maps.Custom(gradient=lambda x: x + x**3)),
]


def rotation(n: int) -> Tensor:
    return torch.linalg.qr(torch.randn(n, n)).Q


@pytest.mark.parametrize("mirror_map", SPECTRAL, ids=repr)
def test_spectral_is_the_scalar_map_on_diagonals(mirror_map: maps.Spectral) -> None:
    values = torch.tensor([2.0, -1.3, 0.4, -0.1])
    x = torch.diag(values)
    scalar = mirror_map.map
    torch.testing.assert_close(mirror_map.to_dual(x), torch.diag(scalar.to_dual(values)))
    torch.testing.assert_close(mirror_map.to_primal(x), torch.diag(scalar.to_primal(values)))
    torch.testing.assert_close(mirror_map.potential(x), scalar.potential(values))
    torch.testing.assert_close(mirror_map.conjugate(x), scalar.conjugate(values))
    torch.testing.assert_close(mirror_map.dual_energy(x), scalar.dual_energy(values))
    delta = torch.tensor([0.1, -0.2, 0.05, 0.3])
    torch.testing.assert_close(
        mirror_map.step(x, torch.diag(delta)), torch.diag(scalar.step(values, delta))
    )


@pytest.mark.parametrize("mirror_map", SPECTRAL, ids=repr)
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 6)])
def test_spectral_is_equivariant_under_rotations(
    mirror_map: maps.Spectral, shape: tuple[int, int]
) -> None:
    x, delta = torch.randn(shape), 0.3 * torch.randn(shape)
    left, right = rotation(shape[0]), rotation(shape[1])

    def turn(matrix: Tensor) -> Tensor:
        return left @ matrix @ right

    torch.testing.assert_close(mirror_map.potential(turn(x)), mirror_map.potential(x))
    torch.testing.assert_close(mirror_map.to_dual(turn(x)), turn(mirror_map.to_dual(x)))
    torch.testing.assert_close(
        mirror_map.step(turn(x), turn(delta)), turn(mirror_map.step(x, delta))
    )
    torch.testing.assert_close(mirror_map.to_dual(x.T.contiguous()), mirror_map.to_dual(x).T)


@pytest.mark.parametrize("mirror_map", SPECTRAL, ids=repr)
def test_spectral_kernels_vectors_and_autograd(mirror_map: maps.Spectral) -> None:
    kernel = torch.randn(3, 2, 2, 2)
    flat = mirror_map.to_dual(kernel.reshape(3, 8))
    torch.testing.assert_close(mirror_map.to_dual(kernel).reshape(3, 8), flat)
    vector = torch.tensor([3.0, -4.0])
    torch.testing.assert_close(
        mirror_map.to_dual(vector), vector / 5 * mirror_map.map.to_dual(torch.tensor(5.0))
    )
    x = torch.randn(3, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(mirror_map.potential(x), x)
    torch.testing.assert_close(gradient, mirror_map.to_dual(x.detach()))
    # Equal singular values are harmless for the gradient of the potential.
    same = torch.eye(3).requires_grad_()
    (gradient,) = torch.autograd.grad(mirror_map.potential(same), same)
    torch.testing.assert_close(gradient, mirror_map.to_dual(torch.eye(3)))


def test_spectral_power_two_is_quadratic_and_float32_is_rounded_once() -> None:
    x, delta = torch.randn(4, 6), torch.randn(4, 6)
    torch.testing.assert_close(maps.Spectral(maps.Power(2)).step(x, delta), x - delta)
    mirror_map = maps.Spectral(maps.HyperbolicEntropy(1e-3))
    x, delta = x.float(), delta.float()
    exact = mirror_map.step(x.double(), delta.double())
    assert torch.equal(mirror_map.step(x, delta), exact.float())


def test_entropy_is_exponentiated_gradient() -> None:
    x = torch.tensor([0.1, 2.0, 1e-30])
    delta = torch.tensor([0.3, -5.0, 1e-12])
    mirror_map = maps.NegativeEntropy()
    torch.testing.assert_close(mirror_map.step(x, delta), x * torch.exp(-delta), rtol=1e-15, atol=0)
    assert (mirror_map.step(x, torch.tensor([900.0, -50.0, -700.0])) >= 0).all()
    assert mirror_map.step(torch.tensor([1e-300]), torch.tensor([-1000.0])).item() == pytest.approx(
        math.exp(1000 + math.log(1e-300)), rel=1e-12
    )


def test_simplex_step_is_the_minimiser() -> None:
    """`argmin ⟨δ, z⟩ + KL(z, x)` on the simplex, and sums stay 1 over many steps."""
    mirror_map = maps.SimplexEntropy(0)
    x = torch.softmax(torch.randn(6, 3), 0)
    delta = torch.randn(6, 3)
    moved = mirror_map.step(x, delta)
    best = (delta * moved).sum() + mirror_map.bregman(moved, x)
    for _ in range(100):
        other = torch.softmax(moved.log() + 0.1 * torch.randn(6, 3), 0)
        assert (delta * other).sum() + mirror_map.bregman(other, x) >= best
    torch.testing.assert_close(moved, torch.softmax(x.log() - delta, 0))
    y = x.float()
    for _ in range(3000):
        y = mirror_map.step(y, 0.1 * torch.randn(6, 3, dtype=torch.float32))
    assert (y.sum(0) - 1).abs().max() < 1e-6
    far = mirror_map.step(x, torch.full((6, 3), 1e4) * torch.eye(6)[:, :3])
    torch.testing.assert_close(far.sum(0), torch.ones(3))


@pytest.mark.parametrize("mirror_map", [maps.NegativeEntropy(), maps.SimplexEntropy()], ids=repr)
def test_divergence_is_accurate_near_and_far(mirror_map: maps.MirrorMap) -> None:
    y = torch.tensor([0.2, 0.3, 0.5])
    for gap in (1e-9, 1e-4, 0.05):
        x = y + gap * torch.tensor([1.0, -2.0, 1.0])
        exact = sum(_kullback_leibler(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True))
        assert mirror_map.bregman(x, y).item() == pytest.approx(exact, rel=1e-12)
    assert mirror_map.bregman(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5])).item() > 0


def _kullback_leibler(a: float, b: float) -> float:
    import mpmath as mp

    x, y = mp.mpf(a), mp.mpf(b)
    return float(x * mp.log(x / y) - x + y)
