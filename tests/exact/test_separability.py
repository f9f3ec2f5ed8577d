"""Separability does not depend on units; a yes and a no come with proofs."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from mirrorflow.errors import NotSeparableError, UndecidedError
from mirrorflow.exact import max_margin
from mirrorflow.exact.separability import exact_products, farkas, separator
from mirrorflow.maps import LpHorizon, SchattenHorizon

ORDERS = [1, 1.5, 2, 3, math.inf]


def teacher(seed: int, n: int, d: int):
    r = np.random.default_rng(seed)
    x, w = r.standard_normal((n, d)), r.standard_normal(d)
    return x, np.sign(x @ w), w


def margin_of(x, y, w, horizon) -> float:
    return float((y * (x @ w)).min()) / float(horizon.gauge(torch.from_numpy(w)))


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("factors", [(1e9, 1, 1, 1), (1e6, 1, 1e-6, 1), (1e-9, 1, 1, 1e-4)])
def test_units_of_features(p, factors):
    x, y, w = teacher(0, 30, 4)
    x, w = x * factors, w / np.array(factors)
    try:
        found = max_margin(torch.from_numpy(x), torch.from_numpy(y), LpHorizon(p))
    except UndecidedError as error:  # separable all the same, and the optimum is enclosed
        assert p not in (1, 2, math.inf)
        lower, upper = error.state.lower, error.state.upper
    else:
        lower, upper = found.margin, found.margin + found.gap
        assert found.gap <= 1e-4 * found.margin * 1.001
    assert lower > 0
    assert upper >= margin_of(x, y, w, LpHorizon(p)) * (1 - 1e-9)


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_rows_of_very_different_sizes(p):
    x, y, w = teacher(1, 12, 4)
    x = x * 10.0 ** np.random.default_rng(2).uniform(-4, 4, (12, 1))
    found = max_margin(torch.from_numpy(x), torch.from_numpy(y), LpHorizon(p))
    assert found.margin >= margin_of(x, y, w, LpHorizon(p)) * (1 - 1e-9)


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_one_axis_in_any_unit_by_hand(p):
    """Points ±c e₁ with noise-free labels: w = e₁ and γ = c, whatever c."""
    for c in (1e-9, 1e-3, 1e9):
        x = torch.tensor([[c, 0.0], [-c, 0.0], [2 * c, 0.0]], dtype=torch.float64)
        found = max_margin(x, torch.tensor([1, -1, 1]), LpHorizon(p))
        assert found.margin == pytest.approx(c, rel=1e-8)


def test_near_duplicates_with_two_labels_are_separable():
    """x ± ε e₁: the difference is the normal, γ = ε."""
    for epsilon in (1e-6, 1e-9):
        x = torch.tensor([[epsilon, 1.0], [-epsilon, 1.0]], dtype=torch.float64)
        found = max_margin(x, torch.tensor([1, -1]), LpHorizon(2))
        assert found.margin == pytest.approx(epsilon, rel=1e-4)


@pytest.mark.parametrize("units", [False, True])
def test_not_separable_has_a_proof_in_any_units(units):
    r = np.random.default_rng(3)
    x, y, _ = teacher(3, 12, 4)
    x, y = np.vstack([x, x[:1]]), np.append(y, -y[0])
    if units:
        x = x * 10.0 ** r.uniform(-9, 9, 4)
    for p in (1, 2, math.inf):
        with pytest.raises(NotSeparableError, match="combine to zero") as caught:
            max_margin(torch.from_numpy(x), torch.from_numpy(y), LpHorizon(p))
        mu = caught.value.state.numpy()
        for column in range(4):  # in fractions: nothing is rounded
            terms = [
                Fraction(float(m)) * int(s) * Fraction(float(v))
                for m, s, v in zip(mu, y, x[:, column], strict=True)
            ]
            assert abs(sum(terms)) <= Fraction(1, 10**12) * sum(abs(t) for t in terms)


def test_random_labels_are_refused_and_the_kernel_of_the_proof_is_sound():
    r = np.random.default_rng(4)
    x, y = r.standard_normal((60, 5)), r.choice([-1.0, 1.0], 60)
    z = y[:, None] * x
    assert separator(z)[0] is None
    _, candidates = separator(z)
    assert any(farkas(z, mu) is not None for mu in candidates)
    # No multipliers prove anything about points that are separable.
    good, labels, _ = teacher(5, 20, 5)
    z = labels[:, None] * good
    assert all(farkas(z, mu) is None for mu in r.dirichlet(np.ones(20), 20))
    assert (exact_products(z, separator(z)[0]) > 0).all()
    three = torch.from_numpy(r.integers(0, 3, 60))
    with pytest.raises(NotSeparableError):
        max_margin(torch.from_numpy(x), three, LpHorizon(2), classes=3)


def test_exact_products_against_fractions():
    r = np.random.default_rng(6)
    z, w = r.standard_normal((20, 7)) * 10.0 ** r.uniform(-6, 6, (20, 7)), r.standard_normal(7)
    w[-1] = 0.0
    z[:, -2] = -(z[:, :-2] @ w[:-2]) / w[-2]  # nearly all cancels
    got = exact_products(z, w)
    for row, value in zip(z, got, strict=True):
        terms = zip(row, w, strict=True)
        exact = sum((Fraction(float(a)) * Fraction(float(b)) for a, b in terms), Fraction(0))
        assert value == float(exact)


def test_zero_rows_and_columns_and_copies():
    x, y, _ = teacher(7, 10, 3)
    t = torch.from_numpy
    plain = max_margin(t(x), t(y), LpHorizon(2)).margin
    wide = np.hstack([x, np.zeros((10, 2))])
    assert max_margin(t(wide), t(y), LpHorizon(2)).margin == pytest.approx(plain, rel=1e-7)
    # Every weight is shared by two copies: the norm of the pair is 1/√2 of one.
    twice = max_margin(t(np.hstack([x, x])), t(y), LpHorizon(2)).margin
    assert twice == pytest.approx(math.sqrt(2) * plain, rel=1e-7)
    x[3] = 0
    with pytest.raises(NotSeparableError):
        max_margin(t(x), t(y), LpHorizon(1))


def test_matrix_weights_with_units():
    x, y, _ = teacher(8, 8, 6)
    x = (x * np.array([1e7, 1, 1, 1, 1, 1])).reshape(8, 2, 3)
    found = max_margin(torch.from_numpy(x), torch.from_numpy(y), SchattenHorizon(math.inf))
    assert found.gap <= 1e-4 * found.margin * 1.001


def test_what_cannot_be_decided_says_how_far_it_came():
    """Rows (1, δ), (−1, 0) with δ = 1e-30: separable by w = (−1, 1e31), margin about 1e-30."""
    x = torch.tensor([[1.0, 1e-30], [1.0, 0.0]], dtype=torch.float64)
    text = ""
    try:
        found = max_margin(x, torch.tensor([1, -1]), LpHorizon(2))
        lower, upper = found.margin, found.margin + found.gap
    except UndecidedError as error:
        text, lower, upper = str(error), error.state.lower, error.state.upper
    assert not text or "amax" in text
    assert lower <= 5.0001e-31  # half the distance of the two points
    assert upper >= 4.9999e-31


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_grad_modes_change_nothing(mode):
    x, y, _ = teacher(9, 10, 3)
    for p in (1.5, 2):
        here = max_margin(torch.from_numpy(x), torch.from_numpy(y), LpHorizon(p))
        with mode():
            there = max_margin(torch.from_numpy(x).clone(), torch.from_numpy(y), LpHorizon(p))
        assert there.margin == here.margin
        assert not there.weights.is_inference()


def test_arguments():
    x, y, _ = teacher(10, 10, 3)
    assert max_margin(x, y, LpHorizon(2)).margin > 0  # arrays are taken
    with pytest.raises(TypeError, match="horizon = 'l2'"):
        max_margin(x, y, "l2")
    with pytest.raises(TypeError, match="classes = 'abc'"):
        max_margin(x, y, LpHorizon(2), classes="abc")
