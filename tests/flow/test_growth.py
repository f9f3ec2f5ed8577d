"""The growth laws of norm and loss, in value and exponent, at log t = 1e3 ... 1e9."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mirrorflow import maps
from mirrorflow.diagnostics import fit_growth
from mirrorflow.exact import one_point_flow
from mirrorflow.flow import Implicit, mirror_flow
from mirrorflow.nets import MLP, HomogeneousNet, Linear, TwoLayer


def case(degree: int) -> tuple[HomogeneousNet, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    if degree == 1:
        x = torch.randn(12, 4, generator=g)
        return Linear(4, generator=g), x, torch.sign(x @ torch.ones(4))
    x = torch.randn(8, 2, generator=g)
    y = torch.where(x[:, 0] > 0, 1.0, -1.0)
    if degree == 2:
        return TwoLayer(2, 4, "smooth_relu", bias=True, generator=g), x, y
    return MLP((2, 3, 3, 1), "smooth_relu", bias=True, generator=g), x, y


ROWS = [  # map, degree, and the share by which value and exponent may miss their limits
    (maps.Quadratic(), 1, 0.002),
    (maps.Quadratic(), 2, 0.003),
    (maps.Quadratic(), 3, 0.01),
    (maps.Power(1.5), 1, 0.003),
    (maps.Power(1.5), 2, 0.01),
    (maps.Power(3.0), 1, 0.004),
    (maps.HyperbolicEntropy(0.1), 1, 0.01),
    (maps.HyperbolicEntropy(0.1), 2, 0.04),
    (maps.Logarithmic(0.1), 1, 0.01),
    (maps.Cosh(1.0), 1, 0.002),
    (maps.Cosh(1.0), 2, 0.01),
    (maps.Exponential(), 1, 0.002),
]


@pytest.mark.slow
@pytest.mark.parametrize(("mirror_map", "degree", "share"), ROWS, ids=str)
def test_laws(mirror_map: maps.MirrorMap, degree: int, share: float) -> None:
    """Each measured law agrees with the prediction to the correction that the theory leaves out,
    and the exponent and the constant of the norm to a stated share."""
    net, x, y = case(degree)
    stepper = Implicit(max_step=0.2)
    flow = mirror_flow(
        net, x, y, mirror_map, log_t_end=1e9, tol=1e-5, stepper=stepper, max_steps=2000
    )
    found = fit_growth(flow, mirror_map=mirror_map, from_log_t=1e3)
    assert not found.refused, found.verdict
    assert len(found.laws) >= 3
    assert all(law.agrees for law in found.laws), found.verdict
    exponent, value = found.laws[:2]
    assert exponent.name == "d log Q/d log log t"
    assert exponent.measured == pytest.approx(exponent.predicted, rel=share)
    assert value.measured == pytest.approx(1.0, rel=2 * share)
    time = next(law for law in found.laws if law.name == "−d log ℓ/d log t")
    assert time.measured == pytest.approx(time.predicted, rel=share)


@pytest.mark.slow
def test_double_exponential_map_is_exponentially_slow() -> None:
    """L = 1: Q ~ log log t and the loss (log t)^-gamma, beside the truth of one point."""
    m, x = maps.DoubleExponential(), torch.tensor([1.0, 2.0])
    net = Linear(2)
    torch.nn.init.zeros_(net.weight)
    flow = mirror_flow(net, x[None], torch.ones(1), m, log_t_end=1e9, tol=1e-5)
    times = np.array([1e3, 1e5, 1e7, 1e9])
    norm, loss, truth = [], [], []
    for log_t in times:
        here = flow.at(log_t)
        norm.append(math.exp(here.log_gauge))
        loss.append(-here.log_loss)
        truth.append(one_point_flow(m, x, log_t).numpy())
    np.testing.assert_allclose(norm, np.abs(truth).max(1), rtol=0.02)
    z = np.log(times)
    # gamma = |x|_1 = 3: a step of log log t by 1 adds 1 to Q and 3 to -log loss
    assert np.polyfit(z, np.abs(truth).max(1), 1)[0] == pytest.approx(1.0, rel=0.02)
    assert np.polyfit(z, norm, 1)[0] == pytest.approx(1.0, rel=0.05)
    assert np.polyfit(z, loss, 1)[0] == pytest.approx(3.0, rel=0.05)
