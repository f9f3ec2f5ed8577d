from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from mirrorflow.exact import diagonal_linear_flow, max_margin, one_point_direction
from mirrorflow.maps import LpHorizon


@pytest.mark.parametrize(
    ("p", "degrees"), [(1, 90), (1.5, 75.9638), (2, 63.4349), (3, 54.7356), (math.inf, 45)]
)
def test_limit_directions_of_the_table(p, degrees):
    w = one_point_direction(torch.tensor([1.0, 2.0]), p)
    assert math.degrees(math.atan2(float(w[1]), float(w[0]))) == pytest.approx(degrees, abs=1e-4)


def test_directions_are_the_max_margin_ones_with_their_label():
    x = torch.tensor([1.0, -2.0, 0.5])
    for p in (1, 1.3, 2, 4, math.inf):
        w = one_point_direction(x, p, y=-1.0)
        truth = max_margin(x[None], torch.tensor([-1.0]), LpHorizon(p)).weights
        torch.testing.assert_close(w, truth / truth.norm(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("y", "alpha", "time"), [(1.0, 0.5, 0.3), (-2.0, 0.1, 1.0), (1.0, 0.5, 8)])
def test_diagonal_net_against_an_ode_solver_on_a_and_b(y, alpha, time):
    x = np.array([1.0, 0.4])

    def rhs(_, ab):
        a, b = ab[:2], ab[2:]
        r = y - (a * a - b * b) @ x
        return np.concatenate([2 * r * x * a, -2 * r * x * b])

    end = solve_ivp(rhs, (0, time), np.full(4, alpha), method="DOP853", rtol=1e-12, atol=1e-14)
    a, b = end.y[:2, -1], end.y[2:, -1]
    w = diagonal_linear_flow(torch.tensor(x), y, alpha, time)
    np.testing.assert_allclose(w.numpy(), a * a - b * b, rtol=1e-8)


def test_diagonal_net_interpolates_in_the_end():
    x = torch.tensor([1.0, 0.4])
    for alpha in (1e-3, 1.0):
        w = diagonal_linear_flow(x, 1.0, alpha, math.inf)
        assert float(w @ x) == pytest.approx(1.0, rel=1e-12)
        # w = 2α² sinh(c x): one c for both entries.
        c = torch.asinh(w / (2 * alpha**2)) / x
        assert float(c[0]) == pytest.approx(float(c[1]), rel=1e-9)
    # From small α the solution is the sparse one, from large α the ℓ2 one.
    assert float(diagonal_linear_flow(x, 1.0, 1e-8, math.inf)[1]) < 1e-6
    torch.testing.assert_close(
        diagonal_linear_flow(x, 1.0, 100.0, math.inf), x / 1.16, atol=1e-4, rtol=0
    )


def test_bad_input():
    with pytest.raises(ValueError, match="finite and not zero"):
        one_point_direction(torch.zeros(2), 2)
    with pytest.raises(ValueError, match="order = 0.5"):
        one_point_direction(torch.ones(2), 0.5)
    with pytest.raises(ValueError, match="no label"):
        one_point_direction(torch.ones(2), 2, y=2.0)
    with pytest.raises(ValueError, match="alpha = 0"):
        diagonal_linear_flow(torch.ones(2), 1.0, 0.0, 1.0)
