"""Every operation of every separable map against 50 digits, over the range of the map."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
import torch
from map_errors import CASES, measure

from mirrorflow import maps
from mirrorflow.maps.numerics import typed_fraction


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case[0]))
def test_a_few_ulp_of_the_condition(case: tuple, dtype: torch.dtype) -> None:
    worst = measure(case, dtype, samples=30, seed=1)
    assert {name: pair[1] for name, pair in worst.items() if pair[1] > 4} == {}
    assert sum(pair[0] for pair in worst.values()) > 0


def test_the_issue_range_of_the_hyperbolic_entropy_step() -> None:
    """float32, |x| in 1e-8…1e8, β in 1e-6…1, |a| in 1e-8…20: 2e-7; the naive form 5e-6."""
    rng = np.random.default_rng(3)
    worst = naive = 0.0
    for log_beta in range(-6, 1):
        beta = 10.0**log_beta
        x = torch.tensor(10 ** rng.uniform(-8, 8, 150) * rng.choice([-1, 1], 150)).float()
        a = torch.tensor(
            10 ** rng.uniform(-8, np.log10(20), 150) * rng.choice([-1, 1], 150)
        ).float()
        mirror_map = maps.HyperbolicEntropy(beta)
        stable = mirror_map.step(x, a)
        plain = beta * torch.sinh(torch.asinh(x / beta) - a)
        for b, d, got, bad in zip(*(t.tolist() for t in (x, a, stable, plain)), strict=True):
            exact = mp.mpf(beta) * mp.sinh(mp.asinh(mp.mpf(b) / mp.mpf(beta)) - mp.mpf(d))
            root = mp.sqrt(exact**2 + mp.mpf(beta) ** 2)
            # Where the entry crosses zero the answer is as sensitive to delta as `|a| r''⁻¹`.
            scale = max(abs(exact), abs(mp.mpf(d)) * root)
            worst = max(worst, float(abs(got - exact) / scale))
            naive = max(naive, float(abs(bad - exact) / scale))
    assert worst < 2e-7
    assert naive > 2e-6


def test_zero_gradient_moves_nothing_where_the_naive_form_moves_many() -> None:
    x = torch.randn(2000, dtype=torch.float32)
    mirror_map = maps.HyperbolicEntropy(1e-3)
    assert torch.equal(mirror_map.step(x, torch.zeros_like(x)), x)
    assert (mirror_map.to_primal(mirror_map.to_dual(x)) != x).float().mean() > 0.4


@pytest.mark.parametrize("p", ["1.1", "1.01", "1.2", "4/3", "7/3", "2.5", "3.3", "4", "5", "20"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_exponents_are_the_typed_numbers(p: str, dtype: torch.dtype) -> None:
    top, bottom = map(int, p.split("/")) if "/" in p else (mp.mpf(p), 1)
    exact = 1 / (mp.mpf(top) / mp.mpf(bottom) - 1)
    value = float(mp.mpf(top) / mp.mpf(bottom))
    u = torch.tensor([0.03, 0.7, 1.5, 4.0, 30.0], dtype=dtype) ** float(1 / exact)
    x = maps.Power(value).to_primal(u)
    for a, b in zip(u.tolist(), x.tolist(), strict=True):
        assert abs(b - mp.mpf(a) ** exact) < 4 * torch.finfo(dtype).eps * b


def test_cosh_where_the_textbook_form_overflows() -> None:
    mirror_map = maps.Cosh()
    x = torch.tensor([700.0, 900.0, 30.0, -400.0])
    delta = torch.tensor([1e300, 5.0, 1e10, -1e170])
    exact = [
        mp.asinh(mp.sinh(mp.mpf(a)) - mp.mpf(d))
        for a, d in zip(x.tolist(), delta.tolist(), strict=True)
    ]
    for got, want in zip(mirror_map.step(x, delta).tolist(), exact, strict=True):
        assert abs(got - want) < 1e-15 * abs(want)


def test_typed_fractions() -> None:
    assert typed_fraction(1.1) == Fraction(11, 10)
    assert typed_fraction(1.0001) == Fraction(10001, 10000)
    assert typed_fraction(4 / 3) == Fraction(4, 3)
    assert typed_fraction(3) == 3
    assert float(typed_fraction(math.pi)) == math.pi


@pytest.mark.parametrize("p", [1.01, 1.1, 1.9, 2.1, 3.5, 10.0, 50.0, 200.0])
def test_the_newton_of_the_mixed_map_converges_everywhere(p: float) -> None:
    """Across the bend, from all linear to all power, whatever the exponent."""
    mirror_map = maps.Mixed(p, 1.0, 3.0)
    x = torch.logspace(-3, 3, 2001) if p < 20 else torch.logspace(-1, 0.8, 2001)
    u = mirror_map.to_dual(x)
    usable = u.isfinite()
    x, u = x[usable], u[usable]
    within = 4e-15 * max(1, 1 / (p - 1))
    torch.testing.assert_close(mirror_map.to_primal(u), x, rtol=within, atol=0)
    for ratio in (0.5, -0.5, 0.1, -0.1):
        moved = mirror_map.step(x, ratio * u)
        exact = mirror_map.to_primal((1 - ratio) * u)
        torch.testing.assert_close(moved, exact, rtol=5 * within, atol=0)


def test_a_custom_step_keeps_what_the_dual_has_lost() -> None:
    """The plain inverse of `u − delta` loses what u = asinh(1e12 x), of size 28, has lost."""
    known = maps.HyperbolicEntropy(1e-12)
    mine = maps.Custom(gradient=lambda x: torch.asinh(x / 1e-12))
    x = torch.rand(500) + 0.5
    delta = 1e-3 * torch.randn(500)
    exact = known.step(x, delta)
    assert ((mine.step(x, delta) - exact) / exact).abs().max() < 4e-16
    assert ((mine.to_primal(mine.to_dual(x) - delta) - exact) / exact).abs().max() > 2e-15
