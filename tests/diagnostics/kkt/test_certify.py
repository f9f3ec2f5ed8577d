from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from torch import nn

from mirrorflow.diagnostics import Certificate, certify
from mirrorflow.errors import NoHorizonError, NotHomogeneousError
from mirrorflow.maps import (
    Cosh,
    HyperbolicEntropy,
    NegativeEntropy,
    Power,
    Quadratic,
)
from mirrorflow.nets import CNN, MLP, Linear, TwoLayer


def linear(weights: torch.Tensor) -> Linear:
    net = Linear(len(weights))
    with torch.no_grad():
        net.weight.copy_(weights)
    return net


def orthogonal(n: int = 3, d: int = 6, seed: int = 0):
    """Orthonormal points: the ℓ2 max margin is w = Σ y x, with equal multipliers."""
    g = torch.Generator().manual_seed(seed)
    x = torch.linalg.qr(torch.randn(d, n, generator=g))[0].T
    y = torch.tensor([1.0, -1.0, 1.0])[:n]
    return x, y


def test_by_hand():
    x, y = orthogonal()
    found = certify(linear(y @ x), x, y, Quadratic())
    assert found.separated
    assert found.degree == 1
    assert found.margin == pytest.approx(1 / math.sqrt(3))
    assert found.product_margin == pytest.approx(found.margin)
    assert found.epsilon < 1e-14
    assert found.delta < 1e-14
    assert found.gap < 1e-14
    # min ‖w‖ subject to q >= 1: w/‖w‖ = Σ λ y x with λ = 1/√3.
    assert found.multipliers.tolist() == pytest.approx([1 / math.sqrt(3)] * 3)
    assert found.natural_multipliers.tolist() == pytest.approx([1 / 3] * 3)
    assert found.natural_epsilon < 1e-14
    assert sorted(found.support.tolist()) == [0, 1, 2]
    assert (found.fit.considered, found.fit.left_out, found.fit.cut) == (3, 0, math.inf)


def test_the_free_entries_of_l1_are_used():
    """One point (1, 0.5): w = e₁; s = (1, σ) with σ in [−1, 1], here 0.5."""
    x, y = torch.tensor([[1.0, 0.5]]), torch.tensor([1.0])
    found = certify(linear(torch.tensor([3.0, 0.0])), x, y, HyperbolicEntropy(1.0))
    assert found.epsilon < 1e-14
    assert found.fit.free == 1
    # Within the stated tolerance an entry counts as zero, outside it does not.
    for size, free in ((1e-7, 1), (1e-5, 0)):
        net = linear(torch.tensor([1.0, size]))
        near = certify(net, x, y, HyperbolicEntropy(1.0), zero_tolerance=1e-6)
        assert near.fit.free == free
        assert (near.epsilon < 1e-5) == bool(free)
        # By default the tolerance is chosen, and what it costs is the slack: s = (1, 0.5), so
        # κ = 1 − ⟨s, w⟩/‖w‖₁ = 0.5·size/(1 + size).
        chosen = certify(net, x, y, HyperbolicEntropy(1.0))
        assert chosen.epsilon < 1e-5
        assert chosen.slack == pytest.approx(0.5 * size, rel=1e-3)
    # (1, 2): e₁ is not the solution, and the box cannot make it one.
    wrong = certify(
        linear(torch.tensor([1.0, 0.0])), torch.tensor([[1.0, 2.0]]), y, HyperbolicEntropy(1.0)
    )
    # min over λ, |σ| <= 1 of ‖(1, σ) − λ(1, 2)‖/‖s‖: σ = 1, λ = 3/5.
    assert wrong.epsilon == pytest.approx(math.sqrt(0.2) / math.sqrt(2))


def test_the_simplex_of_linf_is_used():
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([1.0])
    found = certify(linear(torch.tensor([2.0, 2.0])), x, y, Cosh())
    assert found.epsilon < 1e-14  # s = (1, 2)/3
    assert found.fit.free == 2
    assert found.multipliers.tolist() == pytest.approx([1 / 3])
    lone = certify(linear(torch.tensor([1.0, 2.0])), x, y, Cosh())
    # s = (0, 1): min over λ of ‖(0, 1) − λ(1, 2)‖ = 1/√5.
    assert lone.epsilon == pytest.approx(1 / math.sqrt(5))


