"""The smallest max(ε, δ, κ) of a certificate, against CVXPY and by hand."""

from __future__ import annotations

import cvxpy
import numpy as np
import pytest
import torch

from mirrorflow.diagnostics import certify
from mirrorflow.diagnostics.kkt.best import TIE, fits, minimise_largest
from mirrorflow.diagnostics.kkt.cone import KinkCone, fit_cone
from mirrorflow.diagnostics.kkt.ladder import Ladder
from mirrorflow.diagnostics.kkt.subdifferential import Subdifferential
from mirrorflow.maps import HyperbolicEntropy, Quadratic
from mirrorflow.nets import Linear, TwoLayer


def feasible(t, cone, target, ratio, theta, degree, s0) -> bool:
    """Whether λ and s with ε, δ, κ <= t exist, `‖s‖` replaced by its tangent at s0 (below it)."""
    lam = cvxpy.Variable(len(cone.base), nonneg=True)
    s, kinks = cvxpy.Variable(len(theta)), cvxpy.Variable(max(1, len(cone.owner)), nonneg=True)
    rules = [cvxpy.multiply(ratio - 1, lam) <= t * cvxpy.sum(lam), s @ theta >= (1 - t) * degree]
    if len(target.fixed):
        rules.append(s[target.fixed] == target.value[target.fixed])
    if len(target.box):
        rules.append(cvxpy.abs(s[target.box]) <= target.width)
    for index, signs, total in target.simplices:
        share = cvxpy.multiply(signs, s[index])
        rules += [share >= 0, cvxpy.sum(share) == total]
    rules += [kinks[j] <= lam[i] for j, i in enumerate(cone.owner)]
    v = cone.base.T @ lam + (cone.extra.T @ kinks if len(cone.owner) else 0)
    size = s0 @ s / np.linalg.norm(s0)
    problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.norm(s - v) - t * size), rules)
    problem.solve(solver="CLARABEL")
    return problem.value is not None and problem.value <= 0


def problem(seed: int, *, boxes: int, simplex: int, kinks: int):
    """Margin gradients with `⟨g_i, θ⟩ = ratio_i` (degree 1), θ near a solution."""
    rng = np.random.default_rng(seed)
    m, d = 7, 14
    theta = rng.standard_normal(d)
    theta[:boxes] *= 0.05  # small entries, free in [−1, 1]
    if simplex:
        top = np.arange(boxes, boxes + simplex)
        theta[top] = np.sign(theta[top]) * rng.uniform(1.5, 2.0, simplex)
    ratio = np.sort(np.append(1.0, 1 + rng.exponential(0.5, m - 1)))
    degree = float(np.abs(theta).sum())
    value = np.sign(theta)
    if simplex:
        value[:] = 0.0
        degree = float(np.abs(theta).max())
    base = value + 0.8 * rng.standard_normal((m, d))
    base *= (ratio * degree / (base @ theta))[:, None]
    owner = rng.integers(0, 3, kinks)
    extra = rng.standard_normal((kinks, d))
    extra -= np.outer(extra @ theta / (theta @ theta), theta)
    free = np.arange(boxes)
    rest = np.arange(boxes + simplex, d)
    target = Subdifferential(value, rest, free, np.ones(boxes))
    if simplex:
        target.simplices.append((top, np.sign(theta[top]), 1.0))
    return KinkCone(base, extra, owner), target, ratio, theta, degree


CASES = [(0, 0, 0), (8, 0, 0), (0, 6, 0), (5, 0, 4), (0, 0, 3)]


@pytest.mark.parametrize(("boxes", "simplex", "kinks"), CASES)
def test_no_multipliers_and_subgradient_are_better(boxes, simplex, kinks):
    for seed in range(2):
        cone, target, ratio, theta, degree = problem(
            seed, boxes=boxes, simplex=simplex, kinks=kinks
        )
        start = fit_cone(cone, target)
        found = minimise_largest(cone, target, ratio, theta, degree, start)
        lam, s = found.multipliers, found.element
        assert (lam >= 0).all()
        np.testing.assert_allclose(s, target.project(s), atol=1e-9)
        largest = max(found.epsilon, (lam * (ratio - 1)).max() / lam.sum(), 1 - s @ theta / degree)
        assert 0.02 < largest < 1
        arguments = (cone, target, ratio, theta, degree, s)
        assert feasible(largest * (1 + 1e-4), *arguments)
        assert not feasible(largest * (1 - 2 * TIE - 1e-4), *arguments)


