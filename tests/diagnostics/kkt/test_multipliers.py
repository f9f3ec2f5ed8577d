"""The bounded least squares behind a certificate, against CVXPY and SciPy."""

from __future__ import annotations

from itertools import product

import cvxpy
import numpy as np
import pytest
from scipy.optimize import nnls

from mirrorflow.arrays import project_simplex
from mirrorflow.diagnostics.kkt.cone import KinkCone, fit_cone
from mirrorflow.diagnostics.kkt.multipliers import fit, solve_nnls
from mirrorflow.diagnostics.kkt.subdifferential import Subdifferential


def target(rng, d, *, boxes, simplex):
    """A point, with `boxes` entries free in [−1, 1] and a simplex over `simplex` entries."""
    order = rng.permutation(d)
    box, top = order[:boxes], order[boxes : boxes + simplex]
    value = np.sign(rng.standard_normal(d))
    found = Subdifferential(value, order[boxes + simplex :], box, np.full(boxes, 1.0))
    if simplex:
        found.simplices.append((top, np.sign(rng.standard_normal(simplex)), 2.0))
    return found


def by_cvxpy(base, extra, owner, s_set):
    m, d = base.shape
    lam, kappa, s = (cvxpy.Variable(k) for k in (m, max(len(extra), 1), d))
    rules = [lam >= 0, kappa >= 0]
    rules += [kappa[j] <= lam[i] for j, i in enumerate(owner)]
    rules += [s[s_set.fixed] == s_set.value[s_set.fixed]]
    if len(s_set.box):
        rules.append(cvxpy.abs(s[s_set.box]) <= s_set.width)
    for index, signs, total in s_set.simplices:
        share = cvxpy.multiply(signs, s[index])
        rules += [share >= 0, cvxpy.sum(share) == total]
    v = base.T @ lam + (extra.T @ kappa if len(extra) else 0)
    problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.norm(s - v)), rules)
    problem.solve(solver="CLARABEL")
    return problem.value


CASES = list(product((0, 8), (0, 7), (0, 5)))


@pytest.mark.parametrize(("boxes", "simplex", "kinks"), CASES)
def test_the_fit_is_the_optimum_of_the_convex_program(boxes, simplex, kinks):
    rng = np.random.default_rng(boxes + 10 * simplex + 100 * kinks)
    for m, d in ((6, 20), (25, 20)):
        base = rng.standard_normal((m, d)) + 0.3
        extra = rng.standard_normal((kinks, d))
        owner = rng.integers(0, 3, kinks)  # several kinks share a point
        s_set = target(rng, d, boxes=boxes, simplex=simplex)
        found = fit_cone(KinkCone(base, extra, owner), s_set)
        value = np.linalg.norm(found.residual)
        assert value == pytest.approx(by_cvxpy(base, extra, owner, s_set), rel=1e-6, abs=1e-7)
        assert (found.multipliers >= 0).all()
        np.testing.assert_allclose(found.element, s_set.project(found.element), atol=1e-12)


def test_large_problems_take_the_gram_matrix_and_agree():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((320, 4000)) + 0.2  # above the direct sizes
    s_set = target(rng, 4000, boxes=500, simplex=0)
    found = fit(base, s_set)
    # First-order conditions of min ½ dist(Cᵀλ, S)² over λ >= 0.
    slope = base @ -found.residual
    scale = np.linalg.norm(found.residual) * np.linalg.norm(base, axis=1)
    assert (slope >= -1e-9 * scale).all()
    assert (np.abs(slope[found.multipliers > 0]) <= 1e-9 * scale[found.multipliers > 0]).all()
    single = fit(base.astype(np.float32), s_set)
    assert single.epsilon == pytest.approx(found.epsilon, rel=1e-5)


@pytest.mark.parametrize("rank", [400, 150])
def test_block_pivoting_agrees_with_scipy(rank):
    rng = np.random.default_rng(1)
    a = rng.standard_normal((rank, 350))
    a /= np.linalg.norm(a, axis=0)
    b = rng.standard_normal(rank)
    mine, theirs = solve_nnls(a.T @ a, a.T @ b), nnls(a, b)[0]
    assert (mine >= 0).all()
    assert np.linalg.norm(b - a @ mine) == pytest.approx(
        np.linalg.norm(b - a @ theirs), rel=1e-8, abs=1e-9
    )
    np.testing.assert_allclose(a @ mine, a @ theirs, atol=1e-6)


def test_simplex_projection_satisfies_its_conditions():
    rng = np.random.default_rng(2)
    for _ in range(20):
        v = 3 * rng.standard_normal(9)
        c = project_simplex(v, 2.0)
        assert c.sum() == pytest.approx(2.0)
        shift = (v - c)[c > 0]
        assert np.ptp(shift) < 1e-12
        assert (v[c == 0] <= shift[0] + 1e-12).all()