def kinked(rho: float):
    """A two-layer net on two unit points with `x₁·x₂ = ρ`, labels +1 and −1, each unit at the
    kink of the other point: `w₁ ∝ x₁ − ρ x₂, a₁ > 0`, `w₂ ∝ x₂ − ρ x₁, a₂ < 0`, `‖w_j‖ = |a_j|`.

    Then `θ = λ(∇q₁ + ∇q₂)` with `λ = 1/√(1−ρ²)` and the derivative ρ at both kinks."""
    x = torch.tensor([[1.0, 0.0], [rho, math.sqrt(1 - rho**2)]])
    net = TwoLayer(2, 2)
    with torch.no_grad():
        net.weights[0].copy_((x - rho * x.flip(0)) / math.sqrt(1 - rho**2))
        net.weights[1].copy_(torch.tensor([[1.0, -1.0]]))
    return net, x, torch.tensor([1.0, -1.0])


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.9])
def test_constructed_kkt_points_on_kinks_are_recognised(rho):
    net, x, y = kinked(rho)
    found = certify(net, x, y, Quadratic())
    assert found.fit.kinks == 2
    assert found.epsilon < 1e-7
    assert found.delta < 1e-14
    # min ‖θ‖, θ̄ = θ/√q, ‖θ‖ = 2: Σ λ = ‖θ̄‖/L, shared equally.
    expected = (1 - rho**2) ** -0.25 / 2
    assert found.multipliers.tolist() == pytest.approx([expected] * 2, rel=1e-6)
    assert certify(net, x, y, Quadratic(), max_kinks=0).epsilon > 0.05


def test_a_kink_cannot_take_a_negative_derivative():
    net, x, y = kinked(-0.5)  # stationary only with the derivative −0.5
    found = certify(net, x, y, Quadratic())
    assert found.fit.kinks == 2
    assert found.epsilon > 0.1


def test_kinks_within_the_stated_tolerance_only():
    net, x, y = kinked(0.5)
    with torch.no_grad():
        net.weights[0][0] += 1e-4 * x[1]
    assert certify(net, x, y, Quadratic()).fit.kinks == 1
    assert certify(net, x, y, Quadratic(), kink_tolerance=1e-3).fit.kinks == 2
    assert certify(net, x, y, Quadratic(), kink_tolerance=1e-3).epsilon < 1e-3


@pytest.mark.parametrize("c", [1e-140, 1e-2, 1e3, 1e140])
def test_scaled_parameters_have_the_same_certificate(c):
    torch.manual_seed(3)
    net = MLP((3, 5, 4, 1))
    x = torch.randn(8, 3)
    y = torch.sign(net(x)).detach()
    here = certify(net, x, y, Power(3))
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(c)
    there = certify(net, x, y, Power(3))
    for name in ("epsilon", "delta", "margin", "gap", "product_margin"):
        assert getattr(there, name) == pytest.approx(getattr(here, name), rel=1e-9, abs=1e-12)
    torch.testing.assert_close(there.multipliers, here.multipliers)
    assert there.log_gauge == pytest.approx(here.log_gauge + math.log(c))


def test_multiclass_places_multipliers_at_wrong_classes():
    torch.manual_seed(4)
    net = MLP((3, 6, 3))
    x = torch.randn(20, 3)
    y = net(x).argmax(1)
    found = certify(net, x, y, Quadratic(), band=5.0)
    assert found.multipliers.shape == (20, 3)
    assert bool((found.multipliers.gather(1, y[:, None]) == 0).all())
    assert float(found.natural_multipliers.sum()) == pytest.approx(1.0)
    # The residual is what autograd says.
    total = sum(float(p.detach().square().sum()) for p in net.parameters())
    out = net(x)
    q = out.gather(1, y[:, None]) - out
    least = float((q.detach() + torch.nn.functional.one_hot(y, 3) * 1e9).min())
    scale = least ** (-1 / 2)  # θ at min q = 1; ∇q there is scale^(L−1) times ∇q here
    value = (found.multipliers * q).sum() * scale
    grads = torch.cat([g.flatten() for g in torch.autograd.grad(value, list(net.parameters()))])
    s = torch.cat([p.detach().flatten() for p in net.parameters()]) / math.sqrt(total)
    assert float((s - grads).norm()) == pytest.approx(found.epsilon, rel=1e-6)


