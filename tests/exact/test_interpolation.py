"""The interpolant of least Bregman divergence, against conic programs, mpmath and what trains."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from mirrorflow import maps
from mirrorflow.errors import MirrorFlowError
from mirrorflow.exact import diagonal_linear_flow, interpolation_certificate, min_bregman
from mirrorflow.optim import MirrorDescent


def problem(n: int = 4, d: int = 9, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    y = torch.randn(n, generator=g, dtype=torch.float64)
    return x, y, 0.3 * torch.randn(d, generator=g, dtype=torch.float64)


SEPARABLE = [
    maps.Quadratic(),
    maps.Power(1.1),
    maps.Power(1.5),
    maps.Power(3),
    maps.Power(10),
    maps.HyperbolicEntropy(10.0),
    maps.HyperbolicEntropy(0.02),
    maps.HyperbolicEntropy(1e-6),
    maps.Logarithmic(0.1),
    maps.Mixed(4.0, 1.0, 1.0),
    maps.Mixed(1.5, 1.0, 1.0),
    maps.Cosh(0.4),
    maps.Exponential(),
    maps.DoubleExponential(),
    maps.Scaled(maps.Power(3), 2.0),
    maps.Custom(gradient=lambda x: x + x**3, name="own"),
]


@pytest.mark.parametrize("mirror_map", [*SEPARABLE, maps.PNorm(1.5), maps.PNorm(3)], ids=repr)
@pytest.mark.parametrize("moved", [False, True])
def test_solves_its_own_optimality_conditions(mirror_map: maps.MirrorMap, moved: bool) -> None:
    """`Xθ = y` and `∇R(θ) − ∇R(θ₀) = Xᵀν`: necessary and sufficient, since R is convex."""
    x, y, start = problem()
    start = start if moved else torch.zeros_like(start)
    found = min_bregman(x, y, mirror_map, start)
    torch.testing.assert_close(x @ found.weights, y, rtol=0, atol=1e-12)
    dual = mirror_map.to_dual(found.weights) - mirror_map.to_dual(start)
    size = float(dual.abs().max())
    torch.testing.assert_close(x.T @ found.multipliers, dual, rtol=0, atol=2e-11 * size)
    assert 0 <= found.gap <= 1e-10 * found.divergence
    # No other solution is nearer.
    null = torch.linalg.svd(x, full_matrices=True).Vh[len(x) :]
    for k in range(len(null)):
        for sign in (-1, 1):
            other = found.weights + sign * 1e-2 * null[k]
            assert float(mirror_map.bregman(other, start)) > found.divergence


@pytest.mark.parametrize("case", ["quadratic", "power", "entropy"])
def test_agrees_with_a_conic_program(case: str) -> None:
    cvxpy = pytest.importorskip("cvxpy")
    x, y, start = problem(seed=1)
    x_, y_ = x.numpy(), y.numpy()
    w = cvxpy.Variable(x.shape[1])
    if case == "quadratic":
        mirror, first = maps.Quadratic(), start
        objective = 0.5 * cvxpy.sum_squares(w - start.numpy())
    elif case == "power":
        mirror, first = maps.Power(1.5), torch.zeros_like(start)
        objective = cvxpy.sum(cvxpy.power(cvxpy.abs(w), 1.5)) / 1.5
    else:
        # β sinh splits: R(a − b) = min Σ KL(a, β/2) + KL(b, β/2) up to a constant.
        beta = 0.05
        mirror, first = maps.HyperbolicEntropy(beta), torch.zeros_like(start)
        a, b = cvxpy.Variable(x.shape[1]), cvxpy.Variable(x.shape[1])
        half = np.full(x.shape[1], beta / 2)
        objective = cvxpy.sum(cvxpy.kl_div(a, half)) + cvxpy.sum(cvxpy.kl_div(b, half))
        w = a - b
    program = cvxpy.Problem(cvxpy.Minimize(objective), [x_ @ w == y_])
    program.solve(solver="CLARABEL")
    found = min_bregman(x, y, mirror, first)
    assert found.divergence == pytest.approx(program.value, rel=1e-7)
    np.testing.assert_allclose(found.weights.numpy(), w.value, rtol=0, atol=5e-4)


def test_agrees_with_mpmath_to_twelve_digits() -> None:
    """Newton on the multipliers of `β sinh(asinh(θ₀/β) + Xᵀν)`, at 40 digits."""
    x, y, start = problem(2, 5, seed=2)
    beta = 1e-3
    with mpmath.workdps(40):
        rows = mpmath.matrix(x.tolist())
        u = [mpmath.asinh(mpmath.mpf(v) / beta) for v in start.tolist()]

        def weights(*nu: mpmath.mpf) -> list[mpmath.mpf]:
            return [
                beta * mpmath.sinh(u[k] + sum(rows[i, k] * nu[i] for i in range(2)))
                for k in range(5)
            ]

        def residuals(*nu: mpmath.mpf) -> list[mpmath.mpf]:
            w = weights(*nu)
            return [sum(rows[i, k] * w[k] for k in range(5)) - float(y[i]) for i in range(2)]

        found = min_bregman(x, y, maps.HyperbolicEntropy(beta), start)
        nu = mpmath.findroot(residuals, tuple(float(v) for v in found.multipliers), tol=1e-30)
        want = [float(v) for v in weights(*nu)]
    np.testing.assert_allclose(found.weights.numpy(), want, rtol=1e-11, atol=1e-14)


def test_one_point_is_the_closed_form_of_the_diagonal_net() -> None:
    """`w = a² − b²` from `a = b = α` is hyperbolic entropy with `β = 2α²`."""
    x, alpha = torch.tensor([1.0, 0.4], dtype=torch.float64), 0.1
    want = diagonal_linear_flow(x, 1.0, alpha, math.inf)
    y = torch.ones(1, dtype=torch.float64)
    found = min_bregman(x[None], y, maps.HyperbolicEntropy(2 * alpha**2))
    torch.testing.assert_close(found.weights, want, rtol=1e-13, atol=0)


def test_beta_leads_from_the_shortest_to_the_sparsest() -> None:
    cvxpy = pytest.importorskip("cvxpy")
    x, y, _ = problem(6, 20, seed=3)
    w = cvxpy.Variable(20)
    cvxpy.Problem(cvxpy.Minimize(cvxpy.norm1(w)), [x.numpy() @ w == y.numpy()]).solve(
        solver="CLARABEL"
    )
    least = float(np.abs(w.value).sum())
    short = torch.linalg.pinv(x) @ y
    ends = {b: min_bregman(x, y, maps.HyperbolicEntropy(b)).weights for b in (1e3, 1.0, 1e-3, 1e-9)}
    torch.testing.assert_close(ends[1e3], short, rtol=0, atol=1e-6)
    sums = [float(v.abs().sum()) for v in ends.values()]
    assert sums[0] > sums[1] > sums[2] > sums[3] > least
    assert sums[3] == pytest.approx(least, rel=2e-2)
    assert float(ends[1e-9].abs().sort().values[:14].sum()) < 5e-3 * sums[3]


@pytest.mark.parametrize(
    "mirror_map",
    [maps.Spectral(maps.HyperbolicEntropy(0.1)), maps.Spectral(maps.Power(3)), maps.PNorm(3)],
    ids=repr,
)
def test_matrix_weights(mirror_map: maps.MirrorMap) -> None:
    g = torch.Generator().manual_seed(4)
    x = torch.randn(5, 4, 3, generator=g, dtype=torch.float64)
    y = torch.randn(5, generator=g, dtype=torch.float64)
    found = min_bregman(x, y, mirror_map)
    torch.testing.assert_close(torch.einsum("nab,ab->n", x, found.weights), y, rtol=0, atol=1e-12)
    dual = torch.einsum("nab,n->ab", x, found.multipliers)
    torch.testing.assert_close(mirror_map.to_dual(found.weights), dual, rtol=0, atol=1e-10)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    ("mirror_map", "lr"),
    [
        (maps.Quadratic(), 0.5),
        (maps.Power(1.3), 0.15),
        (maps.Power(3), 0.05),
        (maps.HyperbolicEntropy(0.02), 0.4),
        (maps.Logarithmic(0.1), 0.4),
        (maps.Mixed(4.0, 1.0, 1.0), 0.5),
        (maps.Cosh(0.4), 0.7),
        (maps.Exponential(), 0.7),
        (maps.DoubleExponential(), 0.7),
        (maps.PNorm(1.5), 0.3),
        (maps.Custom(gradient=lambda x: x + x**3, name="own"), 0.5),
    ],
    ids=repr,
)
def test_descent_ends_at_it(mirror_map: maps.MirrorMap, lr: float, batch: int) -> None:
    """Full batches and single samples alike (Azizan & Hassibi): to 1e-8."""
    x, y, start = problem()
    x = torch.linalg.qr(x.T).Q.T.contiguous()  # orthonormal rows: few steps
    w = torch.nn.Parameter(start.clone())
    optimizer = MirrorDescent([w], lr, mirror_map=mirror_map)
    for step in range(10000):
        at = torch.arange(4) if batch == 4 else torch.tensor([step % 4])
        residual = x[at] @ w.detach() - y[at]
        w.grad = residual @ x[at]
        optimizer.step()
        if step % 50 == 0 and float((x @ w.detach() - y).abs().max()) < 1e-11:
            break
    want = min_bregman(x, y, mirror_map, start)
    torch.testing.assert_close(w.detach(), want.weights, rtol=0, atol=1e-8)
    judged = interpolation_certificate(x, y, mirror_map, w.detach(), start)
    assert max(judged.stationarity, judged.feasibility) < 1e-8


def test_the_certificate_tells_another_solution() -> None:
    x, y, start = problem()
    short = start + torch.linalg.pinv(x) @ (y - x @ start)
    judged = interpolation_certificate(x, y, maps.HyperbolicEntropy(0.02), short, start)
    assert judged.feasibility < 1e-14
    assert judged.stationarity > 0.1
    best = min_bregman(x, y, maps.HyperbolicEntropy(0.02), start)
    # The dual value of the fitted multipliers is a bound.
    excess = float(maps.HyperbolicEntropy(0.02).bregman(short, start)) - best.divergence
    assert 0.01 < excess <= judged.gap
    assert interpolation_certificate(x, y, "quadratic", short, start).stationarity < 1e-14


def test_rows_that_repeat_are_no_trouble() -> None:
    x, y, start = problem()
    once = min_bregman(x, y, maps.Power(1.5), start)
    again = min_bregman(torch.cat([x, 2 * x]), torch.cat([y, 2 * y]), maps.Power(1.5), start)
    torch.testing.assert_close(again.weights, once.weights, rtol=0, atol=1e-13)


def test_what_does_not_fit_is_named() -> None:
    x, y, start = problem()
    with pytest.raises(ValueError, match=r"inconsistent: 8 points x of rank 4 leave"):
        min_bregman(torch.cat([x, x]), torch.cat([y, y + 1]), maps.Quadratic())
    with pytest.raises(TypeError, match=r"dtype torch.int64, as class labels have.*y.double\(\)"):
        min_bregman(x, torch.tensor([1, -1, 1, 1]), maps.Quadratic())
    with pytest.raises(ValueError, match=r"one target an output, shape \(4,\)"):
        min_bregman(x, y[:3], maps.Quadratic())
    with pytest.raises(ValueError, match=r"start has shape \(3,\)"):
        min_bregman(x, y, maps.Quadratic(), start[:3])
    with pytest.raises(ValueError, match=r"NegativeEntropy\(\) and a further point of ones"):
        min_bregman(x, y, maps.SimplexEntropy(), start.softmax(0))
    with pytest.raises(MirrorFlowError, match="restricts the weights") as caught:
        min_bregman(-x.abs(), y.abs() + 1, maps.NegativeEntropy(), torch.ones_like(start))
    assert caught.value.state.shape == start.shape
