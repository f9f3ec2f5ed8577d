"""The rival optimizers, each against its formula and another implementation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from mirrorflow.claims.steepest import SignDescent, SpectralDescent, polar_factor
from mirrorflow.maps import LpHorizon, MaxOverTensors, SchattenHorizon


def _tensors(seed: int) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    made = [nn.Parameter(torch.randn(s, generator=generator).double()) for s in ((5, 3), (2, 5))]
    for p in made:
        p.grad = torch.randn(p.shape, generator=generator).double()
    return made


def test_the_polar_factor_is_scipys() -> None:
    for p in _tensors(0):
        expected, _ = scipy.linalg.polar(p.grad.numpy())
        assert polar_factor(p.grad).numpy() == pytest.approx(expected, abs=1e-12)
    thin = torch.outer(torch.arange(1.0, 4).double(), torch.ones(2).double())  # of rank one
    unit = thin / torch.linalg.matrix_norm(thin)
    assert polar_factor(thin).numpy() == pytest.approx(unit.numpy(), abs=1e-12)
    assert not polar_factor(torch.zeros(3, 2)).any()


@pytest.mark.parametrize(
    ("kind", "horizon"),
    [(SignDescent, LpHorizon(np.inf)), (SpectralDescent, SchattenHorizon(np.inf))],
)
def test_the_step_is_the_steepest_of_its_norm(kind, horizon) -> None:
    """`⟨g, d⟩ = Q°(g)` at `Q(d) = 1`: no unit vector has a larger product with g."""
    params = _tensors(1)
    before = [p.detach().clone() for p in params]
    kind(params, lr=0.25, momentum=0.0).step()
    pairs = enumerate(zip(before, params, strict=True))
    moved = {str(k): (b - p.detach()) / 0.25 for k, (b, p) in pairs}
    gradients = {str(k): p.grad for k, p in enumerate(params)}
    norm = MaxOverTensors(horizon)
    assert float(norm.gauge(moved)) == pytest.approx(1.0)
    product = sum(float((moved[k] * gradients[k]).sum()) for k in moved)
    assert product == pytest.approx(float(norm.dual_gauge(gradients)))


def test_momentum_is_an_average_of_gradients() -> None:
    p = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = SignDescent([p], lr=1.0, momentum=0.9)
    p.grad = torch.tensor([1.0, -1.0, 1.0]).double()
    optimizer.step()
    p.grad = torch.tensor([-0.5, -1.0, -2.0]).double()
    optimizer.step()
    # 0.9·0.1·1 − 0.1·0.5 = 0.04, 0.09 − 0.2 = −0.11.
    assert optimizer.state[p]["average"].tolist() == pytest.approx([0.04, -0.19, -0.11])
    assert p.tolist() == [-2.0, 2.0, 0.0]


def test_torchs_muon_is_it_up_to_newton_schulz() -> None:
    """Same singular vectors; singular values between 0.6 and 1.3 in place of 1."""
    params, twins = _tensors(2), _tensors(2)
    ours = SpectralDescent(params, lr=1.0, momentum=0.9)
    torchs = torch.optim.Muon(twins, lr=1.0, momentum=0.9, nesterov=False, weight_decay=0.0)
    before = [p.detach().clone() for p in params]
    ours.step()
    torchs.step()
    for start, p, q in zip(before, params, twins, strict=False):
        mine, other = (start - p).detach(), (start - q).detach()
        # Muon scales its steps by √(rows/columns) where there are more rows.
        other = other / max(1.0, p.shape[0] / p.shape[1]) ** 0.5
        values = torch.linalg.svdvals(other)
        assert float(values.min()) > 0.6
        assert float(values.max()) < 1.3
        cosine = float((mine * other).sum() / mine.norm() / other.norm())
        assert cosine > 0.97


def test_torchs_adam_without_epsilon_is_its_formula() -> None:
    p = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = torch.optim.Adam([p], lr=0.5, betas=(0.9, 0.99), eps=1e-30)
    m = v = torch.zeros(2, dtype=torch.float64)
    x = torch.zeros(2, dtype=torch.float64)
    for t, g in enumerate(([3.0, 0.0], [-1.0, 0.0]), start=1):
        p.grad = torch.tensor(g).double()
        optimizer.step()
        m, v = 0.9 * m + 0.1 * p.grad, 0.99 * v + 0.01 * p.grad**2
        rate = (v / (1 - 0.99**t)).sqrt() + 1e-30
        x = x - 0.5 * m / (1 - 0.9**t) / rate
        assert p.tolist() == pytest.approx(x.tolist())
    assert p[1].item() == 0  # an input that is always 0 does not move