def test_different_maps_use_the_product():
    torch.manual_seed(5)
    net = TwoLayer(3, 8)
    x = torch.randn(6, 3)
    y = torch.sign(net(x)).detach()
    maps = {"weights.0": Quadratic(), "weights.1": Power(3)}
    found = certify(net, x, y, maps)
    assert not found.joint
    assert "product" in found.problem
    assert found.margin == pytest.approx(found.product_margin)
    with torch.no_grad():  # the product does not see how the layers share the scale
        net.weights[0].mul_(100)
        net.weights[1].div_(7)
    other = certify(net, x, y, maps)
    assert other.epsilon == pytest.approx(found.epsilon, rel=1e-9)
    assert other.margin == pytest.approx(found.margin, rel=1e-9)
    assert certify(net, x, y, Quadratic()).margin < 0.2 * found.margin


def test_restriction_is_reported_and_is_an_upper_bound():
    g = torch.Generator().manual_seed(6)
    x, w = torch.randn(50, 20, generator=g), torch.randn(20, generator=g)
    y = torch.sign(x @ w)
    full = certify(linear(w), x, y, Quadratic(), band=1e9)
    few = certify(linear(w), x, y, Quadratic(), band=1e9, max_margins=7)
    assert (few.fit.considered, few.fit.left_out) == (7, 43)
    assert few.fit.cut >= 1
    assert few.epsilon >= full.epsilon - 1e-12
    small = certify(linear(w), x, y, Quadratic(), band=1e9, memory=20 * 8 * 40 / 2**30)
    assert (small.fit.considered, small.fit.left_out) == (50, 0)  # in float32
    assert small.epsilon == pytest.approx(full.epsilon, rel=1e-5)
    tiny = certify(linear(w), x, y, Quadratic(), band=1e9, memory=20 * 8 * 10 / 2**30)
    assert tiny.fit.considered == 20


def test_not_separated_says_by_how_much():
    x, y = orthogonal()
    found = certify(linear(y @ x), x, torch.tensor([1.0, 1.0, 1.0]), Quadratic())
    assert not found.separated
    assert found.misclassified == 1
    assert found.margin == pytest.approx(-1 / math.sqrt(3))
    assert math.isnan(found.epsilon)
    assert "not separated: 1 of 3 points" in str(found)


def test_prints_and_exports():
    x, y = orthogonal()
    found = certify(linear(y @ x), x, y, Quadratic())
    assert "epsilon" in str(found)
    assert json.loads(json.dumps(found.as_dict()))["multipliers"] == found.multipliers.tolist()


