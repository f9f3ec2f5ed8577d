"""A saddle in log log t: a flat margin for fifty powers of ten of q, and then an escape."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mirrorflow import maps
from mirrorflow.flow import Implicit, LogLog, mirror_flow
from mirrorflow.flow.follow import Ending, judge
from mirrorflow.nets import TwoLayer


@pytest.mark.slow
def test_a_saddle_is_a_plateau_and_then_left() -> None:
    """Two-layer net, 20 units, 8 points, hyperbolic entropy 0.01.

    From q = 1e38 to 1e90 the margin stands still at a Hölder gap of 0.23. An entry off the support
    with |g_k| > lambda grows like Q^(|g_k|/lambda) from an exponentially small value; it arrives
    near q = 1e105, and the margin gains 4 % on the way to a KKT point.
    """
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.standard_normal((8, 2)))
    y = torch.from_numpy(np.sign(rng.standard_normal(8)))
    start = torch.from_numpy(0.3 * rng.standard_normal((20, 4)))
    net = TwoLayer(2, 20, "smooth_relu", bias=True)
    inner, outer = net.parameters()
    with torch.no_grad():
        inner.copy_(start[:, :3])
        outer.copy_(start[:, 3].reshape(outer.shape))
    t = mirror_flow(
        net,
        x,
        y,
        maps.HyperbolicEntropy(0.01),
        log_t_end=LogLog(210 * math.log(10)),
        stepper=Implicit(max_step=0.4),
    )
    assert t.outcome == "converged"
    assert t.gap[-1] < 1e-6
    early = t.ending_at(1e80 * math.log(10))
    assert judge(early, Ending(True, "log_t_end was reached"), 1e-3) == "plateau"
    assert early.gap[-1] == pytest.approx(0.23, abs=0.01)
    assert early.margin[-1] / t.at(1e45).margin == pytest.approx(1.0, abs=1e-5)
    assert t.margin[-1] / early.margin[-1] == pytest.approx(1.043, abs=0.002)
