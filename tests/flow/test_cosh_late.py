"""Cosh in wide nets, late: flat interior coordinates must not shorten the steps.

`cosh_late.npz` holds weights that draws 2 and 5 of the `two100` net (`benchmarks/flow.py`, 100
units, 30 points) have after all jumps, at Q = 3e4 and 6e3, where the steps once fell to one width.
`cosh_floor.npz` holds those of the `four` net (3-6-6-6-1 with the bias, 8 points) at Q = 28,
`exponential_late.npz` those of draw 0 under the exponential map at Q = 28.5, `exponential_jump.npz`
those of draw 8 at Q = 1.7e4.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch.nn.utils import vector_to_parameters

from mirrorflow import maps
from mirrorflow.flow import mirror_flow
from mirrorflow.flow.logscale.rapid import ScaledCosh
from mirrorflow.flow.steppers.activity import FLOOR, admit, responses
from mirrorflow.nets import MLP, TwoLayer

STATES = Path(__file__).parent / "cosh_late.npz"
BEFORE_THE_FLOOR = Path(__file__).parent / "cosh_floor.npz"
UNRESOLVED = Path(__file__).parent / "exponential_late.npz"
JUMP = Path(__file__).parent / "exponential_jump.npz"


@pytest.mark.slow
@pytest.mark.parametrize(("draw", "margin"), [(2, 0.9716887), (5, 0.4128190)])
def test_no_creeping_after_the_jumps(draw: int, margin: float) -> None:
    with np.load(STATES) as file:
        weights, x, y = (torch.from_numpy(file[f"{k}_{draw}"]) for k in ("weights", "x", "y"))
    net = TwoLayer(2, 100, "smooth_relu", bias=True)
    vector_to_parameters(weights, net.parameters())
    flow = mirror_flow(net, x, y, maps.Cosh(1.0), log_t_end=1e99 * math.log(10), max_steps=600)
    assert flow.outcome == "converged"
    # about 270 steps of 0.4 in log Q are the whole way; 600 attempts once ended at Q < 4e4
    assert flow.stats.failed < 20
    assert flow.gap[-1] < 1e-7
    # the equilibrium is left in peace: nearly the same margin at the start of the stretch
    assert flow.margin[-1] == pytest.approx(margin, rel=1e-6)
    assert flow.margin[-1] == pytest.approx(flow.margin[0], rel=3e-4)


@pytest.mark.slow
def test_the_floor_on_the_slopes_leaves_the_balance_alone() -> None:
    """It is 1e-5 from Q = 29 on; one of Q^-2, 1e-3 there, moved the balance by 6e-6 here."""
    with np.load(BEFORE_THE_FLOOR) as file:
        weights, x, y = (torch.from_numpy(file[k]) for k in ("weights", "x", "y"))
    net = MLP((2, 6, 6, 6, 1), "smooth_relu", bias=True).double()
    vector_to_parameters(weights, net.parameters())
    flow = mirror_flow(net, x, y, maps.Cosh(1.0), log_t_end=1e100, max_steps=200)
    assert flow.log_gauge[0] < math.log(30.0) < math.log(35.0) < flow.log_gauge[-1]
    assert flow.balance_drift.max() < 1e-6


def kept(path: Path) -> tuple[TwoLayer, torch.Tensor, torch.Tensor]:
    with np.load(path) as file:
        weights, x, y = (torch.from_numpy(file[k]) for k in ("weights", "x", "y"))
    net = TwoLayer(2, 100, "smooth_relu", bias=True).double()
    vector_to_parameters(weights, net.parameters())
    return net, x, y


@pytest.mark.slow
def test_the_floor_is_there_before_doubles_fail() -> None:
    """Where it entered at Q = 30 only, slopes of e^-29 ended the flow after 60 steps at Q = 29.4:
    rounding moved coordinates inside the cube by 1e-3, and no step was short enough."""
    net, x, y = kept(UNRESOLVED)
    flow = mirror_flow(net, x, y, maps.Exponential(), log_t_end=1e99, max_steps=700)
    assert "max_steps" in flow.stats.reason
    assert flow.stats.failed < 40
    assert flow.log_gauge[-1] > math.log(31.0)


@pytest.mark.slow
def test_a_jump_in_less_than_a_digit_of_q() -> None:
    """Its steps are shorter than 1e-13 of log Q, over which doubles do not hold the growth of u."""
    net, x, y = kept(JUMP)
    flow = mirror_flow(net, x, y, maps.Exponential(), log_t_end=1e99, max_steps=300)
    assert "max_steps" in flow.stats.reason
    assert np.diff(flow.log_gauge).min() < 1e-13
    assert flow.balance_drift.max() < 1e-9
    # from an equilibrium to the next, of a larger margin
    assert flow.gap[40:90].min() < 1e-4
    assert flow.margin[0] < 0.8305 < 0.838 < flow.margin[-1]


@pytest.mark.parametrize("log_f", [2.0, 2.99, 3.0, 3.3, 3.368, 3.4, 5.0, 10.4, 12.0])
def test_the_floor_rises_as_the_slope_inside_the_cube_falls(log_f: float) -> None:
    folds = math.exp(log_f)
    form = ScaledCosh(1.0)
    form.at_level(log_f, np.array([1.0]), 0.0, 1e-7)
    if folds < 20.0:
        assert form.cap == 0.0
    elif folds < 20.0 + math.log(1e4):
        assert form.cap * math.exp(-folds) == pytest.approx(1e-9 * math.exp(-20.0), rel=1e-9)
    else:
        assert form.cap == pytest.approx(max(1e-9, min(1e-5, folds**-2)), rel=1e-9)


@pytest.mark.parametrize("stiff", [1.0, 0.3, 1e-3, 1e-9])
def test_a_weight_moves_as_far_as_x_does_not_give_way(stiff: float) -> None:
    """`z + (1/s - 1)(e^z - 1) = -r/T`, here by bracketing."""
    temperature = 1e-7
    mu = np.array([1.0, 1e-9, 1e-9, 1e-5, 1e-5, 1e-9])
    r2 = temperature * np.array([-40.0, -3.0, 3.0, -2.0, 40.0, 40.0])
    new, left = mu.copy(), r2.copy()
    admit(new, left, temperature, stiff)
    k = 1.0 / stiff - 1.0

    def change(i: int) -> float:
        def f(z: float) -> float:
            return z + k * math.expm1(z) + r2[i] / temperature

        return float(brentq(f, -100.0, 100.0, xtol=1e-13))

    total = mu.sum()
    for i in range(len(mu)):
        z = change(i)
        if mu[i] < 1e-6 * total and z < -5.0:
            assert new[i] == pytest.approx(FLOOR * total)
            assert left[i] == 0.0
        elif mu[i] < 1e-3 * total and z > 1.0:
            assert new[i] == pytest.approx(min(mu[i] * math.exp(z), 1e-3 * total), rel=1e-9)
            moved = math.log(new[i] / mu[i])
            assert left[i] == pytest.approx(r2[i] + temperature * moved, abs=1e-15)
        else:
            assert (new[i], left[i]) == (mu[i], r2[i])


def test_the_response_is_that_of_the_linear_system() -> None:
    """`dmu/mu = -a^-1 r/T` with `a = I + diag(mu/T) C`."""
    rng = np.random.default_rng(0)
    half = rng.standard_normal((5, 5))
    compliance, stiffness = half @ half.T, 10.0 ** rng.uniform(-4, 4, 5)
    got = responses(compliance, stiffness)
    for i in range(5):
        r = np.zeros(5)
        r[i] = -1.0
        dmu = np.linalg.solve(compliance + np.diag(1.0 / stiffness), -r)
        assert got[i] == pytest.approx(dmu[i] / stiffness[i], rel=1e-9)
    assert np.all((got > 0) & (got <= 1))
