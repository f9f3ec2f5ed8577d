"""The table of a scalar map: right where it says so, and the same flow with it as without."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mirrorflow import data, maps
from mirrorflow.flow import mirror_flow
from mirrorflow.flow.logscale.log_table import LogTable
from mirrorflow.nets import Linear

LOG_X = np.random.default_rng(0).uniform(-12.0, 5.0, 400)


@pytest.mark.parametrize(
    ("mirror_map", "log_dual", "power"),
    [
        (maps.Power(8), lambda x: 7 * np.log(x), lambda x: 7 + 0 * x),
        (
            maps.Custom(gradient=lambda x: x + x**3),
            lambda x: np.log(x + x**3),
            lambda x: (1 + 3 * x**2) / (1 + x**2),
        ),
        (
            maps.Custom(gradient=torch.sinh),
            lambda x: np.log(np.sinh(x)),
            lambda x: x / np.tanh(x),
        ),
        (
            maps.Custom(gradient=torch.asinh),
            lambda x: np.log(np.arcsinh(x)),
            lambda x: x / (np.arcsinh(x) * np.sqrt(1 + x**2)),
        ),
    ],
    ids=["power", "mixed", "sinh", "asinh"],
)
def test_values_and_slopes_are_those_of_the_formula(mirror_map, log_dual, power) -> None:
    table, x = LogTable(mirror_map), np.exp(LOG_X)
    told, slope, exact = table.dual(LOG_X)
    assert exact.mean() > 0.7  # a rapid map is not resolved where it is steep
    np.testing.assert_allclose(told[exact], log_dual(x)[exact], rtol=0, atol=2e-7)
    np.testing.assert_allclose(slope[exact], power(x)[exact], rtol=2e-5)
    near = table.primal(log_dual(x))
    np.testing.assert_allclose(near[exact], LOG_X[exact], atol=2e-3)


def test_a_kink_is_marked() -> None:
    """r' = x for x < 1, x^3 beyond: its slope jumps at 1, a tenth of a panel from log x = 0.01."""
    kinked = maps.Custom(gradient=lambda x: torch.where(x.abs() < 1.02, x, x**3 / 1.02**2))
    _, _, exact = LogTable(kinked).dual(np.array([-1.0, 0.015, 1.0]))
    assert exact.tolist() == [True, False, True]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "named"),
    [
        (maps.Custom(gradient=lambda x: x**3), maps.Power(4)),
        (maps.Custom(gradient=lambda x: x + x**3), maps.Mixed()),
    ],
    ids=["x^3", "x + x^3"],
)
def test_a_formula_takes_the_steps_of_the_named_map(own, named) -> None:
    points = data.teacher(n=20, d=10, seed=0)
    flows = []
    for mirror_map in (own, named):
        net = Linear(10, generator=torch.Generator().manual_seed(0)).double()
        flows.append(mirror_flow(net, points.x, points.y, mirror_map, log_t_end=20.0))
    mine, theirs = flows
    for count in ("steps", "newton"):
        assert abs(getattr(mine.stats, count) - getattr(theirs.stats, count)) <= 0.02 * getattr(
            theirs.stats, count
        )
    assert mine.margin[-1] == pytest.approx(theirs.margin[-1], rel=1e-6)
    assert mine.margin[-1] > 0.1
