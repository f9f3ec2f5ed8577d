"""Steps of the entropies: on the simplex at every size, and blind to a constant."""

from __future__ import annotations

import math

import mpmath as mp
import pytest
import torch

from mirrorflow import maps

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def exact(x: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """`x e^{−delta}/Σ x e^{−delta}` along the last dimension, to 50 digits."""
    rows = []
    with mp.workdps(60):
        for xs, ds in zip(x.double().tolist(), delta.double().tolist(), strict=True):
            least = min(d for a, d in zip(xs, ds, strict=True) if a > 0)
            terms = [
                mp.mpf(a) * mp.exp(mp.mpf(least) - mp.mpf(d)) if a > 0 else mp.mpf(0)
                for a, d in zip(xs, ds, strict=True)
            ]
            rows.append([float(t / sum(terms)) for t in terms])
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("offset", [0.0, 7.0, -3.0])
def test_any_step_stays_on_the_simplex(dtype: torch.dtype, offset: float) -> None:
    x = torch.tensor([[0.2, 0.3, 0.5, 0.0], [1e-7, 1e-3, 0.0, 1 - 1e-3]]).to(dtype)
    x = (x.double() / x.double().sum(-1, keepdim=True)).to(dtype)
    eps, top = torch.finfo(dtype).eps, torch.finfo(dtype).max
    for size in (1e-9, 1e-4, 0.1, 1.0, 30.0, 1e3, 1e6, 1e16, 1e38, 1e300):
        if size * 10 > top:
            continue
        delta = torch.tensor([[1.0, 0.0, -1.0, -2.0], [-0.5, 0.5, -2.0, 0.7]]).double() * size
        delta = (delta + offset * size).to(dtype)
        moved = maps.SimplexEntropy().step(x, delta)
        assert moved.dtype == dtype
        assert (moved.double().sum(-1) - 1).abs().max() <= 4 * eps
        assert (moved.double() - exact(x, delta)).abs().max() <= 6 * eps
        across = maps.SimplexEntropy(0).step(x.T.contiguous(), delta.T.contiguous())
        assert (across.T.double() - moved.double()).abs().max() <= 2 * eps


def test_a_constant_changes_nothing_bit_for_bit() -> None:
    x = torch.softmax(torch.randn(5, 7), -1)
    delta = torch.randint(-9, 9, (5, 7)).double()
    for constant in (1.0, -512.0, 2.0**40):
        assert torch.equal(
            maps.SimplexEntropy().step(x, delta + constant), maps.SimplexEntropy().step(x, delta)
        )


def test_infinite_steps_are_limits() -> None:
    x = torch.tensor([0.2, 0.3, 0.5, 0.0])
    step = maps.SimplexEntropy().step
    inf = math.inf
    for delta, end in (
        ([inf, 0, 0, 0], [0, 0.375, 0.625, 0]),
        ([1, -inf, -inf, -inf], [0, 0.375, 0.625, 0]),
        ([inf, inf, inf, 0], [0.2, 0.3, 0.5, 0]),
        ([-inf, 5, inf, 0], [1, 0, 0, 0]),
    ):
        moved = step(x, torch.tensor(delta, dtype=torch.float64))
        torch.testing.assert_close(moved, torch.tensor(end, dtype=torch.float64))


def test_derivatives_with_ties() -> None:
    x = torch.tensor([0.2, 0.3, 0.5])
    delta = torch.tensor([1.0, 1.0, 3.0])
    jacobian = torch.autograd.functional.jacobian(lambda d: maps.SimplexEntropy().step(x, d), delta)
    p = maps.SimplexEntropy().step(x, delta)
    torch.testing.assert_close(jacobian, torch.outer(p, p) - torch.diag(p))


def test_entropies_at_the_ends_of_the_floats() -> None:
    x = torch.tensor([1e300, 1e-300, 1e308, 0.0, 3.0])
    y = torch.tensor([1e-300, 1e300, 9e307, 2.0, 0.0])
    with mp.workdps(60):
        true = [
            float(mp.mpf(a) * mp.log(mp.mpf(a) / mp.mpf(b)) - a + b)
            for a, b in zip(x.tolist()[:3], y.tolist()[:3], strict=True)
        ]
        grown = float(mp.mpf(5e-324) * mp.exp(1430))
    got = maps.NegativeEntropy().bregman_entries(x, y).tolist()
    assert got == pytest.approx([*true, 2.0, math.inf], rel=1e-12)
    moved = maps.NegativeEntropy().step(torch.tensor([5e-324]), torch.tensor([-1430.0])).item()
    assert moved == pytest.approx(grown, rel=1e-12)
