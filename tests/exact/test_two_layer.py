from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from mirrorflow.errors import NotSeparableError
from mirrorflow.exact import local_two_layer_max_margin, two_layer_max_margin
from mirrorflow.exact.patterns import all_patterns, count_patterns
from mirrorflow.exact.two_layer import _dual_norm
from mirrorflow.maps import LpHorizon, SchattenHorizon


@pytest.mark.parametrize(("n", "d"), [(5, 1), (6, 2), (7, 3), (3, 5)])
def test_all_patterns_are_found(n, d):
    x = np.random.default_rng(0).standard_normal((n, d))
    found = {row.tobytes() for row in all_patterns(x)}
    empty = not any(np.ones(n, dtype=bool).tobytes() == cell for cell in found)
    # With a cell its complement is one: the empty pattern, left out, is that of the full one.
    assert len(found) + (not empty) == count_patterns(x)
    for w in np.random.default_rng(1).standard_normal((3000, d)):
        cell = x @ w > 0
        assert not cell.any() or cell.tobytes() in found


def test_one_point_by_hand():
    """One unit along x: q = a w x = 1 at least norm ‖w‖ = |a| = ‖x‖^{-1/2}, margin ‖x‖/2."""
    found = two_layer_max_margin(torch.tensor([[3.0, 4.0]]), torch.tensor([-1.0]))
    assert found.margin == pytest.approx(2.5, rel=1e-8)
    w, a = (p.detach() for p in found.net.parameters())
    torch.testing.assert_close(w, torch.tensor([[0.6, 0.8]]) / 5**0.5, atol=1e-6, rtol=0)
    assert float(a) == pytest.approx(-1 / 5**0.5, abs=1e-6)


def test_the_network_has_the_margin_it_claims():
    g = torch.Generator().manual_seed(0)
    x, y = 100 * torch.randn(7, 2, generator=g), torch.sign(torch.randn(7, generator=g))
    for bias in (False, True):
        found = two_layer_max_margin(x, y, bias=bias)
        with torch.no_grad():
            q = y * found.net(x)
            norm = sum(float(p.square().sum()) for p in found.net.parameters())
        assert float(q.min()) == pytest.approx(1.0)
        assert found.margin == pytest.approx(1 / norm)
        # Multipliers of min ‖θ‖: Σ λ = ‖θ‖/L.
        assert float(found.multipliers.sum()) == pytest.approx(norm**0.5 / 2, rel=1e-6)


def test_sampled_patterns_bound_the_optimum_from_both_sides():
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(10, 3, generator=g), torch.sign(torch.randn(10, generator=g))
    truth = two_layer_max_margin(x, y)
    found = two_layer_max_margin(x, y, max_patterns=30)
    assert found.kind == "bound"
    assert found.patterns < truth.patterns
    assert found.margin <= truth.margin * (1 + 1e-7) <= found.upper_bound


def test_the_relaxed_dual_norm_is_above_every_direction():
    """`max_{‖w‖=1} |Σ λ_i y_i relu(x_i·w)|` by 20,000 directions, never above the bound."""
    rng = np.random.default_rng(3)
    for _ in range(10):
        z, y = rng.standard_normal((9, 2)), rng.choice([-1.0, 1.0], 9)
        lam = 10 * rng.random(9)
        angle = np.linspace(0, 2 * np.pi, 20_000)
        w = np.stack([np.cos(angle), np.sin(angle)])
        truth = np.abs((lam * y) @ np.maximum(z @ w, 0)).max()
        assert truth <= _dual_norm(z, y, lam) <= 3 * truth
    # ±e₁, λ = 3: one half of the points is active in any direction, 3 by hand; all of it is spread.
    z = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert _dual_norm(z, np.ones(2), np.full(2, 3.0)) == pytest.approx(3.0)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_grad_modes_change_nothing(mode):
    g = torch.Generator().manual_seed(4)
    x, y = torch.randn(5, 2, generator=g), torch.sign(torch.randn(5, generator=g))
    here = two_layer_max_margin(x, y)
    with mode():
        there = two_layer_max_margin(x.clone(), y)
        near = local_two_layer_max_margin(x, y, LpHorizon(2), 6)
    assert there.margin == pytest.approx(here.margin, rel=1e-12)
    assert near.margin <= here.upper_bound * (1 + 1e-6)
    there.net(x).sum().backward()  # the net can be trained
    assert all(p.grad is not None for p in there.net.parameters())


def test_two_classes_only_and_no_argument_that_is_not_there():
    x = torch.randn(6, 2)
    for solver in (
        lambda y: two_layer_max_margin(x, y),
        lambda y: local_two_layer_max_margin(x, y, LpHorizon(2), 3),
    ):
        with pytest.raises(ValueError, match="for two classes") as caught:
            solver(torch.tensor([0, 1, 2, 0, 1, 2]))
        assert "classes=" not in str(caught.value)
    with pytest.raises(TypeError, match="max_patterns"):
        two_layer_max_margin(x, torch.ones(6), max_patterns="abc")


def test_rays_decide_separability():
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]], dtype=torch.float64)
    with pytest.raises(NotSeparableError, match="on one ray"):
        two_layer_max_margin(x, torch.tensor([1.0, -1.0]))
    assert two_layer_max_margin(x, torch.tensor([1.0, -1.0]), bias=True).margin > 0
    with pytest.raises(NotSeparableError, match="at the origin"):
        two_layer_max_margin(x * torch.tensor([[0.0], [1.0]]), torch.tensor([1.0, -1.0]))


def test_more_points_never_help():
    g = torch.Generator().manual_seed(2)
    x, y = torch.randn(7, 2, generator=g), torch.sign(torch.randn(7, generator=g))
    margins = [two_layer_max_margin(x[:k], y[:k]).margin for k in (3, 5, 7)]
    assert all(a >= b * (1 - 1e-7) for a, b in itertools.pairwise(margins))


def test_errors():
    x = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    with pytest.raises(NotSeparableError, match="two labels"):
        two_layer_max_margin(x, torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match=r"pass points \(n, d\)"):
        two_layer_max_margin(torch.randn(2, 2, 2), torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="takes LpHorizon"):
        local_two_layer_max_margin(x, torch.tensor([1.0, 1.0]), SchattenHorizon(2), 2)
    with pytest.raises(NotSeparableError, match="none of 2 starts"):
        local_two_layer_max_margin(x, torch.tensor([1.0, -1.0]), LpHorizon(2), 2, starts=2)
