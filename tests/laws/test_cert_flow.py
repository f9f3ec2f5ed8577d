"""Flows end at certified KKT points, grow as predicted, and keep their smoothed margin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.utils import vector_to_parameters

from mirrorflow.diagnostics import certify, check_monotone, fit_growth
from mirrorflow.exact import two_layer_max_margin
from mirrorflow.flow import mirror_flow
from mirrorflow.maps import HyperbolicEntropy, Power, Quadratic
from mirrorflow.nets import TwoLayer


def problem():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(6, 2, generator=g)
    y = torch.sign(x[:, 0] - x[:, 1].abs() + 0.2)
    net = TwoLayer(2, 10, "smooth_relu", generator=torch.Generator().manual_seed(1))
    return net, x, y


@pytest.mark.parametrize(
    ("mirror_map", "log_t"),
    [(Quadratic(), 1e6), (Power(1.5), 1e12), (HyperbolicEntropy(0.01), 1e20)],
    ids=repr,
)
def test_flow(mirror_map, log_t):
    net, x, y = problem()
    run = mirror_flow(net, x, y, mirror_map, log_t_end=log_t)
    with torch.no_grad():
        vector_to_parameters(torch.from_numpy(run.direction[-1]), net.parameters())
    found = certify(net, x, y, mirror_map)
    assert found.margin == pytest.approx(run.margin[-1], rel=1e-6)
    assert max(found.epsilon, found.delta, found.slack) < 5e-2

    rows = [run.at(float(v)) for v in np.geomspace(log_t**0.5, log_t, 40)]
    table = {k: [getattr(r, k) for r in rows] for k in ("log_t", "log_loss", "log_gauge")}
    growth = fit_growth(table, mirror_map=mirror_map, degree=run.degree)
    assert not growth.refused
    assert growth.margin_change < 0.02
    laws = {law.name: law for law in growth.laws}
    assert laws["d log Q/d log log t"].predicted == 0.5
    assert all(law.agrees for law in growth.laws), growth.verdict

    if mirror_map.homogeneous:
        p = mirror_map.index
        smooth = check_monotone(run.log_loss, p * run.log_gauge, run.degree, p, tolerance=1e-4)
        assert smooth.holds, smooth.largest_drop
    if mirror_map == Quadratic():
        # Smoothing by 1 % can add about as much to the margin.
        assert run.margin[-1] <= two_layer_max_margin(x, y).margin * 1.02