def test_slack_is_the_smallest_at_its_residual():
    """θ = (1, ½), ℓ1, tolerance ½ −: with margins along (1, 0) and (1, 1) any s = (1, σ) has ε = 0,
    and κ = (½ − σ/2)/1.5: 0 at σ = 1. Which σ came out of the fit alone was chance."""
    theta = np.array([1.0, 0.5])
    target = Subdifferential(np.array([1.0, 0.0]), np.array([0]), np.array([1]), np.ones(1))
    cone = KinkCone.plain(np.array([[1.0, 0.0], [1.0, 1.0]]) / 1.5)
    ratio = np.array([1.0, 1.0])
    ladder = Ladder(cone, {0.3: target}, ratio, theta, 1.5)
    plain = ladder.at(1e-7, 0.3)
    assert plain.rung.epsilon < 1e-12
    step, exact = ladder.improve(plain, None)
    assert exact
    assert step.rung.epsilon < 1e-5
    assert step.rung.slack < 1e-5


def test_delta_is_a_maximum_by_hand():
    """Gradients e₁, e₂, e₃ with q/min q = 1, 1.2, 1.5 and s = (3, 2, 1)/√14: λ ∝ (3, 2, 1), so
    δ = max(2·0.2, 1·0.5)/6 = 1/12; the sum would be 0.9/6."""
    s = np.array([3.0, 2.0, 1.0]) / 14**0.5
    target = Subdifferential(s, np.arange(3), np.zeros(0, dtype=np.intp), np.zeros(0))
    ladder = Ladder(KinkCone.plain(np.eye(3)), {1e-6: target}, np.array([1, 1.2, 1.5]), s, 1.0)
    assert ladder.at(30.0, 1e-6).rung.delta == pytest.approx(1 / 12)


def test_certify_reports_the_best_and_says_so():
    torch.manual_seed(0)
    net = TwoLayer(3, 8)
    x = torch.randn(20, 3)
    y = torch.sign(net(x)).detach()
    for mirror_map in (Quadratic(), HyperbolicEntropy(0.1)):
        found = certify(net, x, y, mirror_map)
        assert found.fit.at_best
        assert "at best        no other" in str(found)
        score = max(found.epsilon, found.delta, found.slack)
        tried = [max(r.epsilon, r.delta, r.slack) for r in found.fit.tradeoff if r.delta >= 0]
        assert score <= min(tried) * (1 + 2 * TIE)


def test_a_weaker_linear_certificate_by_hand():
    """Orthogonal points e₁, e₂ with w = (1, 2)/√5: q ratios 1 and 2. With λ ∝ (a, b) on them
    ε is the sine to w, so it is a trade: λ₂/(λ₁+λ₂) = δ and the program balances the two."""
    net = Linear(2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([1.0, 2.0]))
    found = certify(net, torch.eye(2), torch.ones(2), Quadratic())
    share = np.linspace(0, 1, 200_001)
    v = np.stack([1 - share, share])
    sine = np.abs(v[0] * 2 - v[1]) / 5**0.5 / np.linalg.norm(v, axis=0)
    best = np.maximum(sine, share).min()
    assert max(found.epsilon, found.delta) == pytest.approx(best, rel=3e-3)
    assert 0.3 < best < 0.5


def test_too_large_problems_are_not_tried():
    target = Subdifferential(np.ones(9), np.arange(9), np.zeros(0, dtype=np.intp), np.zeros(0))
    assert fits(KinkCone.plain(np.ones((5, 9))), target)
    assert not fits(KinkCone.plain(np.ones((500, 9))), target)


def test_grad_modes_change_nothing():
    torch.manual_seed(1)
    net = TwoLayer(3, 6)
    x = torch.randn(10, 3)
    y = torch.sign(net(x)).detach()
    here = certify(net, x, y, HyperbolicEntropy(0.1))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            there = certify(net, x.clone(), y, HyperbolicEntropy(0.1))
        assert there.epsilon == here.epsilon
        assert there.multipliers.tolist() == here.multipliers.tolist()


def test_arguments_are_looked_at():
    net, x, y = Linear(2), torch.eye(2), torch.ones(2)
    for name, value in (
        ("max_kinks", "abc"), ("batch_size", -1), ("band", float("nan")),
        ("max_margins", 1.5), ("memory", 0.0), ("zero_tolerance", 0.7),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=name):
            certify(net, x, y, Quadratic(), **{name: value})
