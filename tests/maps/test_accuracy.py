"""Every operation of every separable map against 50 digits, over the range of the map."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
import torch
from map_errors import CASES, measure

from mirrorflow import maps


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case[0]))
def test_a_few_ulp_of_the_condition(case: tuple, dtype: torch.dtype) -> None:
    worst = measure(case, dtype, samples=40, seed=1)
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