class NoBatching(nn.Module):
    """Branches on data, which vmap cannot trace."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 2.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.w if x.sum() > 1e9 else (x * self.w).sum(1)


def test_any_module_is_taken_as_it_is():
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([1.0])
    net = NoBatching()
    net.train()
    before = copy.deepcopy(net.state_dict())
    assert certify(net, x, y, Quadratic()).epsilon < 1e-14
    assert net.training
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    single = nn.Sequential(nn.Linear(2, 1, bias=False)).to(torch.float32)
    with torch.no_grad():
        single[0].weight.copy_(torch.tensor([[1.0, 2.0]]))
    assert certify(single, x.to(torch.float32), y, Quadratic()).epsilon < 1e-7


def test_bad_input():
    x, y = orthogonal()
    net = linear(y @ x)
    with pytest.raises(ValueError, match=r"takes labels -1 and \+1"):
        certify(net, x, torch.tensor([0.0, 1.0, 1.0]), Quadratic())
    with pytest.raises(ValueError, match="'weight' holds NaN"):
        certify(linear(y @ x * math.nan), x, y, Quadratic())
    with pytest.raises(ValueError, match="all parameters are zero"):
        certify(linear(torch.zeros(6)), x, y, Quadratic())
    with pytest.raises(ValueError, match="band = -1"):
        certify(net, x, y, Quadratic(), band=-1.0)
    with pytest.raises(ValueError, match="max_margins = 0"):
        certify(net, x, y, Quadratic(), max_margins=0)
    with pytest.raises(ValueError, match="kink_tolerance"):
        certify(net, x, y, Quadratic(), kink_tolerance=0.7)
    with pytest.raises(NoHorizonError):
        certify(net, x, y, NegativeEntropy())
    dropout = nn.Sequential(nn.Linear(6, 2, bias=False), nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"Dropout in train mode.*net\.eval"):
        certify(dropout, x, (y > 0).long(), Quadratic())
    tanh = nn.Sequential(nn.Linear(6, 3, bias=False), nn.Tanh(), nn.Linear(3, 2, bias=False))
    with pytest.raises(NotHomogeneousError, match="not positively homogeneous"):
        certify(tanh, x, (y > 0).long(), Quadratic())


def test_a_wrong_declaration_is_found():
    class Liar(Linear):
        @property
        def layer_degrees(self) -> dict[str, float]:
            return {"weight": 2.0}

    x, y = orthogonal()
    with pytest.raises(NotHomogeneousError, match="declares degree 2"):
        certify(Liar(6), x, y, Quadratic())


def test_cnn_and_the_same_net_as_a_sequential():
    torch.manual_seed(6)
    net = CNN((1, 6, 6), (3,), (4,), classes=3)
    first, second, last = (p.detach() for p in net.parameters())
    twin = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(27, 4, bias=False), nn.ReLU(), nn.Linear(4, 3, bias=False),
    )  # fmt: skip
    with torch.no_grad():
        for p, q in zip(twin.parameters(), (first, second, last), strict=True):
            p.copy_(q)
    x = torch.randn(12, 1, 6, 6)
    y = net(x).argmax(1)
    one, other = (certify(n, x, y, Power(3)) for n in (net, twin))
    assert one.degree == 3
    assert other.epsilon == pytest.approx(one.epsilon, rel=1e-9)
    assert other.margin == pytest.approx(one.margin, rel=1e-9)
    torch.testing.assert_close(other.multipliers, one.multipliers)


def test_blank_patches_are_no_kinks():
    """A ReLU whose input is 0 for any weights adds nothing to a gradient."""
    torch.manual_seed(7)
    net = CNN((1, 6, 6), (3,), (), pool="none")
    x = torch.zeros(6, 1, 6, 6)
    x[:, :, :2, :2] = torch.randn(6, 1, 2, 2)
    y = torch.sign(net(x)).detach()
    assert certify(net, x, y, Quadratic()).fit.kinks == 0


def test_the_verdict_compares_with_what_is_usual() -> None:
    """Points on one ray: θ ∝ (1, 0) is the ℓ2 max-margin direction; off it ε is the sine."""
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([1.0, -1.0])
    net = Linear(2).double()

    def turned(angle: float, size: float) -> Certificate:
        with torch.no_grad():
            net.weight.copy_(size * torch.tensor([math.cos(angle), math.sin(angle)]))
        return certify(net, x, y, "quadratic")

    exact = turned(0.0, 100.0)
    assert exact.verdict.startswith("a KKT point, to ")
    assert exact.expected == pytest.approx(1 / 100.0, rel=1e-9)  # 1/q
    near, far, scaled = turned(0.05, 100.0), turned(0.9, 100.0), turned(0.05, 1e-3)
    assert near.epsilon == pytest.approx(math.sin(0.05), rel=1e-9)
    assert near.verdict == (
        "on its way to a KKT point: the largest residual is 0.05, and about 0.01 is usual at this "
        "margin"
    )
    assert far.verdict.startswith("not near a KKT point: the largest residual is 0.78, where")
    assert math.isnan(scaled.expected)
    assert scaled.verdict == "not a KKT point: the largest residual is 0.05"
    assert near.residual == near.epsilon
    assert list(near.as_dict())[:2] == ["verdict", "epsilon"]


def test_delta_is_a_largest_and_not_a_sum() -> None:
    """Three support points of which two lie off the margin, multipliers worked out by hand.

    θ = (1, 1, 1)/√3·c; the points e_1, 2 e_2, 3 e_3 have q = (1, 2, 3) at θ = (1, 1, 1), and
    ∂Q = θ/‖θ‖ needs λ ∝ (1, 1/2, 1/3): λ_i (q_i − 1) = (0, 1/2, 2/3), Σ λ = 11/6.
    """
    x = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    net = Linear(3).double()
    with torch.no_grad():
        net.weight.fill_(1.0)
    found = certify(net, x, torch.ones(3), "quadratic", band=10.0)
    assert found.epsilon == pytest.approx(0.0, abs=1e-9)
    assert found.delta == pytest.approx((2 / 3) / (11 / 6), rel=1e-9)


def test_the_record_names_what_is_held_fixed() -> None:
    net = TwoLayer(2, 3, generator=torch.Generator().manual_seed(0)).double()
    net.weights[1].requires_grad_(False)
    x = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    with torch.no_grad():
        net.weights[1].abs_()
        net.weights[0].abs_()
    assert certify(net, x, torch.ones(2), "quadratic").fixed == ("weights.1",)
